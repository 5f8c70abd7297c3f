# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restic that died has left half made: files in a repository, or the repository itself. restic removes neither.

restic writes beside the final name and renames: over SFTP as ``<id>-restic-temp-<32 digits>``, on a file system as
``<id>-tmp-<digits>``. Who writes data, an index or a snapshot has the repository locked all the time, so without a lock
nobody lives who would go on with what was there before the look at the locks. With one, a file counts as left when
nothing was written to it for as long as restic needs to call a lock stale.

``restic init`` makes the folders, then a key, then the config. Who makes it anew beside the key of one that died gets a
repository with two master keys, which nobody can open.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host

#: Folders that are written to under a lock only.
_FOLDERS = ("data", "index", "snapshots")
#: Minutes after which restic takes a lock for stale.
_STALE = 30
#: Minutes in which an ``init`` ends that nobody killed.
_MOMENT = 1
_ID = 64
_HEX = frozenset("0123456789abcdef")
#: What stands between a file's id and the rest, and the characters of that.
_FORMS = (("-restic-temp-", _HEX), ("-tmp-", frozenset("0123456789")))
#: Most bytes of a listing: some ten thousand files.
_MOST = 1 << 20


def is_unfinished(path: str) -> bool:
    """Whether a path in a repository is exactly that of a file which restic has not finished."""
    name = os.path.basename(path)
    if path.split("/")[0] not in _FOLDERS or not _is_id(name[:_ID]):
        return False
    for mark, digits in _FORMS:
        rest = name[_ID + len(mark) :]
        if name[_ID:].startswith(mark) and rest and digits.issuperset(rest):
            return True
    return False


def remove_unfinished(host: Host, repository: str, seconds: float) -> list[str]:
    """Remove what dead restics left half written, and nothing that a living one writes.

    :param host: where the repository lies.
    :param repository: its folder.
    :param seconds: that a look through all its files may take.
    :returns: their paths in the repository.
    """
    left = _found(host, repository, seconds)
    if left and any(_is_id(name) for name in host.entries(os.path.join(repository, "locks"))):
        left = _found(host, repository, seconds, "-mmin", f"+{_STALE}")
    for path in left:
        host.remove(os.path.join(repository, path), repository)
    return left


def is_half_made(host: Host, repository: str, seconds: float) -> bool:
    """Whether a folder without a config is what an ``init`` that died left: it has no data, no index, no snapshot."""
    folders = [os.path.join(repository, name) for name in _FOLDERS]
    there = [folder for folder in folders if host.stat(folder) is not None]
    if not there or host.stat(os.path.join(repository, "config")) is not None:
        return False
    said = host.run(["find", *there, "-type", "f", "-print", "-quit"], seconds)
    return said["rc"] == 0 and not said["out"]


def is_being_made(host: Host, repository: str, seconds: float) -> bool:
    """Whether somebody wrote to such a folder a moment ago, who may still be at it."""
    said = host.run(["find", repository, "-mmin", f"-{_MOMENT}", "-print", "-quit"], seconds)
    return bool(said["out"])


def _found(host: Host, repository: str, seconds: float, *tests: str) -> list[str]:
    # by the clock of that host, in one call
    names = ["(", "-name", "*-restic-temp-*", "-o", "-name", "*-tmp-*", ")"]
    argv = ["find", repository, "-type", "f", *names, *tests, "-printf", r"%P\0"]
    said = host.run(argv, seconds, (), "", None, _MOST)
    return [path for path in str(said["out"]).split("\0") if is_unfinished(path)]


def _is_id(name: str) -> bool:
    return len(name) == _ID and _HEX.issuperset(name)
