# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs that are off: chains that restore byte for byte, whatever a disk is made of, whatever goes wrong."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import NoSpace, StorageError
from plugins.module_utils.tools import bitmaps, manifest
from plugins.module_utils.tools.host import Host
from tests.unit.core.backups import DOCUMENT, Backed
from tests.unit.core.stock_backup import stock_backup
from tests.unit.core.support import World, bytes_of, explained, killed_at, pattern, tool

#: Shapes and ways that a short run takes, of all of each.
SHORT = [("own layers", "cbt"), ("persistent with layers", "snapshot")]
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


def pairs(short: list[tuple[str, str]]) -> pytest.MarkDecorator:
    """Every shape with every way, those for a full run marked."""
    found = itertools.product(QCOW2_SHAPES, ("cbt", "snapshot"))
    marked = [pair if pair in short else pytest.param(*pair, marks=pytest.mark.full) for pair in found]
    return pytest.mark.parametrize(("shape", "increments"), marked)


def full(*values: Any) -> Any:
    """A case of a full run."""
    return pytest.param(*values, marks=pytest.mark.full)


@pytest.mark.parametrize(
    "shape",
    [
        "persistent with layers",
        "raw",
        *map(full, ("own layers", "raw, persistent", "ssh, raw", "ssh, layers")),
    ],
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


@pairs(SHORT)
def test_a_chain_of_five(world: World, shape: str, increments: str) -> None:
    disk = Backed.of(world, shape, increments)
    for _number in range(5):
        disk.write()
        disk.back_up()
    disk.write()
    disk.check_all()
    assert world.is_tidy(), world.hidden()


# ---------------------------------------------------------------- stock before and after us


@pairs([("ssh, qcow2", "snapshot")])
@pytest.mark.parametrize("turns", ["soso", full("osso")])
def test_stock_and_we_go_on_with_each_others_chains(world: World, shape: str, increments: str, turns: str) -> None:
    """By turns: ours (o) and stock's (s)."""
    disk = Backed.of(world, shape, increments)
    for turn in turns:
        disk.write()
        if turn == "s":
            stock_backup(disk)
        else:
            disk.back_up()
    disk.write()
    disk.check_all()


# ---------------------------------------------------------------- backups that fail


@pytest.mark.parametrize(
    ("increments", "how"),
    [
        ("cbt", "failed"),
        ("snapshot", "silent"),
        full("cbt", "silent"),
        full("cbt", "twice"),
        full("snapshot", "failed"),
        full("snapshot", "twice"),
    ],
)
def test_the_increment_that_failed_is_made_again(world: World, increments: str, how: str) -> None:
    """The files were made, the repository did not get them; postbackup says so, or is never called."""
    disk = Backed.of(world, "own layers", increments)
    for number in range(3):
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


@pytest.mark.parametrize("increments", [full("cbt"), full("snapshot")])
def test_postbackup_that_is_never_called(world: World, increments: str) -> None:
    disk = Backed.of(world, "own layers", increments)
    warned = "its layers are not those of this chain" if increments == "snapshot" else ""
    for number in range(4):
        disk.write()
        # without a layer above the base nothing tells what changed: until postbackup is heard once, all is taken
        disk.back_up(heard=number == 2, warned=warned if number in (1, 2) else "")
    disk.check_all()


@pytest.mark.parametrize("increments", [full("cbt"), "snapshot"])
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


@pytest.mark.full
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


@pytest.mark.parametrize("increments", ["cbt", full("snapshot")])
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


@pytest.mark.parametrize("increments", ["cbt", full("snapshot")])
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


@pytest.mark.full
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


@pytest.mark.full
def test_twelve_increments(world: World) -> None:
    disk = Backed.of(world, "own layers", "snapshot")
    for _number in range(13):
        disk.write()
        disk.back_up()
    assert disk.last == 12
    for number in (0, 2, 9, 10, 12):
        assert disk.repository.restored(0, number) == disk.kept[number]


@pytest.mark.parametrize("increments", [full("cbt"), full("snapshot")])
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


# ---------------------------------------------------------------- what else a machine has


def machine(world: World) -> Backed:
    """A VM with a disk in layers, a raw one, a volatile qcow2 disk, swap, and a TPM."""
    disk = Backed.of(world, "own layers")
    home = disk.path.parent
    (home / "disk.1").write_bytes(pattern("raw", 70000))
    os.truncate(home / "disk.1", 2 << 20)
    world.qcow2("disk.2", folder=home)
    (home / "disk.3").write_bytes(b"swap")
    (home / "tpm").mkdir()
    (home / "tpm" / "tpm2-00.permall").write_bytes(b"the state of a TPM")
    disk.mode = "full"
    return disk


def test_all_that_a_machine_has(world: World) -> None:
    disk = machine(world)
    disk.base_path = world.root / "my backups"
    disk.disks = ["2:qcow2", "0:qcow2", "1:raw"]
    result = disk.before(tpm="an-uuid", vtpm_setup="/nowhere")
    assert result["path"] == str(world.root / "my backups" / "5" / "backup")
    assert result["files"] == ["disk.0.0", "disk.1.0", "disk.2.0", "disk.tpm.0", "manifest.json", "vm.xml"]
    kept = disk.repository.take(disk.folder, 0)
    disk.after()
    assert not disk.folder.parent.exists()
    assert disk.repository.restored(0, 0) == disk.now
    assert disk.repository.restored(1, 0) == (disk.path.parent / "disk.1").read_bytes()
    assert disk.repository.restored(2, 0) == bytes_of(disk.path.parent / "disk.2", "qcow2")
    (world.root / "out").mkdir()
    tool("tar", "-xzf", kept / "disk.tpm.0", "-C", world.root / "out")
    assert (world.root / "out" / "tpm" / "tpm2-00.permall").read_bytes() == b"the state of a TPM"
    told = manifest.read(str(kept))
    assert told is not None
    manifest.check(str(kept), told)
    assert told["files"]["disk.1.0"]["virtual_size"] == 2 << 20
    assert (
        result["size"] == sum(path.stat().st_size for path in kept.iterdir()) - (kept / "manifest.json").stat().st_size
    )


def test_a_tpm_without_a_state_is_a_warning(world: World) -> None:
    disk = machine(world)
    shutil.rmtree(disk.path.parent / "tpm")
    result = disk.before(tpm="an-uuid", vtpm_setup="/nowhere")
    assert "disk.tpm.0" not in result["files"]
    assert len(result["warnings"]) == 1 and "its state is not in" in result["warnings"][0]


def test_a_disk_that_is_new_in_a_chain(world: World) -> None:
    disk = machine(world)
    disk.mode = "increment"
    for _number in range(2):
        disk.write()
        disk.back_up()
    disk.disks = ["0:qcow2", "2:qcow2"]
    disk.write()
    disk.back_up(warned="Increment 2 has all of disk 2, as the bitmap one-5-1 is not there")
    second = disk.path.parent / "disk.2"
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 1M 4k", second)
    disk.write()
    disk.back_up()
    assert [path.name for path in disk.repository.chain(2, 3)] == ["disk.2.2", "disk.2.3"]
    assert disk.repository.restored(2, 3) == bytes_of(second, "qcow2")
    disk.check_all()


def test_vm_xml_is_encoded_as_stock_does(world: World) -> None:
    """Ruby's Base64.encode64 has lines of 60 characters, each with its end."""
    disk = Backed.of(world, "raw")
    disk.mode = "full"
    disk.before()
    text = (disk.folder / "vm.xml").read_bytes()
    lines = text.split(b"\n")
    assert lines.pop() == b"" and {len(line) for line in lines[:-1]} == {60}
    assert base64.b64decode(text).decode() == DOCUMENT


def test_room_is_looked_for_before_anything_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Backed.of(world, "own layers")
    disk.write()
    disk.back_up()
    disk.write()
    before = world.tree()
    monkeypatch.setattr(Host, "space", lambda _self, _path: {"total": 1 << 30, "used": 1 << 30, "free": 1 << 20})
    with pytest.raises(NoSpace, match="There is no room for the backup in .*: it may take 5 MB, and 1 MB are free"):
        disk.before()
    assert world.tree() == before
    assert world.is_tidy()


def test_a_guest_that_writes_keeps_its_disk(world: World) -> None:
    """The machine runs after all: qemu-img does not get the disk, and nothing is left."""
    disk = Backed.of(world, "own layers")
    writer = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(disk.path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 20
        while not Host("here").in_use(str(disk.path)):
            assert time.monotonic() < until
        with pytest.raises(StorageError, match="A virtual machine that runs writes to .*disk.0"):
            disk.before()
        assert not disk.folder.exists() and world.is_tidy()
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"disks": []}, "There is no disk to back up"),
        ({"disks": ["0"]}, "'0' of disks is not <disk id>:<format>"),
        ({"disks": ["0:vmdk"]}, "Disk 0 has the format 'vmdk': it must be raw or qcow2"),
        ({"disks": ["0:qcow2", "0:raw"]}, "Disk 0 stands twice in disks"),
        ({"disks": ["7:qcow2"]}, "disk.7 is not there"),
        ({"disks": ["1:raw"], "mode": "increment"}, "Disk 1 is raw, and increments need qcow2"),
        ({"path": "/etc"}, "The path /etc is not inside"),
        ({"last_increment": -2, "mode": "increment"}, "-2 is not the number of an increment"),
        ({"nice": 20}, "nice is 20: it must be from -20 to 19"),
        ({"backup_path": "backups"}, "The backup path 'backups' is not an absolute path"),
    ],
)
def test_misuse(world: World, given: dict[str, Any], said: str) -> None:
    disk = machine(world)
    before = world.tree()
    with pytest.raises(StorageError) as caught:
        disk.before(**given)
    assert said in str(caught.value)
    assert world.tree() == before


class Systemd:
    """A user's systemd that answers, or does not, and runs what it is given; commands as they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, answers: bool = True) -> None:
        self.ran: list[list[str]] = []
        real = Host.run

        def run(host: Host, argv: list[str], *more: Any) -> dict[str, Any]:
            self.ran.append(argv)
            if argv[0] == "systemctl":
                return {"rc": 0 if answers else 1, "out": "", "err": "no bus"}
            return real(host, argv[argv.index("--") + 1 :] if "systemd-run" in argv else argv, *more)

        monkeypatch.setattr(Host, "run", run)
        monkeypatch.setenv("HOME", str(home))


def test_copies_are_held_back(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk = machine(world)
    systemd = Systemd(monkeypatch, tmp_path)
    disk.before(nice=5, ionice=7)
    assert systemd.ran[0][:8] == ["nice", "-n", "5", "ionice", "-c2", "-n7", "qemu-img", "convert"]
    assert not list(tmp_path.iterdir())


def test_copies_are_held_back_by_systemd(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk = machine(world)
    systemd = Systemd(monkeypatch, tmp_path)
    disk.before(cpu_quota=50, backup_datastore_id=108)
    assert (tmp_path / ".config/systemd/user/backup.108.slice").read_text() == "[Slice]\nCPUQuota=50%\n"
    copied = next(argv for argv in systemd.ran if "systemd-run" in argv)
    assert "--slice=backup.108.slice" in copied and "convert" in copied


def test_a_limit_that_nobody_can_set_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk = machine(world)
    before = world.tree()
    Systemd(monkeypatch, tmp_path, answers=False)
    with pytest.raises(StorageError, match="can only be limited by a user's systemd"):
        disk.before(cpu_quota=50, backup_datastore_id=108)
    assert world.tree() == before and world.is_tidy()


def test_the_document_stands_in_no_journal(world: World) -> None:
    disk = machine(world)
    given = disk.backup_options(document="<VM>a secret</VM>")
    assert killed_at("2+", "tm_prebackup", given)
    found = [path.read_bytes() for path in (world.system / ".one_storage").rglob("*.journal")]
    assert found and not any(b"a secret" in text for text in found)
    disk.after(failed=True)
    assert world.is_tidy()


def test_check_mode_changes_nothing(world: World) -> None:
    disk = machine(world)
    before = world.tree()
    said = explained("tm_prebackup", **disk.backup_options(document="x"))["actions"]
    assert any("write all of" in line for line in said) and any("put the backup" in line for line in said)
    assert world.tree() == before


def test_clearing_up_twice_is_fine(world: World) -> None:
    disk = machine(world)
    disk.before()
    disk.after()
    assert disk.after()["changed"] is False


def test_a_disk_that_is_broken_does_not_keep_the_files(world: World) -> None:
    disk = Backed.of(world, "own layers", "snapshot")
    disk.write()
    disk.before()
    disk.path.unlink()
    result = disk.after()
    assert len(result["warnings"]) == 1 and result["warnings"][0].startswith("Disk 0 is left as it is: The disk")
