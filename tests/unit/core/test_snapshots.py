# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of images: after every action, and every death in the middle of one, what is to stay reads as before."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError
from tests.unit.core.cases import CASES, Case
from tests.unit.core.chains import NAME, SIZE, Chain, branched, copies, layers
from tests.unit.core.conftest import new_folder
from tests.unit.core.support import MIB, World, act, bytes_of, explained, info, killed_at_change, tool
from tests.unit.core.test_faults import Copies, deaths


def no_digest(chain: Chain) -> bool:
    return not (chain.world.images / f"{NAME}.md5sum").exists()


#: Chains by what they are: how layers name each other, and where the bottom lies.
SHAPES: dict[str, dict[str, bool]] = {
    "absolute": {},
    "relative": {"relative": True},
    "linked": {"linked": True},
    "relative, linked": {"relative": True, "linked": True},
    "bare, linked": {"bare": True, "linked": True},
}
PER_SHAPE = pytest.mark.parametrize("how", SHAPES.values(), ids=SHAPES.keys())
#: Every shape with one and two layers; twenty of one shape, and of all where there is time.
PER_SHAPE_AND_COUNT = pytest.mark.parametrize(
    ("how", "count"),
    [
        pytest.param(
            how, count, id=f"{count}-{name}", marks=[pytest.mark.full] if count > 2 and name != "linked" else []
        )
        for count in (1, 2, 20)
        for name, how in SHAPES.items()
    ],
)


# ---------------------------------------------------------------- revert


@PER_SHAPE_AND_COUNT
def test_a_revert_begins_again_on_the_snapshot(world: World, how: dict[str, bool], count: int) -> None:
    chain = layers(world, count, **how)
    for target in {0, count // 2, count - 1}:
        chain.run("revert", target)
        chain.check(now=chain.golden[target])
        assert info(chain.active())["backing-filename-format"] == "qcow2"
        folder = "" if how.get("bare") else f"{NAME}.snap" if how.get("relative") else str(chain.snap)
        assert info(chain.active())["backing-filename"] == os.path.join(folder, str(target))
    assert no_digest(chain)
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_revert_of_copies_brings_the_copy_back(world: World, image_format: str) -> None:
    chain = copies(world, 2, image_format)
    chain.run("revert", 0)
    chain.check(now=chain.golden[0])
    assert no_digest(chain)
    assert world.is_tidy()


# ---------------------------------------------------------------- flatten


@PER_SHAPE_AND_COUNT
def test_a_flattened_image_stands_alone(world: World, how: dict[str, bool], count: int) -> None:
    for target in {0, count // 2, count - 1}:
        chain = layers(world, count, **how)
        chain.run("flatten", target)
        assert not chain.snap.exists()
        assert not chain.source.is_symlink()
        assert "backing-filename" not in info(chain.source)
        assert bytes_of(chain.source, "qcow2") == chain.golden[target]
        assert no_digest(chain)
        assert world.is_tidy()
        chain.source.unlink()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_flattened_image_of_copies_is_the_copy(world: World, image_format: str) -> None:
    chain = copies(world, 3, image_format)
    chain.run("flatten", 1)
    assert not chain.snap.exists()
    assert bytes_of(chain.source, image_format) == chain.golden[1]
    assert no_digest(chain)


# ---------------------------------------------------------------- delete


@PER_SHAPE
def test_a_leaf_goes(world: World, how: dict[str, bool]) -> None:
    chain = branched(world, **how)
    chain.run("delete", 1)
    assert not (chain.snap / "1").exists()
    chain.check(1)
    assert no_digest(chain)
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_copy_goes(world: World, image_format: str) -> None:
    chain = copies(world, 3, image_format)
    chain.run("delete", 1)
    assert sorted(path.name for path in chain.snap.iterdir()) == ["0", "2"]
    chain.check(1)


@PER_SHAPE_AND_COUNT
def test_layers_that_stand_on_a_snapshot_keep_it(world: World, how: dict[str, bool], count: int) -> None:
    chain = layers(world, count, **how)
    before = world.tree()
    for target in {0, count // 2, count - 1}:
        with pytest.raises(Refused, match=f"is needed by layer {target + 1} "):
            chain.run("delete", target)
    assert world.tree() == before


@PER_SHAPE_AND_COUNT
def test_orphans_are_given_the_data(world: World, how: dict[str, bool], count: int) -> None:
    """With ALLOW_ORPHANS=YES oned deletes any: first the bottom, then the top, then the rest."""
    signal.alarm(120)
    chain = layers(world, count, **how)
    gone: list[int] = []
    for target in sorted(range(count), key=lambda number: (min(number, count - 1 - number), number)):
        chain.run("delete", target, allow_orphans=True)
        gone.append(target)
        assert not os.path.lexists(chain.snap / str(target))
        if count < 20 or len(gone) in (1, 2, 12, 20):
            chain.check(*gone)
        assert chain.source.exists()
    assert "backing-filename" not in info(chain.active())
    assert chain.source.resolve() == chain.active().resolve(), "the image is not the oldest of its layers for ever"
    assert world.is_tidy()


@PER_SHAPE
def test_every_orphan_is_given_the_data(world: World, how: dict[str, bool]) -> None:
    chain = branched(world, **how)
    chain.run("delete", 0, allow_orphans=True)
    chain.check(0)
    assert not os.path.lexists(chain.snap / "0")
    chain.run("delete", 2, allow_orphans=True)
    chain.check(0, 2)


# ---------------------------------------------------------------- shapes that others leave


def test_a_marker_says_which_file_holds_a_snapshot(world: World) -> None:
    """As a live deletion of snapshot 0 leaves it: the data of 1 was written into the file of 0 (contract-tm 6.4)."""
    chain = layers(world, 3)
    tool("qemu-img", "commit", "-q", "-f", "qcow2", "-d", chain.snap / "1")
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", chain.snap / "0", chain.snap / "2")
    (chain.snap / "1").unlink()
    (chain.snap / "1.current").write_text(f"{chain.snap}/0")
    chain.check(0)
    # oned knows of no snapshot 0 any more; a call that comes again must not take the file of 1
    assert not chain.run("delete", 0, allow_orphans=True)["changed"]
    chain.check(0)
    chain.run("revert", 1)
    chain.check(0, now=chain.golden[1])
    with pytest.raises(Refused, match="is needed by layer 2, 3 "):
        chain.run("delete", 1)
    chain.run("delete", 1, allow_orphans=True)
    chain.check(0, 1, now=chain.golden[1])
    assert sorted(path.name for path in chain.snap.iterdir()) == ["2", "3", f"{NAME}.snap"]
    assert world.is_tidy()


def test_a_marker_that_a_move_made_stale_still_counts(world: World) -> None:
    chain = branched(world)
    (chain.snap / "1").rename(chain.snap / "7")
    (chain.snap / "1.current").write_text("/var/lib/one/datastores/0/5/disk.0.snap/7\n")
    (chain.snap / "3").rename(chain.snap / "8")
    chain.run("flatten", 1)
    assert bytes_of(chain.source, "qcow2") == chain.golden[1]


@pytest.mark.parametrize("how", [{}, {"relative": True}], ids=["absolute", "relative"])
def test_a_disk_that_grew_between_snapshots(world: World, how: dict[str, bool]) -> None:
    """Behind the old end there is nothing, however the layers below are folded."""
    chain = layers(world, 3, **how)
    for number in (2, 3):
        tool("qemu-img", "resize", "-q", "-f", "qcow2", chain.snap / str(number), str(SIZE + number * MIB))
    tool("qemu-io", "-f", "qcow2", "-c", f"write -q -P 0x42 {SIZE + MIB} 64k", chain.snap / "3")
    chain.look()
    assert len(chain.golden[-1]) == SIZE + 3 * MIB and len(chain.golden[2]) == SIZE + 2 * MIB
    for number in (1, 0):
        chain.run("delete", number, allow_orphans=True)
        chain.check(0, 1) if number == 0 else chain.check(1)
    chain.run("revert", 2)
    chain.check(0, 1, now=chain.golden[2])


def test_what_is_gone_is_a_success(world: World) -> None:
    chain = branched(world)
    chain.run("delete", 1)
    before = world.tree()
    assert not chain.run("delete", 1)["changed"]
    assert not chain.run("delete", 9)["changed"]
    assert world.tree() == before
    chain.run("flatten", 0)
    before = world.tree()
    assert not chain.run("flatten", 0)["changed"]
    assert world.tree() == before


def test_a_revert_that_was_done_is_not_done_again(world: World) -> None:
    chain = branched(world)
    assert chain.run("revert", 1)["changed"]
    inode = chain.active().stat().st_ino
    assert not chain.run("revert", 1)["changed"]
    assert chain.active().stat().st_ino == inode
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x11 0 64k", chain.active())
    assert chain.run("revert", 1)["changed"]
    chain.check(now=chain.golden[1])


def test_a_revert_mends_a_broken_active_layer(world: World) -> None:
    chain = branched(world)
    chain.active().write_bytes(b"QFI\xfb")
    chain.run("revert", 2)
    chain.check(now=chain.golden[2])


@pytest.mark.parametrize("action", ["delete", "revert", "flatten"])
@pytest.mark.parametrize("make", [branched, lambda world: copies(world, 2)], ids=["layers", "copies"])
def test_a_check_changes_nothing(world: World, action: str, make: Callable[[World], Chain]) -> None:
    chain = make(world)
    before = world.tree()
    result = explained(f"ds_snap_{action}", **chain.options(1))
    assert result["changed"] and result["actions"]
    assert world.tree() == before and not world.hidden()


def test_a_guest_that_writes_a_header_changes_no_format(world: World) -> None:
    """What is in a raw image is the guest's: it is never opened as a qcow2 image (rule 10)."""
    chain = copies(world, 2)
    outside = world.root / "secret"
    outside.write_bytes(b"not for guests" * 100)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", outside, chain.snap / "0")
    os.truncate(chain.snap / "0", SIZE)
    chain.golden[0] = (chain.snap / "0").read_bytes()
    chain.run("revert", 0)
    assert chain.source.read_bytes() == chain.golden[0]
    chain.run("flatten", 1)
    assert chain.source.read_bytes() == chain.golden[1]


# ---------------------------------------------------------------- clone and rm of such images


@PER_SHAPE
def test_a_clone_holds_what_the_image_holds(world: World, how: dict[str, bool]) -> None:
    chain = branched(world, **how)
    result = act(
        "ds_clone", driver="fs", datastore=world.root / "2", datastore_id=2, image_id=9, regtime=1, source=chain.source,
        format="qcow2",
    )  # fmt: skip
    copy = Path(result["source"])
    assert "backing-filename" not in info(copy)
    assert bytes_of(copy, "qcow2") == chain.golden[-1]
    chain.check()


@pytest.mark.parametrize("make", [*(lambda world, how=how: layers(world, 2, **how) for how in SHAPES.values()),
                                  lambda world: copies(world, 2)], ids=[*SHAPES, "copies"])  # fmt: skip
def test_a_removed_image_takes_all_with_it(world: World, make: Callable[[World], Chain]) -> None:
    chain = make(world)
    other = world.raw()
    act("ds_rm", driver="fs", datastore=world.images, source=chain.source)
    assert [path for path in world.images.iterdir() if not path.name.startswith(".")] == [other]
    assert world.is_tidy()


# ---------------------------------------------------------------- refused


def rebased(chain: Chain, number: int, *words: str | Path) -> None:
    """Change what a layer names, and nothing else."""
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", *words, chain.snap / str(number))


def loop(chain: Chain) -> None:
    rebased(chain, 1, "-F", "qcow2", "-b", chain.snap / "2")


def elsewhere(chain: Chain) -> None:
    other = chain.world.root / "2" / "other"
    tool("qemu-img", "create", "-q", "-f", "qcow2", other, str(SIZE))
    rebased(chain, 1, "-F", "qcow2", "-b", other)


def missing(chain: Chain) -> None:
    (chain.snap / "1").unlink()


def network(chain: Chain) -> None:
    rebased(chain, 1, "-F", "raw", "-b", "nbd://127.0.0.1:1/x")


def pseudo(chain: Chain) -> None:
    rebased(chain, 1, "-F", "qcow2", "-b", 'json:{"driver":"qcow2","file":{"filename":"/etc/passwd"}}')


def wrong(chain: Chain) -> None:
    bottom = chain.snap / "plain"
    bottom.write_bytes(bytes(SIZE))
    rebased(chain, 1, "-F", "qcow2", "-b", bottom)


def silent(chain: Chain) -> None:
    """A backing file without a format: qemu would guess it from what the guest wrote."""
    path = chain.snap / "1"
    data = bytearray(path.read_bytes())
    at = data.index((0xE2792ACA).to_bytes(4, "big"))
    data[at : at + 4] = (0x12345678).to_bytes(4, "big")
    path.write_bytes(data)


def cut(chain: Chain) -> None:
    os.truncate(chain.snap / "1", 80)


def outer(chain: Chain) -> None:
    data = bytearray((chain.snap / "1").read_bytes())
    data[79] |= 4
    (chain.snap / "1").write_bytes(data)


def self_link(chain: Chain) -> None:
    (chain.snap / f"{NAME}.snap").unlink()


#: How a chain can be bad, and what is said.
HOSTILE: list[tuple[Callable[[Chain], None], type[StorageError], str]] = [
    (loop, Corrupt, "form a loop"),
    (elsewhere, Refused, r"leads to .*/2/other, outside of .*/1"),
    (missing, Missing, r"The layer .*\.snap/1 is not there, and .*\.snap/2 stands on it"),
    (network, Refused, "stands on 'nbd://127.0.0.1:1/x', which is no file"),
    (pseudo, Refused, "which is no file"),
    (wrong, Corrupt, "plain is not a qcow2 image"),
    (silent, Refused, "does not say which format its backing file has"),
    (cut, Corrupt, "cut off"),
    (outer, Refused, "keeps its data in another file"),
]


@pytest.mark.parametrize(("spoil", "kind", "said"), HOSTILE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_chain_that_is_not_sound_is_not_opened(
    world: World, spoil: Callable[[Chain], None], kind: type[StorageError], said: str
) -> None:
    chain = layers(world, 3)
    spoil(chain)
    before = world.tree()
    for action in ("revert", "flatten"):
        with pytest.raises(kind, match=said):
            chain.run(action, 2)
        assert world.tree() == before
        assert world.is_tidy()
    with pytest.raises(kind, match=said):
        chain.run("delete", 0, allow_orphans=True)
    assert world.tree() == before
    assert world.is_tidy()


def test_relative_names_need_the_link_to_their_directory(world: World) -> None:
    chain = layers(world, 2, relative=True)
    self_link(chain)
    with pytest.raises(Missing, match=r"The layer .* is not there, and .*\.snap/1 stands on it"):
        chain.run("revert", 1)


def folder_is_a_link(chain: Chain) -> None:
    chain.snap.rename(chain.world.root / "2" / "snap")
    chain.snap.symlink_to(chain.world.root / "2" / "snap")


#: Calls that cannot be done: what is there, the action, the snapshot, options, what is said.
BAD: list[tuple[str, Callable[[World], Chain], Callable[[Chain], object], str, int, type[StorageError], str]] = [
    ("gone", branched, lambda chain: None, "revert", 9, Missing, "Snapshot 9 of .* is not there"),
    ("gone", branched, lambda chain: None, "flatten", 9, Missing, "Snapshot 9 of .* is not there"),
    ("active", branched, lambda chain: None, "delete", 3, Refused, "which the image is written to"),
    ("active", branched, lambda chain: None, "revert", 3, Refused, "which the image is written to"),
    ("active", branched, lambda chain: None, "flatten", 3, Refused, "which the image is written to"),
    ("no number", branched, lambda chain: None, "delete", -1, BadCall, "-1 is not the id of a snapshot"),
    ("no image", branched, lambda chain: chain.source.unlink(), "delete", 1, Missing, "The image .* is not there"),
    ("linked folder", branched, folder_is_a_link, "flatten", 1, Refused, "is not a directory in the file system"),
    ("layers of raw", branched, lambda chain: setattr(chain, "image_format", "raw"), "revert", 1, Refused,
     r"has layers in .*\.snap, and its format is raw .*FORMAT in OpenNebula should be qcow2"),
    ("empty copy", lambda world: copies(world, 2), lambda chain: os.truncate(chain.snap / "1", 0), "revert", 1,
     Corrupt, "1 is empty, or no file"),
    ("empty qcow2 copy", lambda world: copies(world, 2, "qcow2"), lambda chain: os.truncate(chain.snap / "1", 0),
     "flatten", 1, Corrupt, "1 is not a qcow2 image"),
    ("needed", lambda world: layers(world, 2), lambda chain: rebased(chain, 1, "-F", "qcow2", "-b", chain.snap / "2"),
     "revert", 0, Refused, r"2 cannot begin again: layer 1 needs its data"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "spoil", "action", "number", "kind", "said"),
    BAD,
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", str(value)),
)
def test_what_cannot_be_done_changes_nothing(
    world: World,
    name: str,
    make: Callable[[World], Chain],
    spoil: Callable[[Chain], object],
    action: str,
    number: int,
    kind: type[StorageError],
    said: str,
) -> None:
    chain = make(world)
    spoil(chain)
    before = world.tree()
    with pytest.raises(kind, match=said):
        chain.run(action, number)
    assert world.tree() == before
    assert world.is_tidy()


def test_an_image_elsewhere_is_not_touched(world: World) -> None:
    chain = branched(world)
    given = {**chain.options(1), "datastore": world.root / "2"}
    with pytest.raises(Refused, match="is not inside"):
        act("ds_snap_delete", **given)
    with pytest.raises(Refused, match="is not an image of"):
        act("ds_snap_delete", **{**chain.options(1), "source": chain.snap / "1"})
    chain.check()


# ---------------------------------------------------------------- killed

KILLED = [case for case in CASES if case.action.startswith("ds_snap")]


def whole_after(case: Case, world: World, before: dict[int, bytes]) -> None:
    """Without any recovery: all snapshots but the one that goes read as before, the image as before or afterwards."""
    image_format = str(case.options(world)["format"])
    chain = Chain(world, image_format, layered=image_format == "qcow2")
    target = int(case.options(world)["snapshot"])
    flat = case.action == "ds_snap_flatten"
    if flat and image_format == "raw" and not chain.snap.exists():
        # the only moment in which something is out of its place: the image is what it was, or all is done
        act("ds_rm", driver="fs", datastore=world.images, source=world.images / "nothing")
    for number, data in before.items():
        if number < 0:
            assert chain.view(-1) in ([data] if case.action == "ds_snap_delete" else [data, before[target]])
        elif os.path.lexists(chain.snap / str(number)) or not (flat or number == target):
            assert chain.view(number) == data or (number == target and case.action == "ds_snap_delete"), number
    if not chain.snap.exists():
        assert flat and bytes_of(chain.source, image_format) == before[target]


@pytest.mark.parametrize("case", KILLED, ids=str)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_between_steps_nothing_is_lost(case: Case, after: bool) -> None:
    copied = Copies(new_folder(), case)
    try:
        before = golden(case, copied)
        for _point, world in deaths(case, copied, after):
            whole_after(case, world, before)
    finally:
        shutil.rmtree(copied.place.parent)


@pytest.mark.full
@pytest.mark.parametrize("case", KILLED, ids=str)
def test_killed_at_any_moment_nothing_is_lost(case: Case) -> None:
    signal.alarm(200)
    copied = Copies(new_folder(), case)
    try:
        before = golden(case, copied)
        for number in itertools.count():
            world = copied.fresh()
            survived = not killed_at_change(number, case.action, case.options(world))
            whole_after(case, world, before)
            if survived:
                assert number > 10
                break
    finally:
        shutil.rmtree(copied.place.parent)


def golden(case: Case, copied: Copies) -> dict[int, bytes]:
    """What is in the image and its snapshots before."""
    world = copied.fresh()
    image_format = str(case.options(world)["format"])
    return Chain(world, image_format, layered=image_format == "qcow2").look().golden
