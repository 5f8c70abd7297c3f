# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of the stand-in over HTTP: XML-RPC on /RPC2, HTTP/1.1 with connections that stay open."""

from __future__ import annotations

import socket
import threading
import time
import xmlrpc.client
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from xml.parsers.expat import ExpatError

from .api import Api, UnknownMethodError
from .faults import Faults
from .netns import listen
from .store import Oned

_MOST_BYTES = 1 << 20
_IDLE = 60.0


@dataclass(frozen=True)
class Request:
    """One call the server saw, without its session. `connection` tells calls over one connection from others."""

    method: str
    arguments: tuple[object, ...]
    connection: int
    when: float


class ApiServer:
    """Serves the API. Use as a context manager, or `start` and `stop`.

    `network_of` is the number of a process: the server then listens in its network namespace (needs root), so that the
    front-end of a lab finds its oned on 127.0.0.1, while this process keeps serving from where it is.
    """

    def __init__(self, oned: Oned, address: str = "127.0.0.1", port: int = 0, network_of: int | None = None) -> None:
        self.oned = oned
        self.api = Api(oned)
        self.faults = Faults()
        self.requests: list[Request] = []
        self.address = address
        self.port = port
        self._network_of = network_of
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        """What ONE_XMLRPC is to be set to."""
        return f"http://{self.address}:{self.port}/RPC2"

    def start(self) -> ApiServer:
        """Listens and serves in a thread of its own. Raises OSError when the address is not free."""
        self.stopping.clear()
        sock = listen(self.address, self.port, self._network_of)
        self.port = int(sock.getsockname()[1])
        self._server = _Server(self, sock)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes the listening socket and all connections: clients are refused from now on. `start` brings it back."""
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is None or thread is None:
            return
        self.stopping.set()
        server.shutdown()
        server.server_close()
        server.drop_connections()
        thread.join(5.0)

    def __enter__(self) -> ApiServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Closing must not wait for idle connections.
    block_on_close = False

    def __init__(self, owner: ApiServer, sock: socket.socket) -> None:
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def remember(self, connection: socket.socket, there: bool) -> None:
        """Keeps account of open connections."""
        with self._guard:
            if there:
                self._open.add(connection)
            else:
                self._open.discard(connection)

    def drop_connections(self) -> None:
        """Ends all open connections."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event for a test's output."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "one-stand-in"
    timeout = _IDLE
    # An answer is two writes, head and body: without this the second waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.remember(self.connection, True)

    def finish(self) -> None:
        self.server.remember(self.connection, False)
        super().finish()

    def do_POST(self) -> None:
        """One API call."""
        body = self._body()
        if body is None:
            return
        owner = self.server.owner
        try:
            arguments, method = xmlrpc.client.loads(body)
        except (ExpatError, xmlrpc.client.ResponseError, ValueError, TypeError) as error:
            self._answer(200, _fault(-503, f"Call is not valid XML-RPC: {error}"))
            return
        name = method or ""
        owner.requests.append(Request(name, tuple(arguments[1:]), id(self.connection), time.monotonic()))
        self._misbehave(owner.faults.take(), name, arguments)

    def _misbehave(self, faults: Faults, method: str, arguments: tuple[object, ...]) -> None:
        if faults.delay and self.server.owner.stopping.wait(faults.delay):
            self.close_connection = True
            return
        if faults.hang_up:
            self.close_connection = True
            return
        if faults.garbage is not None:
            self._answer(faults.status, faults.garbage)
            return
        if faults.wrong_auth:
            arguments = ("wrong:session", *arguments[1:])
        answer = _response(self.server.owner.api, method, arguments, faults.huge)
        self._answer(faults.status, answer, cut_off=faults.cut_off)

    def _body(self) -> bytes | None:
        if self.path.split("?", 1)[0] != "/RPC2":
            self._answer(404, b"")
            return None
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self._answer(411, b"")
            return None
        if not 0 <= length <= _MOST_BYTES:
            self.close_connection = True
            self._answer(413, b"")
            return None
        return self.rfile.read(length)

    def _answer(self, status: int, body: bytes, cut_off: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut_off else body)
        if cut_off:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the test's stderr; `ApiServer.requests` tells what came in."""


def _response(api: Api, method: str, arguments: tuple[object, ...], huge: int) -> bytes:
    try:
        answer = api.call(method, arguments)
    except UnknownMethodError:
        return _fault(-506, f"Method '{method}' not defined")
    if huge:
        answer = [True, "<VM>" + "<X>0123456789</X>" * (huge // 17) + "</VM>", 0]
    return xmlrpc.client.dumps((answer,), methodresponse=True).encode("utf-8")


def _fault(code: int, message: str) -> bytes:
    return xmlrpc.client.dumps(xmlrpc.client.Fault(code, message), methodresponse=True).encode("utf-8")
