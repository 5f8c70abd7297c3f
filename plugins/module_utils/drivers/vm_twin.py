# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory that a running VM will find where it goes, and whether it has arrived there (contract-tm 7.4).

What the guest writes to, the hypervisor copies; for that there has to be an empty image of the same size. Everything
else is copied here: frozen layers, snapshots, read-only disks, the context image, the kernel. Links are made anew.
"""

from __future__ import annotations

import os

from .._errors import Missing
from ..steps.files import MakeDirectory, MakeLink
from ..steps.migrate import MakeRoom
from ..steps.transfer import Send
from ..tools import chain
from .base import Request, base
from .vm_move import disk_names, own_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..steps.base import Step
    from ..tools.host import Host

#: What a running VM has no use for at the other end: memory that a hypervisor saved, and its parts.
_LEFT = "checkpoint"


class Twin:
    """A VM's directory that is built like another one.

    :param source: the directory of the VM, on the host *origin*.
    :param destination: where the new one will stand, on the host *to*.
    :param formats: format of each disk that the guest may write to, by the disk's id.
    """

    def __init__(
        self, request: Request, source: str, destination: str, origin: str, to: str, formats: dict[int, str]
    ) -> None:
        self.request = request
        self.source = source
        self.destination = destination
        self.to = to
        self.origin = origin
        self.formats = formats
        self.here: Host = request.site.host(origin)
        self.there: Host = request.site.host(to)

    # ------------------------------------------------------------ making

    def steps(self, shop: str, root: str) -> list[Step]:
        """Steps that build the directory in a workshop, under its last name.

        :raises Missing: a link leads to something that is not there at the other end.
        """
        self._part = os.path.join(shop, base(self.destination))
        self._root = root
        self._entries: list[list[str]] = []
        self._rooms: list[Step] = []
        self._links: list[Step] = []
        self._folders: list[Step] = [MakeDirectory(self.to, self._part, root)]
        for name in self.here.entries(self.source):
            if not name.startswith(_LEFT):
                self._entry(name)
        sent: list[Step] = [Send(self.to, self._entries, self._part, root)] if self._entries else []
        names = own_names(self.request, self.source, self.destination, self._part, self.origin, self.to)
        return [*self._folders, *sent, *self._rooms, *names, *self._links]

    @property
    def rooms(self) -> list[str]:
        """Names of the images that :meth:`steps` makes empty."""
        made = [step.part for step in self._rooms if isinstance(step, MakeRoom)]
        return [part[len(self._part) + 1 :] for part in made]

    def _entry(self, name: str) -> None:
        info = self.here.stat(os.path.join(self.source, name))
        if info is None or info["kind"] == "other":
            return
        image_format = self._format(name)
        if info["kind"] == "link":
            self._link(name)
        elif info["kind"] == "directory" and name.endswith(".snap") and name.startswith("disk."):
            self._snap(name)
        elif info["kind"] == "file" and image_format:
            self._room(name, image_format)
        else:
            self._entries.append([os.path.join(self.source, name), name])

    def _format(self, name: str) -> str:
        """The format of a disk that the guest may write to; empty for all else."""
        return self.formats.get(int(name[5:]), "") if name.startswith("disk.") and chain.is_number(name[5:]) else ""

    def _link(self, name: str) -> None:
        target = self.here.readlink(os.path.join(self.source, name))
        target = self._moved(target)
        mine = self.here.stat(os.path.join(self.source, name), follow=True)
        # devices appear when their own driver has been called
        outside = os.path.isabs(target) and not target.startswith(self.destination + "/")
        if outside and (not mine or mine["kind"] != "other") and self.there.stat(target, follow=True) is None:
            raise Missing(
                f"{os.path.join(self.source, name)} leads to {target}, which is not there",
                self.there.name,
                todo="is the image datastore mounted on that host",
            )
        self._links.append(MakeLink(self.to, os.path.join(self._part, name), target, self._root))

    def _moved(self, path: str) -> str:
        return self.destination + path[len(self.source) :] if path.startswith(self.source + "/") else path

    def _snap(self, folder: str) -> None:
        """A directory of layers or snapshots; of layers, the one that is written to is made, not copied."""
        disk = folder[: -len(".snap")]
        active = self._active(disk)
        self._folders.append(MakeDirectory(self.to, os.path.join(self._part, folder), self._root))
        for entry in self.here.entries(os.path.join(self.source, folder)):
            name = f"{folder}/{entry}"
            info = self.here.stat(os.path.join(self.source, name))
            if info is None or info["kind"] == "other":
                continue
            if info["kind"] == "link":
                self._link(name)
            elif entry == active:
                self._room(name, "qcow2")
            else:
                self._entries.append([os.path.join(self.source, name), name])

    def _active(self, disk: str) -> str:
        """The name of the layer that a disk is written to; empty when it has no layers, or is only read."""
        path = os.path.join(self.source, disk)
        info = self.here.stat(path)
        if self._format(disk) != "qcow2" or not info or info["kind"] != "link":
            return ""
        target = os.path.normpath(os.path.join(self.source, self.here.readlink(path)))
        return base(target) if target == os.path.join(path + ".snap", base(target)) else ""

    def _room(self, name: str, image_format: str) -> None:
        path = os.path.join(self.source, name)
        layer = chain.read(self.here, path, image_format)
        backing = self._moved(layer.backing)
        self._rooms.append(
            MakeRoom(
                self.to,
                os.path.join(self._part, name),
                self._root,
                image_format,
                layer.virtual_size,
                backing,
                layer.backing_format,
            )
        )

    # ------------------------------------------------------------ looking

    def lacks(self, rooms: dict[str, float]) -> str:
        """What the destination has not of the source, as words for a sentence; empty when the VM is all there.

        Disks have to have the size that the guest sees, and snapshots, frozen layers and read-only disks theirs. An
        image that was made empty must have been touched since, unless there was nothing to copy.

        :param rooms: the images that were made empty, and when.
        """
        for name, made in rooms.items():
            old = self.here.stat(os.path.join(self.source, name), follow=True)
            new = self.there.stat(os.path.join(self.destination, name), follow=True)
            if old and new and new["changed"] == made and new["allocated"] < old["allocated"]:
                return f"{os.path.join(self.destination, name)} is as empty as it was made"
        for name in self.here.entries(self.source):
            if name in ("kernel", "initrd"):
                wrong = self._differs(name, "")
            elif name in disk_names(self.here, self.source):
                wrong = self._differs(name, self._format(name))
            elif name.endswith(".snap") and name.startswith("disk."):
                wrong = self._lacks_layers(name)
            else:
                continue
            if wrong:
                return wrong
        return ""

    def _lacks_layers(self, folder: str) -> str:
        disk = folder[: -len(".snap")]
        active = self._active(disk)
        for entry in self.here.entries(os.path.join(self.source, folder)):
            name = f"{folder}/{entry}"
            info = self.here.stat(os.path.join(self.source, name))
            if info and info["kind"] == "file" and entry != active and not entry.endswith(chain.REDIRECT):
                wrong = self._differs(name, "qcow2" if active and chain.is_number(entry) else "")
                if wrong:
                    return wrong
        return ""

    def _differs(self, name: str, image_format: str) -> str:
        """How a file at the destination is not what it should be; *image_format* is empty when its bytes count."""
        path, twin = os.path.join(self.source, name), os.path.join(self.destination, name)
        mine = self.here.stat(path, follow=True)
        if mine is None or mine["kind"] != "file":
            # what leads nowhere, or to a device, is not in this directory to be lost
            return ""
        other = self.there.stat(twin, follow=True)
        if other is None or other["kind"] != "file":
            return f"{twin} is not there"
        old, new = self._size(self.here, path, image_format), self._size(self.there, twin, image_format)
        return "" if old == new else f"{twin} has {new} bytes, not {old}"

    @staticmethod
    def _size(host: Host, path: str, image_format: str) -> int:
        return chain.read(host, path, image_format or "raw").virtual_size
