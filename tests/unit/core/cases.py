# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action of the core on one host, in worlds where it has something to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.core.chains import Chain, branched, copies, layers
from tests.unit.core.support import CHAINED, OVERLAID, PLAIN, World, act, tool

QCOW2 = {"driver": "qcow2"}
SSH = {"driver": "ssh"}
LOCAL = {"driver": "local"}
MIXED = {"driver": "qcow2", "system_driver": "ssh"}


@dataclass(frozen=True)
class Case:
    """An action and the world it is run in.

    :ivar prepare: makes the world.
    :ivar options: the action's options there.
    :ivar new_image: whether it makes an image that oned forgets when it never gets the answer.
    """

    name: str
    action: str
    prepare: Callable[[World], object]
    options: Callable[[World], dict[str, Any]]
    new_image: bool = False

    def __str__(self) -> str:
        return self.name


def fill(world: World) -> None:
    """A raw image, a qcow2 image, a layered one, and a file to import."""
    world.raw(PLAIN)
    world.qcow2(OVERLAID)
    world.layered(CHAINED)
    (world.root / "source").mkdir()
    shutil.copy(world.images / OVERLAID, world.root / "source" / "image")


def packed(world: World) -> None:
    """A disk in a compressed tar."""
    fill(world)
    tool("tar", "-czf", world.root / PACKED, "-C", world.root / "source", "image")


def old_disk(world: World) -> None:
    """What an earlier run, or a stock driver, left where the disk belongs."""
    fill(world)
    world.disk("disk.0.snap").mkdir(parents=True)
    (world.disk("disk.0.snap") / "7").write_text("an old layer")
    world.disk().write_text("an old disk")


def marked(world: World) -> None:
    """A datastore that a stock driver marked as the host's own."""
    old_disk(world)
    (world.system / ".monitor").write_text("ssh\n")


def relative(world: World) -> None:
    """An image that mixed drivers of stock brought back, and whose name stayed at a snapshot that went."""
    old_disk(world)
    name = f"{CHAINED}.snap/0"
    layer = world.images / f"{CHAINED}.snap" / "1"
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", name, layer)
    (world.images / CHAINED).unlink()
    (world.images / CHAINED).symlink_to(f"{CHAINED}.snap/9")


def with_disk(driver: dict[str, Any], image: str) -> Callable[[World], None]:
    """A VM whose disk was linked to an image by a driver."""

    def prepare(world: World) -> None:
        fill(world)
        image_format = "raw" if image == PLAIN else "qcow2"
        given = {"datastore": world.system, "source": world.images / image, "destination": world.disk()}
        act("tm_ln", **driver, **given, format=image_format)
        (world.disk().parent / "deployment.0").write_text("<domain/>")
        if image == PLAIN:
            if not world.disk().is_symlink():
                world.disk().write_text("written by the guest")
                (world.images / f"{PLAIN}.md5sum").write_text("cached")
        else:
            tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x77 1M 64k", world.disk())

    return prepare


def with_target(driver: dict[str, Any], image: str) -> Callable[[World], None]:
    """The same, and something stands where the VM would be moved to."""
    before = with_disk(driver, image)

    def prepare(world: World) -> None:
        before(world)
        world.disk(system=101).parent.mkdir()
        world.disk("disk.9", system=101).write_text("from a migration that failed")

    return prepare


def snapshots(world: World) -> None:
    """A raw image with all that may lie beside it."""
    fill(world)
    (world.images / f"{PLAIN}.snap").mkdir()
    (world.images / f"{PLAIN}.snap" / "0").write_text("snapshot")
    (world.images / f"{PLAIN}.md5sum").write_text("cached")


def chained(world: World) -> None:
    """Two snapshots, one on the other; layers name each other by way of the link to their own directory."""
    layers(world, 2, relative=True)


def linked(world: World) -> None:
    """The same with the bottom among the other layers."""
    layers(world, 2, linked=True)


def copied(world: World) -> None:
    """Two snapshots that are copies."""
    copies(world, 2)


def snapshot(image_format: str, number: int, **more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of an action on a snapshot."""
    return lambda world: Chain(world, image_format).options(number, **more)


def new(**more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of an action that makes an image in datastore 2."""

    def options(world: World) -> dict[str, Any]:
        found: dict[str, Any] = {
            "driver": "fs",
            "datastore": world.root / "2",
            "datastore_id": 2,
            "image_id": 7,
            "regtime": 1700000000,
        }
        for key, value in more.items():
            found[key] = world.root / value if isinstance(value, Path) else value
        return found

    return options


def disk(driver: dict[str, Any], image: str, **more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of `clone` and `ln`."""
    image_format = "raw" if image == PLAIN else "qcow2"
    return lambda world: {
        **driver,
        "datastore": world.system,
        "source": world.images / image,
        "destination": world.disk(),
        "format": image_format,
        **more,
    }


def empty(driver: dict[str, Any], **more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of `mkimage` and `mkswap`."""
    return lambda world: {**driver, "datastore": world.system, "destination": world.disk(), "size": 4, **more}


def move(driver: dict[str, Any]) -> Callable[[World], dict[str, Any]]:
    """Options of `mv` to the other system datastore."""
    return lambda world: {
        **driver,
        "datastore": world.root / "101",
        "source_datastore": world.system,
        "source": world.disk().parent,
        "destination": world.disk(system=101).parent,
    }


def back(driver: dict[str, Any], image: str) -> Callable[[World], dict[str, Any]]:
    """Options of `mvds`."""
    return lambda world: {
        **driver,
        "datastore": world.system,
        "source": world.disk(),
        "destination": world.images / image,
        "format": "raw" if image == PLAIN else "qcow2",
    }


def delete(name: str) -> Callable[[World], dict[str, Any]]:
    """Options of `delete`."""
    return lambda world: {**QCOW2, "datastore": world.system, "path": world.disk().parent / name if name else
                          world.disk().parent}  # fmt: skip


def context(driver: dict[str, Any], **more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of `context` with two files."""
    return lambda world: {
        **driver,
        "datastore": world.system,
        "destination": world.disk(),
        "files": [f"{world.root}/source/image:context.sh", f"{world.images}/{PLAIN}:a name"],
        **more,
    }


SOURCE = Path("source/image")
PACKED = Path("source/image.tar.gz")
ORIGIN = Path("1", CHAINED)

CASES = [
    Case("cp", "ds_cp", fill, new(source=SOURCE), new_image=True),
    Case("cp, unpacked", "ds_cp", packed, new(source=PACKED, size=2, convert_to="raw"), new_image=True),
    Case("cp, converted", "ds_cp", fill, new(source=SOURCE, convert_to="raw", size=2), new_image=True),
    Case("mkfs", "ds_mkfs", fill, new(format="raw", size=4), new_image=True),
    Case("mkfs, qcow2 with ext4", "ds_mkfs", fill, new(format="qcow2", size=4, fs="ext4"), new_image=True),
    Case("clone of an image", "ds_clone", fill, new(source=Path("1", PLAIN), format="raw"), new_image=True),
    Case("clone of layers", "ds_clone", fill, new(source=ORIGIN, format="qcow2"), new_image=True),
    Case(
        "rm",
        "ds_rm",
        snapshots,
        lambda world: {"driver": "fs", "datastore": world.images, "source": world.images / PLAIN},
    ),
    Case("snap_delete", "ds_snap_delete", branched, snapshot("qcow2", 1)),
    Case("snap_delete below two", "ds_snap_delete", branched, snapshot("qcow2", 0, allow_orphans=True)),
    Case("snap_delete in a chain", "ds_snap_delete", chained, snapshot("qcow2", 1, allow_orphans=True)),
    Case("snap_delete of a copy", "ds_snap_delete", copied, snapshot("raw", 1)),
    Case("snap_revert", "ds_snap_revert", branched, snapshot("qcow2", 1)),
    Case("snap_revert to a copy", "ds_snap_revert", copied, snapshot("raw", 1)),
    Case("snap_flatten", "ds_snap_flatten", branched, snapshot("qcow2", 1)),
    Case("snap_flatten of a linked image", "ds_snap_flatten", linked, snapshot("qcow2", 1)),
    Case("snap_flatten of copies", "ds_snap_flatten", copied, snapshot("raw", 1)),
    Case("qcow2 clone", "tm_clone", fill, disk(QCOW2, OVERLAID)),
    Case("qcow2 clone, larger", "tm_clone", fill, disk(QCOW2, OVERLAID, size=4, original_size=2, sparse=False)),
    Case("qcow2 clone, forced", "tm_clone", marked, disk(QCOW2, OVERLAID, force=True)),
    Case("qcow2 clone, standalone", "tm_clone", fill, disk(QCOW2, CHAINED, standalone=True)),
    Case("qcow2 clone, raw, forced", "tm_clone", marked, disk(QCOW2, PLAIN, force=True)),
    Case("qcow2 ln", "tm_ln", fill, disk(QCOW2, OVERLAID)),
    Case("qcow2 ln, forced", "tm_ln", old_disk, disk(QCOW2, OVERLAID, force=True)),
    Case("qcow2 ln, names that lead nowhere", "tm_ln", relative, disk(QCOW2, CHAINED, force=True)),
    Case("qcow2 ln, raw", "tm_ln", fill, disk(QCOW2, PLAIN)),
    Case("qcow2 mv", "tm_mv", with_disk(QCOW2, OVERLAID), move(QCOW2)),
    Case("qcow2 mv onto another", "tm_mv", with_target(QCOW2, OVERLAID), move(QCOW2)),
    Case("ssh clone", "tm_clone", fill, disk(SSH, PLAIN, size=4, original_size=2)),
    Case("ssh clone, layers", "tm_clone", fill, disk(SSH, CHAINED)),
    Case("ssh clone, forced", "tm_clone", old_disk, disk(SSH, CHAINED, force=True)),
    Case("ssh ln", "tm_ln", fill, disk(SSH, OVERLAID)),
    Case("ssh mv", "tm_mv", with_disk(SSH, CHAINED), move(SSH)),
    Case("ssh mv onto another", "tm_mv", with_target(SSH, PLAIN), move(SSH)),
    Case("ssh mvds", "tm_mvds", with_disk(SSH, PLAIN), back(SSH, PLAIN)),
    Case("ssh mvds, layers", "tm_mvds", with_disk(SSH, CHAINED), back(SSH, CHAINED)),
    Case("local clone", "tm_clone", fill, disk(LOCAL, OVERLAID, size=4, original_size=2)),
    Case("local ln, forced", "tm_ln", old_disk, disk(LOCAL, CHAINED, force=True)),
    Case("local mvds", "tm_mvds", with_disk(LOCAL, OVERLAID), back(LOCAL, OVERLAID)),
    Case("mixed clone", "tm_clone", fill, disk(MIXED, CHAINED)),
    Case("mixed ln", "tm_ln", fill, disk(MIXED, CHAINED)),
    Case("mixed ln, forced", "tm_ln", old_disk, disk(MIXED, OVERLAID, force=True)),
    Case("mixed mv", "tm_mv", with_disk(MIXED, OVERLAID), move(MIXED)),
    Case("mixed mvds", "tm_mvds", with_disk(MIXED, CHAINED), back(MIXED, CHAINED)),
    Case("delete of a disk", "tm_delete", old_disk, delete("disk.0")),
    Case("delete of a VM", "tm_delete", old_disk, delete("")),
    Case("mkimage", "tm_mkimage", fill, empty(QCOW2, format="qcow2")),
    Case("mkimage, ext4, forced", "tm_mkimage", old_disk, empty(SSH, format="raw", fs="ext4", force=True)),
    Case("mkswap", "tm_mkswap", fill, empty(QCOW2)),
    Case("context", "tm_context", fill, context(QCOW2)),
    Case("context, forced", "tm_context", old_disk, context(SSH, force=True)),
]


def _of_disks() -> list[Case]:
    """Those on disks that are there, which have a file of their own."""
    from tests.unit.core.cases_disks import DISKS

    return DISKS


CASES += _of_disks()


def _of_migrations() -> list[Case]:
    """Those around a live migration."""
    from tests.unit.core.cases_migrate import MIGRATIONS

    return MIGRATIONS


CASES += _of_migrations()
