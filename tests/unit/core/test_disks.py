# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of VMs, really made: contents, layouts and links exactly as the contract has them (contract-tm 6)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Missing, NoAccess
from tests.unit.core.cases import MIXED, QCOW2, SSH
from tests.unit.core.support import (
    CHAINED,
    MIB,
    OVERLAID,
    PLAIN,
    World,
    act,
    bytes_of,
    content,
    explained,
    info,
    iso_listing,
    pattern,
    tool,
)

ALL = pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)


def disk_of(world: World, action: str, driver: dict[str, Any], image: str, **more: Any) -> dict[str, Any]:
    """Clone or link an image of datastore 1 as disk 0 of VM 5."""
    image_format = "raw" if image == PLAIN else "qcow2"
    given = {"datastore": world.system, "source": world.images / image, "destination": world.disk()}
    return act(action, **driver, **given, format=image_format, **more)


def layered_content() -> bytes:
    """What a guest sees in the layered image of a world."""
    whole = pattern(CHAINED, 70000) + bytes(2 * MIB - 70000)
    return whole[:65536] + b"\x5a" * 65536 + whole[131072:]


# ---------------------------------------------------------------- clone


def test_a_qcow2_clone_is_an_overlay_with_the_layout_of_stock(images: World) -> None:
    before = content(images.images / OVERLAID)
    result = disk_of(images, "tm_clone", QCOW2, OVERLAID)
    disk, snap = images.disk(), images.disk("disk.0.snap")
    assert result["changed"] and result["path"] == str(disk)
    assert os.readlink(disk) == "disk.0.snap/0"
    assert sorted(os.listdir(snap)) == ["0", "disk.0.snap"]
    assert os.readlink(snap / "disk.0.snap") == "."
    layer = info(snap / "0")
    assert layer["backing-filename"] == str(images.images / OVERLAID)
    assert (layer["backing-filename-format"], layer["format"], layer["virtual-size"]) == ("qcow2", "qcow2", 2 * MIB)
    assert bytes_of(disk, "qcow2", 70000) == pattern(OVERLAID, 70000)
    assert content(images.images / OVERLAID) == before
    assert images.is_tidy()


def test_a_disk_takes_writes_and_the_image_does_not_change(images: World) -> None:
    before = content(images.images / OVERLAID)
    disk_of(images, "tm_clone", QCOW2, OVERLAID)
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x11 0 64k", images.disk())
    assert bytes_of(images.disk(), "qcow2", 65536) == b"\x11" * 65536
    assert content(images.images / OVERLAID) == before


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("standalone", [True, False])
def test_a_clone_that_was_asked_for_larger(images: World, sparse: bool, standalone: bool) -> None:
    disk_of(images, "tm_clone", QCOW2, OVERLAID, size=4, original_size=2, sparse=sparse, standalone=standalone)
    assert info(images.disk())["virtual-size"] == 4 * MIB
    seen = bytes_of(images.disk(), "qcow2")
    assert seen == pattern(OVERLAID, 70000) + bytes(4 * MIB - 70000)


def test_a_standalone_clone_names_no_backing_file(images: World) -> None:
    disk_of(images, "tm_clone", QCOW2, CHAINED, standalone=True)
    assert "backing-filename" not in info(images.disk("disk.0.snap") / "0")
    assert bytes_of(images.disk(), "qcow2") == layered_content()


def test_a_clone_without_sparseness_is_allocated(images: World) -> None:
    disk_of(images, "tm_clone", QCOW2, OVERLAID, standalone=True, sparse=False)
    assert info(images.disk("disk.0.snap") / "0")["actual-size"] >= 2 * MIB
    disk_of(images, "tm_clone", QCOW2, OVERLAID, standalone=True, sparse=True, force=True)
    assert info(images.disk("disk.0.snap") / "0")["actual-size"] < MIB


def test_the_clone_of_a_layered_image_starts_at_its_active_layer(images: World) -> None:
    disk_of(images, "tm_clone", QCOW2, CHAINED)
    assert info(images.disk("disk.0.snap") / "0")["backing-filename"] == str(images.images / CHAINED)
    assert bytes_of(images.disk(), "qcow2") == layered_content()


def test_further_options_of_qemu_img_reach_it(images: World) -> None:
    disk_of(images, "tm_clone", QCOW2, OVERLAID, qcow2_options=["-o", "cluster_size=131072"])
    assert info(images.disk("disk.0.snap") / "0")["cluster-size"] == 131072


@ALL
def test_a_raw_clone_is_a_file_with_the_images_holes(disk_world: World, driver: dict[str, Any]) -> None:
    disk_world.raw(size=64 * MIB)
    disk_of(disk_world, "tm_clone", driver, PLAIN)
    disk = disk_world.disk()
    assert not disk.is_symlink()
    assert disk.read_bytes() == (disk_world.images / PLAIN).read_bytes()
    assert disk.stat().st_blocks * 512 < MIB
    assert not disk_world.disk("disk.0.snap").exists()


@ALL
def test_a_raw_clone_grows(images: World, driver: dict[str, Any]) -> None:
    disk_of(images, "tm_clone", driver, PLAIN, size=4, original_size=2)
    assert images.disk().stat().st_size == 4 * MIB
    assert images.disk().read_bytes().startswith(pattern(PLAIN, 70000))


def test_raw_stays_raw_whatever_its_first_bytes_say(images: World) -> None:
    """A guest may write a qcow2 header into its raw disk that names a file of the host as backing file."""
    secret = images.root / "secret"
    secret.write_bytes(b"secret" * 20000)
    evil = images.images / PLAIN
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, evil)
    os.truncate(evil, 2 * MIB)
    for driver in (QCOW2, SSH, MIXED):
        disk_of(images, "tm_clone", driver, PLAIN, size=4, original_size=2, force=True)
        assert images.disk().read_bytes()[: 2 * MIB] == evil.read_bytes()
        assert images.disk().stat().st_size == 4 * MIB


def test_a_mixed_clone_stands_alone_and_marks_the_datastore(images: World) -> None:
    disk_of(images, "tm_clone", MIXED, CHAINED)
    assert os.readlink(images.disk()) == "disk.0.snap/0"
    assert "backing-filename" not in info(images.disk("disk.0.snap") / "0")
    assert bytes_of(images.disk(), "qcow2") == layered_content()
    assert (images.system / ".monitor").read_text() == "ssh\n"


def test_the_ssh_driver_brings_layers_and_makes_them_work_under_the_new_name(images: World) -> None:
    disk_of(images, "tm_clone", SSH, CHAINED)
    disk, snap = images.disk(), images.disk("disk.0.snap")
    assert os.readlink(disk) == "disk.0.snap/1"
    assert os.readlink(snap / "disk.0.snap") == "."
    assert info(snap / "1")["backing-filename"] == "disk.0.snap/0"
    assert "backing-filename" not in info(snap / "0")
    assert bytes_of(disk, "qcow2") == layered_content()
    assert (images.system / ".monitor").read_text() == "ssh\n"
    assert images.is_tidy()


def test_a_layered_disk_grows_at_its_active_layer(images: World) -> None:
    disk_of(images, "tm_clone", SSH, CHAINED, size=4, original_size=2)
    assert info(images.disk())["virtual-size"] == 4 * MIB
    assert bytes_of(images.disk(), "qcow2") == layered_content() + bytes(2 * MIB)


def test_the_marker_goes_with_a_shared_clone(images: World) -> None:
    (images.system / ".monitor").write_text("ssh\n")
    disk_of(images, "tm_clone", QCOW2, OVERLAID)
    assert not (images.system / ".monitor").exists()
    assert images.is_tidy()


@ALL
@pytest.mark.parametrize("image", [PLAIN, OVERLAID, CHAINED])
@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_a_second_run_changes_nothing(images: World, driver: dict[str, Any], action: str, image: str) -> None:
    disk_of(images, action, driver, image)
    once = images.tree()
    again = disk_of(images, action, driver, image)
    assert not again["changed"] and again["actions"] == [] and again["changes"] == []
    assert images.tree() == once
    assert images.is_tidy()


@ALL
@pytest.mark.parametrize("image", [PLAIN, OVERLAID, CHAINED])
@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_a_forced_run_over_anything_gives_the_fresh_layout(
    images: World, driver: dict[str, Any], action: str, image: str
) -> None:
    disk_of(images, action, driver, image)
    fresh = images.tree()
    act("tm_delete", **driver, datastore=images.system, path=images.disk().parent)
    images.disk("disk.0.snap").mkdir(parents=True)
    (images.disk("disk.0.snap") / "7").write_text("an old layer")
    images.disk().write_text("an old disk")
    disk_of(images, action, driver, image, force=True)
    assert images.tree() == fresh
    assert images.is_tidy()


@ALL
@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_check_mode_says_the_steps_and_changes_nothing(images: World, driver: dict[str, Any], action: str) -> None:
    before = sorted(images.root.rglob("*"))
    given = {"datastore": images.system, "source": images.images / OVERLAID, "destination": images.disk()}
    said = explained(action, **driver, **given, format="qcow2")
    assert said["changed"] and said["actions"]
    assert str(images.disk()) in [change["path"] for change in said["changes"]]
    assert sorted(images.root.rglob("*")) == before
    done = act(action, **driver, **given, format="qcow2")
    assert done["actions"] == said["actions"]
    assert done["changes"] == said["changes"]
    again = explained(action, **driver, **given, format="qcow2")
    assert not again["changed"]


@pytest.mark.parametrize("name", ["kernel", "initrd"])
@ALL
def test_kernels_are_plain_copies(images: World, driver: dict[str, Any], name: str) -> None:
    given = {"datastore": images.system, "source": images.images / PLAIN, "destination": images.disk(name)}
    act("tm_clone", **driver, **given, format="raw")
    assert images.disk(name).read_bytes() == (images.images / PLAIN).read_bytes()
    assert not images.disk(name).is_symlink()


def test_the_new_disk_can_be_read_and_written_by_its_owner_alone(images: World) -> None:
    disk_of(images, "tm_clone", QCOW2, OVERLAID)
    disk_of(images, "tm_clone", QCOW2, PLAIN, force=True)
    mode = images.disk().stat().st_mode & 0o777
    assert mode & 0o600 == 0o600 and not mode & 0o022


# ---------------------------------------------------------------- ln


def test_a_persistent_qcow2_disk_links_to_the_active_layer_of_its_image(images: World) -> None:
    before = content(images.images / OVERLAID)
    result = disk_of(images, "tm_ln", QCOW2, OVERLAID)
    snap = images.images / f"{OVERLAID}.snap"
    assert result["target"] == str(snap / "0")
    assert os.readlink(images.disk()) == str(snap / "0")
    assert os.readlink(snap / "0") == str(images.images / OVERLAID)
    assert os.readlink(snap / f"{OVERLAID}.snap") == "."
    assert sorted(os.listdir(snap)) == ["0", f"{OVERLAID}.snap"]
    assert not images.disk("disk.0.snap").exists()
    assert content(images.images / OVERLAID) == before


@pytest.mark.parametrize(("layers", "active"), [("0 1 2", "2"), ("9 10", "10"), ("0 3 3.current x", "3")])
def test_the_highest_number_is_the_active_layer(images: World, layers: str, active: str) -> None:
    snap = images.images / f"{OVERLAID}.snap"
    snap.mkdir()
    below = images.images / OVERLAID
    for name in layers.split():
        if name.isdigit():
            tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, snap / name)
            below = snap / name
        else:
            (snap / name).write_text(name)
    disk_of(images, "tm_ln", QCOW2, OVERLAID)
    assert os.readlink(images.disk()) == str(snap / active)


def test_a_persistent_raw_disk_is_the_image(images: World) -> None:
    disk_of(images, "tm_ln", QCOW2, PLAIN)
    assert os.readlink(images.disk()) == str(images.images / PLAIN)
    assert not (images.images / f"{PLAIN}.snap").exists()


def test_a_link_to_another_image_is_replaced(images: World) -> None:
    disk_of(images, "tm_ln", QCOW2, PLAIN)
    disk_of(images, "tm_ln", QCOW2, OVERLAID)
    assert os.readlink(images.disk()) == str(images.images / f"{OVERLAID}.snap/0")


@pytest.mark.parametrize(("driver", "image"), [(MIXED, CHAINED), (SSH, CHAINED)])
def test_a_copied_persistent_image_keeps_its_layers(images: World, driver: dict[str, Any], image: str) -> None:
    disk_of(images, "tm_ln", driver, image)
    snap = images.disk("disk.0.snap")
    assert sorted(os.listdir(snap)) == ["0", "1", "disk.0.snap"]
    assert os.readlink(images.disk()) == "disk.0.snap/1"
    assert info(snap / "1")["backing-filename"] == "disk.0.snap/0"
    assert bytes_of(images.disk(), "qcow2") == layered_content()


def test_a_copied_persistent_image_that_was_linked_before_brings_its_first_layer(images: World) -> None:
    """The first `ln` of the shared driver left a numbered link to the image: it stands for the image itself."""
    disk_of(images, "tm_ln", QCOW2, OVERLAID)
    act("tm_delete", **QCOW2, datastore=images.system, path=images.disk())
    disk_of(images, "tm_ln", MIXED, OVERLAID)
    layer = images.disk("disk.0.snap") / "0"
    assert not layer.is_symlink()
    assert bytes_of(layer, "qcow2", 70000) == pattern(OVERLAID, 70000)
    assert os.readlink(images.disk()) == "disk.0.snap/0"


def test_layers_with_absolute_names_as_stock_leaves_them(images: World) -> None:
    """The image's name may well be all digits, and is no layer then either."""
    assert OVERLAID.isdigit()
    snap = images.images / f"{OVERLAID}.snap"
    disk_of(images, "tm_ln", QCOW2, OVERLAID)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", images.images / OVERLAID, snap / "1")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snap / "1", snap / "2")
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x77 1M 64k", snap / "2")
    act("tm_delete", **QCOW2, datastore=images.system, path=images.disk().parent)
    disk_of(images, "tm_ln", MIXED, OVERLAID)
    copied = images.disk("disk.0.snap")
    assert info(copied / "1")["backing-filename"] == "disk.0.snap/0"
    assert info(copied / "2")["backing-filename"] == "disk.0.snap/1"
    seen = bytes_of(images.disk(), "qcow2")
    assert seen[:70000] == pattern(OVERLAID, 70000) and seen[MIB : MIB + 65536] == b"\x77" * 65536


# ---------------------------------------------------------------- mvds


@pytest.mark.parametrize("driver", [SSH, MIXED], ids=str)
def test_a_persistent_raw_disk_goes_back_to_its_image(images: World, driver: dict[str, Any]) -> None:
    disk_of(images, "tm_ln", driver, PLAIN)
    images.disk().write_bytes(b"written by the guest" * 1000)
    for _again in range(2):
        act(
            "tm_mvds",
            **driver,
            datastore=images.system,
            source=images.disk(),
            destination=images.images / PLAIN,
            format="raw",
        )
        assert (images.images / PLAIN).read_bytes() == b"written by the guest" * 1000
    assert images.disk().exists(), "the disk stays until its VM's directory goes, so that a repeated call finds it"
    assert images.is_tidy()


@pytest.mark.parametrize("driver", [SSH, MIXED], ids=str)
def test_a_layered_disk_goes_back_with_its_layers(images: World, driver: dict[str, Any]) -> None:
    disk_of(images, "tm_ln", driver, CHAINED)
    disk, snap = images.disk(), images.disk("disk.0.snap")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "disk.0.snap/1", snap / "2", cwd=snap)
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x77 1M 64k", snap / "2")
    disk.unlink()
    disk.symlink_to("disk.0.snap/2")
    image, layers = images.images / CHAINED, images.images / f"{CHAINED}.snap"
    for _again in range(2):
        act("tm_mvds", **driver, datastore=images.system, source=disk, destination=image, format="qcow2")
        assert os.readlink(image) == f"{CHAINED}.snap/2"
        assert sorted(os.listdir(layers)) == ["0", "1", "2", f"{CHAINED}.snap"]
        # where nodes see the image, a VM may open it next by a link that lies elsewhere
        folder = layers if driver is MIXED else layers.name
        assert info(layers / "2")["backing-filename"] == f"{folder}/1"
        seen = bytes_of(image, "qcow2")
        assert seen[65536:131072] == b"\x5a" * 65536 and seen[MIB : MIB + 65536] == b"\x77" * 65536
    assert images.is_tidy()


# ---------------------------------------------------------------- mv


@ALL
def test_a_directory_moves_with_all_in_it(images: World, driver: dict[str, Any]) -> None:
    disk_of(images, "tm_clone", driver, CHAINED)
    (images.disk().parent / "deployment.0").write_text("<domain/>")
    given = {
        "datastore": images.root / "101",
        "source_datastore": images.system,
        "source": images.disk().parent,
        "destination": images.root / "101/5",
    }
    act("tm_mv", **driver, **given)
    moved = images.disk(system=101)
    assert not images.disk().parent.exists()
    assert bytes_of(moved, "qcow2") == layered_content()
    assert (moved.parent / "deployment.0").read_text() == "<domain/>"
    assert not act("tm_mv", **driver, **given)["changed"]
    assert images.is_tidy()


@ALL
def test_a_directory_that_stands_at_the_other_end_is_replaced(images: World, driver: dict[str, Any]) -> None:
    disk_of(images, "tm_clone", driver, PLAIN)
    old = images.disk(system=101)
    old.parent.mkdir()
    old.write_text("from a migration that failed")
    (old.parent / "disk.9").write_text("old")
    act(
        "tm_mv",
        **driver,
        datastore=images.root / "101",
        source_datastore=images.system,
        source=images.disk().parent,
        destination=old.parent,
    )
    assert sorted(os.listdir(old.parent)) == ["disk.0"]
    assert old.read_bytes() == (images.images / PLAIN).read_bytes()
    assert images.is_tidy()


def test_storage_that_is_in_fact_the_same_is_never_wiped(images: World) -> None:
    disk_of(images, "tm_clone", SSH, PLAIN)
    given = {
        "datastore": images.system,
        "source_datastore": images.system,
        "source": images.disk().parent,
        "destination": images.disk().parent,
    }
    assert not act("tm_mv", **SSH, **given)["changed"]
    assert images.disk().read_bytes() == (images.images / PLAIN).read_bytes()


def test_a_datastore_that_is_a_link_to_the_other_is_never_wiped(images: World) -> None:
    """Two datastores of the configuration, one folder: both ends are one object, which is locked once, and it stays."""
    disk_of(images, "tm_clone", SSH, PLAIN)
    (images.root / "101").rmdir()
    (images.root / "101").symlink_to("100")
    given = {
        "datastore": images.root / "101",
        "source_datastore": images.system,
        "source": images.disk().parent,
        "destination": images.root / "101/5",
    }
    for driver in (SSH, QCOW2):
        assert not act("tm_mv", **driver, **given, lock_timeout=0)["changed"]
        assert images.is_tidy()
        assert images.disk().read_bytes() == (images.images / PLAIN).read_bytes()


# ---------------------------------------------------------------- delete


def test_delete_leaves_nothing_and_takes_nothing_else(images: World) -> None:
    before = images.tree()
    disk_of(images, "tm_clone", QCOW2, OVERLAID)
    outside = images.root / "outside"
    outside.mkdir()
    (outside / "file").write_text("not ours")
    (images.disk().parent / "link").symlink_to(outside)
    act("tm_delete", **QCOW2, datastore=images.system, path=images.disk())
    assert sorted(os.listdir(images.disk().parent)) == ["link"]
    act("tm_delete", **QCOW2, datastore=images.system, path=images.disk().parent)
    assert (outside / "file").read_text() == "not ours"
    (outside / "file").unlink()
    outside.rmdir()
    assert images.tree() == before
    assert not act("tm_delete", **QCOW2, datastore=images.system, path=images.disk().parent)["changed"]


def test_delete_does_not_follow_a_directory_out_of_the_datastore(images: World) -> None:
    outside = images.root / "outside"
    outside.mkdir()
    (outside / "disk.0").write_text("not ours")
    (images.system / "5").symlink_to(outside)
    with pytest.raises(NoAccess, match="not inside"):
        act("tm_delete", **QCOW2, datastore=images.system, path=images.disk())
    assert (outside / "disk.0").read_text() == "not ours"
    act("tm_delete", **QCOW2, datastore=images.system, path=images.disk().parent)
    assert (outside / "disk.0").read_text() == "not ours"
    assert not (images.system / "5").is_symlink()


@ALL
def test_nothing_is_made_through_a_directory_that_leads_out_of_the_datastore(
    images: World, driver: dict[str, Any]
) -> None:
    outside = images.root / "outside"
    outside.mkdir()
    (images.system / "5").symlink_to(outside)
    for action in ("tm_clone", "tm_ln"):
        with pytest.raises(NoAccess, match="not inside"):
            disk_of(images, action, driver, PLAIN)
    assert list(outside.iterdir()) == []
    assert images.is_tidy()


# ---------------------------------------------------------------- new disks


@pytest.mark.parametrize(
    ("image_format", "fs", "kind"),
    [
        ("raw", "", None),
        ("qcow2", "", None),
        ("raw", "ext4", "ext4"),
        ("raw", "ext2", "ext2"),
        ("raw", "ext3", "ext3"),
        ("raw", "xfs", "xfs"),
        ("qcow2", "ext2", "ext2"),
        ("qcow2", "ext3", "ext3"),
        ("qcow2", "ext4", "ext4"),
        ("qcow2", "xfs", "xfs"),
        ("swap", "", "swap"),
    ],
)
def test_an_empty_disk(world: World, image_format: str, fs: str, kind: str | None) -> None:
    size = 320 if fs == "xfs" else 8
    given = {"datastore": world.system, "destination": world.disk(), "size": size}
    act("tm_mkimage", **QCOW2, **given, format=image_format, fs=fs)
    disk = world.disk()
    if image_format == "qcow2":
        assert info(disk)["format"] == "qcow2" and info(disk)["virtual-size"] == size * MIB
        raw = world.root / "raw"
        tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw)
    else:
        raw = disk
        assert disk.stat().st_size == size * MIB
        assert disk.stat().st_blocks * 512 < size * MIB
    if kind:
        assert tool("blkid", "-p", "-o", "value", "-s", "TYPE", raw).strip() == kind
    else:
        assert raw.read_bytes() == bytes(size * MIB)
    assert not act("tm_mkimage", **QCOW2, **given, format=image_format, fs=fs)["changed"]
    assert sorted(os.listdir(disk.parent)) == ["disk.0"]
    assert world.is_tidy()


def test_options_of_mkfs_reach_it(world: World) -> None:
    given = {"datastore": world.system, "destination": world.disk(), "size": 8}
    act("tm_mkimage", **QCOW2, **given, fs="ext4", fs_options=["-L", "a name"])
    assert tool("blkid", "-p", "-o", "value", "-s", "LABEL", world.disk()).strip() == "a name"


def test_a_swap_disk_has_its_label(world: World) -> None:
    act("tm_mkswap", **SSH, datastore=world.system, destination=world.disk(), size=8)
    assert content(world.disk()) == ("swap", str(8 * MIB), "swap")


# ---------------------------------------------------------------- context


def test_the_context_image_holds_the_files_under_their_names(world: World) -> None:
    names = ["plain", "with blank", "x=y", "back\\slash", "star*?[a]", "-dash", "quote'\"", "ümläut", "long " * 20]
    items, expected = [], {}
    for number, name in enumerate(names):
        source = world.root / f"source {number}=\\*"
        source.write_text(f"content of {name}")
        items.append(f"{source}:{name}")
        expected[name] = f"content of {name}"
    own = world.root / "own name.txt"
    own.write_text("mine")
    items.append(str(own))
    expected["own name.txt"] = "mine"
    act("tm_context", **QCOW2, datastore=world.system, destination=world.disk("disk.1"), files=items)
    iso = world.disk("disk.1")
    out = world.root / "out"
    tool("xorriso", "-no_rc", "-osirrox", "on", "-indev", f"stdio:{iso}", "-extract", "/", out)
    assert {path.name: path.read_text() for path in out.iterdir()} == expected
    assert iso_listing(iso)
    assert tool("blkid", "-p", "-o", "value", "-s", "LABEL", iso).strip() == "CONTEXT"
    header = iso.read_bytes()[16 * 2048 : 20 * 2048]
    assert b"%/E" in header, "Joliet"
    assert sorted(os.listdir(iso.parent)) == ["disk.1"]
    assert world.is_tidy()


def test_a_directory_goes_into_the_context_image_with_all_in_it(world: World) -> None:
    folder = world.root / "scripts"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    act("tm_context", **QCOW2, datastore=world.system, destination=world.disk("disk.1"), files=[str(folder)])
    assert "/scripts/deep/file" in iso_listing(world.disk("disk.1"))


def test_the_same_name_twice_in_a_context_image(world: World) -> None:
    """The later file wins, as it does when stock copies one after the other into a folder."""
    for name in ("one", "two"):
        (world.root / name).write_text(name * 10)
    files = [f"{world.root}/one:same", f"{world.root}/two:same"]
    act("tm_context", **QCOW2, datastore=world.system, destination=world.disk("disk.1"), files=files)
    out = world.root / "out"
    tool("xorriso", "-no_rc", "-osirrox", "on", "-indev", f"stdio:{world.disk('disk.1')}", "-extract", "/same", out)
    assert out.read_text() == "two" * 10


def test_a_forced_context_replaces_the_old_one(world: World) -> None:
    source = world.root / "file"
    source.write_text("one")
    given = {"datastore": world.system, "destination": world.disk("disk.1"), "files": [str(source)]}
    act("tm_context", **QCOW2, **given)
    source.write_text("another")
    assert not act("tm_context", **QCOW2, **given)["changed"]
    act("tm_context", **QCOW2, **given, force=True)
    out = world.root / "out"
    tool("xorriso", "-no_rc", "-osirrox", "on", "-indev", f"stdio:{world.disk('disk.1')}", "-extract", "/file", out)
    assert out.read_text() == "another"


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["with blank", "$(id)", "{{ x }}", "quote'\"", "a;b&c", "ümläut", "-dash", "100%"])
@ALL
def test_datastores_with_odd_names(folder: Path, driver: dict[str, Any], name: str) -> None:
    root = folder / name
    root.mkdir()
    world = World(root)
    world.qcow2(OVERLAID)
    disk_of(world, "tm_clone", driver, OVERLAID)
    assert bytes_of(world.disk(), "qcow2", 70000) == pattern(OVERLAID, 70000)
    act("tm_mkimage", **driver, datastore=world.system, destination=world.disk("disk.1"), size=8, fs="ext4")
    act("tm_delete", **driver, datastore=world.system, path=world.disk().parent)
    assert not world.disk().parent.exists()
    assert world.is_tidy()


def test_an_image_that_is_not_there_changes_nothing(world: World) -> None:
    for driver in (QCOW2, SSH, MIXED):
        with pytest.raises(Missing, match="is not there.*nothing was changed"):
            disk_of(world, "tm_clone", driver, "nothing")
    assert not world.disk().parent.exists()
    assert world.is_tidy()
