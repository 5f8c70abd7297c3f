# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk whose every byte is known: what a guest wrote to it, and what each snapshot of it must show."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.core.support import CHAINED, MIB, OVERLAID, PLAIN, World, act, bytes_of, strings, tool

QCOW2 = {"driver": "qcow2"}
SSH = {"driver": "ssh"}
LOCAL = {"driver": "local"}
MIXED = {"driver": "shared", "system_driver": "ssh"}
SIZE = 2 * MIB
CLUSTER = 65536


@dataclass(frozen=True)
class Shape:
    """A disk as a driver makes it.

    :ivar image: name of the image it is made from.
    :ivar action: ``tm_clone`` for a disk of the VM's own, ``tm_ln`` for a persistent one.
    :ivar layered: whether its snapshots are layers.
    :ivar home: the disk's own directory of snapshots, or that of the image.
    """

    name: str
    driver: dict[str, Any]
    image: str
    action: str
    layered: bool
    home: str = "disk"

    @property
    def format(self) -> str:
        return "raw" if self.image == PLAIN else "qcow2"

    def __str__(self) -> str:
        return self.name


SHAPES = [
    Shape("own layers", QCOW2, OVERLAID, "tm_clone", True),
    Shape("own layers on layers", QCOW2, CHAINED, "tm_clone", True),
    Shape("persistent", QCOW2, OVERLAID, "tm_ln", True, "image"),
    Shape("persistent with layers", QCOW2, CHAINED, "tm_ln", True, "image"),
    Shape("raw", QCOW2, PLAIN, "tm_clone", False),
    Shape("raw, persistent", QCOW2, PLAIN, "tm_ln", False, "image"),
    Shape("ssh, raw", SSH, PLAIN, "tm_clone", False),
    Shape("ssh, qcow2", SSH, OVERLAID, "tm_clone", False),
    Shape("ssh, layers", SSH, CHAINED, "tm_ln", True),
    Shape("local", LOCAL, OVERLAID, "tm_clone", True),
    Shape("local, persistent", LOCAL, CHAINED, "tm_ln", True),
    Shape("mixed", MIXED, OVERLAID, "tm_clone", True),
    Shape("mixed, persistent", MIXED, CHAINED, "tm_ln", True),
    Shape("mixed, raw, persistent", MIXED, PLAIN, "tm_ln", False),
]


def make_image(world: World, name: str) -> None:
    """The image of a shape."""
    make: dict[str, Callable[[str], Path]] = {PLAIN: world.raw, OVERLAID: world.qcow2, CHAINED: world.layered}
    make[name](name)


class Golden:
    """A disk and what is known of it.

    :ivar now: every byte that a guest sees.
    :ivar snapshots: the same at the time of each snapshot, by id.
    """

    def __init__(self, world: World, shape: Shape) -> None:
        self.world = world
        self.shape = shape
        self.system = 100
        self.now = b""
        self.snapshots: dict[int, bytes] = {}
        self.next = 0
        self._writes = 0

    @classmethod
    def made(cls, world: World, shape: Shape) -> Golden:
        """A fresh disk in a fresh world; an image that has layers has a snapshot 0 in oned."""
        make_image(world, shape.image)
        disk = cls(world, shape)
        given = {"source": world.images / shape.image, "destination": disk.path, "datastore": world.system}
        act(shape.action, **shape.driver, **given, format=shape.format)
        disk.now = bytes_of(world.images / shape.image, shape.format)
        if shape.image == CHAINED and shape.action == "tm_ln":
            disk.next = 1
            disk.snapshots[0] = bytes_of(world.images / f"{CHAINED}.snap" / "0", "qcow2")
        return disk

    @property
    def path(self) -> Path:
        """The disk as a VM opens it."""
        return self.world.disk(system=self.system)

    @property
    def snap(self) -> Path:
        """Where its layers or snapshots lie."""
        where = self.path if self.shape.home == "disk" else self.world.images / self.shape.image
        return where.parent / f"{where.name}.snap"

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of an action on the disk."""
        found = {
            **self.shape.driver,
            "datastore": self.path.parent.parent,
            "image": self.world.images / self.shape.image,
            "persistent": self.shape.action == "tm_ln",
            "format": self.shape.format,
            **more,
        }
        if "destination" in more:
            found.setdefault("source", self.path)
        else:
            found.setdefault("path", self.path)
        return strings(found)

    # ------------------------------------------------------------ what happens to it

    def write(self) -> None:
        """A guest writes: a pattern of its own, over a part of what the last one wrote."""
        self._writes += 1
        number = self._writes
        start = (number * 3 % 29) * 32768 + 512 * number
        byte = number * 7 % 250 + 1
        length = 98304
        tool("qemu-io", "-f", self.shape.format, "-c", f"write -q -P {byte} {start} {length}", self.path)
        data = bytearray(self.now)
        data[start : start + length] = bytes([byte]) * length
        self.now = bytes(data)

    def create(self, number: int = -1) -> None:
        """A snapshot; oned never uses an id twice."""
        number = self.next if number < 0 else number
        act("tm_snap_create", **self.options(snapshot_id=number, force=True))
        self.snapshots[number] = self.now
        self.next = number + 1

    def revert(self, number: int, **more: Any) -> None:
        """Back to a snapshot."""
        act("tm_snap_revert", **self.options(snapshot_id=number, **more))
        self.now = self.snapshots[number]

    def delete(self, number: int) -> None:
        """A snapshot less."""
        act("tm_snap_delete", **self.options(snapshot_id=number))
        del self.snapshots[number]

    def resize(self, more: int = 1) -> None:
        """The disk grows."""
        act("tm_resize", **self.options(size=(len(self.now) >> 20) + more))
        self.now += bytes(more << 20)

    def save(self, number: int = -1) -> None:
        """What is saved is the disk, or the snapshot, byte for byte, in a file that stands alone."""
        image = self.world.root / "2" / f"{self._writes:016x}{number & 0xFFFFFFFF:016x}"
        act("tm_cpds", **self.options(destination=image, snapshot_id=number, force=True))
        wanted = self.now if number < 0 else self.snapshots[number]
        assert bytes_of(image, self.shape.format) == wanted, f"saved {number}"
        if self.shape.format == "qcow2":
            assert "backing" not in tool("qemu-img", "info", "--output=json", image)

    def move(self) -> None:
        """The VM goes to the other system datastore."""
        target = 201 - self.system
        given = {
            "datastore": self.world.root / str(target),
            "source_datastore": self.path.parent.parent,
            "source": self.path.parent,
            "destination": self.world.disk(system=target).parent,
        }
        act("tm_mv", **self.shape.driver, **given)
        self.system = target

    # ------------------------------------------------------------ looking

    def file_of(self, number: int) -> Path:
        """The file that holds a snapshot, by the rules of the layout (contract-tm 6.4)."""
        marker = self.snap / f"{number}.current"
        return self.snap / (os.path.basename(marker.read_text().strip()) if marker.exists() else str(number))

    def check(self) -> None:
        """Every byte of the disk and of each snapshot is right, and nothing lies about."""
        assert bytes_of(self.path, self.shape.format) == self.now, "the disk"
        for number, wanted in self.snapshots.items():
            assert bytes_of(self.file_of(number), self.shape.format) == wanted, f"snapshot {number}"
        assert self.world.is_tidy(), self.world.hidden()
        if self.shape.layered:
            numbers = [int(path.name) for path in self.snap.iterdir() if path.name.isdigit()]
            assert self.path.resolve().name in (str(max(numbers)), OVERLAID), "the active layer is the highest"
            names = backing_names(self.snap)
            own = self.shape.home == "disk"
            for name in names:
                assert (
                    name.startswith(str(self.world.images))
                    or (own and name.startswith("disk.0.snap/"))
                    or (name.startswith(f"{self.shape.image}.snap/") and not own)
                ), name
        else:
            assert {path.name for path in self.snap.glob("*")} == {str(number) for number in self.snapshots}


def backing_names(snap: Path) -> list[str]:
    """The backing names in a directory of layers, as they are written."""
    found = []
    for path in snap.iterdir():
        if path.name.isdigit():
            with open(path, "rb") as file:
                head = file.read(2048)
            offset, length = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
            found += [head[offset : offset + length].decode()] if offset else []
    return found
