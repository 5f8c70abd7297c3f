# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of the objects of a datastore: bytes of one file, held by open file descriptions."""

from __future__ import annotations

import errno
import os
import time

from .hidden import HIDDEN, LOCKS


class Locks:
    """What one process holds."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], int] = {}
        self._exclusive: set[tuple[str, str]] = set()

    def lock(self, datastore: str, key: str, shared: bool, wait: float) -> None:
        """Hold the lock of one object of a datastore until :meth:`unlock` or the end of this process.

        All locks of a datastore are bytes of one file that is never removed; the kernel, and NFS, release them with the
        process. The byte follows from the key alone.

        :raises FileNotFoundError: when the datastore is not there; none is made for a lock.
        :raises BlockingIOError: when somebody else still holds it after *wait* seconds.
        """
        import fcntl
        import struct

        folder = os.path.join(datastore, HIDDEN)
        try:
            os.mkdir(folder)
        except FileExistsError:
            pass
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(os.path.join(folder, LOCKS), flags, 0o644)
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        request = struct.pack("hhqqixxxx", kind, os.SEEK_SET, _byte_of(key), 1, 0)
        until, pause = time.monotonic() + wait, 0.005
        while True:
            try:
                fcntl.fcntl(handle, fcntl.F_OFD_SETLK, request)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    os.close(handle)
                    raise
            if time.monotonic() >= until:
                os.close(handle)
                raise BlockingIOError(errno.EAGAIN, f"another action holds {key}", datastore)
            time.sleep(pause)
            pause = min(pause * 2, 0.25)
        self._held[(datastore, key)] = handle
        if not shared:
            self._exclusive.add((datastore, key))

    def held(self, datastore: str, key: str) -> bool:
        """Whether somebody holds the lock of an object; it is not taken, not even for a moment."""
        import fcntl
        import struct

        try:
            handle = os.open(os.path.join(datastore, HIDDEN, LOCKS), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            wish = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, _byte_of(key), 1, 0)
            found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, wish)
        finally:
            os.close(handle)
        return bool(struct.unpack("hhqqixxxx", found)[0] != fcntl.F_UNLCK)

    def unlock(self, datastore: str, key: str) -> None:
        """Give a lock back."""
        handle = self._held.pop((datastore, key), -1)
        self._exclusive.discard((datastore, key))
        if handle >= 0:
            os.close(handle)

    def holds(self, datastore: str, key: str) -> bool:
        """Whether this process holds the lock of an object for itself."""
        return (datastore, key) in self._exclusive


def _byte_of(key: str) -> int:
    """Which byte of the file of locks stands for an object."""
    # zlib, because hashlib loads OpenSSL, which takes longer than all the rest of a lock
    import zlib

    name = os.fsencode(key)
    return zlib.crc32(name) << 30 | zlib.crc32(name[::-1]) >> 2
