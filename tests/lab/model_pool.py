# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's disks and images must look like as volumes (contract-tm 6.6): names, what stands on what, snapshots."""

from __future__ import annotations

from tests.lab.model import Disk, Image
from tests.lab.pool import POOL, VOLUME, described

#: The snapshot of an image on which all of its clones stand.
BASE = "snap"


class Family:
    """A volume, with those that reverts retired.

    :param parent: what it stands on when it is new: ``<volume>@<snapshot>``.
    :ivar snapshots: ids of each volume's snapshots, by its name; :ivar parents: what each stands on.
    """

    def __init__(self, name: str, parent: str = "") -> None:
        self.name = name
        self.snapshots: dict[str, list[int]] = {name: []}
        self.parents = {name: parent}

    def holder(self, snapshot: int) -> str:
        """The volume that has a snapshot."""
        return next(name for name, numbers in self.snapshots.items() if snapshot in numbers)

    def create(self, snapshot: int) -> None:
        """A snapshot of the volume that is written to."""
        self.snapshots[self.name].append(snapshot)

    def revert(self, snapshot: int) -> None:
        """What was written to retires with its snapshots, or goes when it has none; a clone takes its place."""
        holder = self.holder(snapshot)
        if self.snapshots[self.name]:
            retired = f"{self.name}-{':'.join(map(str, self.snapshots[self.name]))}"
            self._rename(self.name, retired)
            holder = retired if holder == self.name else holder
        self.snapshots[self.name], self.parents[self.name] = [], f"{holder}@{snapshot}"

    def delete(self, snapshot: int) -> None:
        """A snapshot less; a retired volume is named after those that it still has, or goes."""
        holder = self.holder(snapshot)
        self.snapshots[holder].remove(snapshot)
        left = self.snapshots[holder]
        if holder == self.name:
            return
        if left:
            self._rename(holder, f"{self.name}-{':'.join(map(str, left))}")
        else:
            del self.snapshots[holder], self.parents[holder]

    def _rename(self, old: str, new: str) -> None:
        self.snapshots[new], self.parents[new] = self.snapshots.pop(old), self.parents.pop(old)
        for name, parent in self.parents.items():
            if parent.startswith(f"{old}@"):
                self.parents[name] = new + parent[len(old) :]

    def volumes(self, more: tuple[str, ...] = ()) -> dict[str, str]:
        """Each volume in words.

        :param more: further snapshots of the one that is written to.
        """
        return {
            name: described(self.parents[name], [*map(str, numbers), *(more if name == self.name else ())])
            for name, numbers in self.snapshots.items()
        }


class VolumeDisk(Disk):
    """A disk that comes from an image and is a volume.

    :ivar family: that of the image itself, when it is persistent.
    """

    def __init__(self, number: int, image: Image, persistent: bool, vm: int) -> None:
        super().__init__(number, image, persistent, in_place=True, standing=False)
        own = Family(f"one-{image.id}-{vm}-{number}", f"one-{image.id}@{BASE}")
        self.family = family_of(image) if persistent else own

    def create(self) -> None:
        self.family.create(self.next)
        super().create()

    def revert(self, number: int) -> None:
        self.family.revert(number)
        super().revert(number)

    def delete(self, number: int) -> None:
        self.family.delete(number)
        super().delete(number)

    def place(self, directory: str) -> str:
        return f"{VOLUME}{POOL}/{self.family.name}"

    def place_of(self, snapshot: int, directory: str, source: str) -> str:
        return f"{VOLUME}{POOL}/{self.family.holder(snapshot)}@{snapshot}"

    def in_directory(self) -> dict[str, str]:
        return {}


def family_of(image: Image) -> Family:
    """The volumes of an image, as they were left."""
    if image.family is None:
        image.family = Family(f"one-{image.id}")
    return image.family
