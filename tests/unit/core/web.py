# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small web server on loopback that behaves, and misbehaves, on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


class Site:
    """What the server says, by path. An answer is written as it is, after the request has been read.

    :ivar hang: seconds to wait with the connection open after an answer; the client's deadline comes first.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, bytes] = {}
        self.endless: set[str] = set()
        self.hanging: set[str] = set()
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
            client.sendall(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            while path in self.endless and not self.over.is_set():
                client.sendall(b"x" * 65536)
            if path in self.hanging:
                self.over.wait(20)


@contextmanager
def serving() -> Iterator[Site]:
    """A server on a free port, for as long as the block runs."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        site = Site(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def quietly(client: socket.socket) -> None:
            try:
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
