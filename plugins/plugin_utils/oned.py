# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of oned's XML-RPC API: one request per object and action.

Plain HTTP is spoken here by hand, because ``http.client`` alone costs more start-up than the whole of an action
(ARCHITECTURE.md has the figures); https goes through urllib.
"""

from __future__ import annotations

import os
import time

from ..module_utils._errors import BadCall, Missing, NoAccess, Unreachable, one_line
from . import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lxml.etree import _Element

DEFAULT = "http://localhost:2633/RPC2"
_LIMIT = 64 << 20


class Oned:
    """oned, as the user of ONE_AUTH sees it.

    :param deadline: seconds that one request may take.
    """

    def __init__(self, endpoint: str = "", auth: str = "", deadline: float = 30) -> None:
        self.endpoint = endpoint or os.environ.get("ONE_XMLRPC") or DEFAULT
        self._auth = auth or os.environ.get("ONE_AUTH") or os.path.expanduser("~/.one/one_auth")
        self._deadline = deadline
        self._session = ""

    def vm(self, number: int) -> _Element:
        """A VM's document."""
        return self._info("one.vm.info", number, f"VM {number}")

    def image(self, number: int) -> _Element:
        """An image's document."""
        return self._info("one.image.info", number, f"image {number}")

    def datastore(self, number: int) -> _Element:
        """A datastore's document."""
        return self._info("one.datastore.info", number, f"datastore {number}")

    def host(self, number: int) -> _Element:
        """A host's document."""
        return self._info("one.host.info", number, f"host {number}")

    def hosts(self) -> _Element:
        """The pool of hosts."""
        return self._document("one.hostpool.info", [], "the hosts")

    def datastores(self) -> _Element:
        """The pool of datastores."""
        return self._document("one.datastorepool.info", [], "the datastores")

    def images(self) -> _Element:
        """All images, whoever owns them."""
        return self._document("one.imagepool.info", [-2, -1, -1], "the images")

    def vms(self) -> _Element:
        """All VMs that are not done, with their whole templates."""
        return self._document("one.vmpool.infoextended", [-2, -1, -1, -1, ""], "the VMs")

    def _info(self, method: str, number: int, what: str) -> _Element:
        return self._document(method, [number, False], what)

    def _document(self, method: str, arguments: list[int | bool | str], what: str) -> _Element:
        body = self.call(method, arguments, what)
        return documents.parse(body.encode(), f"oned's document of {what}")

    def call(self, method: str, arguments: list[int | bool | str], what: str) -> str:
        """Call a method and return its string.

        :raises Missing: when the object is not there.
        :raises NoAccess: when oned does not know us, or not for this object.
        :raises Unreachable: when oned does not answer.
        """
        answer = documents.parse(self._post(_request(method, [self._credentials(), *arguments])), "oned's answer")
        fault = answer.findtext("fault/value/struct/member[name='faultString']/value/string")
        if fault:
            raise Unreachable(f"oned refuses {method}: {one_line(fault, 200)}")
        values = answer.findall("params/param/value/array/data/value")
        if len(values) < 2:
            raise Unreachable(f"{self.endpoint} does not answer like oned")
        content = "".join(str(part) for part in values[1].itertext())
        if (values[0].findtext("boolean") or "").strip() == "1":
            return content
        code = (values[2].findtext("i4") or values[2].findtext("int") or "").strip() if len(values) > 2 else ""
        kind = {"256": NoAccess, "512": NoAccess, "1024": Missing}.get(code, Unreachable)
        raise kind(f"oned does not give {what}: {one_line(content, 300)}")

    def _credentials(self) -> str:
        if not self._session:
            try:
                with open(self._auth, encoding="utf-8") as file:
                    self._session = file.read(4096).strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", "") or "it is not text"
                raise NoAccess(
                    f"Cannot read the credentials for oned in {self._auth}: {reason}", todo="set ONE_AUTH"
                ) from None
        return self._session

    # ------------------------------------------------------------ HTTP

    def _post(self, body: bytes) -> bytes:
        if self.endpoint.startswith("https://"):
            return self._post_tls(body)
        host, port, path = self._address()
        until = time.monotonic() + self._deadline
        try:
            return self._exchange(host, port, path, body, until)
        except ConnectionRefusedError:
            # oned may be restarting: one more try
            time.sleep(0.3)
        try:
            return self._exchange(host, port, path, body, until)
        except ConnectionRefusedError:
            raise Unreachable(f"oned does not answer at {self.endpoint}: connection refused") from None

    def _address(self) -> tuple[str, int, str]:
        rest = self.endpoint[len("http://") :] if self.endpoint.startswith("http://") else ""
        where, _slash, path = rest.partition("/")
        host, _colon, port = where.rpartition(":") if ":" in where.rpartition("]")[2] else (where, "", "80")
        if not host or not port.isdigit():
            raise BadCall(f"ONE_XMLRPC is '{one_line(self.endpoint, 120)}', which is not an http or https address")
        return host.strip("[]"), int(port), "/" + path

    def _exchange(self, host: str, port: int, path: str, body: bytes, until: float) -> bytes:
        import socket

        head = (
            f"POST {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: one_storage.drivers\r\n"
            f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        parts = []
        size = 0
        try:
            with socket.create_connection((host, port), timeout=max(until - time.monotonic(), 0.1)) as connection:
                connection.sendall(head.encode() + body)
                while size < _LIMIT:
                    connection.settimeout(max(until - time.monotonic(), 0.001))
                    data = connection.recv(1 << 18)
                    if not data:
                        break
                    parts.append(data)
                    size += len(data)
                else:
                    raise Unreachable(f"oned's answer is larger than {_LIMIT >> 20} MB")
        except ConnectionRefusedError:
            raise
        except TimeoutError:
            raise Unreachable(f"oned did not answer at {self.endpoint} within {self._deadline:g} seconds") from None
        except OSError as error:
            raise Unreachable(f"Cannot reach oned at {self.endpoint}: {error.strerror or error}") from None
        return self._body(b"".join(parts))

    def _body(self, answer: bytes) -> bytes:
        head, _blank, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = lines[0].split()
        if len(status) < 2 or not status[0].startswith(b"HTTP/") or status[1] != b"200":
            shown = one_line(lines[0].decode("latin-1"), 80)
            raise Unreachable(f"{self.endpoint} does not answer like oned: '{shown}'")
        for line in lines[1:]:
            name, _colon, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit() and int(value) != len(body):
                raise Unreachable(f"oned's answer was cut off: {len(body)} of {int(value)} bytes came")
        return body

    def _post_tls(self, body: bytes) -> bytes:
        import urllib.request

        request = urllib.request.Request(self.endpoint, body, {"Content-Type": "text/xml"})
        try:
            with urllib.request.build_opener().open(request, timeout=self._deadline) as response:
                data: bytes = response.read(_LIMIT)
                return data
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"Cannot reach oned at {self.endpoint}: {one_line(str(reason), 200)}") from None


def _request(method: str, arguments: list[int | bool | str]) -> bytes:
    from lxml import etree

    root = etree.Element("methodCall")
    etree.SubElement(root, "methodName").text = method
    parameters = etree.SubElement(root, "params")
    for argument in arguments:
        value = etree.SubElement(etree.SubElement(parameters, "param"), "value")
        if isinstance(argument, bool):
            etree.SubElement(value, "boolean").text = str(int(argument))
        elif isinstance(argument, int):
            etree.SubElement(value, "int").text = str(argument)
        else:
            etree.SubElement(value, "string").text = argument
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
