# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: their document and their states."""

from __future__ import annotations

from dataclasses import dataclass, field

from .common import Owned, Permissions
from .snapshots import Snapshots
from .states import DiskType, ImageState, ImageType
from .xmldoc import Element, cdata, ids, node, template, text


@dataclass
class Image(Owned):
    """One image. `size` is in MB, times in seconds."""

    type: ImageType = ImageType.OS
    disk_type: DiskType = DiskType.FILE
    persistent: bool = False
    regtime: int = 0
    modtime: int = 0
    source: str = ""
    path: str = ""
    format: str = ""
    fs: str = ""
    size: int = 0
    state: ImageState = ImageState.LOCKED
    prev_state: ImageState = ImageState.INIT
    cloning_ops: int = 0
    cloning_id: int = -1
    target_snapshot: int = -1
    datastore_id: int = -1
    datastore: str = ""
    vms: set[int] = field(default_factory=set)
    clones: set[int] = field(default_factory=set)
    app_clones: set[int] = field(default_factory=set)
    template: dict[str, str] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=Snapshots)
    increments: list[tuple[int, str]] = field(default_factory=list)
    """Number and reference of each increment of a backup; empty for a full one, whose reference is its source."""
    backup_disks: set[int] = field(default_factory=set)
    permissions: Permissions = field(default_factory=lambda: Permissions(owner=6))

    def settle(self, state: ImageState) -> None:
        """Sets a state the image stays in: both state elements show it from then on."""
        self.state = self.prev_state = state

    def use(self, vm_id: int) -> None:
        """A VM takes the image. Raises ValueError when it is not to be had."""
        if self.state not in (ImageState.READY, ImageState.USED):
            raise ValueError(f"image {self.id} is {self.state.name}")
        if self.persistent and self.vms:
            raise ValueError(f"image {self.id} is persistent and in use")
        self.vms.add(vm_id)
        self.settle(ImageState.USED_PERS if self.persistent else ImageState.USED)

    def release(self, vm_id: int) -> None:
        """A VM gives the image back."""
        self.vms.discard(vm_id)
        if not self.vms and self.state is not ImageState.ERROR:
            self.settle(ImageState.READY)

    def element(self) -> Element:
        """The IMAGE document."""
        return node(
            "IMAGE",
            [
                *self.identity(),
                self.permissions.element(),
                text("TYPE", int(self.type)),
                text("DISK_TYPE", int(self.disk_type)),
                text("PERSISTENT", int(self.persistent)),
                text("REGTIME", self.regtime),
                text("MODTIME", self.modtime),
                cdata("SOURCE", self.source),
                cdata("PATH", self.path),
                cdata("FORMAT", self.format),
                cdata("FS", self.fs),
                text("SIZE", self.size),
                text("STATE", int(self.state)),
                text("PREV_STATE", int(self.prev_state)),
                text("RUNNING_VMS", len(self.vms)),
                text("CLONING_OPS", self.cloning_ops),
                text("CLONING_ID", self.cloning_id),
                text("TARGET_SNAPSHOT", self.target_snapshot),
                text("DATASTORE_ID", self.datastore_id),
                text("DATASTORE", self.datastore),
                ids("VMS", self.vms),
                ids("CLONES", self.clones),
                ids("APP_CLONES", self.app_clones),
                template("TEMPLATE", self.template),
                self.snapshots.element(),
                node("BACKUP_INCREMENTS", [_increment(number, ref) for number, ref in self.increments]),
                ids("BACKUP_DISK_IDS", self.backup_disks),
            ],
        )


def _increment(number: int, reference: str) -> Element:
    return node(
        "INCREMENT",
        [
            text("DATE", 1_700_000_000 + number),
            text("ID", number),
            text("PARENT_ID", number - 1),
            text("SIZE", 1),
            cdata("SOURCE", reference),
            text("TYPE", "INCREMENT" if number else "FULL"),
        ],
    )
