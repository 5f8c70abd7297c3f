# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of a live migration, for the tests of the core: a VM with all that a directory may hold. Part of `cases`.

Here both ends are datastores of one host, which is what a live migration to another datastore is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.core.cases import LOCAL, QCOW2, SSH, Case, disk, move, with_disk, with_target
from tests.unit.core.support import CHAINED, OVERLAID, World, act, pattern, tool

#: What the guest writes to: layers, a raw disk, and a qcow2 disk that is one file.
DISKS = ["0:qcow2", "1:raw", "2:qcow2"]


def running(driver: dict[str, Any], image: str = CHAINED) -> Callable[[World], None]:
    """A VM that runs in datastore 100: disks, a snapshot of a raw one, a read-only one, kernel and context."""

    def prepare(world: World) -> None:
        with_disk(driver, image)(world)
        furnish(world, world.disk().parent)

    return prepare


def cloned(world: World) -> None:
    """A VM whose disk 0 is layers on an image that both ends see."""
    running(QCOW2, OVERLAID)(world)
    given = disk(QCOW2, OVERLAID, force=True)(world)
    act("tm_clone", **given)
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x77 1M 64k", world.disk())


def furnish(world: World, home: Path) -> None:
    """Give a VM with a disk 0 the rest."""
    (home / "disk.1").write_bytes(pattern("raw", 50_000))
    os.truncate(home / "disk.1", 1_234_944)
    (home / "disk.1.snap").mkdir()
    (home / "disk.1.snap" / "3").write_bytes(pattern("snapshot", 30_000))
    world.qcow2("disk.2", folder=home)
    (home / "disk.3").write_bytes(b"read-only")
    (home / "disk.4").symlink_to(world.images / OVERLAID)
    (home / "kernel").write_bytes(b"a kernel")
    (home / "checkpoint").write_bytes(b"memory")


def occupied(world: World) -> None:
    """The same, and a directory of an earlier migration at the destination."""
    with_target(SSH, CHAINED)(world)
    furnish(world, world.disk().parent)


def prepared(driver: dict[str, Any], image: str = CHAINED) -> Callable[[World], None]:
    """The same after premigrate."""

    def prepare(world: World) -> None:
        (cloned if driver is QCOW2 and image == CHAINED else running(driver, image))(world)
        act("tm_premigrate", **way(driver)(world))

    return prepare


def arrived(driver: dict[str, Any], image: str = CHAINED) -> Callable[[World], None]:
    """The same after the hypervisor has copied what the guest writes to."""

    def prepare(world: World) -> None:
        prepared(driver, image)(world)
        hypervisor(world)

    return prepare


def hypervisor(world: World) -> None:
    """Write the guest's data into the room that was made for it, as a mirror of the running disks does."""
    for item in DISKS:
        number, _colon, image_format = item.partition(":")
        old, new = (world.disk(f"disk.{number}", system=system) for system in (100, 101))
        if old.samefile(new):
            # a persistent image, of which both ends have a link
            continue
        tool("qemu-img", "convert", "-n", "-f", image_format, "-O", image_format, old, new)


def way(driver: dict[str, Any]) -> Callable[[World], dict[str, Any]]:
    """Options of the hooks, from datastore 100 to 101."""
    before = move(driver)
    return lambda world: {**before(world), "disks": DISKS}


# failmigrate goes by inodes, which a copy of a world has not: it has tests of its own
MIGRATIONS = [
    Case("premigrate", "tm_premigrate", running(SSH), way(SSH)),
    Case("premigrate, forced", "tm_premigrate", occupied, way(SSH)),
    Case("local premigrate", "tm_premigrate", running(LOCAL), way(LOCAL)),
    Case("qcow2 premigrate", "tm_premigrate", cloned, way(QCOW2)),
    Case("qcow2 premigrate, persistent", "tm_premigrate", running(QCOW2, OVERLAID), way(QCOW2)),
    Case("postmigrate", "tm_postmigrate", arrived(SSH), way(SSH)),
    Case("qcow2 postmigrate", "tm_postmigrate", arrived(QCOW2), way(QCOW2)),
    Case("delete of a VM that was to come", "tm_delete", prepared(SSH), lambda world: {
        **QCOW2, "datastore": world.root / "101", "path": world.disk(system=101).parent
    }),
]  # fmt: skip
