# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP connection, with or without TLS, whose every wait ends with its clock or with who wanted it.

``http.client`` takes it for a socket. Python's own timeouts would do for the deadline; they cannot be interrupted, and
what a read had got before its timeout is lost.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
import time

from .pace import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Stopped(Exception):
    """Nobody wants the data any more. No ``InterruptedError``: a file of Python's would just read again."""


class Link:
    """A connection that was made. It lives until :meth:`shut`: ``http.client`` closes what it still reads from."""

    def __init__(self, connected: socket.socket, clock: Clock) -> None:
        self._socket = connected
        self._clock = clock

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS; ``ssl.SSLError`` when the other side is not who it should be."""
        # an end without TLS's own goodbye is a cut: somebody else can make one
        self._socket = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        self._patiently(self._socket.do_handshake)
        self._clock.touch()

    def recv_into(self, buffer: Any) -> int:
        """Read what is there, waiting for the first byte; 0 at the end."""
        count: int = self._patiently(self._socket.recv_into, buffer)
        self._clock.touch()
        return count

    def sendall(self, data: Any) -> None:
        """Send everything."""
        view = memoryview(data)
        while view:
            view = view[self._patiently(self._socket.send, view, write=True) :]
            self._clock.touch()

    def makefile(self, mode: str) -> io.BufferedReader:
        """The reading end as a file."""
        return io.BufferedReader(_Reader(self), 16384)

    def close(self) -> None:
        """Nothing: an answer that ends with its connection is still to be read."""

    def shut(self) -> None:
        """Close the connection, now."""
        self._socket.close()

    def _patiently(self, call: Any, *arguments: Any, write: bool = False) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._clock.wait(self._socket.fileno())
            except ssl.SSLWantWriteError:
                self._clock.wait(self._socket.fileno(), write=True)
            except BlockingIOError:
                self._clock.wait(self._socket.fileno(), write)


class _Reader(io.RawIOBase):
    def __init__(self, link: Link) -> None:
        self._link = link

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._link.recv_into(buffer)
        except InterruptedError:
            raise Stopped from None


def connect(host: str, port: int, clock: Clock) -> Link:
    """Connect to the first address of a host that answers; ``OSError`` of the last one when none does."""
    addresses = _resolve(host, port, clock)
    failure: OSError = OSError(errno.EHOSTUNREACH, "the host has no address")
    for number, (family, kind, protocol, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            # each address has its share of the time, so that one that is silent does not hide another
            until = time.monotonic() + clock.left() / (len(addresses) - number)
            code = connection.connect_ex(address)
            if code == errno.EINPROGRESS:
                clock.wait(connection.fileno(), write=True, until=until)
                code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            # a limit on the rate cannot wait for small packets to be gathered
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Link(connection, clock)
        except InterruptedError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def _resolve(host: str, port: int, clock: Clock) -> list[tuple[int, int, int, Any]]:
    """The addresses of a host. The system's resolver waits as it likes, so it is left behind when the time is over."""
    import threading

    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while not found:
        thread.join(min(clock.left(), 0.25))
    if isinstance(found[0], UnicodeError):
        raise OSError(errno.EINVAL, "this is not the name of a host")
    if isinstance(found[0], OSError):
        raise found[0]
    return [(family, kind, protocol, address) for family, kind, protocol, _name, address in found[0]]
