# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of oned's XML-RPC API: one request per object and action.

Plain HTTP is spoken here by hand, because ``http.client`` alone costs more start-up than the whole of an action
(ARCHITECTURE.md has the figures); https goes through urllib.
"""

from __future__ import annotations

import os
import time

from ..module_utils._errors import BadCall, Missing, NoAccess, Refused, Unreachable, one_line
from . import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from ..module_utils._errors import StorageError

DEFAULT = "http://localhost:2633/RPC2"
#: Longest answer about a pool, in bytes; a single object's document is limited like every other one.
_POOL = 64 << 20
#: RAFT/STATE of an oned that has no HA set, and of one that leads it (oned's RaftManager.h).
_SOLO, _LEADER = 0, 3


class Oned:
    """oned, as the user of ONE_AUTH sees it.

    :param deadline: seconds that one request may take.
    :param session: gives the credentials of another user, anew for every request: they may hold for a short time.
    """

    def __init__(
        self, endpoint: str = "", auth: str = "", deadline: float = 30, session: Callable[[], str] | None = None
    ) -> None:
        self.endpoint = endpoint or os.environ.get("ONE_XMLRPC") or DEFAULT
        self._auth = auth or os.environ.get("ONE_AUTH") or os.path.expanduser("~/.one/one_auth")
        self._deadline = deadline
        self._session = ""
        self._given = session
        self._sent: dict[bytes, socket.socket] = {}

    def vm(self, number: int) -> _Element:
        """A VM's document."""
        return self._info("one.vm.info", number, f"VM {number}")

    def image(self, number: int) -> _Element:
        """An image's document."""
        return self._info("one.image.info", number, f"image {number}")

    def datastore(self, number: int, decrypt: bool = False) -> _Element:
        """A datastore's document.

        :param decrypt: with its passwords as they are, which oned else shows encrypted.
        """
        return self._document("one.datastore.info", [number, decrypt], f"datastore {number}")

    def host(self, number: int) -> _Element:
        """A host's document."""
        return self._info("one.host.info", number, f"host {number}")

    def hosts(self) -> _Element:
        """The pool of hosts."""
        return self._document("one.hostpool.info", [], "the hosts", _POOL)

    def datastores(self) -> _Element:
        """The pool of datastores."""
        return self._document("one.datastorepool.info", [], "the datastores", _POOL)

    def images(self) -> _Element:
        """All images, whoever owns them."""
        return self._document("one.imagepool.info", [-2, -1, -1], "the images", _POOL)

    def vms(self) -> _Element:
        """All VMs that are not done, with their whole templates."""
        return self._document("one.vmpool.infoextended", [-2, -1, -1, -1, ""], "the VMs", _POOL)

    def leads(self) -> bool:
        """Whether this oned does the work of its zone: it is the only one, or those of an HA set follow it.

        One that follows answers like the leader, whom it asks; but drivers run on the leader's machine.
        """
        state = documents.number(self._document("one.zone.raftstatus", [], "the HA set"), "STATE", 0)
        return state in (_SOLO, _LEADER)

    def allocate_image(self, name: str, template: str, datastore: int) -> int:
        """Create an image; its id. oned asks the driver for the size before it answers (STAT, contract-ds 3).

        :param name: for the sentence; it stands in the template too.
        """
        return self._made("one.image.allocate", [template, datastore, True], f"the image '{one_line(name, 120)}'")

    def allocate_template(self, name: str, template: str) -> int:
        """Create a template of VMs; its id."""
        return self._made("one.template.allocate", [template], f"the VM template '{one_line(name, 120)}'")

    def delete_image(self, number: int) -> None:
        """Delete an image; an import that still goes on ends with it."""
        self.call("one.image.delete", [number, True], f"image {number}", wanted="delete")

    def _made(self, method: str, arguments: list[int | bool | str], what: str) -> int:
        answer = self.call(method, arguments, what, wanted="create", otherwise=Refused).strip()
        if not (answer.isascii() and answer.isdigit()):
            raise Unreachable(f"{self.endpoint} does not answer like oned: it created {what} without an id")
        return int(answer)

    def _info(self, method: str, number: int, what: str) -> _Element:
        return self._document(method, [number, False], what)

    def _document(
        self, method: str, arguments: list[int | bool | str], what: str, limit: int = documents.LIMIT
    ) -> _Element:
        body = self.call(method, arguments, what, limit)
        return documents.parse(body.encode(), f"oned's document of {what}", limit)

    def call(
        self,
        method: str,
        arguments: list[int | bool | str],
        what: str,
        limit: int = documents.LIMIT,
        wanted: str = "give",
        otherwise: type[StorageError] = Unreachable,
    ) -> str:
        """Call a method and return its string, or its number as text.

        :param limit: most bytes that the answer may have.
        :param wanted: what oned is asked to do with *what*, for the sentence.
        :param otherwise: the kind of error for a refusal that is about neither access nor a missing object.
        :raises Missing: when the object is not there.
        :raises NoAccess: when oned does not know us, or not for this object.
        :raises Unreachable: when oned does not answer.
        """
        body = self._post(_request(method, [self._credentials(), *arguments]), limit)
        answer = documents.parse(body, "oned's answer", limit)
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
        kind = {"256": NoAccess, "512": NoAccess, "1024": Missing}.get(code, otherwise)
        raise kind(f"oned does not {wanted} {what}: {one_line(content, 300)}")

    def _credentials(self) -> str:
        if self._given:
            return self._given()
        if not self._session:
            try:
                with open(self._auth, encoding="utf-8") as file:
                    self._session = file.read(4096).strip()
                if not self._session.isprintable():
                    raise ValueError
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", "") or "it is not text"
                raise NoAccess(
                    f"Cannot read the credentials for oned in {self._auth}: {reason}", todo="set ONE_AUTH"
                ) from None
        return self._session

    # ------------------------------------------------------------ HTTP

    def _post(self, body: bytes, limit: int) -> bytes:
        scheme = self._address()[0]
        until = time.monotonic() + self._deadline
        for pause in (0.3, 0):
            try:
                if scheme == "https":
                    return self._exchange_tls(body, limit, until)
                return self._exchange(body, limit, until)
            except ConnectionRefusedError:
                # oned may be restarting: one more try
                time.sleep(pause)
            except TimeoutError:
                raise Unreachable(f"oned did not answer at {self.endpoint} within {self._deadline:g} seconds") from None
            except OSError as error:
                reason = getattr(error, "reason", None) or error.strerror or error
                raise Unreachable(f"Cannot reach oned at {self.endpoint}: {one_line(str(reason), 200)}") from None
        raise Unreachable(f"oned does not answer at {self.endpoint}: connection refused")

    def _address(self) -> tuple[str, str, int, str]:
        scheme, _colon, rest = self.endpoint.partition("://")
        where, _slash, path = rest.partition("/")
        if "@" in where:
            raise BadCall("ONE_XMLRPC has a user in it, which is not supported", todo="credentials belong in ONE_AUTH")
        default = {"http": "80", "https": "443"}.get(scheme, "")
        host, _colon, port = where.rpartition(":") if ":" in where.rpartition("]")[2] else (where, "", default)
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
        odd = any(ord(char) <= 32 or ord(char) > 126 for char in self.endpoint)
        if not default or not host or not 0 < number < 65536 or odd:
            raise BadCall(f"ONE_XMLRPC is '{one_line(self.endpoint, 120)}', which is not an http or https address")
        return scheme, host.strip("[]"), number, "/" + path

    def expect(self, kind: str, number: int) -> None:
        """Send the request for an object ahead: oned works on it while we load what its answer is read with."""
        scheme, _host, _port, _path = self._address()
        if scheme == "http":
            body = _request(f"one.{kind}.info", [self._credentials(), number, False])
            try:
                self._sent[body] = self._send(body, time.monotonic() + self._deadline)
            except OSError:
                # it is asked again when it is needed, and then this is told
                pass

    def _send(self, body: bytes, until: float) -> socket.socket:
        import socket

        _scheme, host, port, path = self._address()
        head = (
            f"POST {path} HTTP/1.0\r\nHost: {host}:{port}\r\nUser-Agent: one_storage.drivers\r\n"
            f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        # as bytes: a name in a string loads the codec for international ones
        address: tuple[Any, int] = (host.encode(), port)
        connection = socket.create_connection(address, timeout=_left(until))
        connection.sendall(head.encode() + body)
        return connection

    def _exchange(self, body: bytes, limit: int, until: float) -> bytes:
        answer = bytearray()
        whole = 0
        with self._sent.pop(body, None) or self._send(body, until) as connection:
            # some servers keep the connection open although they were asked for HTTP/1.0
            while not whole or len(answer) < whole:
                connection.settimeout(_left(until))
                data = connection.recv(1 << 18)
                if not data:
                    break
                answer += data
                _check_size(len(answer), limit)
                whole = whole or _announced(answer)
        return self._body(bytes(answer))

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

    def _exchange_tls(self, body: bytes, limit: int, until: float) -> bytes:
        import http.client
        import urllib.error
        import urllib.request

        request = urllib.request.Request(self.endpoint, body, {"Content-Type": "text/xml"})
        answer = bytearray()
        try:
            with urllib.request.build_opener().open(request, timeout=_left(until)) as response:
                while True:
                    data = response.read1(1 << 18)
                    if not data:
                        return bytes(answer)
                    answer += data
                    _check_size(len(answer), limit)
                    _left(until)
        except urllib.error.URLError as error:
            if isinstance(error.reason, (ConnectionRefusedError, TimeoutError)):
                raise error.reason from None
            raise
        except http.client.HTTPException as error:
            raise Unreachable(f"{self.endpoint} does not answer like oned: {one_line(repr(error), 80)}") from None


def _left(until: float) -> float:
    """Seconds until a moment; ``TimeoutError`` when it is over."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise Unreachable(f"oned's answer is larger than {limit >> 20} MB")


def _announced(answer: bytearray) -> int:
    """Length of a whole answer, its head included, as the head says; 0 when it does not say or is not there yet."""
    head, blank, _body = answer.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n") if blank else []:
        name, _colon, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(head) + len(blank) + int(value.strip()[:20])
    return 0


def _request(method: str, arguments: list[int | bool | str]) -> bytes:
    """A call's XML, written by hand: requests go out before lxml is loaded, and hold nothing but numbers and text."""
    parts = []
    for argument in arguments:
        if isinstance(argument, bool):
            value = f"<boolean>{int(argument)}</boolean>"
        elif isinstance(argument, int):
            value = f"<int>{argument}</int>"
        else:
            escaped = argument.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            value = f"<string>{escaped}</string>"
        parts.append(f"<param><value>{value}</value></param>")
    body = f"<methodCall><methodName>{method}</methodName><params>{''.join(parts)}</params></methodCall>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()
