# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of migrations: room for disks that the hypervisor will copy, and receipts for directories that were made."""

from __future__ import annotations

import os

from ..tools.codec import dumps, loads
from ..tools.hidden import ARRIVED, HIDDEN
from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

#: Ends the name of the receipt of ``premigrate``; before it stands the VM's key.
RECEIPT = ".receipt"
FORMAT = 1


class MakeRoom(Step):
    """Create an image of the very size of another, with nothing in it: the hypervisor writes the guest's data there.

    :param size: virtual size in bytes.
    :param backing: name of the backing file, as the header is to have it; it is not looked for. Empty when there is
        none.
    """

    kind: ClassVar[str] = "make-room"

    def __init__(
        self, where: str, part: str, inside: str, image_format: str, size: int, backing: str = "", below: str = ""
    ) -> None:
        super().__init__(where)
        self.part = part
        self.inside = inside
        self.image_format = image_format
        self.size = size
        self.backing = backing
        self.below = below

    def words(self) -> str:
        on = f" on {self.backing}" if self.backing else ""
        return f"make room for {os.path.basename(self.part)}: {self.image_format}{on}, {self.size} bytes"

    def do(self, site: Site) -> None:
        if self.image_format == "raw":
            site.host(self.where).truncate(self.part, self.size, self.inside)
            return
        argv = ["qemu-img", "create", "-q", "-f", self.image_format]
        if self.backing:
            argv += ["-u", "-F", self.below, "-b", self.backing]
        site.command(self.where, [*argv, self.part, str(self.size)], self.words())


class WriteReceipt(Step):
    """Note durably which directory was made for a VM that is to come, so that it is known again (rule 7).

    :param part: that directory, still in its workshop: the rename that puts it in place keeps its inode.
    :param destination: where it will stand.
    :param origin: host and directory that the VM comes from.
    :param rooms: names in it of the images that were made empty.
    :param old: text of the receipt that stood there, to put it back; None when there was none.
    """

    kind: ClassVar[str] = "write-receipt"

    def __init__(
        self,
        where: str,
        path: str,
        part: str,
        inside: str,
        destination: str,
        origin: list[str],
        rooms: list[str],
        old: str | None,
    ) -> None:
        super().__init__(where)
        self.path = path
        self.part = part
        self.inside = inside
        self.destination = destination
        self.origin = origin
        self.rooms = rooms
        self.old = old
        self.text = ""

    def words(self) -> str:
        return f"note what was made in {self.path}"

    def evidence(self, site: Site) -> dict[str, Any]:
        host = site.host(self.where)
        info = host.stat(self.part)
        rooms = {name: host.stat(os.path.join(self.part, name)) for name in self.rooms}
        made = {
            "format": FORMAT,
            "run": site.run,
            "directory": self.destination,
            "inode": info["inode"] if info else 0,
            "rooms": {name: found["changed"] for name, found in rooms.items() if found},
            "host": self.origin[0],
            "source": self.origin[1],
        }
        return {"text": dumps(made).decode() + "\n"}

    def done(self, site: Site) -> bool:
        return bool(self.text) and site.host(self.where).read(self.path) == self.text

    def do(self, site: Site) -> None:
        site.host(self.where).write(self.path, self.text, self.inside)

    def undo(self, site: Site) -> None:
        if not self.done(site):
            return
        if self.old is None:
            site.host(self.where).remove(self.path, self.inside)
        else:
            site.host(self.where).write(self.path, self.old, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.path, "receipt"


def receipt_path(datastore: str, key: str) -> str:
    """Where the receipt for a VM lies that is to come, beside its journal."""
    return os.path.join(datastore, HIDDEN, key + RECEIPT)


def arrival_path(datastore: str, key: str) -> str:
    """Where the receipt for a VM lies that came by ``mv``."""
    return os.path.join(datastore, HIDDEN, key + ARRIVED)


class Receipt:
    """What a receipt says.

    :ivar inode: that of the directory that was made; 0 when the receipt is none that this build can read.
    :ivar origin: host and directory that the VM came from.
    :ivar rooms: when each empty image in it was made (its change time, in seconds), by its name there.
    """

    def __init__(self, text: str) -> None:
        self.inode = 0
        self.origin = ("", "")
        self.rooms: dict[str, float] = {}
        try:
            found = loads(text.encode())
            if found["format"] == FORMAT:
                self.rooms = {str(name): float(time) for name, time in found["rooms"].items()}
                self.origin = (str(found["host"]), str(found["source"]))
                self.inode = int(found["inode"])
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
