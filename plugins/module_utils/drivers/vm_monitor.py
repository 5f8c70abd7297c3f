# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How full a system datastore is, and how much the disks and snapshots of the VMs in it take up (contract-tm 9).

Sizes are the blocks that files have (what ``du`` counts), read from their inodes: no file is opened but the small
``.current`` ones, no command is run. Everything is looked at in a child process, as a mount may hang
(:mod:`..tools.aside`).
"""

from __future__ import annotations

import os
import stat as modes

from .._errors import DeadlineOver, StorageError, one_line
from .base import Answer, Request, base, clean_path, parent
from .space import Files, look, megabytes, totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .base import Reply

#: More bytes than the path in a ``.current`` file has.
_PATH = 4096
#: Sentences about what could not be measured; of more than that, the first ones say enough.
_SENTENCES = 5


class VmMonitor(Files):
    """Monitoring, for drivers derived from :class:`.vm_files.VmFiles`: of shared storage, and of a host's own."""

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of a shared system datastore, and the VMs' disks when they are wanted.

        The datastore's directory is made when it is not there (contract-tm 9.1). Disks that cannot be measured do not
        keep the totals back: what is missing is told in ``missed``.
        """
        found = totals(request)
        if not request["vm_disks"]:
            return Answer(**found, vms=[], missed=[])
        try:
            vms, missed = _measured(request, clean_path(request["datastore"], "datastore"))
        except StorageError as error:
            vms, missed = [], [str(error)]
        return Answer(**found, vms=vms, missed=missed)

    def monitor_ds(self, request: Request) -> Reply:
        """The disks of the VMs in a system datastore of this host's own (contract-tm 9.2)."""
        vms, missed = _measured(request, clean_path(request["datastore"], "datastore"))
        return Answer(vms=vms, missed=missed)


# ---------------------------------------------------------------- in this process


def _measured(request: Request, root: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The VMs of a datastore, and a sentence for each thing that could not be measured.

    :raises StorageError: nothing at all could be.
    """
    vms: list[dict[str, Any]] = []
    missed: list[str] = []
    try:
        for found in look(request, root, "disks", lambda: _vms(root)):
            if "missed" in found:
                missed.append(found["missed"])
            else:
                vms.append(found)
    except DeadlineOver as error:
        if not vms:
            raise
        # what hangs is what one disk links to: the VMs before it have been measured
        missed.append(str(error))
    if len(missed) > _SENTENCES:
        missed[_SENTENCES:] = [f"and {len(missed) - _SENTENCES} more"]
    return vms, missed


# ---------------------------------------------------------------- in the child process


def _vms(root: str) -> Iterator[dict[str, Any]]:
    """The VMs of a datastore that have disks, by id; and, under ``missed``, what could not be measured.

    What goes while it is looked at is not there.
    """
    for name in sorted(filter(is_id, os.listdir(root)), key=int):
        disks: list[dict[str, Any]] = []
        try:
            for disk in _disks(os.path.join(root, name)):
                if "missed" in disk:
                    yield disk
                else:
                    disks.append(disk)
        except (FileNotFoundError, NotADirectoryError):
            # it has gone, or is a file that somebody gave a number for a name
            continue
        except OSError as error:
            yield _missed(os.path.join(root, name), error)
        if disks:
            yield {"id": int(name), "disks": disks}


def _missed(path: str, error: OSError) -> dict[str, Any]:
    return {"missed": one_line(f"{path} is not measured: {error.strerror}")}


def _disks(directory: str) -> Iterator[dict[str, Any]]:
    numbers = [int(name[5:]) for name in os.listdir(directory) if name.startswith("disk.") and is_id(name[5:])]
    for number in sorted(numbers):
        path = os.path.join(directory, f"disk.{number}")
        try:
            size = _size(path)
            if size is not None:
                yield {"id": number, "size_mb": size, "snapshots": snapshots_of(*layers_of(path))}
        except OSError as error:
            yield _missed(path, error)


def layers_of(disk: str) -> tuple[str, str]:
    """Where a disk's layers or snapshots lie, and the name of the one that the disk itself is; empty for none.

    A disk is a file beside its snapshots, a link to one of its layers, or a link to a persistent image, which is
    either of the two in its turn (contract-tm 6.1 to 6.3).
    """
    path = disk
    for _link in range(8):
        try:
            path = os.path.join(parent(path), os.readlink(path))
        except OSError:
            # it is no link
            break
        if parent(path).endswith(".snap"):
            return parent(path), base(path)
    return path + ".snap", ""


def snapshots_of(snap: str, active: str) -> list[dict[str, int]]:
    """Id and size of every snapshot: all numbers but the active layer's (contract-tm 6.4).

    The data of a snapshot whose neighbour was deleted may lie in the neighbour's file, which ``<id>.current`` names;
    that file then stands for no snapshot of its own.
    """
    try:
        names = os.listdir(snap)
    except (FileNotFoundError, NotADirectoryError):
        return []
    files = {int(name): name for name in names if is_id(name)}
    files = {number: name for number, name in files.items() if name != active}
    moved = {}
    for name in names:
        number, _dot, suffix = name.partition(".")
        if suffix == "current" and is_id(number):
            moved[int(number)] = _named_in(os.path.join(snap, name))
    for name in moved.values():
        if is_id(name):
            files.pop(int(name), None)
    files.update(moved)
    sizes = [(number, _size(os.path.join(snap, name)) if name else None) for number, name in sorted(files.items())]
    return [{"id": number, "size_mb": size} for number, size in sizes if size is not None]


def _named_in(path: str) -> str:
    """The layer that a ``.current`` file names. It says a whole path, of before the VM was moved perhaps."""
    with open(path, "rb") as file:
        return base(file.read(_PATH).decode("utf-8", "replace").strip())


def _size(path: str) -> int | None:
    """MB that a file's blocks take up, links followed; None when there is no file."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return megabytes(info.st_blocks * 512) if modes.S_ISREG(info.st_mode) else None


def is_id(name: str) -> bool:
    """Whether a name is a number as OpenNebula writes it."""
    return name.isascii() and name.isdigit() and (name == "0" or not name.startswith("0")) and len(name) <= 10
