# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A persistent image that one driver's VM used and another one's uses next: opened as a VM opens it, by its disk."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Refused
from tests.unit.core.cases import LOCAL, MIXED, QCOW2, SSH
from tests.unit.core.golden import Golden, Shape, backing_names
from tests.unit.core.support import CHAINED, OVERLAID, PLAIN, World, act, bytes_of, info, tool

SHARED = {"driver": "shared"}
MIXED_SHARED = {"driver": "shared", "system_driver": "ssh"}


def persistent(driver: dict[str, Any], image: str) -> Shape:
    """A persistent disk as a driver makes it."""
    linked = driver in (QCOW2, SHARED)
    # the driver ssh has layers only where the image has them
    layered = image != PLAIN and (driver is not SSH or image == CHAINED)
    return Shape(" ".join(driver.values()), driver, image, "tm_ln", layered, "image" if linked else "disk")


def handed_over(disk: Golden, driver: dict[str, Any]) -> Golden:
    """The VM ends, its image is kept, and a new VM of another driver is given it."""
    given = {"datastore": disk.path.parent.parent, "format": disk.shape.format}
    image = disk.world.images / disk.shape.image
    act("tm_mvds", **disk.shape.driver, **given, source=disk.path, destination=image)
    act("tm_delete", **disk.shape.driver, datastore=given["datastore"], path=disk.path.parent)
    other = Golden(disk.world, persistent(driver, disk.shape.image))
    vars(other).update({**vars(disk), "shape": other.shape, "system": 100})
    act("tm_ln", **driver, **{**given, "datastore": disk.world.system}, source=image, destination=other.path)
    return other


def lived(disk: Golden) -> None:
    """Two snapshots more, a revert, one snapshot less."""
    for _turn in range(2):
        disk.write()
        disk.create()
        disk.check()
    disk.write()
    disk.revert(disk.next - 1)
    disk.check()
    disk.write()
    middle = disk.next - 2
    if not disk.file_of(middle).is_symlink():
        disk.delete(middle)
    disk.check()


IN_LAYERS = [QCOW2, MIXED, LOCAL, SHARED, MIXED_SHARED]


def pairs() -> list[Any]:
    """Every pair with every kind of image; a short run takes one kind and each driver under one name."""
    found = []
    for first, second in itertools.product(IN_LAYERS, IN_LAYERS):
        for image in (OVERLAID, CHAINED, PLAIN):
            short = image == OVERLAID and first in IN_LAYERS[:3] and second in IN_LAYERS[:3]
            name = " then ".join("+".join(driver.values()) for driver in (first, second))
            marks = () if short else pytest.mark.full
            found.append(pytest.param(first, second, image, id=f"{name}, {image[0]}", marks=marks))
    return found


@pytest.mark.parametrize(("first", "second", "image"), pairs())
def test_there_and_back(world: World, first: dict[str, Any], second: dict[str, Any], image: str) -> None:
    """Each driver's VM sees all that the other's wrote, with the snapshots."""
    disk = Golden.made(world, persistent(first, image))
    lived(disk)
    for driver in (second, first):
        disk = handed_over(disk, driver)
        disk.check()
        lived(disk)


# ---------------------------------------------------------------- what stock needs, and what it leaves


@pytest.fixture
def returned(world: World) -> Golden:
    """A disk of mixed drivers with snapshots, which came back to its image."""
    disk = Golden.made(world, persistent(MIXED, OVERLAID))
    lived(disk)
    given = {"datastore": world.system, "format": "qcow2"}
    act("tm_mvds", **MIXED, **given, source=disk.path, destination=world.images / OVERLAID)
    act("tm_delete", **MIXED, datastore=world.system, path=disk.path.parent)
    return disk


def layers_of(world: World) -> Path:
    return world.images / f"{OVERLAID}.snap"


def test_stocks_ln_opens_what_mixed_drivers_brought_back(world: World, returned: Golden) -> None:
    """Stock links the highest number by its absolute path and changes no names (contract-tm 7.2)."""
    names = backing_names(layers_of(world))
    assert names and all(name.startswith(f"{layers_of(world)}/") for name in names)
    highest = max(int(path.name) for path in layers_of(world).iterdir() if path.name.isdigit())
    world.disk().parent.mkdir()
    world.disk().symlink_to(layers_of(world) / str(highest))
    assert bytes_of(world.disk(), "qcow2") == returned.now


@pytest.mark.parametrize("named", [f"{OVERLAID}.snap/", ""], ids=["mixed", "local"])
def test_names_that_stock_left_in_an_image_lead_somewhere_after_ln(world: World, returned: Golden, named: str) -> None:
    """`mvds.ssh` of stock writes relative names, its `local` numbers alone: qemu looks for them beside the link."""
    snap = layers_of(world)
    for layer in (path for path in snap.iterdir() if path.name.isdigit()):
        below = info(layer).get("backing-filename")
        if below:
            wanted = named + os.path.basename(below)
            tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", wanted, layer)
    given = {"datastore": world.system, "source": world.images / OVERLAID, "destination": world.disk()}
    assert act("tm_ln", **QCOW2, **given, format="qcow2")["changed"]
    assert bytes_of(world.disk(), "qcow2") == returned.now
    assert not act("tm_ln", **QCOW2, **given, format="qcow2")["changed"]
    assert bytes_of(world.images / OVERLAID, "qcow2") == returned.now
    assert world.is_tidy()


def test_an_image_whose_name_leads_nowhere_is_found_by_its_layers(world: World, returned: Golden) -> None:
    """Stock deletes the layer that the image's name leads to, and leaves the name."""
    image = world.images / OVERLAID
    right = os.readlink(image)
    image.unlink()
    image.symlink_to(f"{OVERLAID}.snap/99")
    given = {"datastore": world.system, "source": image, "destination": world.disk()}
    act("tm_ln", **QCOW2, **given, format="qcow2")
    assert os.readlink(image) == right
    assert bytes_of(world.disk(), "qcow2") == returned.now == bytes_of(image, "qcow2")


def test_the_name_of_an_image_follows_its_snapshots(world: World) -> None:
    """What works on images reads them by their name: cloning, exporting, saving."""
    disk = Golden.made(world, persistent(QCOW2, CHAINED))
    for event in ("create", "create", "revert 1", "delete 1", "delete 2"):
        disk.write()
        name, *numbers = event.split()
        getattr(disk, name)(*map(int, numbers))
        disk.check()
        assert bytes_of(world.images / CHAINED, "qcow2") == disk.now, event


def test_copies_beside_an_image_are_not_taken_for_layers(world: World) -> None:
    """The driver ssh keeps snapshots as copies; the highest number is an old state, not the image."""
    disk = Golden.made(world, persistent(SSH, OVERLAID))
    disk.write()
    disk.create()
    disk.write()
    given = {"datastore": world.system, "format": "qcow2"}
    act("tm_mvds", **SSH, **given, source=disk.path, destination=world.images / OVERLAID)
    before = world.tree()
    with pytest.raises(Refused, match=f"{OVERLAID}.snap/0 beside it is not a layer of it"):
        act("tm_ln", **QCOW2, **given, source=world.images / OVERLAID, destination=world.disk("disk.1"))
    assert world.tree() == before and world.is_tidy()


@pytest.mark.parametrize("driver", [SSH, LOCAL, MIXED], ids=lambda driver: "+".join(driver.values()))
def test_an_image_that_qcow2_gave_snapshots_is_a_chain_for_all(world: World, driver: dict[str, Any]) -> None:
    """Its name is still that of the lowest layer, which is its oldest snapshot (contract-tm 6.2)."""
    disk = Golden.made(world, persistent(QCOW2, OVERLAID))
    lived(disk)
    assert not (world.images / OVERLAID).is_symlink()
    disk = handed_over(disk, driver)
    assert os.readlink(disk.path).startswith("disk.0.snap/")
    assert bytes_of(disk.path, "qcow2") == disk.now


@pytest.mark.parametrize("driver", [SSH, LOCAL, MIXED], ids=lambda driver: "+".join(driver.values()))
def test_markers_of_snapshots_have_the_path_where_they_lie(world: World, driver: dict[str, Any]) -> None:
    """Stock follows all of the path in a marker, so an old one would lead to another VM's disk (contract-tm 6.4)."""
    disk = Golden.made(world, persistent(QCOW2, CHAINED))
    disk.write()
    disk.create(7)
    marker = world.images / f"{CHAINED}.snap" / "7.current"
    wanted = marker.read_text()
    assert wanted == f"{world.images}/{CHAINED}.snap/1\n"
    disk = handed_over(disk, driver)
    assert (disk.snap / "7.current").read_text() == f"{disk.snap}/1\n"
    disk.check()
    disk = handed_over(disk, QCOW2)
    assert marker.read_text() == wanted
    disk.check()


def test_copies_of_a_disk_that_is_one_file_stay_copies(world: World) -> None:
    """Of mixed drivers too: neither the disk nor the image is ever the last of its copies."""
    disk = Golden.made(world, persistent(SSH, OVERLAID))
    for _turn in range(2):
        disk.write()
        disk.create()
    disk.write()
    for driver in (MIXED, SSH, MIXED, MIXED):
        disk = handed_over(disk, driver)
        disk.shape = Shape("one file", driver, OVERLAID, "tm_ln", False)
        disk.check()
        assert not disk.path.is_symlink()
        disk.write()
        disk.create()
    assert bytes_of(world.images / OVERLAID, "qcow2") != disk.now


@pytest.mark.parametrize("driver", [SSH, MIXED], ids=lambda driver: "+".join(driver.values()))
def test_a_snapshot_that_was_deleted_does_not_come_back(world: World, driver: dict[str, Any]) -> None:
    disk = Golden.made(world, persistent(driver, PLAIN))
    disk.write()
    disk.create()
    disk = handed_over(disk, driver)
    disk.delete(0)
    disk = handed_over(disk, driver)
    disk.check()
    assert list((world.images / f"{PLAIN}.snap").iterdir()) == []
