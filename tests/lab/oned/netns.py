# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listening socket in the network namespace of another process.

A socket stays in the namespace it was made in, whoever uses it later. So one thread visits the namespace, makes the
socket and ends; the rest of the process never leaves its own namespace.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading

_CLONE_NEWNET = 0x40000000
_LIMIT = 10.0
_BACKLOG = 128


def listen(address: str, port: int, network_of: int | None = None) -> socket.socket:
    """A TCP socket that listens on `address` and `port` (0: any free one). Raises OSError.

    With `network_of`, the number of a process, it listens in that process's network namespace; this needs root.
    """
    if network_of is None:
        return _listen(address, port)
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def visit() -> None:
        try:
            _enter_network(network_of)
            made.append(_listen(address, port))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=visit, daemon=True)
    thread.start()
    thread.join(_LIMIT)
    if failed:
        raise failed[0]
    if not made:
        raise OSError(f"no socket in the network of process {network_of} within {_LIMIT:.0f} s")
    return made[0]


def _listen(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _enter_network(pid: int) -> None:
    """Moves the calling thread, and only it (Python 3.11 has no os.setns). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter the network of process {pid}: {os.strerror(code)}")
    finally:
        os.close(handle)
