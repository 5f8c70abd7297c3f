# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all moves of a VM look at: whether both ends are one place, who uses a disk, names that would break."""

from __future__ import annotations

import os
import struct

from .._errors import Missing
from ..steps.base import LEAD
from ..steps.files import Discard, MakeLink, WriteFile
from ..steps.images import Rebase
from ..tools import chain
from .base import Request, base
from .vm_files import moved, vm_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..steps.base import Step
    from ..tools.host import Host

_BACKING_NAME = 1023


def same_place(request: Request, to: str, new: str, old: str) -> bool:
    """Whether the destination's datastore *new*, on the host *to*, is in fact the source's datastore *old*.

    Paths and names of hosts tell nothing: a file written at one end is looked for at the other (Q12, rule 5).
    """
    here, there = (new, old) if to == LEAD else (old, new)
    return request.site.same_storage(here, there)


class Arrival:
    """The receipt that a ``mv`` leaves with the directory that it made, so that a repeated call knows it (rule 7).

    A directory at the destination proves nothing by itself once the source is gone: it may be an older one, or what
    another action began, while the source's datastore is just not mounted.

    :param to: the host with the destination, *origin* that with the source.
    """

    def __init__(self, request: Request, to: str, origin: str) -> None:
        self._request = request
        self._to = to
        self.source, self.destination, _old, self._new = moved(request.options)
        self._origin = (request.site.host(origin).name, self.source)

    @property
    def path(self) -> str:
        """Where the receipt lies."""
        from ..steps.migrate import arrival_path

        return arrival_path(self._new, vm_key(self.destination))

    def check(self) -> None:
        """Return when the directory came from the source, whole.

        :raises Missing: it is not there, or nothing shows that it did; both places are named.
        """
        from ..steps.migrate import Receipt

        there = self._request.site.host(self._to)
        standing = self._request.look(self.destination, self._to)
        gone = f"The directory {self.source} is not there"
        if standing is None:
            raise Missing(gone, self._origin[0])
        receipt = Receipt(there.read(self.path) or "")
        if receipt.inode != standing["inode"] or receipt.origin != self._origin:
            raise Missing(
                f"{gone}, and nothing shows that {self.destination} on {there.name} is all of it",
                self._origin[0],
                todo="is the datastore mounted there",
            )

    def note(self, part: str) -> Step:
        """The step that leaves the receipt, before the directory *part* gets its place by a rename."""
        from ..steps.migrate import WriteReceipt

        old = self._request.site.host(self._to).read(self.path)
        return WriteReceipt(self._to, self.path, part, self._new, self.destination, [*self._origin], [], old)


def forget_arrival(request: Request, where: str, directory: str, shop: str) -> list[Step]:
    """Steps that remove the receipt of a VM's directory that goes."""
    from ..steps.migrate import arrival_path

    datastore = os.path.dirname(directory)
    path = arrival_path(datastore, vm_key(directory))
    if not request.look(path, where):
        return []
    return [Discard(where, path, os.path.join(shop, base(path)), datastore, "receipt")]


def disk_names(host: Host, directory: str) -> list[str]:
    """The disks of a VM, by their names in its directory."""
    return [name for name in host.entries(directory) if name.startswith("disk.") and chain.is_number(name[5:])]


def written_to(host: Host, directory: str) -> str:
    """A disk of a VM that a QEMU on some host writes to at this moment; empty when there is none."""
    for name in disk_names(host, directory):
        path = os.path.join(directory, name)
        info = host.stat(path, follow=True)
        if info and info["kind"] == "file" and host.in_use(path):
            return path
    return ""


def own_names(request: Request, source: str, destination: str, place: str, seen_from: str, where: str) -> list[Step]:
    """Steps for names that hold the path of the directory they lie in: after a move they would lead nowhere (Q1).

    Layers get relative names of their backing files, which hold at both ends. A ``.current`` marker gets the new path,
    as stock reads all of it.

    :param place: where the directory that will be the destination is now, on the host *where*: a copy in a workshop, or
        the source itself when that will be renamed.
    :param seen_from: the host that has *source*.
    """
    if source == destination:
        return []
    host = request.site.host(seen_from)
    steps: list[Step] = []
    for disk in disk_names(host, source):
        link, snap = os.path.join(source, disk), os.path.join(source, disk + ".snap")
        info = host.stat(link)
        # raw disks are files, and what a guest wrote is not to be read for a header
        if not (info and info["kind"] == "link" and host.readlink(link).startswith(disk + ".snap/")):
            continue
        entries = host.entries(snap)
        inside = False
        for name in entries:
            path, copy = os.path.join(snap, name), os.path.join(place, disk + ".snap", name)
            found = host.stat(path)
            if not found or found["kind"] != "file":
                continue
            if name.endswith(chain.REDIRECT):
                text = host.read(path, 4096) or ""
                if text.startswith(source + "/"):
                    new = destination + text[len(source) :]
                    steps.append(WriteFile(where, copy, new, place, text))
                continue
            backing = backing_name(bytes.fromhex(host.head(path, 65536)))
            if backing.startswith(snap + "/"):
                steps.append(Rebase(where, copy, f"{disk}.snap/{base(backing)}"))
                inside = True
        if inside and disk + ".snap" not in entries:
            # qemu looks beside the path it is told, which is the disk's link or the layer itself
            steps.append(MakeLink(where, os.path.join(place, disk + ".snap", disk + ".snap"), ".", place))
    return steps


def backing_name(head: bytes) -> str:
    """The name of the backing file in a qcow2 header, as it is written; empty when there is none."""
    if len(head) < 20 or not head.startswith(b"QFI\xfb"):
        return ""
    _version, offset, length = struct.unpack(">IQI", head[4:20])
    if not offset or not 0 < length <= _BACKING_NAME:
        return ""
    return os.path.normpath(head[offset : offset + length].decode("utf-8", "replace"))
