# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with snapshots, really made: each layer has a pattern where no other writes, and one where all of them do."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.core.support import MIB, World, act, info, pattern, tool

NAME = "44444444444444444444444444444444"
SIZE = 4 * MIB


@dataclass
class Chain:
    """A persistent image with snapshots, and what is in each.

    :ivar golden: the guest's view by snapshot; ``-1`` is what the image holds now.
    """

    world: World
    image_format: str
    golden: dict[int, bytes] = field(default_factory=dict)
    layered: bool = True

    @property
    def source(self) -> Path:
        return self.world.images / NAME

    @property
    def snap(self) -> Path:
        return self.world.images / f"{NAME}.snap"

    def options(self, snapshot: int, **more: Any) -> dict[str, Any]:
        """Options of the three actions."""
        return {
            "driver": "fs",
            "datastore": self.world.images,
            "source": self.source,
            "format": self.image_format,
            "snapshot": snapshot,
            **more,
        }

    def run(self, action: str, snapshot: int, **more: Any) -> dict[str, Any]:
        """Do it."""
        return act(f"ds_snap_{action}", **self.options(snapshot, **more))

    def active(self) -> Path:
        """The file that a VM would be given."""
        if not self.layered or not self.snap.is_dir():
            return self.source
        return self.snap / str(max(int(path.name) for path in self.snap.iterdir() if path.name.isdigit()))

    def view(self, snapshot: int) -> bytes:
        """What a snapshot holds, read the way a VM or a save of the disk would."""
        path = self.active() if snapshot < 0 else self.snap / str(snapshot)
        marker = self.snap / f"{snapshot}.current"
        if marker.exists():
            path = Path(marker.read_text())
        real = path.resolve()
        target = self.world.root / "view"
        tool("qemu-img", "convert", "-q", "-f", self.image_format, "-O", "raw", real, target)
        try:
            return target.read_bytes()
        finally:
            target.unlink()

    def look(self) -> Chain:
        """The same, with what is in it now."""
        names = [path.name for path in self.snap.iterdir()] if self.snap.is_dir() else []
        numbers = [int(name) for name in names if name.isdigit()]
        if self.layered:
            numbers.remove(max(numbers))
        self.golden = {number: self.view(number) for number in [-1, *numbers]}
        return self

    def check(self, *but: int, **changed: bytes) -> None:
        """All snapshots but those read as they were, and so does what the image holds (``now``)."""
        for number, data in self.golden.items():
            if number not in but:
                wanted = changed.get("now", data) if number < 0 else data
                assert self.view(number) == wanted, f"snapshot {number}"


def write(data: bytearray, path: Path, image_format: str, number: int) -> None:
    """Write what only this layer has, and what each has in another way."""
    for place, seed in (((number % 30) * 128 * 1024 + 4096, f"own {number}"), (SIZE - 65536, f"common {number}")):
        text = pattern(seed, 30000)
        data[place : place + len(text)] = text
        piece = path.parent / "piece"
        piece.write_bytes(text)
        tool("qemu-io", "-f", image_format, "-c", f"write -q -s {piece} {place} {len(text)}", path)
        piece.unlink()


def layers(world: World, count: int, relative: bool = False, linked: bool = False, bare: bool = False) -> Chain:
    """An image with *count* snapshots as layers, each standing on the one before.

    :param relative: whether layers name each other by way of the link to the directory itself.
    :param bare: whether they name each other by the number alone, as the driver local does.
    :param linked: whether the bottom is a file of the directory, and the image a link to the top.
    """
    chain = Chain(world, "qcow2")
    chain.snap.mkdir()
    (chain.snap / f"{NAME}.snap").symlink_to(".")
    bottom = chain.snap / "0" if linked else chain.source
    tool("qemu-img", "create", "-q", "-f", "qcow2", bottom, str(SIZE))
    if not linked:
        (chain.snap / "0").symlink_to(chain.source)
    data = bytearray(SIZE)
    write(data, bottom, "qcow2", 0)
    for number in range(count):
        chain.golden[number] = bytes(data)
        name = f"{NAME}.snap/{number}" if relative else chain.snap / str(number)
        name = str(number) if bare else name
        top = chain.snap / str(number + 1)
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", name, top, cwd=world.images)
        write(data, top, "qcow2", number + 1)
    chain.golden[-1] = bytes(data)
    if linked:
        chain.source.symlink_to(f"{NAME}.snap/{count}")
    (world.images / f"{NAME}.md5sum").write_text("cached")
    return chain


def branched(world: World, **how: bool) -> Chain:
    """Snapshots 0 ← 1 and 0 ← 2 with the active layer on 2: after a revert to 0 (contract-ds 15, S7)."""
    chain = layers(world, 2, **how)
    top = chain.snap / "2"
    below = info(top)["backing-filename"][:-1]
    top.unlink()
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{below}0", top)
    data = bytearray(chain.golden[0])
    write(data, top, "qcow2", 2)
    chain.golden[2] = bytes(data)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{below}2", chain.snap / "3")
    write(data, chain.snap / "3", "qcow2", 3)
    chain.golden[-1] = bytes(data)
    if chain.source.is_symlink():
        chain.source.unlink()
        chain.source.symlink_to(f"{NAME}.snap/3")
    return chain


def copies(world: World, count: int, image_format: str = "raw") -> Chain:
    """An image whose snapshots are full copies: raw, and what the ssh driver makes of any (contract-tm 6.3)."""
    chain = Chain(world, image_format, layered=False)
    chain.snap.mkdir()
    tool("qemu-img", "create", "-q", "-f", image_format, chain.source, str(SIZE))
    data = bytearray(SIZE)
    for number in range(count + 1):
        write(data, chain.source, image_format, number)
        if number < count:
            shutil.copy(chain.source, chain.snap / str(number))
        chain.golden[number if number < count else -1] = bytes(data)
    (world.images / f"{NAME}.md5sum").write_text("cached")
    return chain
