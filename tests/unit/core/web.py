# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small web server on loopback that behaves, and misbehaves, on demand."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def header(request: bytes, name: str) -> str:
    """The value of a header of a request; empty when it is not there."""
    for line in request.decode("latin-1").split("\r\n")[1:]:
        key, _colon, value = line.partition(":")
        if key.lower() == name.lower():
            return value.strip()
    return ""


class Document:
    """A document that can be had in parts, from a server that breaks off.

    :ivar cuts: of each answer in turn, the bytes of the body after which the connection ends; then they are whole.
    :ivar ranges: whether the server knows Range.
    :ivar careless: it does not look at If-Range.
    :ivar chunked: it does not say how long a whole answer is.
    """

    def __init__(self, data: bytes, cuts: tuple[int, ...] = (), tag: str = '"one"', date: str = "") -> None:
        self.data = data
        self.cuts = list(cuts)
        self.tag = tag
        self.date = date
        self.ranges = True
        self.careless = False
        self.chunked = False

    def __call__(self, request: bytes) -> Iterator[bytes]:
        span, known = header(request, "Range"), header(request, "If-Range")
        head = f"ETag: {self.tag}\r\n" if self.tag else ""
        head += f"Last-Modified: {self.date}\r\n" if self.date else ""
        body, status = self.data, "200 OK"
        if span and self.ranges and (self.careless or known in (self.tag, self.date)):
            start = int(span.removeprefix("bytes=").partition("-")[0])
            body, status = self.data[start:], "206 Partial Content"
            if not body:
                yield b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"
                return
            head += f"Content-Range: bytes {start}-{len(self.data) - 1}/{len(self.data)}\r\n"
        if self.chunked and status.startswith("200"):
            head += "Transfer-Encoding: chunked\r\n"
            pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1000], body[1000:]) if part]
            body = b"".join([*pieces, b"0\r\n\r\n"])
        else:
            head += f"Content-Length: {len(body)}\r\n"
        yield f"HTTP/1.1 {status}\r\nConnection: close\r\n{head}\r\n".encode()
        yield body[: self.cuts.pop(0)] if self.cuts else body


class Site:
    """What the server says, by path. An answer is written as it is, after the request has been read.

    :ivar hang: seconds to wait with the connection open after an answer; the client's deadline comes first.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, bytes] = {}
        self.endless: set[str] = set()
        self.hanging: set[str] = set()
        self.dripping: set[str] = set()
        self.documents: dict[str, Callable[[bytes], Iterator[bytes]]] = {}
        #: What answers for all paths that have nothing of their own.
        self.elsewhere: Callable[[bytes], Iterator[bytes]] | None = None
        self.asked: list[bytes] = []
        self.over = threading.Event()

    def put(self, path: str, body: bytes, head: bytes = b"", length: int | None = -1) -> str:
        """Serve a body; *length* other than the real one is a lie, None is no announcement. The URL is returned."""
        announced = b"" if length is None else b"Content-Length: %d\r\n" % (len(body) if length < 0 else length)
        self.answers[path] = OK + announced + head + b"\r\n" + body
        return self.address + path

    def raw(self, path: str, answer: bytes) -> str:
        """Serve these very bytes."""
        self.answers[path] = answer
        return self.address + path

    def redirect(self, path: str, target: str) -> str:
        """Send the client elsewhere."""
        return self.raw(path, f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    def document(self, path: str, answer: Callable[[bytes], Iterator[bytes]]) -> str:
        """Serve what a function makes of each request; when it ends, so does the connection."""
        self.documents[path] = answer
        return self.address + path

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(20)
            request = b""
            while b"\r\n\r\n" not in request:
                data = client.recv(65536)
                if not data:
                    return
                request += data
            self.asked.append(request)
            path = request.split()[1].decode().split("?")[0]
            document = self.documents.get(path, None if path in self.answers else self.elsewhere)
            if document:
                for part in document(request):
                    client.sendall(part)
                return
            client.sendall(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            while path in self.endless and not self.over.is_set():
                client.sendall(b"x" * 65536)
            while path in self.dripping and not self.over.wait(0.2):
                client.sendall(b"x")
            if path in self.hanging:
                self.over.wait(20)


@contextmanager
def serving(secure: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server on a free port, for as long as the block runs; with TLS when it is given a context."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        site = Site(f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}")

        def quietly(client: socket.socket) -> None:
            try:
                if secure:
                    client.settimeout(20)
                    client = secure.wrap_socket(client, server_side=True)
                site._serve(client)
            except OSError:
                # the client went away, as some tests want it to
                pass

        def accept() -> None:
            while True:
                try:
                    client, _peer = listener.accept()
                except OSError:
                    return
                threading.Thread(target=quietly, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield site
        finally:
            site.over.set()
            listener.shutdown(socket.SHUT_RDWR)
