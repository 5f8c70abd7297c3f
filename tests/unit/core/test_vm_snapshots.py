# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks whose every byte is known: snapshots, reverts, deletes, saves, growth and moves in all orders."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError, ToolFailed, Unsupported
from plugins.module_utils.steps.base import LEAD, Site, Timeouts
from plugins.module_utils.steps.layers import GrowInPlace
from plugins.module_utils.tools.host import Host
from tests.unit.core.golden import SHAPES, Golden, Shape, backing_names
from tests.unit.core.support import MIB, OVERLAID, World, act, bytes_of, explained, info, killed_at, pattern, tool, tree

SHAPE = {shape.name: shape for shape in SHAPES}
PER_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)
LAYERED = pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.layered], ids=str)


# ---------------------------------------------------------------- orders


def possible(disk: Golden) -> list[str]:
    """What may happen next: all that oned could ask for, with any value of ALLOW_ORPHANS."""
    found = ["create", "resize", "save", "move"]
    for number in disk.snapshots:
        found += [f"revert {number}", f"save {number}"]
        # the first layer of a persistent image is the image: oned never deletes that snapshot
        if not (disk.shape.home == "image" and disk.shape.layered and disk.file_of(number).is_symlink()):
            found.append(f"delete {number}")
    return found


def happen(disk: Golden, event: str) -> None:
    """One event, and a guest that writes before it."""
    disk.write()
    name, *numbers = event.split()
    getattr(disk, name)(*map(int, numbers))
    disk.check()


def copied(disk: Golden, folder: Path) -> Golden:
    """The same disk, in a world that was put back as it was kept in a folder: paths stand in headers, so it is one."""
    place = disk.world.root
    shutil.rmtree(place)
    shutil.copytree(folder, place, symlinks=True)
    other = Golden(disk.world, disk.shape)
    vars(other).update({**vars(disk), "snapshots": dict(disk.snapshots)})
    return other


def walk(disk: Golden, depth: int, kept: Path) -> Iterator[int]:
    """Every order of events, *depth* deep."""
    here = kept / str(depth)
    shutil.copytree(disk.world.root, here, symlinks=True)
    for event in possible(disk):
        again = copied(disk, here)
        happen(again, event)
        yield 1
        if depth > 1:
            yield from walk(again, depth - 1, kept)
    shutil.rmtree(here)


#: What a disk has behind it when the orders begin, and how deep they go; a short run takes one past, and one event.
ORDERS = [("", 3), ("create", 2), ("create, create", 2), ("create, create, revert", 2)]
DEEP = [pytest.param(*order, marks=pytest.mark.full) for order in ORDERS]


@pytest.mark.parametrize(("past", "depth"), [(ORDERS[-1][0], 1), *DEEP])
@PER_SHAPE
def test_every_order(world: World, tmp_path: Path, shape: Shape, past: str, depth: int) -> None:
    signal.alarm({1: 30, 2: 900, 3: 1200}[depth])
    disk = Golden.made(world, shape)
    for event in filter(None, past.split(", ")):
        happen(disk, f"revert {disk.next - 2}" if event == "revert" else event)
    assert sum(walk(disk, depth, tmp_path)) >= 3


def seeds() -> list[Any]:
    """500 lives; a short run takes one of each shape."""
    return [seed if seed < len(SHAPES) else pytest.param(seed, marks=pytest.mark.full) for seed in range(500)]


@pytest.mark.parametrize("seed", seeds())
def test_a_life(world: World, seed: int) -> None:
    """Snapshots up to five deep, then whatever comes."""
    chance = random.Random(seed)
    disk = Golden.made(world, SHAPES[seed % len(SHAPES)])
    for _turn in range(10):
        events = possible(disk)
        if len(disk.snapshots) < 5:
            events += ["create"] * 4
        happen(disk, chance.choice(events))


# ---------------------------------------------------------------- layouts


@pytest.fixture
def layered(world: World) -> Golden:
    """A disk of a VM's own with snapshots 0, 1, 2."""
    return grown(Golden.made(world, SHAPE["own layers"]))


def grown(disk: Golden, count: int = 3) -> Golden:
    """A disk with so many more snapshots."""
    for _number in range(count):
        happen(disk, "create")
    disk.write()
    return disk


@pytest.mark.parametrize("name", [pytest.param("own layers", marks=pytest.mark.full), "persistent with layers"])
@pytest.mark.parametrize(("action", "number"), [("snap_create", 9), ("snap_revert", 1), ("snap_delete", 1)])
def test_what_a_guest_writes_after_a_killed_action_stays(
    world: World, tmp_path: Path, name: str, action: str, number: int
) -> None:
    """Nobody told the user, who simply starts the VM; the next action on it finds what died."""
    whole = grown(Golden.made(world, SHAPE[name]), 2)
    kept = tmp_path / "kept"
    shutil.copytree(world.root, kept, symlinks=True)
    for point in [*(f"{step}+" for step in range(6)), "end"]:
        disk = copied(whole, kept)
        assert killed_at(point, f"tm_{action}", disk.options(snapshot_id=number)) or point > "1"
        found = bytes_of(disk.path, disk.shape.format)
        assert found in (disk.now, disk.snapshots[1] if action == "snap_revert" else disk.now)
        disk.now = found
        disk.write()
        disk.resize()
        assert bytes_of(disk.path, disk.shape.format) == disk.now, f"killed at {point}"


def test_the_layout_is_stocks(layered: Golden) -> None:
    assert sorted(path.name for path in layered.snap.iterdir()) == ["0", "1", "2", "3", "disk.0.snap"]
    assert os.readlink(layered.path) == "disk.0.snap/3" and os.readlink(layered.snap / "disk.0.snap") == "."
    assert info(layered.path)["backing-filename"] == "disk.0.snap/2"
    assert info(layered.path)["backing-filename-format"] == "qcow2"


def test_the_layers_of_a_persistent_image_have_absolute_names(world: World) -> None:
    """A VM opens them by a link that lies elsewhere, from where a relative name leads nowhere."""
    disk = grown(Golden.made(world, SHAPE["persistent"]))
    assert os.readlink(disk.path) == f"{world.images}/{OVERLAID}.snap/3"
    assert sorted(backing_names(disk.snap)) == [f"{world.images}/{OVERLAID}.snap/{number}" for number in range(3)]
    assert not (world.disk("disk.0.snap")).exists()


def test_after_a_delete_the_directory_can_move(layered: Golden) -> None:
    """Stock writes absolute names, and the chain breaks with the next move (Q1)."""
    layered.delete(1)
    assert sorted(backing_names(layered.snap))[1:] == ["disk.0.snap/0", "disk.0.snap/2"]
    layered.move()
    layered.check()


def test_absolute_names_of_stock_become_relative(layered: Golden) -> None:
    for number, below in ((1, 0), (2, 1), (3, 2)):
        tool("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", layered.snap / str(below), layered.snap / str(number))
    layered.delete(1)
    assert info(layered.snap / "2")["backing-filename"] == "disk.0.snap/0"
    layered.delete(2)
    assert info(layered.snap / "3")["backing-filename"] == "disk.0.snap/0"
    layered.check()


def test_bare_names_of_driver_local_are_read(layered: Golden) -> None:
    for number, below in ((1, 0), (2, 1)):
        tool("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", str(below), layered.snap / str(number))
    layered.delete(1)
    layered.delete(0)
    layered.check()


def test_a_persistent_raw_disk_stays_the_image(world: World) -> None:
    """Stock puts a file in the place of the link, and the image is never written again (Q9)."""
    disk = Golden.made(world, SHAPE["raw, persistent"])
    happen(disk, "create")
    disk.write()
    disk.revert(0)
    assert disk.path.is_symlink() and disk.path.resolve() == world.images / disk.shape.image
    disk.write()
    assert bytes_of(world.images / disk.shape.image, "raw") == disk.now


def test_a_snapshot_after_one_that_failed(layered: Golden) -> None:
    """oned uses an id up; with stock the next snapshot is then looked for in the wrong file (Q11)."""
    kept = layered.now
    layered.create(7)
    assert (layered.snap / "7.current").read_text().strip() == str(layered.snap / "3")
    happen(layered, "create")
    assert bytes_of(layered.snap / "3", "qcow2") == kept
    assert [path.name for path in layered.snap.glob("*.current")] == ["7.current"]
    for event in ("save 7", "revert 7", "delete 7", "delete 8"):
        happen(layered, event)
    assert not list(layered.snap.glob("*.current"))


def test_a_snapshot_whose_number_a_backup_layer_has(world: World) -> None:
    """Backups that count their layers otherwise leave files with the numbers of later snapshots (Q11b)."""
    disk = Golden.made(world, SHAPE["own layers"])
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk.snap / "0", disk.snap / "1")
    disk.path.unlink()
    disk.path.symlink_to("disk.0.snap/1")
    happen(disk, "create")
    happen(disk, "create")
    happen(disk, "revert 0")
    happen(disk, "delete 1")


def test_a_marker_that_a_move_made_stale(layered: Golden) -> None:
    (layered.snap / "1.current").write_text("/elsewhere/100/5/disk.0.snap/1\n")
    happen(layered, "revert 1")
    happen(layered, "delete 1")


def test_a_layer_that_a_marker_gives_to_another_snapshot_stays(layered: Golden) -> None:
    """Stock's running delete folds snapshot 2 into the file of snapshot 1, which is gone then."""
    tool("qemu-img", "commit", "-q", "-d", layered.snap / "2")
    tool("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", "disk.0.snap/1", layered.snap / "3")
    (layered.snap / "2").unlink()
    (layered.snap / "2.current").write_text(f"{layered.snap}/1\n")
    del layered.snapshots[1]
    layered.check()
    act("tm_snap_delete", **layered.options(snapshot_id=1))
    layered.check()
    with pytest.raises(Missing, match="^Snapshot 1 of .*/disk.0 is not there"):
        act("tm_snap_revert", **layered.options(snapshot_id=1))
    layered.delete(2)
    layered.check()


def test_a_linear_revert_forgets_the_younger_ones(layered: Golden) -> None:
    layered.revert(0, linear=True)
    layered.snapshots = {0: layered.snapshots[0]}
    layered.check()
    assert sorted(path.name for path in layered.snap.iterdir()) == ["0", "3", "disk.0.snap"]
    happen(layered, "create")


def test_two_disks_with_snapshots(world: World, layered: Golden) -> None:
    """Stock looks for the active snapshot among those of all disks (Q10)."""
    other = world.disk("disk.1")
    act("tm_clone", driver="qcow2", datastore=world.system, source=world.images / OVERLAID, destination=other,
        format="qcow2")  # fmt: skip
    act("tm_snap_create", **{**layered.options(snapshot_id=0), "path": str(other)})
    before = bytes_of(other, "qcow2")
    layered.delete(0)
    layered.check()
    assert bytes_of(other, "qcow2") == before and (world.disk("disk.1.snap") / "0").exists()


@PER_SHAPE
def test_nothing_is_written_to_what_stays(world: World, shape: Shape) -> None:
    """A snapshot's file does not change when another is taken, or the disk goes back."""
    disk = grown(Golden.made(world, shape), 2)
    first = min(disk.snapshots)
    before = disk.file_of(first).read_bytes()
    happen(disk, "create")
    happen(disk, f"revert {first}")
    assert disk.file_of(first).read_bytes() == before


def test_check_mode_changes_nothing(layered: Golden) -> None:
    before = tree(layered.world.root)
    for action, more in (
        ("tm_snap_create", {"snapshot_id": 3}),
        ("tm_snap_delete", {"snapshot_id": 1}),
        ("tm_snap_revert", {"snapshot_id": 1}),
        ("tm_resize", {"size": 9}),
        ("tm_cpds", {"destination": layered.world.root / "2" / "new"}),
    ):
        assert explained(action, **layered.options(**more))["actions"]
    assert tree(layered.world.root) == before


# ---------------------------------------------------------------- run again


@PER_SHAPE
def test_a_snapshot_that_was_taken_is_not_taken_again(world: World, shape: Shape) -> None:
    disk = grown(Golden.made(world, shape), 1)
    disk.create()
    number = disk.next - 1
    assert act("tm_snap_create", **disk.options(snapshot_id=number))["changed"] is False
    disk.check()
    disk.write()
    with pytest.raises(Refused, match=f"^There is a snapshot {number} of .* already"):
        act("tm_snap_create", **disk.options(snapshot_id=number))
    disk.check()


def test_a_copy_of_an_older_disk_is_taken_anew(world: World) -> None:
    """Stock leaves the snapshots of a disk that was detached, and its id comes back (Q16)."""
    disk = Golden.made(world, SHAPE["raw"])
    disk.snap.mkdir()
    (disk.snap / "0").write_bytes(pattern("older", 5000))
    disk.write()
    disk.create()
    disk.check()


def test_an_image_that_was_saved_stays_without_force(layered: Golden) -> None:
    image = layered.world.root / "2" / "saved"
    image.write_text("something that is there")
    assert act("tm_cpds", **layered.options(destination=image))["changed"] is False
    assert image.read_text() == "something that is there"
    act("tm_cpds", **layered.options(destination=image, force=True))
    assert bytes_of(image, "qcow2") == layered.now


def test_a_save_that_fails_leaves_what_was_there(layered: Golden) -> None:
    """Stock writes straight to the image (Q15)."""
    image = layered.world.root / "2" / "saved"
    image.write_text("something that is there")
    with open(layered.snap / "1", "r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)
    with pytest.raises(ToolFailed, match="nothing was changed"):
        act("tm_cpds", **layered.options(destination=image, force=True))
    assert image.read_text() == "something that is there" and layered.world.is_tidy()


# ---------------------------------------------------------------- resize


@PER_SHAPE
def test_a_disk_never_shrinks(world: World, shape: Shape) -> None:
    disk = Golden.made(world, shape)
    before = tree(world.root)
    with pytest.raises(Refused, match="cannot be made smaller: it has 2 MB, not 1 MB"):
        act("tm_resize", **disk.options(size=1))
    assert act("tm_resize", **disk.options(size=2))["changed"] is False
    assert tree(world.root) == before


def test_snapshots_keep_their_size(layered: Golden) -> None:
    layered.resize(3)
    layered.write()
    assert info(layered.snap / "2")["virtual-size"] == 2 * MIB
    layered.create()
    layered.delete(2)
    layered.delete(3)
    layered.check()
    layered.revert(1)
    assert info(layered.path)["virtual-size"] == 2 * MIB
    layered.check()


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(("name", "size"), [("raw", 2 * MIB), ("raw", 5 * 512 * 1000 + 7), ("qcow2", 2 * MIB)])
def test_growth_that_fails_is_taken_back(world: World, name: str, size: int, sparse: bool) -> None:
    path = world.raw(size=size) if name == "raw" else world.qcow2(size=size)
    before = bytes_of(path, name)
    site = Site(Host("here"), None, "run", Timeouts())
    step = GrowInPlace(LEAD, str(path), name, size, 64, allocate=not sparse)
    assert not step.done(site)
    step.do(site)
    assert step.done(site)
    step.undo(site)
    assert bytes_of(path, name) == before
    assert info(path)["virtual-size"] == -(-size // 512) * 512
    step.undo(site)
    assert bytes_of(path, name) == before


def test_growth_that_does_not_fit_changes_nothing(world: World) -> None:
    disk = Golden.made(world, SHAPE["raw"])
    disk.write()
    with pytest.raises(StorageError, match="nothing was changed"):
        act("tm_resize", **disk.options(size=1 << 23, sparse=False))
    disk.check()


def test_a_running_vms_disk_is_grown_by_its_hypervisor(world: World) -> None:
    assert act("tm_resize", **Golden(world, SHAPE["raw"]).options(size=9, running=True))["changed"] is False


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("action", ["tm_snap_create", "tm_snap_revert"])
def test_a_running_vm_is_named(layered: Golden, action: str) -> None:
    with pytest.raises(Unsupported, match=f"^{action[3:]} of a disk of a running VM is not supported"):
        act(action, **layered.options(snapshot_id=0, running=True))


@pytest.mark.parametrize("action", ["tm_snap_create_live", "tm_snap_delete", "tm_cpds"])
@pytest.mark.parametrize(("option", "value"), [("domain", ""), ("target", ""), ("freeze_timeout", 0)])
def test_a_running_vm_must_be_told(layered: Golden, action: str, option: str, value: Any) -> None:
    more: dict[str, Any] = {"domain": "one-7", "target": "vda", option: value}
    more["snapshot_id"] = 0
    if action == "tm_cpds":
        more.update(destination=layered.world.root / "2" / "new", snapshot_id=-1)
    with pytest.raises(BadCall):
        act(action, **layered.options(running=True, **more))


def broken(disk: Golden, how: str) -> None:
    """A chain that is not sound."""
    snap = disk.snap
    if how == "missing":
        (snap / "1").unlink()
    elif how == "raw":
        (snap / "1").write_bytes(pattern("raw", 70000))
    elif how == "loop":
        tool("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", "disk.0.snap/2", snap / "1")
    elif how == "declared":
        tool("qemu-img", "rebase", "-u", "-F", "raw", "-b", "disk.0.snap/1", snap / "2")
    elif how == "outside":
        secret = disk.world.root / "2" / "secret"
        secret.write_bytes(b"S" * 70000)
        tool("qemu-img", "rebase", "-u", "-F", "raw", "-b", secret, snap / "1")
    elif how == "protocol":
        tool("qemu-img", "rebase", "-u", "-F", "raw", "-b", "nbd:localhost:10809", snap / "1")


BROKEN: list[tuple[str, type[StorageError], str]] = [
    ("missing", Missing, "disk.0.snap/1 is not there"),
    ("raw", Corrupt, "disk.0.snap/1 is not a qcow2 image"),
    ("loop", Corrupt, "form a loop"),
    ("outside", Refused, "/2/secret, outside of "),
    ("protocol", Refused, "'nbd:localhost:10809', which is no file"),
]


@pytest.mark.parametrize(("how", "kind", "words"), BROKEN, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("action", ["tm_snap_create", "tm_snap_delete", "tm_snap_revert", "tm_resize", "tm_cpds"])
def test_a_broken_chain_is_not_touched(
    layered: Golden, how: str, kind: type[StorageError], words: str, action: str
) -> None:
    broken(layered, how)
    before = tree(layered.world.root)
    number = {"tm_snap_create": 3, "tm_snap_delete": 2, "tm_snap_revert": 2}.get(action, -1)
    given = layered.options(snapshot_id=number)
    if action == "tm_cpds":
        given = layered.options(destination=layered.world.root / "2" / "new")
    if action == "tm_resize":
        given = layered.options(size=9)
    with pytest.raises(kind, match=words):
        act(action, **given)
    assert tree(layered.world.root) == before and layered.world.is_tidy()


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(9, Missing, "Snapshot 9 of .* is not there"), (3, Corrupt, "Snapshot 3 .*which the disk is written to"),
     (-1, BadCall, "^-1 is not the id of a snapshot"), (1 << 31, BadCall, "is not the id of a snapshot")],
)  # fmt: skip
def test_snapshots_that_are_none(layered: Golden, number: int, kind: type[StorageError], words: str) -> None:
    before = tree(layered.world.root)
    with pytest.raises(kind, match=words):
        act("tm_snap_revert", **layered.options(snapshot_id=number))
    if number != 9:
        with pytest.raises(kind, match=words):
            act("tm_snap_delete", **layered.options(snapshot_id=number))
    else:
        assert act("tm_snap_delete", **layered.options(snapshot_id=number))["changed"] is False
    assert tree(layered.world.root) == before


def test_the_image_itself_is_no_snapshot_to_delete(world: World) -> None:
    disk = grown(Golden.made(world, SHAPE["persistent"]), 1)
    with pytest.raises(Refused, match="^Snapshot 0 of .* is the image itself, which cannot go"):
        act("tm_snap_delete", **disk.options(snapshot_id=0))
    disk.check()


@pytest.mark.parametrize("target", ["{root}/2/other", "../6/disk.0", "disk.1.snap/0", "/etc/hostname", "nowhere"])
@pytest.mark.parametrize("shape", [SHAPE["raw"], SHAPE["own layers"], SHAPE["persistent"]], ids=str)
def test_a_disk_that_leads_elsewhere(world: World, shape: Shape, target: str) -> None:
    disk = Golden.made(world, shape)
    (world.root / "2" / "other").write_bytes(b"other")
    disk.path.unlink()
    disk.path.symlink_to(target.format(root=world.root))
    before = tree(world.root)
    for action, more in (("tm_snap_create", {"snapshot_id": 0}), ("tm_resize", {"size": 9})):
        with pytest.raises(Refused, match="which is not its own"):
            act(action, **disk.options(**more))
    assert tree(world.root) == before


def test_a_disk_is_not_saved_over_itself(world: World) -> None:
    disk = Golden.made(world, SHAPE["raw, persistent"])
    with pytest.raises(Refused, match="is the image .* itself"):
        act("tm_cpds", **disk.options(destination=world.images / disk.shape.image, force=True))
    disk.check()


def test_a_file_that_a_vm_uses_is_refused(layered: Golden) -> None:
    """oned may err, qemu's lock does not: a layer that is written to is not given another backing file."""
    import subprocess

    argv = ["qemu-io", "-f", "qcow2", str(layered.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as guest:
        assert guest.stdin and guest.stdout
        guest.stdin.write(b"read 0 512\n")
        assert guest.stdout.read(4)
        with pytest.raises(ToolFailed, match="nothing was changed"):
            act("tm_snap_delete", **layered.options(snapshot_id=2))
        guest.stdin.close()
    layered.check()
