# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody knows in a datastore: found exactly, protected while it may be in use, set aside, put back, purged."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Missing, Refused
from plugins.module_utils.tools.host import Host
from tests.unit.core.support import CHAINED, PLAIN, World, act, killed_at, pattern, tree

LOST = "44444444444444444444444444444444"


def ask(world: World, kind: str = "ds", **given: Any) -> dict[str, Any]:
    folder, driver = (world.images, "fs") if kind == "ds" else (world.system, "ssh")
    return act(f"{kind}_orphans", **{"driver": driver, "datastore": str(folder), "min_age": 0, **given})


def found(result: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["protected"] for row in result["orphans"]}


def vm(world: World, number: int, *disks: str) -> Path:
    folder = world.system / str(number)
    folder.mkdir()
    for disk in disks:
        (folder / disk).write_bytes(pattern(disk, 5000))
    return folder


def test_images(images: World) -> None:
    images.raw(LOST)
    (images.images / f"{LOST}.md5sum").write_text("x")
    (images.images / f"{'5' * 32}.snap").mkdir()
    (images.images / "notes").write_text("x")
    (images.images / "lost+found").mkdir()
    (images.images / ".snapshot").mkdir()
    before = tree(images.root)
    result = ask(images, known=[PLAIN, CHAINED, "9" * 32])
    rows = {row["name"]: (row["what"], row["ours"]) for row in result["orphans"]}
    assert rows == {
        "22222222222222222222222222222222": ("image", True),
        LOST: ("image", True),
        f"{LOST}.md5sum": ("digest", True),
        f"{'5' * 32}.snap": ("snapshots", True),
        "notes": ("other", False),
    }
    # an image whose file has gone is not counted
    assert result["known"] == 2 and result["changed"] is False
    assert tree(images.root) == before


def test_vms(world: World) -> None:
    vm(world, 7, "disk.0", "disk.1", "disk.11", "context.sh")
    (world.system / "7" / "disk.2.snap").mkdir()
    vm(world, 8, "disk.0", "disk.5")
    vm(world, 9, "disk.0")
    vm(world, 10, "disk.0")
    result = ask(world, "tm", known=["7:0,11", "8", "10@"])
    rows = {row["name"]: (row["what"], row["ours"]) for row in result["orphans"]}
    assert rows == {
        "7/disk.1": ("disk", True),
        "7/disk.2.snap": ("snapshots", True),
        "9": ("vm", True),
        "10": ("copy", False),
    }


def test_the_young_stay(world: World) -> None:
    path = world.raw(LOST)
    # a copy may bring its mtime along; when it came is in the ctime
    os.utime(path, (1, 1))
    assert found(ask(world, min_age=3600)) == {LOST: "it changed a short while ago"}
    assert found(ask(world, since=int(time.time()) - 60)) == {LOST: "it may belong to what is being made"}
    folder = vm(world, 9)
    os.utime(folder, (1, 1))
    (folder / "disk.0").write_bytes(b"x")
    assert found(ask(world, "tm", min_age=3600)) == {"9": "it changed a short while ago"}


def test_what_is_locked_or_in_a_journal_stays(world: World) -> None:
    world.raw(LOST)
    other = Host("other")
    other.lock(str(world.images), f"image-{LOST}", False, 0)
    assert found(ask(world)) == {LOST: "an action works on it"}
    with pytest.raises(Busy):
        ask(world, state="quarantined", names=[LOST], lock_timeout=0)
    other.unlock(str(world.images), f"image-{LOST}")
    (world.images / ".one_storage" / f"image-{LOST}.journal").write_text("{}")
    rows = found(ask(world))
    assert rows == {LOST: "a journal speaks of it", f".one_storage/image-{LOST}.journal": ""}


def test_what_a_qemu_has_open_stays(world: World) -> None:
    disk = vm(world, 9, "disk.0") / "disk.0"
    command = ["qemu-io", "-f", "raw", "-c", "sleep 20000", str(disk)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 10
        while found(ask(world, "tm"))["9"] != "a running QEMU uses it":
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(Refused, match="a running QEMU uses it"):
            ask(world, "tm", state="quarantined", names=["9"])
    finally:
        process.kill()
        process.wait()
    assert found(ask(world, "tm")) == {"9": ""}


def test_there_and_back(world: World) -> None:
    vm(world, 7, "disk.0", "disk.1")
    vm(world, 9, "disk.0")
    before = tree(world.system)
    names = ["9", "7/disk.1"]
    result = ask(world, "tm", state="quarantined", names=names, known=["7:0"], stamp="day")
    assert result["changed"] and not (world.system / "9").exists() and not (world.system / "7" / "disk.1").exists()
    assert (world.system / ".one_storage/quarantine/day/9/disk.0").read_bytes() == pattern("disk.0", 5000)
    # again it finds its own work; and no sweep takes it for a dead run's
    assert not ask(world, "tm", state="quarantined", names=names, known=["7:0"], stamp="day")["changed"]
    act("tm_delete", driver="ssh", datastore=str(world.system), path=str(world.system / "3"))
    held = ask(world, "tm", known=["7:0"])
    assert not held["orphans"] and [row["place"] for row in held["quarantined"]] == ["day/7/disk.1", "day/9"]
    with pytest.raises(Refused, match="of 604800 seconds"):
        ask(world, "tm", state="purged", names=["day/9"])
    ask(world, "tm", state="restored", names=["day/9", "day/7/disk.1"])
    assert tree(world.system) == {**before, **{k: v for k, v in tree(world.system).items() if ".one_storage" in k}}
    assert os.listdir(world.system / ".one_storage") == ["locks"]


def test_purged(world: World) -> None:
    world.raw(LOST)
    ask(world, state="quarantined", names=[LOST], stamp="day")
    assert ask(world, state="purged", names=[f"day/{LOST}"], keep=0)["changed"]
    assert not ask(world, state="purged", names=[f"day/{LOST}"], keep=0)["changed"]
    assert not ask(world)["quarantined"] and os.listdir(world.images / ".one_storage") == ["locks"]


@pytest.mark.parametrize("fault", ["0", "0+", "1", "1+", "end"])
def test_killed_at_every_step(world: World, fault: str) -> None:
    world.raw(LOST)
    world.raw("5" * 32)
    options = {"driver": "fs", "datastore": str(world.images), "min_age": 0, "state": "quarantined", "stamp": "day"}
    names = [LOST, "5" * 32]
    given: dict[str, Any] = {**options, "names": names}
    contents = {name: (world.images / name).read_bytes() for name in names}
    assert killed_at(fault, "ds_orphans", given)
    act("ds_orphans", **given)
    for name, data in contents.items():
        assert not (world.images / name).exists()
        assert (world.images / ".one_storage/quarantine/day" / name).read_bytes() == data
    assert len(ask(world)["quarantined"]) == 2
    assert killed_at(fault, "ds_orphans", {**options, "state": "restored", "names": [f"day/{n}" for n in contents]})
    ask(world, state="restored", names=[f"day/{name}" for name in contents])
    assert {name: (world.images / name).read_bytes() for name in contents} == contents
    assert not ask(world)["quarantined"]


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"state": "quarantined"}, BadCall, "No names are given"),
        ({"state": "quarantined", "names": ["../2/x"]}, BadCall, "not the name of something"),
        ({"state": "quarantined", "names": ["/etc"]}, BadCall, "not the name of something"),
        ({"state": "quarantined", "names": ["a\nb"]}, BadCall, "not the name of something"),
        ({"state": "quarantined", "names": [".one_storage/quarantine"]}, BadCall, "is in the quarantine"),
        ({"state": "quarantined", "names": ["8" * 32]}, Missing, "is not there"),
        ({"state": "quarantined", "names": [PLAIN], "known": [PLAIN]}, Refused, "is no orphan"),
        ({"state": "quarantined", "names": [PLAIN], "stamp": "../x"}, BadCall, "cannot be the name of a folder"),
        ({"state": "restored", "names": [PLAIN]}, BadCall, "begins with its day"),
        ({"state": "restored", "names": ["day/8"]}, Missing, "is not in the quarantine"),
        ({"state": "quarantined", "names": [str(n) for n in range(201)]}, BadCall, "no more than 200"),
    ],
)
def test_what_is_refused(world: World, given: dict[str, Any], error: type[Exception], sentence: str) -> None:
    world.raw(PLAIN)
    before = {path: path.read_bytes() for path in world.images.iterdir() if path.is_file()}
    with pytest.raises(error, match=sentence):
        ask(world, **given)
    assert {path: path.read_bytes() for path in world.images.iterdir() if path.is_file()} == before


def test_nothing_takes_a_name_that_is_in_use_again(world: World) -> None:
    world.raw(LOST)
    ask(world, state="quarantined", names=[LOST], stamp="day")
    new = world.raw(LOST, content=b"new")
    with pytest.raises(Refused, match="stands there again"):
        ask(world, state="restored", names=[f"day/{LOST}"])
    with pytest.raises(Refused, match="is in the quarantine already"):
        ask(world, state="quarantined", names=[LOST], stamp="day")
    assert new.read_bytes().startswith(b"new")


def test_a_link_is_a_link(world: World, outside: Path) -> None:
    """What a link leads to is nobody's business here."""
    (outside / "precious").write_text("x")
    (world.images / LOST).symlink_to(outside)
    ask(world, state="quarantined", names=[LOST], stamp="day")
    ask(world, state="purged", names=[f"day/{LOST}"], keep=0)
    assert (outside / "precious").read_text() == "x"
