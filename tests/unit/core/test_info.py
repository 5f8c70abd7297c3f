# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The info modules: images, disks, chains and room, in every layout; what is broken, hostile or hung; what runs."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _info
from plugins.module_utils._errors import BadCall, StorageError
from plugins.module_utils.steps.journal import Journal
from plugins.module_utils.tools import operations
from plugins.module_utils.tools.codec import dumps
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.progress import Progress
from tests.unit.core.chains import NAME
from tests.unit.core.support import CHAINED, MIB, OVERLAID, PLAIN, World, act, tool


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of one's own for the file of locks."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "stores").mkdir()
    return World(tmp_path / "stores")


def asked(module: str, *stores: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """What a module says of each datastore."""
    defaults = {name: rule.get("default") for name, rule in _info.MODULES[module].options.items()}
    rows: list[dict[str, Any]] = _info.MODULES[module].run({**defaults, **more, "datastores": list(stores)})[
        "datastores"
    ]
    # what a module returns is JSON
    assert json.loads(dumps(rows)) == rows
    return rows


def images(world: World, **more: Any) -> dict[str, Any]:
    return {"path": str(world.images), "type": "image", "ds_mad": "fs", **more}


def disks(world: World, tm_mad: str = "qcow2", **more: Any) -> dict[str, Any]:
    return {"path": str(world.system), "type": "system", "tm_mad": tm_mad, **more}


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def used(*paths: Path) -> int:
    """Bytes that files take up."""
    return sum(path.stat().st_blocks * 512 for path in paths)


# ---------------------------------------------------------------- layouts


def test_images_of_every_layout(world: World) -> None:
    raw, plain, chained = world.raw(), world.qcow2(OVERLAID, size=3 * MIB), world.layered()
    (world.images / f"{PLAIN}.md5sum").write_text("x")
    (world.images / ".one_storage").mkdir()
    (world.images / "a-folder").mkdir()
    [row] = asked("images_info", images(world, id=1, name="images"))
    assert (row["id"], row["name"], row["driver"], row["error"], row["missed"]) == (1, "images", "fs", "", [])
    told = by_name(row["images"])
    assert list(told) == [PLAIN, OVERLAID, CHAINED]
    keys = ("format", "virtual_bytes", "allocated_bytes", "snapshots", "depth", "linked", "vm")
    layers = [world.images / f"{CHAINED}.snap" / name for name in "01"]
    assert {name: tuple(of[key] for key in keys) for name, of in told.items()} == {
        PLAIN: ("raw", 2 * MIB, used(raw), 0, 1, "", None),
        OVERLAID: ("qcow2", 3 * MIB, used(plain), 0, 1, "", None),
        CHAINED: ("qcow2", 2 * MIB, used(*layers), 1, 2, "", None),
    }
    assert told[CHAINED]["path"] == str(chained)


def test_chains_agree_with_qemu(world: World) -> None:
    world.layered()
    for number in (2, 3):
        snap = world.images / f"{CHAINED}.snap"
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snap / str(number - 1), snap / str(number))
    (world.images / CHAINED).unlink()
    (world.images / CHAINED).symlink_to(f"{CHAINED}.snap/3")
    [row] = asked("chains_info", images(world))
    [chain] = row["chains"]
    said = json.loads(tool("qemu-img", "info", "--output=json", "--backing-chain", world.images / CHAINED))
    assert [layer["virtual_bytes"] for layer in chain["layers"]] == [one["virtual-size"] for one in said]
    assert [layer["allocated_bytes"] for layer in chain["layers"]] == [one["actual-size"] for one in said]
    assert [layer["path"] for layer in chain["layers"]] == [os.path.realpath(one["filename"]) for one in said]
    assert (chain["depth"], chain["snapshots"], chain["broken"]) == (4, 3, [])


def test_snapshots_that_are_copies(world: World) -> None:
    """The ssh driver's: the image stands alone, and so does each of them."""
    image = world.qcow2(NAME)
    snap = world.images / f"{NAME}.snap"
    snap.mkdir()
    for number in "02":
        (snap / number).write_bytes(image.read_bytes())
    [row] = asked("images_info", images(world))
    [told] = row["images"]
    assert (told["depth"], told["snapshots"]) == (1, 2)
    assert told["allocated_bytes"] == used(image, snap / "0", snap / "2")


def test_disks_of_every_layout(world: World) -> None:
    world.qcow2(OVERLAID)
    world.layered()
    given = {"driver": "qcow2", "datastore": world.system}
    act(
        "tm_clone",
        **given,
        source=world.images / OVERLAID,
        destination=world.disk(),
        format="qcow2",
        size=4,
        original_size=2,
    )
    act("tm_ln", **given, source=world.images / CHAINED, destination=world.disk("disk.1"), format="qcow2")
    act("tm_mkimage", **given, destination=world.disk("disk.2", vm=12), size=5, format="raw")
    act("tm_snap_create", **given, path=world.disk(), snapshot_id=0, format="qcow2", image=world.images / OVERLAID)
    [row] = asked("images_info", disks(world))
    told = by_name(row["images"])
    assert list(told) == ["5/disk.0", "5/disk.1", "12/disk.2"]
    first, linked, empty = told.values()
    snap = world.disk("disk.0.snap")
    assert (first["vm"], first["disk"], first["format"], first["virtual_bytes"]) == (5, 0, "qcow2", 4 * MIB)
    assert (first["depth"], first["snapshots"]) == (3, 1)
    # the image below is counted where it is
    assert first["allocated_bytes"] == used(snap / "0", snap / "1")
    assert linked["linked"].startswith(str(world.images / CHAINED))
    assert (linked["virtual_bytes"], linked["allocated_bytes"], linked["depth"]) == (0, 0, 0)
    assert (empty["format"], empty["virtual_bytes"], empty["depth"]) == ("raw", 5 * MIB, 1)
    [row] = asked("chains_info", disks(world))
    assert [layer["path"] for layer in row["chains"][0]["layers"]] == [
        str(snap / "1"),
        str(snap / "0"),
        str(world.images / OVERLAID),
    ]
    assert [chain["name"] for chain in row["chains"]] == ["5/disk.0"]


def test_a_datastore_that_is_a_link(world: World) -> None:
    """As on sites that have their datastores on several mounts: a disk's layers lie elsewhere than their names say."""
    world.qcow2(OVERLAID)
    real = world.root.parent / "mounted"
    world.images.rename(real)
    world.images.symlink_to(real)
    given = {"driver": "qcow2", "datastore": world.system, "format": "qcow2"}
    act("tm_clone", **given, source=world.images / OVERLAID, destination=world.disk())
    [row] = asked("chains_info", disks(world))
    [chain] = row["chains"]
    assert (chain["broken"], chain["layers"][1]["path"]) == ([], str(real / OVERLAID))


def test_room_and_what_was_promised(world: World) -> None:
    world.raw(size=40 * MIB)
    world.layered()
    [row, other] = asked("datastores_info", images(world), disks(world, "ssh"), largest=1)
    found = os.statvfs(world.images)
    assert row["total_bytes"] == found.f_blocks * found.f_frsize
    assert abs(row["free_bytes"] - found.f_bavail * found.f_frsize) < 100 * MIB
    assert (row["items"], row["logical_bytes"], row["snapshots"]) == (2, 42 * MIB, 1)
    assert row["allocated_bytes"] == used(
        *(path for path in world.images.rglob("*") if path.is_file()),
    ) - used(world.images / CHAINED)
    assert (row["depth"], row["depths"], row["broken"]) == (2, {"1": 1, "2": 1}, 0)
    assert row["overcommit"] == round(42 * MIB / row["total_bytes"], 3)
    assert [one["name"] for one in row["largest"]] == [CHAINED]
    assert row["pool"] == other["pool"]
    assert (other["items"], other["overcommit"]) == (0, 0)


def test_backups_have_their_room_alone(world: World) -> None:
    [row] = asked("datastores_info", {"path": str(world.images), "type": "backup", "ds_mad": "rsync"})
    assert row["total_bytes"] > 0 and row["error"] == ""
    assert row["items"] is None and row["overcommit"] is None


def test_drivers_under_names_of_their_own(world: World) -> None:
    world.raw()
    [row] = asked("images_info", {**images(world), "ds_mad": "os_fs"}, prefix="os_")
    assert (row["driver"], len(row["images"])) == ("fs", 1)


def test_thousands_of_images(world: World) -> None:
    for number in range(3000):
        path = world.images / f"{number:032x}"
        path.touch()
        os.truncate(path, 16 * MIB)
    begun = time.process_time(), os.times().children_user
    [row] = asked("datastores_info", images(world))
    assert (row["items"], row["logical_bytes"], row["allocated_bytes"]) == (3000, 3000 * 16 * MIB, 0)
    assert time.process_time() - begun[0] < 3


# ---------------------------------------------------------------- what is broken or hostile


def remove(world: World, snap: Path) -> None:
    (snap / "0").unlink()


def damage(world: World, snap: Path) -> None:
    (snap / "0").write_bytes(b"no qcow2 at all")


def loop(world: World, snap: Path) -> None:
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", snap / "1", snap / "0")


def outside(world: World, snap: Path) -> None:
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", snap / "1")


def unformatted(world: World, snap: Path) -> None:
    head = (snap / "1").read_bytes()
    (snap / "1").write_bytes(head.replace(struct.pack(">II", 0xE2792ACA, 5), struct.pack(">II", 0x12345678, 5)))


@pytest.mark.parametrize(
    ("harm", "sentence", "depth"),
    [
        (remove, "The layer {snap}/0 is not there, and {snap}/1 stands on it", 1),
        (damage, "The layer {snap}/0 is not a qcow2 image", 1),
        (loop, "The layers of {snap}/1 form a loop: {snap}/0 stands on {snap}/1", 2),
        (outside, "{snap}/1 leads to /etc/passwd, outside of {images}", 1),
        (unformatted, "The layer {snap}/1 does not say which format its backing file has", 0),
    ],
    ids=["missing", "damaged", "loop", "outside", "without a format"],
)
def test_a_chain_that_is_not_whole(world: World, harm: Any, sentence: str, depth: int) -> None:
    world.layered()
    world.raw()
    snap = world.images / f"{CHAINED}.snap"
    harm(world, snap)
    [row] = asked("chains_info", images(world), broken_only=True)
    [chain] = row["chains"]
    assert chain["broken"][0] == sentence.format(snap=snap, images=world.images)
    assert chain["depth"] == depth
    assert asked("datastores_info", images(world))[0]["broken"] == 1


def test_a_snapshot_whose_chain_is_not_whole(world: World) -> None:
    """What is written to stands well; a snapshot beside it does not."""
    world.layered()
    snap = world.images / f"{CHAINED}.snap"
    for number, below in (("2", "0"), ("3", "0")):
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snap / below, snap / number)
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", snap / "9", snap / "1")
    (world.images / CHAINED).unlink()
    (world.images / CHAINED).symlink_to(f"{CHAINED}.snap/3")
    [chain] = asked("chains_info", images(world), min_depth=99)[0]["chains"]
    assert chain["depth"] == 2
    assert chain["broken"] == [f"The layer {snap}/9 is not there, and {snap}/1 stands on it"]


def test_a_link_that_leads_nowhere(world: World) -> None:
    (world.images / NAME).symlink_to(f"{NAME}.snap/4")
    disk = world.disk()
    disk.parent.mkdir()
    disk.symlink_to("disk.0.snap/2")
    for store in (images(world), disks(world)):
        [row] = asked("chains_info", store)
        [chain] = row["chains"]
        assert "and there is no file" in chain["broken"][0] and chain["layers"] == []


def test_what_a_guest_wrote_is_not_followed(world: World) -> None:
    """A raw disk that begins as a qcow2 image on a file that its guest must not read."""
    disk = world.disk()
    disk.parent.mkdir()
    seed = world.root / "seed"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", world.images / PLAIN, seed, "1T")
    disk.write_bytes(seed.read_bytes())
    world.raw()
    [row] = asked("chains_info", disks(world, "ssh"), min_depth=1)
    [chain] = row["chains"]
    assert ([layer["path"] for layer in chain["layers"]], chain["broken"]) == ([str(disk)], [])
    # who knows better says so, and then no byte of it counts
    [row] = asked("images_info", disks(world, "ssh", formats={"5/disk.0": "raw"}))
    assert (row["images"][0]["format"], row["images"][0]["virtual_bytes"]) == ("raw", disk.stat().st_size)


def test_odd_things_in_a_datastore(world: World) -> None:
    os.mkfifo(world.images / "fifo")
    (world.images / "empty").touch()
    (world.images / "sneaky\n<b>").write_bytes(b"x")
    (world.system / "7").touch()
    (world.system / "08").mkdir()
    (world.system / "9").mkdir()
    (world.system / "9" / "disk.x").touch()
    [row] = asked("images_info", images(world))
    assert {"empty", "sneaky\n<b>"} <= set(by_name(row["images"]))
    [row] = asked("images_info", disks(world))
    assert (row["images"], row["missed"]) == ([], [])


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        ({"path": "/d", "type": "image"}, "The datastore '/d' has no ds_mad"),
        ({"path": "/d", "type": "system", "ds_mad": "fs"}, "The datastore '/d' has no tm_mad"),
        ({"type": "image", "name": "x\ny"}, "The datastore 'x y' has no path"),
        ({"path": "/d", "type": "disk"}, "The datastore '/d' is none of image, file, backup, system"),
        ({"path": "/d", "typ": "image"}, "The datastore '/d' has typ, which is none of id, name, type, path"),
        ({"path": "/d", "type": "image", "ds_mad": "fs", "formats": "raw"}, "The datastore '/d' has formats without"),
    ],
)
def test_a_datastore_that_is_not_described(store: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadCall) as error:
        asked("datastores_info", store)
    assert str(error.value).startswith(sentence)


def test_what_cannot_be_looked_at_keeps_nothing_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.raw()
    stores = [
        {"path": str(world.root / "77"), "type": "image", "ds_mad": "fs"},
        {"path": "relative", "type": "image", "ds_mad": "fs"},
        {"path": str(world.images), "type": "image", "ds_mad": "tape"},
        images(world, settings={"shelf": "x"}),
        images(world),
    ]
    for module in ("datastores_info", "images_info", "chains_info"):
        rows = asked(module, *stores)
        assert rows[0]["error"].startswith(f"{world.root}/77 is not there")
        assert rows[1]["error"] == "The datastore 'relative' is not an absolute path"
        assert rows[2]["error"].startswith("There is no ds driver 'tape'")
        assert "Unsupported parameters" in rows[3]["error"]
        assert rows[4]["error"] == ""


def test_storage_that_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.lstat

    def lstat(path: Any, **more: Any) -> os.stat_result:
        if str(path).endswith(OVERLAID):
            time.sleep(30)
        return real(path, **more)

    world.raw()
    world.qcow2(OVERLAID)
    monkeypatch.setattr(os, "lstat", lstat)
    [row] = asked("images_info", images(world), stall_timeout=1)
    assert [one["name"] for one in row["images"]] == [PLAIN]
    assert "does not tell its contents: nothing came for 1 seconds" in row["missed"][0]


# ---------------------------------------------------------------- what runs


def operation(world: World) -> list[dict[str, Any]]:
    defaults = {name: rule.get("default") for name, rule in _info.MODULES["operations_info"].options.items()}
    found = _info.operations_info({**defaults, "folders": [str(world.root)]})
    assert found["missed"] == []
    rows: list[dict[str, Any]] = found["operations"]
    return rows


def test_what_runs_and_what_died(world: World) -> None:
    host, key = Host("here"), "image-x"
    host.lock(str(world.images), key, False, 0)
    head = {"run": "ab12", "action": "ds_cp", "driver": "fs", "peer": None, "pid": 1}
    journal = Journal(str(world.images), key, head)
    journal.plan([])
    hidden = world.images / HIDDEN
    progress = Progress(str(hidden / f"{key}.status"), str(hidden / "fresh"), "ab12", "copy\x1b[2J <b>", 1000)
    progress.done = 250
    progress._write()
    [row] = operation(world)
    assert (row["datastore"], row["object"], row["state"]) == (str(world.images), key, "running")
    assert (row["run"], row["action"], row["driver"], row["steps"], row["begun"]) == ("ab12", "ds_cp", "fs", 0, 0)
    assert (row["done_bytes"], row["total_bytes"], row["what"]) == (250, 1000, "copy\x1b[2J <b>")
    # looking takes no lock: who works there goes on, and another is still kept out
    with pytest.raises(BlockingIOError):
        Host("there").lock(str(world.images), key, False, 0)
    host.unlock(str(world.images), key)
    assert operation(world)[0]["state"] == "left"
    progress.end()
    journal.close()
    assert operation(world) == []


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"done": "x", "what": 5}', b"null\n" * 9])
def test_files_that_are_none(world: World, junk: bytes) -> None:
    hidden = world.images / HIDDEN
    hidden.mkdir()
    (hidden / "image-a.status").write_bytes(junk)
    (hidden / "image-b.journal").write_bytes(junk)
    assert operation(world) == []


def test_operations_of_storage_that_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "running", lambda folders: time.sleep(30))
    with pytest.raises(StorageError) as error:
        _info.operations_info({"folders": [str(world.root)], "stall_timeout": 1, "command_timeout": 5})
    assert "look at what runs in the datastores" in str(error.value)
