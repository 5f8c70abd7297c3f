# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a folder lies on, how much room is there, and which hosts see the same, by files that each of them leaves.

Standard library only. Errors are plain ``OSError``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARK = ".one_storage-check-"
#: Seconds after which the mark of a check that died is removed by the next one.
_OLD = 3600
_MB = 1 << 20


def described(folder: str) -> dict[str, Any]:
    """Mount point, file system, source, whether it is read-only, and room in MB and inodes, of the folder's storage."""
    room = os.statvfs(folder)
    found: dict[str, Any] = _mount(os.path.realpath(folder))
    found["read_only"] = bool(room.f_flag & os.ST_RDONLY)
    found["total_mb"] = room.f_blocks * room.f_frsize // _MB
    found["free_mb"] = room.f_bavail * room.f_frsize // _MB
    found["free_percent"] = 100 * room.f_bavail // room.f_blocks if room.f_blocks else 100
    # file systems that make inodes as they need them say 0 of 0
    found["free_inodes_percent"] = 100 * room.f_favail // room.f_files if room.f_files else 100
    return found


def _mount(path: str) -> dict[str, str]:
    best = {"mount": "/", "filesystem": "", "source": ""}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _mark, right = line.partition(" - ")
            where, kinds = _plain(left.split()[4]), right.split()
            inside = path == where or path.startswith(where.rstrip("/") + "/")
            # of those on one another the last one counts
            if inside and len(where) >= len(best["mount"]):
                best = {"mount": where, "filesystem": kinds[0], "source": _plain(kinds[1])}
    return best


def _plain(word: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, char)
    return word


def leave_mark(folder: str, token: str, name: str) -> list[str]:
    """Leave this host's mark, remove those of checks that died long ago, and return whose marks of this check are seen.

    Whoever comes second sees the first one's. So hosts with one storage hang together by what they see.
    """
    mark = os.path.join(folder, _file(token, name))
    handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(handle, f"{token}\n{name}\n".encode())
        os.fsync(handle)
        now = os.fstat(handle).st_mtime
    except OSError:
        os.unlink(mark)
        raise
    finally:
        os.close(handle)
    for other in _marks(folder, ""):
        try:
            # the storage's own clock says both times
            if now - os.lstat(other).st_mtime > _OLD:
                os.unlink(other)
        except OSError:
            # somebody else's, or gone
            pass
    return seen(folder, token)


def seen(folder: str, token: str) -> list[str]:
    """Names of the hosts whose marks of this check are seen in a folder."""
    found = []
    for mark in _marks(folder, token):
        try:
            handle = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            lines = os.read(handle, 1024).decode("utf-8", "replace").splitlines()
        finally:
            os.close(handle)
        if len(lines) == 2 and lines[0] == token:
            found.append(lines[1])
    return sorted(found)


def remove_marks(folder: str, token: str) -> None:
    """Remove all marks of this check."""
    for mark in _marks(folder, token):
        try:
            os.unlink(mark)
        except FileNotFoundError:
            # another host was first
            pass


def _file(token: str, name: str) -> str:
    import hashlib

    return f"{_MARK}{token}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _marks(folder: str, token: str) -> list[str]:
    start = f"{_MARK}{token}-" if token else _MARK
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(start)]
