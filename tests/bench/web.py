# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server in a host's network that serves one large sparse file, without reading its holes from the disk."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.lab.oned.netns import listen

_CHUNK = 1 << 20
_ZEROS = memoryview(bytes(_CHUNK))
_SECONDS = 60.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, sock: socket.socket, path: Path) -> None:
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.path = path

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has read enough, and goes, is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS

    def do_GET(self) -> None:
        """The whole file, whatever part was asked for."""
        with self.server.path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            position = 0
            while position < size:
                start = _data(file.fileno(), position, size)
                if start > position:
                    data = _ZEROS[: min(_CHUNK, start - position)]
                else:
                    data = memoryview(os.pread(file.fileno(), min(_CHUNK, size - position), position))
                self.connection.sendall(data)
                position += len(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the bench's stderr."""


def _data(handle: int, position: int, size: int) -> int:
    """Where the next data begins; the file's end when only a hole is left."""
    try:
        return os.lseek(handle, position, os.SEEK_DATA)
    except OSError:
        return size


@contextmanager
def served(path: Path, network_of: int) -> Iterator[str]:
    """Serve a file on 127.0.0.1 in the network of a process; the URL is given."""
    server = _Server(listen("127.0.0.1", 0, network_of), path)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/image"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)
