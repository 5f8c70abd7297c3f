# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of snapshots that oned keeps per disk and per image."""

from __future__ import annotations

from dataclasses import dataclass, field

from .xmldoc import Element, cdata, node


@dataclass
class Snapshot:
    """One snapshot. `size` is the disk's size in MB, `parent` is -1 for a root, `date` in seconds."""

    id: int
    date: int
    size: int
    parent: int = -1
    name: str = ""
    children: list[int] = field(default_factory=list)

    def element(self, active: bool) -> Element:
        """The SNAPSHOT element."""
        values = {"DATE": str(self.date), "ID": str(self.id), "PARENT": str(self.parent), "SIZE": str(self.size)}
        if active:
            values["ACTIVE"] = "YES"
        if self.children:
            values["CHILDREN"] = ",".join(map(str, self.children))
        if self.name:
            values["NAME"] = self.name
        return node("SNAPSHOT", [cdata(key, values[key]) for key in sorted(values)])


@dataclass
class Snapshots:
    """All snapshots of one disk. `allow_orphans` is the resolved policy: YES, NO, mixed or LINEAR."""

    allow_orphans: str = "NO"
    disk_id: int | None = None
    current_base: int = -1
    next_id: int = 0
    active: int | None = None
    entries: dict[int, Snapshot] = field(default_factory=dict)

    def create(self, size: int, date: int, name: str = "") -> Snapshot:
        """Adds a snapshot of `size` MB; it becomes the active one only when `confirm` is called."""
        if self.allow_orphans == "NO":
            parent = -1 if self.active is None else self.active
        elif self.allow_orphans.lower() == "mixed":
            parent = self.current_base
        else:
            parent = -1
        snapshot = Snapshot(self.next_id, date, size, parent, name)
        self.next_id += 1
        self.entries[snapshot.id] = snapshot
        if parent in self.entries:
            self.entries[parent].children.append(snapshot.id)
        return snapshot

    def confirm(self, snapshot_id: int) -> None:
        """Makes a snapshot the active one: after a successful create or revert."""
        self.active = snapshot_id

    def revert(self, snapshot_id: int) -> None:
        """Goes back to a snapshot."""
        self.active = snapshot_id
        if self.allow_orphans.lower() == "mixed":
            self.current_base = snapshot_id
        if self.allow_orphans == "LINEAR":
            for younger in [key for key in self.entries if key > snapshot_id]:
                self.remove(younger)

    def remove(self, snapshot_id: int) -> None:
        """Forgets a snapshot; its children go to its parent. Raises KeyError when there is no such snapshot."""
        gone = self.entries.pop(snapshot_id)
        parent = self.entries.get(gone.parent)
        if parent is not None:
            parent.children.remove(snapshot_id)
        for child_id in gone.children:
            self.entries[child_id].parent = gone.parent
            if parent is not None:
                parent.children.append(child_id)
        if self.active == snapshot_id:
            self.active = gone.parent if gone.parent in self.entries else None

    @property
    def total_size(self) -> int:
        """MB that count against the quota."""
        return sum(snapshot.size for snapshot in self.entries.values())

    def element(self) -> Element:
        """The SNAPSHOTS element."""
        children = [cdata("ALLOW_ORPHANS", self.allow_orphans), cdata("CURRENT_BASE", self.current_base)]
        if self.disk_id is not None:
            children.append(cdata("DISK_ID", self.disk_id))
        children.append(cdata("NEXT_SNAPSHOT", self.next_id))
        children.extend(self.entries[key].element(key == self.active) for key in sorted(self.entries))
        return node("SNAPSHOTS", children)


def resolve_orphans(policy: str, disk_format: str) -> str:
    """ALLOW_ORPHANS of a disk: the policy FORMAT means YES for raw disks and NO for all others."""
    if policy.upper() == "FORMAT":
        return "YES" if disk_format.lower() == "raw" else "NO"
    return policy
