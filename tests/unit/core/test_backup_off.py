# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs that are off: chains that restore byte for byte, whatever a disk is made of and whatever goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest

from plugins.module_utils.tools import bitmaps
from tests.unit.core.backups import Backed
from tests.unit.core.stock_backup import stock_backup
from tests.unit.core.support import World, bytes_of, tool

QCOW2_SHAPES = [
    "own layers",
    "own layers on layers",
    "persistent",
    "persistent with layers",
    "ssh, qcow2",
    "ssh, layers",
    "mixed",
    "mixed, persistent",
]


@pytest.mark.parametrize(
    "shape", ["own layers", "persistent with layers", "raw", "raw, persistent", "ssh, raw", "ssh, layers"]
)
def test_a_full_backup_stands_alone(world: World, shape: str) -> None:
    disk = Backed.of(world, shape)
    disk.mode = "full"
    disk.write()
    before = world.tree()
    disk.back_up()
    after = {name: value for name, value in world.tree().items() if not name.startswith("repository")}
    assert after == before, "nothing of a full backup is left"
    disk.check_all()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
@pytest.mark.parametrize("shape", QCOW2_SHAPES)
def test_a_chain_of_five(world: World, shape: str, increments: str) -> None:
    disk = Backed.of(world, shape, increments)
    for _number in range(5):
        disk.write()
        disk.back_up()
    disk.write()
    disk.check_all()
    assert world.is_tidy(), world.hidden()


# ---------------------------------------------------------------- stock before and after us


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
@pytest.mark.parametrize("shape", ["own layers", "persistent", "ssh, qcow2"])
@pytest.mark.parametrize("turns", ["sous", "osso"])
def test_stock_and_we_go_on_with_each_others_chains(world: World, shape: str, increments: str, turns: str) -> None:
    """By turns: ours (o) and stock's (s)."""
    disk = Backed.of(world, shape, increments)
    for turn in turns.replace("u", "o"):
        disk.write()
        if turn == "s":
            stock_backup(disk)
        else:
            disk.back_up()
    disk.write()
    disk.check_all()


# ---------------------------------------------------------------- backups that fail


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
@pytest.mark.parametrize("how", ["failed", "silent", "twice"])
def test_the_increment_that_failed_is_made_again(world: World, increments: str, how: str) -> None:
    """The files were made, the repository did not get them; postbackup says so, or is never called."""
    disk = Backed.of(world, "own layers", increments)
    for number in range(4):
        disk.write()
        disk.before()
        if how != "silent":
            disk.after(failed=True)
        if how == "twice":
            disk.write()
            disk.before()
            disk.after(failed=True)
        disk.write()
        disk.back_up()
        assert disk.last == number
    disk.check_all()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_postbackup_that_is_never_called(world: World, increments: str) -> None:
    disk = Backed.of(world, "own layers", increments)
    warned = "its layers are not those of this chain" if increments == "snapshot" else ""
    for number in range(4):
        disk.write()
        # without a layer above the base nothing tells what changed: until postbackup is heard once, all is taken
        disk.back_up(heard=number == 2, warned=warned if number in (1, 2) else "")
    disk.check_all()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_oned_never_heard_of_an_increment_that_ended_well(world: World, increments: str) -> None:
    """oned dies between postbackup and its own record: the next call asks for the same increment again."""
    disk = Backed.of(world, "own layers", increments)
    disk.write()
    disk.back_up()
    disk.write()
    disk.back_up()
    disk.last = 0
    disk.write()
    disk.back_up(warned="" if increments == "cbt" else "its layers are not those of this chain")
    disk.write()
    disk.back_up()
    disk.check_all()


# ---------------------------------------------------------------- what changed cannot be told


def test_a_bitmap_that_is_gone(world: World) -> None:
    disk = Backed.of(world, "own layers")
    disk.write()
    disk.back_up()
    tool("qemu-img", "bitmap", "--remove", disk.path.resolve(), "one-5-0")
    disk.write()
    disk.back_up(warned="Increment 1 has all of disk 0, as the bitmap one-5-0 is not there")
    disk.write()
    disk.back_up()
    disk.check_all()


def test_a_guest_that_was_killed(world: World) -> None:
    """Its QEMU leaves the bitmaps marked as in use: what they say is too little."""
    disk = Backed.of(world, "own layers")
    disk.write()
    disk.back_up()
    file = disk.path.resolve()
    writer = subprocess.Popen(["qemu-io", "-f", "qcow2", str(file)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert writer.stdin
    writer.stdin.write(b"write -q -P 9 1M 64k\nflush\n")
    writer.stdin.flush()
    place = 1 << 20
    until = time.monotonic() + 20
    while bytes_of_shared(disk)[place] != 9:
        assert time.monotonic() < until
    writer.kill()
    writer.wait()
    disk.now = bytes_of(disk.path, "qcow2")
    assert not bitmaps.read(str(file))[0].sound
    disk.back_up(warned="cannot be believed: the guest was killed")
    disk.write()
    disk.back_up()
    disk.check_all()


def bytes_of_shared(disk: Backed) -> bytes:
    """What a disk shows while somebody writes to it."""
    out = disk.world.root / "shared"
    tool("qemu-img", "convert", "-q", "-U", "-f", "qcow2", "-O", "raw", disk.path, out)
    return out.read_bytes()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_what_became_zeros_is_zeros_in_the_increment(world: World, increments: str) -> None:
    """Also when all of the disk is taken, and the cluster is not there any more."""
    disk = Backed.of(world, "ssh, qcow2", increments)
    disk.write()
    disk.back_up()
    for again in (False, True):
        tool("qemu-io", "-f", "qcow2", "-c", "discard -q 0 128k", "-c", "write -q -z 192k 64k", disk.path)
        disk.now = bytes_of(disk.path, "qcow2")
        if again and increments == "cbt":
            tool("qemu-img", "bitmap", "--remove", disk.path.resolve(), "one-5-1")
        disk.back_up(warned="is not there" if again and increments == "cbt" else "")
        disk.write()
    disk.check_all()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_a_disk_that_grows(world: World, increments: str) -> None:
    disk = Backed.of(world, "own layers", increments)
    disk.write()
    disk.back_up()
    for _number in range(2):
        disk.resize()
        tool("qemu-io", "-f", "qcow2", "-c", f"write -q -P 77 {len(disk.now) - 65536} 64k", disk.path)
        disk.now = disk.now[:-65536] + bytes([77]) * 65536
        disk.back_up()
    disk.write()
    disk.back_up()
    disk.check_all()


def test_a_disk_whose_layer_is_new_and_its_bitmap_below(world: World) -> None:
    """A snapshot was taken and deleted: what tells the changes is not in the file that is written to."""
    disk = Backed.of(world, "own layers")
    disk.write()
    disk.back_up()
    disk.create()
    disk.write()
    disk.delete(0)
    disk.back_up(warned="is not there")
    disk.check_all()


def test_twelve_increments(world: World) -> None:
    disk = Backed.of(world, "own layers", "snapshot")
    for _number in range(13):
        disk.write()
        disk.back_up()
    assert disk.last == 12
    for number in (0, 2, 9, 10, 12):
        assert disk.repository.restored(0, number) == disk.kept[number]


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_a_chain_that_is_begun_anew(world: World, increments: str) -> None:
    disk = Backed.of(world, "own layers", increments)
    for _number in range(3):
        disk.write()
        disk.back_up()
    disk.last, disk.kept = -1, {}
    shutil.rmtree(disk.repository.folder)
    for _number in range(3):
        disk.write()
        disk.back_up()
    disk.check_all()
    if increments == "cbt":
        assert [bitmap.name for bitmap in bitmaps.read(str(disk.path.resolve()))] == ["one-5-1", "one-5-2"]
    else:
        assert sorted(path.name for path in disk.snap.iterdir()) == ["0", "3", "disk.0.snap"]


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_only_what_changed_is_in_an_increment(world: World, increments: str) -> None:
    disk = Backed.of(world, "own layers", increments)
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 0 2M", disk.path)
    disk.now = bytes([3]) * len(disk.now)
    disk.back_up()
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 4 512k 64k", disk.path)
    disk.now = bytes_of(disk.path, "qcow2")
    disk.back_up()
    assert disk.size_of(1) < 64 * 1024 + 6 * 65536 < disk.size_of(0)
    extents = json.loads(tool("qemu-img", "map", "--output=json", disk.repository.chain(0, 1)[1]))
    assert [(item["start"], item["length"]) for item in extents if item["data"]] == [(512 * 1024, 64 * 1024)]
