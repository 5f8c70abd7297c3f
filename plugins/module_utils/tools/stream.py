# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends files, links and directories over a byte stream with their holes, hashed at both ends.

Standard library only: the lead sends this file to a peer together with :mod:`.host`.

The stream is a sequence of records, each a head (kind, two numbers) and a body:

* ``N``: a new entry; the body is JSON with name, kind, size or link target;
* ``D``: data of the current file at an offset;
* ``Z``: the end; the body is the sender's digest over all that went before.

The receiver answers with one frame (:mod:`.wire` style): its own digest and the bytes it wrote, after everything is on
disk. Neither end holds more than a few chunks in memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import stat
import struct

from .codec import dumps, loads
from .command import going_on
from .host import extents, is_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 20
_HEAD = struct.Struct(">cQQ")


class _Pipe:
    """A file descriptor whose every read and write must make progress within *stall* seconds."""

    def __init__(self, handle: int, stall: float) -> None:
        self.handle = handle
        self.stall = stall
        self.digest = hashlib.blake2b(digest_size=32)
        os.set_blocking(handle, False)

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.handle, view) :]
            except BlockingIOError:
                if not select.select([], [self.handle], [], self.stall)[1]:
                    raise TimeoutError(errno.ETIMEDOUT, f"no data moved for {self.stall:g} seconds") from None

    def read(self, size: int, count: bool = True) -> bytes:
        parts = []
        missing = size
        while missing:
            try:
                data = os.read(self.handle, missing)
            except BlockingIOError:
                if not select.select([self.handle], [], [], self.stall)[0]:
                    raise TimeoutError(errno.ETIMEDOUT, f"no data moved for {self.stall:g} seconds") from None
                continue
            if not data:
                raise ConnectionError(errno.EPIPE, "the stream ended early")
            parts.append(data)
            missing -= len(data)
        whole = b"".join(parts)
        if count:
            self.digest.update(whole)
        return whole


def send(entries: list[list[str]], handle: int, stall: float) -> str:
    """Send each (path, name) of *entries*, directories with all in them; the digest of the stream is returned."""
    pipe = _Pipe(handle, stall)
    for path, name in entries:
        _send_entry(pipe, path, name)
    ours = pipe.digest.hexdigest()
    body = ours.encode()
    pipe.write(_HEAD.pack(b"Z", 0, len(body)) + body)
    return ours


def _send_entry(pipe: _Pipe, path: str, name: str) -> None:
    if os.path.islink(path):
        _announce(pipe, {"name": name, "kind": "link", "target": os.readlink(path)})
    elif os.path.isdir(path):
        _announce(pipe, {"name": name, "kind": "directory"})
        for child in sorted(os.listdir(path)):
            if not is_socket(os.path.join(path, child)):
                _send_entry(pipe, os.path.join(path, child), f"{name}/{child}")
    else:
        _send_file(pipe, path, name)


def _announce(pipe: _Pipe, entry: dict[str, Any]) -> None:
    body = dumps(entry)
    pipe.write(_HEAD.pack(b"N", 0, len(body)) + body)


def _send_file(pipe: _Pipe, path: str, name: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "this is not a regular file", path)
        size = before.st_size
        _announce(pipe, {"name": name, "kind": "file", "size": size, "mode": before.st_mode & 0o777})
        for start, end in extents(handle, size):
            while start < end:
                going_on()
                data = os.pread(handle, min(CHUNK, end - start), start)
                if not data:
                    raise OSError(errno.EIO, "the file became shorter while it was read", path)
                pipe.write(_HEAD.pack(b"D", start, len(data)))
                pipe.write(data)
                start += len(data)
        after = os.fstat(handle)
        if (size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EAGAIN, "the file changed while it was read", path)
    finally:
        os.close(handle)


def receive(folder: str, handle: int, stall: float) -> dict[str, Any]:
    """Write what comes below *folder* (which is there and empty); the digest and the bytes of data are returned.

    :raises OSError: EBADMSG when the stream is not what the sender hashed, or names a path outside *folder*.
    """
    pipe = _Pipe(handle, stall)
    total = 0
    file = -1
    limit = 0
    try:
        while True:
            going_on()
            before = pipe.digest.hexdigest()
            kind, offset, length = _HEAD.unpack(pipe.read(_HEAD.size))
            if length > CHUNK:
                raise OSError(errno.EBADMSG, "the stream is broken")
            body = pipe.read(length)
            if kind == b"D" and file >= 0 and offset + length <= limit:
                _write_at(file, body, offset)
                total += length
            elif kind == b"N":
                file = _close(file)
                file, limit = _new_entry(folder, loads(body))
            elif kind == b"Z" and not offset:
                file = _close(file)
                if body.decode() != before:
                    raise OSError(errno.EBADMSG, "the data changed on its way")
                _sync(folder)
                return {"digest": before, "bytes": total}
            else:
                raise OSError(errno.EBADMSG, "the stream is broken")
    except (ValueError, TypeError, KeyError, OverflowError):
        # what should be a name, a number or JSON is none
        raise OSError(errno.EBADMSG, "the stream is broken") from None
    finally:
        _close(file)


def _new_entry(folder: str, entry: dict[str, Any]) -> tuple[int, int]:
    name = str(entry["name"])
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise OSError(errno.EBADMSG, "the stream names a path outside its folder", name)
    path = os.path.join(folder, name)
    if os.path.realpath(os.path.dirname(path)) != os.path.join(os.path.realpath(folder), os.path.dirname(name)).rstrip(
        "/"
    ):
        raise OSError(errno.EBADMSG, "the stream names a path outside its folder", name)
    if entry["kind"] == "link":
        os.symlink(str(entry["target"]), path)
        return -1, 0
    if entry["kind"] == "directory":
        os.mkdir(path)
        return -1, 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, int(entry["mode"]) & 0o777 | 0o600)
    os.ftruncate(file, int(entry["size"]))
    return file, int(entry["size"])


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view = view[written:]
        offset += written


def _close(file: int) -> int:
    if file >= 0:
        os.fsync(file)
        os.close(file)
    return -1


def _sync(folder: str) -> None:
    for path, _folders, _files in os.walk(folder):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
