# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what a stream brings (:mod:`.stream`), and goes on with what an earlier try left.

Standard library and what :mod:`.peer` sends only. What lies in the folder before is never believed: its blocks are
hashed anew, and the sender sends what is another at its end. What it does not speak of goes.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from _thread import allocate_lock, start_new_thread

from .codec import loads
from .command import going_on
from .files import extents, remove_tree
from .flow import BLOCK, PIECE, Broken, Inflow, Known, Unwatched, digest_of, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Say = Callable[[dict[str, Any]], None]

#: Digests in one frame.
_AT_ONCE = 256
#: Bytes of data after which what came so far starts on its way to the disk.
_EARLY = 64 << 20


def receive(folder: str, handle: int, say: Say, stall: float, watch: Any = None) -> dict[str, Any]:
    """Write what comes below *folder*, on disk when this returns.

    After an ``OSError`` of a file, here or there, the connection can go on to be used; when it is the connection
    itself, ``ConnectionError`` or ``TimeoutError``, or no stream of ours (:class:`.flow.Broken`), it cannot.

    :param say: sends the sender a frame.
    :returns: ``digest`` of the records, ``bytes`` of data that came, ``same``: bytes that had been there.
    :raises OSError: EBADMSG when it is not what the sender hashed, or names a path outside *folder*.
    """
    landing = _Landing(folder, handle, stall, watch or Unwatched())
    try:
        landing.offer(say)
        result = landing.take()
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        say({"error": [error.errno or errno.EIO, error.strerror or str(error)]})
        if not isinstance(error, Broken):
            landing.drain()
        raise
    finally:
        landing.close()
    say(result)
    return result


class _Early:
    """Lets data of a file go to disk while more of it comes, so that little is left for the end.

    :param handle: the file; an error of its disk is told once only, so it is kept for :meth:`end`.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._new = 0
        self._busy = allocate_lock()
        self._error: OSError | None = None

    def add(self, count: int) -> None:
        """So many bytes more were written."""
        self._new += count
        if self._new >= _EARLY and self._busy.acquire(False):
            self._new = 0
            start_new_thread(self._sync, ())

    def _sync(self) -> None:
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            self._error = error
        finally:
            self._busy.release()

    def end(self) -> None:
        """All is written: it is on disk when this returns."""
        self.rest()
        if self._error:
            raise self._error
        os.fsync(self._handle)

    def rest(self) -> None:
        """Wait until the file may be closed."""
        self._busy.acquire()
        self._busy.release()


class _Landing:
    """One stream as it comes in."""

    def __init__(self, folder: str, handle: int, stall: float, watch: Any) -> None:
        self._folder = folder
        self._in = Inflow(handle, stall)
        self._watch = watch
        self._offers: dict[str, Known] = {}
        self._seen: set[str] = set()
        self._file = -1
        self._early = _Early(-1)
        self._name = ""
        self._size = 0
        self._left = 0
        self._ended = False
        self._room = memoryview(bytearray(PIECE))
        self._checksum = 0
        self._open = False
        self.bytes = 0
        self.same = 0

    # ---------------------------------------------------------------- what is there

    def offer(self, say: Say) -> None:
        """Say which blocks are there; small files and links are not worth it and go."""
        os.makedirs(self._folder, exist_ok=True)
        for place, folders, files in os.walk(self._folder):
            for name in folders + files:
                path = os.path.join(place, name)
                info = os.lstat(path)
                if stat.S_ISREG(info.st_mode) and info.st_size >= BLOCK:
                    self._offer_file(path, path[len(self._folder) + 1 :], say)
                elif not stat.S_ISDIR(info.st_mode):
                    os.unlink(path)
        say({"go": True})

    def _offer_file(self, path: str, name: str, say: Say) -> None:
        known = self._offers[name] = Known()
        room = memoryview(bytearray(BLOCK))
        some: list[list[Any]] = []
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            last = -1
            for start, end in extents(handle, size):
                for number in range(max(last + 1, start // BLOCK), (end - 1) // BLOCK + 1):
                    going_on()
                    count = os.preadv(handle, [room], number * BLOCK)
                    known.add(number, digest_of(room[:count]))
                    some.append([number, known.get(number).hex()])
                    if len(some) == _AT_ONCE:
                        say({"have": name, "blocks": some})
                        some = []
                    last = number
        finally:
            os.close(handle)
        say({"have": name, "blocks": some})

    # ---------------------------------------------------------------- what comes

    def take(self) -> dict[str, Any]:
        """Take records to the last one."""
        try:
            while True:
                going_on()
                kind, number, self._left = self._in.head()
                if kind == b"D":
                    self._data(number)
                elif self._words(kind, number):
                    return {"digest": self._in.before.hex(), "bytes": self.bytes, "same": self.same}
        except (ValueError, TypeError, KeyError, OverflowError):
            # what should be a name, a number or JSON is none
            raise Broken from None

    def _words(self, kind: bytes, number: int) -> bool:
        """A record that is no data; whether it was the last one."""
        body = self._in.body(self._left)
        self._left = 0
        if kind == b"H" and self._open:
            self._check(body)
        elif self._open and kind != b"X":
            raise Broken
        elif kind == b"N":
            self._whole()
            self._entry(loads(body))
        elif kind == b"S" and self._file >= 0:
            self._same(number, body)
        elif kind == b"T":
            self._watch.total = number
        elif kind == b"X":
            self._ended = True
            code, text = loads(body)
            raise OSError(int(code), str(text))
        elif kind == b"Z" and not number:
            self._ended = True
            self._finish(body)
            return True
        else:
            raise Broken
        return False

    def _data(self, offset: int) -> None:
        if self._file < 0 or offset + self._left > self._size:
            raise Broken
        self._open = True
        while self._left:
            count = self._in.part(self._room[: self._left])
            self._left -= count
            data = self._room[:count]
            self._checksum = zlib.crc32(data, self._checksum)
            self._watch.add(count)
            self.bytes += count
            while data:
                written = os.pwrite(self._file, data, offset)
                data = data[written:]
                offset += written
            self._early.add(count)

    def _check(self, checksum: bytes) -> None:
        ours, self._checksum = packed(self._checksum), 0
        self._open = False
        if ours != checksum:
            raise OSError(errno.EBADMSG, "the data changed on its way")

    def _same(self, offset: int, digest: bytes) -> None:
        known = self._offers.get(self._name)
        end = min(offset + BLOCK, self._size)
        if offset % BLOCK or offset >= self._size or not known or known.get(offset // BLOCK) != digest:
            raise Broken
        self.same += end - offset
        self._watch.add(end - offset)

    def _finish(self, digest: bytes) -> None:
        self._whole()
        if digest != self._in.before:
            raise OSError(errno.EBADMSG, "the data changed on its way")
        for place, folders, files, handle in os.fwalk(self._folder, topdown=False):
            for name in folders + files:
                path = os.path.join(place, name)
                if path[len(self._folder) + 1 :] not in self._seen:
                    _remove(path)
            os.fsync(handle)

    # ---------------------------------------------------------------- entries

    def _entry(self, entry: dict[str, Any]) -> None:
        name, kind = str(entry["name"]), entry["kind"]
        path = self._place(name)
        if kind == "link":
            _remove(path)
            os.symlink(str(entry["target"]), path)
        elif kind == "directory":
            if os.path.islink(path) or not os.path.isdir(path):
                _remove(path)
                os.mkdir(path)
        elif kind == "file":
            self._open_file(path, name, int(entry["size"]), int(entry["mode"]) & 0o777 | 0o600)
        else:
            raise Broken

    def _place(self, name: str) -> str:
        """The path of a new entry; nobody gets out of the folder, and nothing comes twice."""
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise OSError(errno.EBADMSG, "the stream names a path outside its folder", name)
        parent = os.path.join(self._folder, *parts[:-1])
        if os.path.realpath(parent) != os.path.join(os.path.realpath(self._folder), *parts[:-1]):
            raise OSError(errno.EBADMSG, "the stream names a path outside its folder", name)
        if name in self._seen:
            raise OSError(errno.EEXIST, "the stream names a path twice", name)
        os.makedirs(parent, exist_ok=True)
        self._seen.update("/".join(parts[: count + 1]) for count in range(len(parts)))
        return os.path.join(parent, parts[-1])

    def _open_file(self, path: str, name: str, size: int, mode: int) -> None:
        if name not in self._offers:
            _remove(path)
        fresh = 0 if name in self._offers else os.O_EXCL
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | fresh, mode)
        self._early = _Early(self._file)
        self._name, self._size = name, size
        os.fchmod(self._file, mode)
        os.ftruncate(self._file, size)

    def _whole(self) -> None:
        """The current file has all that it should have: it goes to disk."""
        if self._file >= 0:
            self._early.end()
        self.close()

    def close(self) -> None:
        """No file is open any more."""
        file, self._file = self._file, -1
        if file >= 0:
            self._early.rest()
            os.close(file)

    def drain(self) -> None:
        """Read to the end of the stream, and throw it away: the connection is needed for more than this."""
        while not self._ended:
            while self._left:
                self._left -= self._in.part(self._room[: min(self._left, PIECE)])
            kind, _number, self._left = self._in.head()
            self._ended = kind in (b"X", b"Z")
        self._in.body(self._left)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_tree(path)
