# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a datastore that nobody knows: found by names and inodes, nothing is opened but what may be in use.

What is known comes from oned, through whoever calls. Of a known object nothing is looked at, so that thousands of
images cost one listing. What is not known is measured, and *protected* when it may be about to become known: it, or
anything in it, changed a short while ago, an action holds its lock, a journal speaks of it, or a running QEMU uses it.

Layouts: contract-ds 5.3 and 8, contract-tm 6; of the hidden folder see :mod:`.host`.
"""

from __future__ import annotations

import os
import stat as modes
import time

from .hidden import ARRIVED, EXPORTS, HIDDEN, LOCKS, PROBE, QUARANTINE, STATUS
from .host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

JOURNAL = ".journal"
RECEIPT = ".receipt"
#: Names that belong to an image, or to a disk, of the name before them.
_PARTS = {".snap": "snapshots", ".md5sum": "digest"}
_HEX = frozenset("0123456789abcdef")
#: What the file systems themselves put into their uppermost folder.
_FOREIGN = ("lost+found",)


class Known:
    """What lies in a datastore by right.

    :param kind: ``ds``, a datastore of images; ``tm``, one of VMs' disks.
    :param names: names of images' files; for VMs their ids, or ``<id>:<disk>,<disk>`` where the disks are known too, or
        ``<id>@`` for one that belongs elsewhere.
    """

    def __init__(self, kind: str, names: list[str]) -> None:
        self.kind = kind
        self.names: dict[str, frozenset[str] | None] = {}
        self.elsewhere: set[str] = set()
        for name in names:
            ident, colon, disks = name.partition(":")
            if kind == "tm" and colon:
                self.names[ident] = frozenset(disks.split(",")) - {""}
            elif kind == "tm" and name.endswith("@"):
                self.elsewhere.add(name[:-1])
            else:
                self.names[name] = None


class Limits:
    """What protects an orphan.

    :param min_age: seconds since its last change; a younger one is protected.
    :param since: seconds since the epoch, 0 for none: what changed then or later may belong to what is being made.
    :param ours: keys whose locks the asking process holds itself.
    """

    def __init__(self, min_age: float, since: float = 0, ours: frozenset[str] = frozenset()) -> None:
        self.min_age = min_age
        self.since = since
        self.ours = ours


def find(root: str, known: Known, limits: Limits) -> Iterator[dict[str, Any]]:
    """A row for each orphan, and last one with ``known``, the number of known objects that are there.

    A row has ``name``, relative to the datastore; ``what`` it is; ``ours``, whether OpenNebula or these drivers make
    such names; ``size`` and ``allocated`` bytes; ``changed``, seconds since the epoch; ``protected``, why it has to
    stay, empty when it has not.

    :raises OSError: when the datastore cannot be read.
    """
    hidden = Host("").entries(os.path.join(root, HIDDEN))
    journals = {name[: -len(JOURNAL)] for name in hidden if name.endswith(JOURNAL)}
    looker = _Looker(root, known.kind, limits, journals, LOCKS in hidden)
    there = 0
    for name in sorted(os.listdir(root)):
        if name.startswith(".") or name in _FOREIGN:
            continue
        if owner_of(known.kind, name) in known.names:
            there += owner_of(known.kind, name) == name
            disks = known.names[owner_of(known.kind, name)]
            if disks is not None:
                yield from _disks(looker, name, disks)
            continue
        # it may be the VM itself, on storage that is shared unknown to who asks: nothing is done unless it is named
        what, ours = ("copy", False) if name in known.elsewhere else _described(known.kind, root, name)
        row = looker.row(name, what, ours)
        if row:
            yield row
    yield from _hidden(looker, hidden, known)
    yield {"known": there}


def staged(root: str, limits: Limits) -> Iterator[dict[str, Any]]:
    """A row for each thing in a staging area that is nobody's by its name: of these drivers in its hidden folder, of
    others a file beside that, with its whole path.

    :raises OSError: when it cannot be read.
    """
    hidden = Host("").entries(os.path.join(root, HIDDEN))
    journals = {name[: -len(JOURNAL)] for name in hidden if name.endswith(JOURNAL)}
    looker = _Looker(root, "ds", limits, journals, LOCKS in hidden)
    yield from _hidden(looker, hidden, Known("ds", []))
    for name in Host("").entries(root):
        # stock leaves these behind (contract-ds 9.1, 9.2)
        if len(name) == 32 and set(name) <= _HEX and os.path.isfile(os.path.join(root, name)):
            row = looker.row(name, "staging", False)
            if row:
                kept = row["protected"] or "a staging file is not set aside: delete it by hand"
                yield {**row, "name": os.path.join(root, name), "protected": kept}


def key_of(kind: str, name: str) -> str:
    """The key of the lock under which actions work on what has this name."""
    first, _slash, rest = name.partition("/")
    if first == HIDDEN:
        for ending in (JOURNAL, RECEIPT, ARRIVED, STATUS):
            rest = rest[: -len(ending)] if rest.endswith(ending) else rest
        return rest.partition("/")[0]
    return ("image-" if kind == "ds" else "vm-") + owner_of(kind, first)


def owner_of(kind: str, name: str) -> str:
    """The image that a name belongs to; of VMs' directories the name itself."""
    if kind == "ds":
        for ending in _PARTS:
            if name.endswith(ending) and name != ending:
                return name[: -len(ending)]
    return name


def _described(kind: str, root: str, name: str) -> tuple[str, bool]:
    """What something unknown seems to be, and whether such names are OpenNebula's own."""
    if kind == "tm":
        return ("vm", True) if _is_number(name) else ("other", False)
    owner = owner_of(kind, name)
    ours = len(owner) == 32 and set(owner) <= _HEX
    if owner != name:
        return _PARTS[name[len(owner) :]], ours
    folder = os.path.isdir(os.path.join(root, name)) and not os.path.islink(os.path.join(root, name))
    return ("image", True) if ours and not folder else ("other", False)


def _disks(looker: _Looker, vm: str, disks: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Disks that a known VM does not have."""
    for name in Host("").entries(os.path.join(looker.root, vm)):
        disk = owner_of("ds", name)
        if disk.startswith("disk.") and _is_number(disk[5:]) and disk[5:] not in disks:
            row = looker.row(f"{vm}/{name}", "disk" if disk == name else "snapshots", True)
            if row:
                yield row


def _hidden(looker: _Looker, names: list[str], known: Known) -> Iterator[dict[str, Any]]:
    """What dead runs left in the hidden folder. Most of it goes with the next action on the datastore."""
    prefix = "image-" if known.kind == "ds" else "vm-"
    for name in names:
        if name in (LOCKS, QUARANTINE, EXPORTS) or name.startswith(PROBE):
            continue
        key = key_of(known.kind, f"{HIDDEN}/{name}")
        alive = key.startswith(prefix) and key[len(prefix) :] in (*known.names, *known.elsewhere)
        if name.endswith((RECEIPT, ARRIVED)):
            # these wait for what comes later in the life of a VM
            what = "" if alive else "receipt"
        elif name.endswith(JOURNAL):
            what = "journal"
        elif name.endswith(STATUS):
            what = "status"
        else:
            what = "workshop"
        row = looker.row(f"{HIDDEN}/{name}", what, True) if what else None
        if row:
            yield row
    folder = os.path.join(looker.root, HIDDEN, EXPORTS)
    for name in Host("").entries(folder):
        row = looker.row(f"{HIDDEN}/{EXPORTS}/{name}", "export", True)
        if row:
            yield row


class _Looker:
    """Measures what nobody knows."""

    def __init__(self, root: str, kind: str, limits: Limits, journals: set[str], locks: bool) -> None:
        self.root = root
        self._kind = kind
        self._limits = limits
        self._journals = journals
        self._locks = locks
        self._now = time.time()

    def row(self, name: str, what: str, ours: bool) -> dict[str, Any] | None:
        """None for what has gone meanwhile."""
        path = os.path.join(self.root, name)
        try:
            size, allocated, changed, files = measure(path)
        except FileNotFoundError:
            return None
        return {
            "name": name,
            "what": what,
            "ours": ours,
            "size": size,
            "allocated": allocated,
            "changed": int(changed),
            "protected": self._protected(name, changed, files),
        }

    def _protected(self, name: str, changed: float, files: list[str]) -> str:
        key = key_of(self._kind, name)
        if key not in self._limits.ours:
            if self._held(key):
                return "an action works on it"
            if key in self._journals and not name.startswith(HIDDEN + "/"):
                return "a journal speaks of it"
        if self._now - changed < self._limits.min_age:
            return "it changed a short while ago"
        if self._limits.since and changed >= self._limits.since:
            return "it may belong to what is being made"
        for path in files:
            try:
                if Host("").in_use(path):
                    return "a running QEMU uses it"
            except OSError as error:
                return f"it cannot be looked at: {error.strerror}"
        return ""

    def _held(self, key: str) -> bool:
        """Whether somebody holds the lock of an object. Where there never was a lock, nothing is made to find out."""
        if not self._locks:
            return False
        host = Host("")
        try:
            host.lock(self.root, key, False, 0)
        except OSError:
            return True
        host.unlock(self.root, key)
        return False


def measure(path: str) -> tuple[int, int, float, list[str]]:
    """Bytes, allocated bytes and last change of a file or folder with all in it, and the files that a QEMU could use.

    The last change is the later one of mtime and ctime: a copy may bring its mtime along, a rename sets the ctime.
    """
    info = os.lstat(path)
    size, allocated, changed = 0, 0, max(info.st_mtime, info.st_ctime)
    files: list[str] = []
    if not modes.S_ISDIR(info.st_mode):
        regular = modes.S_ISREG(info.st_mode)
        return info.st_size, info.st_blocks * 512, changed, [path] if regular else []
    for place, folders, names in os.walk(path):
        for name in folders + names:
            try:
                info = os.lstat(os.path.join(place, name))
            except FileNotFoundError:
                continue
            changed = max(changed, info.st_mtime, info.st_ctime)
            if modes.S_ISREG(info.st_mode):
                size += info.st_size
                allocated += info.st_blocks * 512
                files.append(os.path.join(place, name))
    return size, allocated, changed, files


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
