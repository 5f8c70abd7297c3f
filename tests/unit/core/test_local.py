# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Driver ``local``: qcow2 disks as layers on the host itself, and what comes back to the image (contract-tm 7.6)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from plugins.module_utils._errors import Refused
from tests.unit.core.cases import LOCAL
from tests.unit.core.support import CHAINED, MIB, OVERLAID, PLAIN, World, act, bytes_of, info, pattern, tool
from tests.unit.core.test_disks import disk_of, layered_content


def back(world: World, image: str, image_format: str = "qcow2") -> dict[str, Any]:
    """Bring disk 0 of VM 5 back to its image."""
    return act(
        "tm_mvds",
        **LOCAL,
        datastore=world.system,
        source=world.disk(),
        destination=world.images / image,
        format=image_format,
    )


def test_a_raw_image_is_a_file(images: World) -> None:
    disk_of(images, "tm_clone", LOCAL, PLAIN)
    assert images.disk().read_bytes() == (images.images / PLAIN).read_bytes()
    assert not images.disk().is_symlink() and not images.disk("disk.0.snap").exists()


@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_a_qcow2_image_becomes_the_first_layer(images: World, action: str) -> None:
    result = disk_of(images, action, LOCAL, OVERLAID)
    disk, snap = images.disk(), images.disk("disk.0.snap")
    assert result["changed"] and result["path"] == str(disk)
    assert os.readlink(disk) == "disk.0.snap/0"
    assert sorted(os.listdir(snap)) == ["0", "disk.0.snap"] and os.readlink(snap / "disk.0.snap") == "."
    assert not (snap / "0").is_symlink()
    assert (snap / "0").read_bytes() == (images.images / OVERLAID).read_bytes()
    assert bytes_of(disk, "qcow2", 70000) == pattern(OVERLAID, 70000)
    assert (images.system / ".monitor").read_text() == "ssh\n"
    assert images.is_tidy()


@pytest.mark.parametrize("named", ["", "0"])
def test_layers_work_under_their_new_name(images: World, named: str) -> None:
    """Also those that stock's ``local`` made, which name their backing file alone."""
    if named:
        tool(
            "qemu-img",
            "rebase",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            named,
            images.images / f"{CHAINED}.snap" / "1",
        )
    disk_of(images, "tm_ln", LOCAL, CHAINED)
    disk, snap = images.disk(), images.disk("disk.0.snap")
    assert os.readlink(disk) == "disk.0.snap/1"
    assert sorted(os.listdir(snap)) == ["0", "1", "disk.0.snap"]
    assert info(snap / "1")["backing-filename"] == "disk.0.snap/0"
    assert "backing-filename" not in info(snap / "0")
    assert bytes_of(disk, "qcow2") == layered_content()
    assert images.is_tidy()


@pytest.mark.parametrize("image", [OVERLAID, CHAINED])
def test_a_layered_disk_grows_at_its_active_layer(images: World, image: str) -> None:
    disk_of(images, "tm_clone", LOCAL, image, size=4, original_size=2)
    assert os.path.islink(images.disk())
    assert info(images.disk())["virtual-size"] == 4 * MIB
    assert bytes_of(images.disk(), "qcow2")[2 * MIB :] == bytes(2 * MIB)
    assert info(images.images / image)["virtual-size"] == 2 * MIB


def test_a_persistent_disk_comes_back_with_its_layers(images: World) -> None:
    """There and back twice: the image is a link into its layers from the first time on."""
    disk_of(images, "tm_ln", LOCAL, OVERLAID)
    snap = images.disk("disk.0.snap")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "disk.0.snap/0", snap / "1")
    images.disk().unlink()
    images.disk().symlink_to("disk.0.snap/1")
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x33 64k 64k", images.disk())
    seen = bytes_of(images.disk(), "qcow2")
    back(images, OVERLAID)
    image, layers = images.images / OVERLAID, images.images / f"{OVERLAID}.snap"
    assert os.readlink(image) == f"{OVERLAID}.snap/1"
    assert sorted(os.listdir(layers)) == ["0", "1", f"{OVERLAID}.snap"]
    assert info(layers / "1")["backing-filename"] == f"{OVERLAID}.snap/0"
    assert bytes_of(image, "qcow2") == seen and seen[65536:131072] == b"\x33" * 65536
    act("tm_delete", **LOCAL, datastore=images.system, path=images.disk().parent)
    assert bytes_of(image, "qcow2") == seen
    disk_of(images, "tm_ln", LOCAL, OVERLAID)
    assert os.readlink(images.disk()) == "disk.0.snap/1"
    assert bytes_of(images.disk(), "qcow2") == seen
    back(images, OVERLAID)
    assert bytes_of(image, "qcow2") == seen and images.is_tidy()


def test_a_disk_moves_with_its_layers(images: World) -> None:
    disk_of(images, "tm_clone", LOCAL, CHAINED)
    act(
        "tm_mv",
        **LOCAL,
        source=images.disk().parent,
        source_datastore=images.system,
        destination=images.disk(system=101).parent,
        datastore=images.root / "101",
    )
    assert bytes_of(images.disk(system=101), "qcow2") == layered_content()
    assert (images.root / "101" / ".monitor").read_text() == "ssh\n"
    assert not images.disk().parent.exists() and images.is_tidy()


def test_an_image_that_qcow2_linked_is_copied_once(images: World) -> None:
    """`ln` of the driver qcow2 leaves a layer 0 that is a link to the image."""
    disk_of(images, "tm_ln", {"driver": "qcow2"}, OVERLAID)
    act("tm_delete", driver="qcow2", datastore=images.system, path=images.disk())
    assert (images.images / f"{OVERLAID}.snap" / "0").is_symlink()
    disk_of(images, "tm_ln", LOCAL, OVERLAID)
    assert sorted(os.listdir(images.disk("disk.0.snap"))) == ["0", "disk.0.snap"]
    assert not (images.disk("disk.0.snap") / "0").is_symlink()
    assert bytes_of(images.disk(), "qcow2", 70000) == pattern(OVERLAID, 70000)


def test_copies_beside_an_image_are_not_taken_for_layers(images: World) -> None:
    folder = images.images / f"{OVERLAID}.snap"
    folder.mkdir()
    (folder / "0").write_bytes((images.images / OVERLAID).read_bytes())
    before = images.tree()
    with pytest.raises(Refused, match=f"{OVERLAID}.snap/0 beside it is not a layer of it"):
        disk_of(images, "tm_ln", LOCAL, OVERLAID)
    assert images.tree() == before and images.is_tidy()


def test_a_kernel_is_a_file_whatever_its_format(images: World) -> None:
    act(
        "tm_clone",
        **LOCAL,
        datastore=images.system,
        source=images.images / OVERLAID,
        destination=images.disk("kernel"),
        format="qcow2",
    )
    assert images.disk("kernel").read_bytes() == (images.images / OVERLAID).read_bytes()
    assert not images.disk("kernel").is_symlink()


def test_again_and_by_force(images: World) -> None:
    disk_of(images, "tm_clone", LOCAL, OVERLAID)
    once = images.tree()
    assert not disk_of(images, "tm_clone", LOCAL, OVERLAID)["changed"]
    assert images.tree() == once
    disk_of(images, "tm_clone", LOCAL, CHAINED, force=True)
    assert disk_of(images, "tm_clone", LOCAL, OVERLAID, force=True)["changed"]
    assert images.tree() == once and images.is_tidy()


@pytest.mark.parametrize("driver", ["ssh", "local"])
@pytest.mark.parametrize("action", ["tm_mkimage", "tm_mkswap"])
def test_a_host_with_nothing_but_a_volatile_disk_monitors_itself(world: World, driver: str, action: str) -> None:
    act(action, driver=driver, datastore=world.system, destination=world.disk(), size=1)
    assert (world.system / ".monitor").read_text() == "ssh\n"
    found = act("tm_monitor_ds", driver="ssh", datastore=world.system)
    assert [(vm["id"], len(vm["disks"])) for vm in found["vms"]] == [(5, 1)]
    assert not act(action, driver=driver, datastore=world.system, destination=world.disk(), size=1)["changed"]
