# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drivers for disks of VMs plan, by what they find: steps in order, in words. Nothing is done here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Missing, Refused, StorageError, Unsupported
from plugins.module_utils.drivers.registry import load
from plugins.module_utils.steps.base import LEAD, PEER
from tests.unit.core.cases import MIXED, QCOW2, SSH
from tests.unit.core.support import CHAINED, OVERLAID, PLAIN, World, act, kinds, plan, words

SHARED = {"driver": "shared"}

LAYER_LINKS = ["link disk.0.snap/disk.0.snap to .", "link disk.0 to disk.0.snap/0"]
VM_FOLDER = "create the directory /100/5"
LAYERS_IN_PLACE = "put the layers /100/5/disk.0.snap in place"
DISK_IN_PLACE = "put the disk /100/5/disk.0 in place"
MARKER = "write 'ssh' to /100/.monitor"
OVERLAY = f"create an overlay on /1/{OVERLAID}"
CONVERTED = f"write /1/{OVERLAID} as a qcow2 image of its own"
GROWN = {"size": 4, "original_size": 2}


def asked(world: World, action: str, driver: dict[str, Any], image: str, disk: str = "disk.0", **more: Any) -> Any:
    """The driver's answer for an image of datastore 1 and a disk of VM 5."""
    image_format = more.pop("format", "raw" if image == PLAIN else "qcow2")
    return plan(
        action,
        **driver,
        datastore=world.system,
        source=world.images / image,
        destination=world.disk(disk),
        format=image_format,
        **more,
    )


@pytest.mark.parametrize(
    ("driver", "image", "more", "expected"),
    [
        (QCOW2, OVERLAID, {}, [OVERLAY, *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE]),
        (SHARED, OVERLAID, {}, [OVERLAY, *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE]),
        (
            QCOW2,
            CHAINED,
            {},
            [f"create an overlay on /1/{CHAINED}", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (
            QCOW2,
            OVERLAID,
            GROWN,
            [f"{OVERLAY}, grown to 4 MB", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (
            QCOW2,
            OVERLAID,
            {**GROWN, "sparse": False},
            [OVERLAY, "grow the image to 4 MB", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (
            QCOW2,
            OVERLAID,
            {"size": 2, "original_size": 2},
            [OVERLAY, *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (
            QCOW2,
            OVERLAID,
            {"standalone": True},
            [CONVERTED, *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (
            QCOW2,
            OVERLAID,
            {"standalone": True, **GROWN},
            [CONVERTED, "grow the image to 4 MB", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE],
        ),
        (QCOW2, PLAIN, {}, [f"copy /1/{PLAIN}", VM_FOLDER, DISK_IN_PLACE]),
        (QCOW2, PLAIN, GROWN, [f"copy /1/{PLAIN}", "grow the image to 4 MB", VM_FOLDER, DISK_IN_PLACE]),
        (QCOW2, PLAIN, {"disk": "kernel"}, [f"copy /1/{PLAIN}", VM_FOLDER, "put the disk /100/5/kernel in place"]),
        (
            QCOW2,
            OVERLAID,
            {"disk": "initrd"},
            [f"copy /1/{OVERLAID}", VM_FOLDER, "put the disk /100/5/initrd in place"],
        ),
        (SSH, PLAIN, {}, [f"bring over /1/{PLAIN}", VM_FOLDER, DISK_IN_PLACE, MARKER]),
        (SSH, OVERLAID, {}, [f"bring over /1/{OVERLAID}", VM_FOLDER, DISK_IN_PLACE, MARKER]),
        (
            SSH,
            OVERLAID,
            GROWN,
            [f"bring over /1/{OVERLAID}", "grow the image to 4 MB", VM_FOLDER, DISK_IN_PLACE, MARKER],
        ),
        (
            SSH,
            CHAINED,
            {},
            [
                "create the directory disk.0.snap",
                f"bring over /1/{CHAINED}.snap/0 and /1/{CHAINED}.snap/1",
                "let the layer 1 name its backing file disk.0.snap/0",
                "link disk.0.snap/disk.0.snap to .",
                "link disk.0 to disk.0.snap/1",
                VM_FOLDER,
                LAYERS_IN_PLACE,
                DISK_IN_PLACE,
                MARKER,
            ],
        ),
        (MIXED, OVERLAID, {}, [CONVERTED, *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE, MARKER]),
        (
            MIXED,
            OVERLAID,
            GROWN,
            [CONVERTED, "grow the image to 4 MB", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE, MARKER],
        ),
        (
            MIXED,
            CHAINED,
            {},
            [
                f"write /1/{CHAINED} as a qcow2 image of its own",
                *LAYER_LINKS,
                VM_FOLDER,
                LAYERS_IN_PLACE,
                DISK_IN_PLACE,
                MARKER,
            ],
        ),
        (MIXED, PLAIN, {}, [f"copy /1/{PLAIN}", VM_FOLDER, DISK_IN_PLACE, MARKER]),
    ],
)
def test_a_fresh_clone(
    images: World, driver: dict[str, Any], image: str, more: dict[str, Any], expected: list[str]
) -> None:
    assert words(asked(images, "tm_clone", driver, image, **more), images) == expected


@pytest.mark.parametrize(
    ("driver", "image", "expected"),
    [
        (QCOW2, PLAIN, [VM_FOLDER, f"link /100/5/disk.0 to /1/{PLAIN}"]),
        (
            QCOW2,
            OVERLAID,
            [
                VM_FOLDER,
                f"create the directory /1/{OVERLAID}.snap",
                f"link /1/{OVERLAID}.snap/{OVERLAID}.snap to .",
                f"link /1/{OVERLAID}.snap/0 to /1/{OVERLAID}",
                f"link /100/5/disk.0 to /1/{OVERLAID}.snap/0",
            ],
        ),
        (
            QCOW2,
            CHAINED,
            [
                VM_FOLDER,
                f"create the directory /1/{CHAINED}.snap",
                f"link /1/{CHAINED}.snap/{CHAINED}.snap to .",
                f"link /100/5/disk.0 to /1/{CHAINED}.snap/1",
            ],
        ),
        (SSH, PLAIN, [f"bring over /1/{PLAIN}", VM_FOLDER, DISK_IN_PLACE, MARKER]),
        (MIXED, PLAIN, [f"copy /1/{PLAIN}", VM_FOLDER, DISK_IN_PLACE, MARKER]),
        (
            MIXED,
            OVERLAID,
            [f"copy /1/{OVERLAID}", *LAYER_LINKS, VM_FOLDER, LAYERS_IN_PLACE, DISK_IN_PLACE, MARKER],
        ),
        (
            MIXED,
            CHAINED,
            [
                f"copy /1/{CHAINED}.snap/0",
                f"copy /1/{CHAINED}.snap/1",
                "let the layer 1 name its backing file disk.0.snap/0",
                "link disk.0.snap/disk.0.snap to .",
                "link disk.0 to disk.0.snap/1",
                VM_FOLDER,
                LAYERS_IN_PLACE,
                DISK_IN_PLACE,
                MARKER,
            ],
        ),
    ],
)
def test_a_fresh_link(images: World, driver: dict[str, Any], image: str, expected: list[str]) -> None:
    assert words(asked(images, "tm_ln", driver, image), images) == expected


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_an_image_that_is_not_there(images: World, driver: dict[str, Any], action: str) -> None:
    with pytest.raises(Missing, match=f"The image {images.images}/nothing is not there"):
        asked(images, action, driver, "nothing")


def stale(world: World) -> None:
    """What an earlier run, or a stock driver, may have left where a disk belongs."""
    world.disk().parent.mkdir()
    world.disk("disk.0.snap").mkdir()
    world.disk("disk.0.snap").joinpath("0").write_text("old layer")
    world.disk().write_text("old disk")


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_a_forced_clone_sets_the_old_disk_and_its_layers_aside(images: World, driver: dict[str, Any]) -> None:
    stale(images)
    said = [text for text in words(asked(images, "tm_clone", driver, OVERLAID, force=True), images) if text != MARKER]
    assert said[-1] == "put the disk /100/5/disk.0 in place, instead of the old one"
    if driver is SSH:
        assert said[-2] == "remove the old layers /100/5/disk.0.snap"
    else:
        assert said[-2] == "put the layers /100/5/disk.0.snap in place, instead of the old one"


def test_a_disk_that_stands_is_taken_for_the_clone_of_an_earlier_run(images: World) -> None:
    images.disk().parent.mkdir()
    images.disk().symlink_to("disk.0.snap/0")
    assert asked(images, "tm_clone", QCOW2, OVERLAID) == {"path": str(images.disk())}


@pytest.mark.parametrize(("image", "other"), [(OVERLAID, "file"), (PLAIN, "link")])
def test_a_disk_that_cannot_be_the_clone_is_refused(images: World, image: str, other: str) -> None:
    images.disk().parent.mkdir()
    if other == "file":
        images.disk().write_text("something else")
    else:
        images.disk().symlink_to("disk.0.snap/0")
    with pytest.raises(Refused, match="is there and is not a clone of .*force replaces it"):
        asked(images, "tm_clone", QCOW2, image)


def test_layers_without_a_disk_are_of_a_run_that_died_and_are_replaced(images: World) -> None:
    stale(images)
    images.disk().unlink()
    said = words(asked(images, "tm_clone", QCOW2, OVERLAID), images)
    assert said[-2:] == ["put the layers /100/5/disk.0.snap in place, instead of the old one", DISK_IN_PLACE]


def test_a_linked_disk_takes_the_layers_of_an_earlier_one_away(images: World) -> None:
    images.disk().parent.mkdir()
    images.disk("disk.0.snap").mkdir()
    images.disk().symlink_to("disk.0.snap/0")
    said = words(asked(images, "tm_ln", QCOW2, PLAIN), images)
    assert said == [VM_FOLDER, "remove the layers /100/5/disk.0.snap", f"link /100/5/disk.0 to /1/{PLAIN}"]


def test_a_file_where_a_link_belongs(images: World) -> None:
    images.disk().parent.mkdir()
    images.disk().write_text("a disk with data")
    with pytest.raises(Refused, match="is there and is not a link to"):
        asked(images, "tm_ln", QCOW2, PLAIN)
    said = words(asked(images, "tm_ln", QCOW2, PLAIN, force=True), images)
    assert said == [VM_FOLDER, "remove the disk /100/5/disk.0", f"link /100/5/disk.0 to /1/{PLAIN}"]


def test_a_link_that_stands_is_the_answer(images: World) -> None:
    images.disk().parent.mkdir()
    images.disk().symlink_to(images.images / PLAIN)
    assert asked(images, "tm_ln", QCOW2, PLAIN) == {"path": str(images.disk()), "target": str(images.images / PLAIN)}


def test_the_marker_goes_where_the_storage_is_shared(images: World) -> None:
    (images.system / ".monitor").write_text("ssh\n")
    assert words(asked(images, "tm_clone", QCOW2, PLAIN), images)[-1] == "remove the marker /100/.monitor"


@pytest.mark.parametrize("text", ["ssh\n", "ssh", " ssh \n\n"])
def test_a_marker_that_is_right_stays(images: World, text: str) -> None:
    (images.system / ".monitor").write_text(text)
    assert "write" not in kinds(asked(images, "tm_clone", MIXED, PLAIN))


def test_the_peer_does_what_concerns_the_node(images: World) -> None:
    """Without a peer both roles are this machine; who does what is fixed all the same."""
    where = {step.kind: step.where for step in asked(images, "tm_clone", SSH, PLAIN)}
    assert set(where.values()) == {PEER}
    where = {step.kind: step.where for step in asked(images, "tm_clone", MIXED, PLAIN)}
    assert set(where.values()) == {LEAD}


# ---------------------------------------------------------------- delete


def removed(world: World, path: str) -> Any:
    return plan("tm_delete", driver="qcow2", datastore=world.system, path=world.system / path)


def test_delete_takes_a_disk_with_its_layers(world: World) -> None:
    stale(world)
    said = words(removed(world, "5/disk.0"), world)
    assert said == ["remove the disk /100/5/disk.0", "remove the layers /100/5/disk.0.snap"]


def test_delete_takes_a_directory(world: World) -> None:
    stale(world)
    assert words(removed(world, "5"), world) == ["remove the directory /100/5"]


def test_delete_takes_layers_whose_disk_is_gone(world: World) -> None:
    stale(world)
    world.disk().unlink()
    assert words(removed(world, "5/disk.0"), world) == ["remove the layers /100/5/disk.0.snap"]


def test_delete_takes_a_dangling_link(world: World) -> None:
    world.disk().parent.mkdir()
    world.disk().symlink_to("disk.0.snap/0")
    assert words(removed(world, "5/disk.0"), world) == ["remove the disk /100/5/disk.0"]


@pytest.mark.parametrize("path", ["5", "5/disk.0"])
def test_delete_of_what_is_gone_is_a_success(world: World, path: str) -> None:
    assert removed(world, path) == {"path": str(world.system / path)}


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/", Refused, "is not inside"),
        ("{ds}", Refused, "is not inside"),
        ("{ds}/", Refused, "is not inside"),
        ("{ds}/.one_storage", Refused, "is neither"),
        ("{ds}/.monitor", Refused, "is neither"),
        ("{ds}/5/disk.0/x", Refused, "is neither"),
        ("{ds}/5/6/disk.0", Refused, "is neither"),
        ("{ds}/5/other", Refused, "is neither"),
        ("{ds}/disk.0", Refused, "is neither"),
        ("{ds}0/5", Refused, "is not inside"),
        ("{ds}/../1/5", BadCall, "contains '..'"),
        ("{ds}/5/..", BadCall, "contains '..'"),
        ("5", BadCall, "not an absolute path"),
        ("", BadCall, "not an absolute path"),
        ("{ds}/5\n", BadCall, "control characters"),
        ("{ds}/5\0x", BadCall, "control characters"),
    ],
)
def test_delete_touches_only_vms(world: World, path: str, kind: type[StorageError], said: str) -> None:
    with pytest.raises(kind, match=said):
        plan("tm_delete", driver="qcow2", datastore=world.system, path=path.format(ds=world.system))


@pytest.mark.parametrize("path", ["{ds}//5///disk.0", "{ds}/./5/disk.0/"])
def test_doubled_slashes_are_single_ones(world: World, path: str) -> None:
    stale(world)
    steps = plan("tm_delete", driver="qcow2", datastore=f"{world.system}//", path=path.format(ds=world.system))
    assert words(steps, world)[0] == "remove the disk /100/5/disk.0"


# ---------------------------------------------------------------- mv, mvds


def moving(world: World, driver: dict[str, Any], old: str, new: str, **more: Any) -> Any:
    return plan("tm_mv", **driver, **ends(world, old, new), **more)


def ends(world: World, old: str, new: str) -> dict[str, Any]:
    """From where to where a VM goes."""
    datastores = {"source_datastore": world.root / old.split("/")[0], "datastore": world.root / new.split("/")[0]}
    return {**datastores, "source": world.root / old, "destination": world.root / new}


@pytest.mark.parametrize("name", ["kernel", "initrd"])
@pytest.mark.parametrize("driver", [QCOW2, SSH], ids=str)
@pytest.mark.parametrize("before", ["", "ssh\n"])
def test_who_monitors_is_not_for_a_kernel_to_say(world: World, driver: dict[str, Any], name: str, before: str) -> None:
    """oned calls the driver of the kernel's own datastore, which may not be that of the system datastore."""
    world.raw()
    marker = world.system / ".monitor"
    if before:
        marker.write_text(before)
    given = {"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk(name)}
    act("tm_clone", **driver, **given)
    assert world.disk(name).exists()
    assert (marker.read_text() if marker.exists() else "") == before


RECEIPT = "note what was made in /101/.one_storage/vm-5.arrived"


def test_mv_within_one_file_system_renames(world: World) -> None:
    stale(world)
    assert words(moving(world, QCOW2, "100/5", "101/5"), world) == [RECEIPT, "move /100/5 to /101/5"]


def test_mv_onto_something_copies_first(world: World) -> None:
    stale(world)
    (world.root / "101/5").mkdir()
    assert words(moving(world, QCOW2, "100/5", "101/5"), world) == [
        "copy /100/5 with all in it",
        RECEIPT,
        "put the directory /101/5 in place, instead of the old one",
        "remove the directory /100/5",
    ]


def test_mv_with_the_ssh_driver_on_one_host(world: World) -> None:
    stale(world)
    assert words(moving(world, SSH, "100/5", "101/5"), world) == [
        "bring over /100/5",
        RECEIPT,
        "put the directory /101/5 in place",
        "write 'ssh' to /101/.monitor",
        "remove the directory /100/5",
    ]


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_mv_that_was_done_is_a_success(world: World, driver: dict[str, Any]) -> None:
    stale(world)
    act("tm_mv", **driver, **ends(world, "100/5", "101/5"))
    again = act("tm_mv", **driver, **ends(world, "100/5", "101/5"))
    assert again["changed"] is False and again["path"] == str(world.root / "101/5")


@pytest.mark.parametrize("how", ["no receipt", "another directory", "another source", "not readable"])
@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_mv_without_a_source_needs_proof(world: World, driver: dict[str, Any], how: str) -> None:
    """A directory that stands at the destination may be anyone's, and the source just not mounted."""
    stale(world)
    there, receipt = world.root / "101/5", world.root / "101/.one_storage/vm-5.arrived"
    act("tm_mv", **driver, **ends(world, "100/5", "101/5"))
    source = "100/5"
    if how == "no receipt":
        receipt.unlink()
    elif how == "another directory":
        there.rename(world.root / "101/6")
        there.mkdir()
    elif how == "another source":
        source = "2/5"
    else:
        receipt.write_text("{torn")
    before = world.tree()
    with pytest.raises(Missing, match=rf"/{source} is not there, and nothing shows that .*/101/5 on .* is all of it"):
        act("tm_mv", **driver, **ends(world, source, "101/5"))
    assert world.tree() == before


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_the_receipt_of_a_move_goes_with_its_directory(world: World, driver: dict[str, Any]) -> None:
    stale(world)
    act("tm_mv", **driver, **ends(world, "100/5", "101/5"))
    act("tm_mv", **driver, **ends(world, "101/5", "100/5"))
    assert not (world.root / "101/.one_storage/vm-5.arrived").exists()
    act("tm_delete", **driver, datastore=world.system, path=world.root / "100/5")
    assert not (world.root / "100/.one_storage/vm-5.arrived").exists()
    # somebody else's delete leaves it to whoever comes by
    stale(world)
    act("tm_mv", **driver, **ends(world, "100/5", "101/5"))
    shutil.rmtree(world.root / "101/5")
    act("tm_mkswap", **driver, datastore=world.root / "101", destination=world.root / "101/7/disk.0", size=1)
    assert not (world.root / "101/.one_storage/vm-5.arrived").exists()


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_mv_of_nothing(world: World, driver: dict[str, Any]) -> None:
    with pytest.raises(Missing, match="The directory .*/100/5 is not there"):
        moving(world, driver, "100/5", "101/5")


@pytest.mark.parametrize(
    ("driver", "options", "idle"),
    [
        (QCOW2, {"source": "/ds/100/5", "destination": "/ds/100/5"}, True),
        (QCOW2, {"source": "/ds/100//5/", "destination": "/ds/100/5"}, True),
        (QCOW2, {"source": "/ds/100/5/disk.0", "destination": "/ds/101/5/disk.0"}, True),
        (QCOW2, {"source": "/ds/100/5", "destination": "/ds/101/5"}, False),
        (SSH, {"source": "/ds/100/5/disk.1", "destination": "/ds/100/5/disk.1", "source_lost": False}, True),
        (SSH, {"source": "/ds/100/5", "destination": "/ds/100/5", "source_lost": False}, False),
        (SSH, {"source": "/ds/100/5", "destination": "/ds/100/5", "source_lost": True}, True),
        (SSH, {"source": "/ds/100/5/kernel", "destination": "/ds/100/5/kernel", "source_lost": False}, True),
        (QCOW2, {"source": "/ds/100/5/initrd", "destination": "/ds/101/5/initrd"}, True),
        (MIXED, {"source": "/ds/100/5", "destination": "/ds/100/5", "source_lost": False}, False),
        (MIXED, {"source": "/ds/100/5", "destination": "/ds/101/5", "source_lost": True}, True),
        ({"driver": "local"}, {"source": "/ds/100/5", "destination": "/ds/101/5", "source_lost": True}, True),
    ],
)
def test_moves_that_move_nothing(driver: dict[str, str], options: dict[str, Any], idle: bool) -> None:
    assert load("tm", driver["driver"], driver.get("system_driver", "")).idle("mv", options) is idle


def test_mvds_of_a_shared_image_is_nothing(world: World) -> None:
    assert load("tm", "qcow2").idle("mvds", {})
    assert not load("tm", "ssh").idle("mvds", {})
    assert not load("tm", "qcow2", "ssh").idle("mvds", {})


def returned(world: World, driver: dict[str, Any], image_format: str, image: str) -> Any:
    return plan(
        "tm_mvds",
        **driver,
        datastore=world.system,
        source=world.disk(),
        destination=world.images / image,
        format=image_format,
    )


def test_mvds_replaces_the_image_by_a_whole_copy(world: World) -> None:
    world.raw()
    world.disk().parent.mkdir()
    world.disk().write_text("disk")
    (world.images / f"{PLAIN}.md5sum").write_text("digest")
    for driver, first in ((SSH, "bring over /100/5/disk.0"), (MIXED, "copy /100/5/disk.0")):
        assert words(returned(world, driver, "raw", PLAIN), world) == [
            first,
            f"put the image /1/{PLAIN} in place, instead of the old one",
            f"remove the cached digest /1/{PLAIN}.md5sum",
        ]


@pytest.mark.parametrize("driver", [SSH, MIXED], ids=str)
def test_mvds_of_nothing(world: World, driver: dict[str, Any]) -> None:
    with pytest.raises(Missing, match="The disk .*/100/5/disk.0 is not there"):
        returned(world, driver, "raw", PLAIN)


# ---------------------------------------------------------------- new disks, context


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"format": "raw"}, ["create an empty raw image of 8 MB"]),
        ({"format": "qcow2"}, ["create an empty qcow2 image of 8 MB"]),
        ({"format": "swap"}, ["create an empty raw image of 8 MB", "make the image a swap area"]),
        ({"format": "raw", "fs": "ext4"}, ["create an empty raw image of 8 MB", "format the image with ext4"]),
        (
            {"format": "qcow2", "fs": "ext4"},
            [
                "create an empty raw image of 8 MB",
                "format the image with ext4",
                "write disk.0.raw as a qcow2 image of its own",
            ],
        ),
    ],
)
def test_empty_disks(world: World, more: dict[str, Any], expected: list[str]) -> None:
    steps = plan("tm_mkimage", driver="qcow2", datastore=world.system, destination=world.disk(), size=8, **more)
    assert words(steps, world) == [*expected, VM_FOLDER, DISK_IN_PLACE]


def test_a_swap_disk(world: World) -> None:
    steps = plan("tm_mkswap", driver="ssh", datastore=world.system, destination=world.disk(), size=8)
    # a host with nothing but volatile disks monitors them too
    assert kinds(steps) == ["create-image", "make-swap", "make-directory", "publish", "write"]


@pytest.mark.parametrize("size", [0, -1, (1 << 33) + 1])
@pytest.mark.parametrize("action", ["tm_mkimage", "tm_mkswap"])
def test_sizes_that_no_disk_has(world: World, action: str, size: int) -> None:
    with pytest.raises(BadCall, match=f"The size {size} MB is not possible"):
        plan(action, driver="qcow2", datastore=world.system, destination=world.disk(), size=size)


@pytest.mark.parametrize(
    ("fs", "supported", "fine"),
    [
        ("ext4", [], True),
        ("xfs", [], True),
        ("btrfs", [], False),
        ("btrfs", ["btrfs"], True),
        ("ext4", ["btrfs"], False),
        ("../../x", [], False),
        ("ext4 -E x", [], False),
    ],
)
def test_file_systems_are_those_of_the_configuration(world: World, fs: str, supported: list[str], fine: bool) -> None:
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 8}
    if fine:
        assert "make-filesystem" in kinds(plan("tm_mkimage", **given, fs=fs, supported_fs=supported))
    else:
        with pytest.raises(BadCall, match="Unsupported file system type"):
            plan("tm_mkimage", **given, fs=fs, supported_fs=supported)


def context(world: World, *files: str) -> Any:
    return plan(
        "tm_context", driver="qcow2", datastore=world.system, destination=world.disk("disk.1"), files=list(files)
    )


def test_the_context_image(world: World) -> None:
    source = world.root / "context.sh"
    source.write_text("x")
    steps = context(world, f"{source}:run me.sh", str(source), "http://127.0.0.1:1/a/key.pub?x=1#y")
    assert words(steps, world) == [
        "copy http://127.0.0.1:1/a/key.pub?x=1#y",
        "build the context image of run me.sh, context.sh, key.pub",
        "bring over iso",
        VM_FOLDER,
        "put the disk /100/5/disk.1 in place",
    ]


def test_a_context_file_that_is_not_there(world: World) -> None:
    with pytest.raises(Missing, match=r"The context file /nothing/at/all is not there"):
        context(world, "/nothing/at/all:x")


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\nb", "a\0b"])
def test_names_that_cannot_be_in_a_context_image(world: World, name: str) -> None:
    (world.root / "file").write_text("x")
    with pytest.raises(BadCall, match="cannot be the name of a file"):
        context(world, f"{world.root}/file:{name}")


@pytest.mark.parametrize("item", ["relative:x", "/a/../b", "ftp://x/y", ""])
def test_context_files_have_absolute_paths(world: World, item: str) -> None:
    with pytest.raises(BadCall):
        context(world, item)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "http://127.0.0.1:1/a/..", "https://127.0.0.1:1/?x"])
def test_a_url_without_a_name_is_no_context_file(world: World, address: str) -> None:
    with pytest.raises(BadCall, match="cannot be the name of a file"):
        context(world, address)


# ---------------------------------------------------------------- paths of disks


PLACES = ["{ds}/disk.0", "{ds}/5/6/disk.0", "/etc/5/disk.0", "{ds}0/5/disk.0", "{ds}"]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("action", ["tm_clone", "tm_ln", "tm_mkimage", "tm_mkswap", "tm_context"])
@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_disks_lie_in_a_vms_directory(world: World, driver: dict[str, Any], action: str, path: str) -> None:
    given: dict[str, Any] = {**driver, "datastore": world.system, "destination": path.format(ds=world.system)}
    if action in ("tm_clone", "tm_ln"):
        given["source"] = world.raw()
    elif action == "tm_context":
        given["files"] = [str(world.raw())]
    else:
        given["size"] = 8
    with pytest.raises(Refused):
        plan(action, **given)


@pytest.mark.parametrize("path", ["{ds}/5/disk.0/x", "/etc", "{ds}"])
def test_mv_moves_directories_of_vms_only(world: World, path: str) -> None:
    for driver in (QCOW2, SSH):
        with pytest.raises(Refused):
            plan(
                "tm_mv",
                **driver,
                datastore=world.root / "101",
                source_datastore=world.system,
                source=path.format(ds=world.system),
                destination=world.root / "101/5",
            )


# ---------------------------------------------------------------- names of drivers


@pytest.mark.parametrize(
    ("kind", "name", "system", "found"),
    [
        ("tm", "qcow2", "", "Qcow2"),
        ("tm", "shared", "", "Shared"),
        ("tm", "ssh", "", "Ssh"),
        ("tm", "qcow2", "ssh", "Qcow2Ssh"),
        ("tm", "shared", "ssh", "Qcow2Ssh"),
        ("tm", "ssh", "ssh", "Ssh"),
        ("tm", "ssh", "qcow2", "Ssh"),
        ("tm", "qcow2", "shared", "Qcow2"),
        ("ds", "fs", "", "Fs"),
    ],
)
def test_mixed_names_resolve_as_oned_does(kind: str, name: str, system: str, found: str) -> None:
    assert type(load(kind, name, system)).__name__ == found


@pytest.mark.parametrize(("kind", "name"), [("ds", "qcow2"), ("tm", "fs"), ("tm", "nothing"), ("other", "fs")])
def test_a_driver_that_is_not_there(kind: str, name: str) -> None:
    with pytest.raises(Unsupported, match=f"There is no {kind} driver '{name}'"):
        load(kind, name)


@pytest.mark.parametrize("action", ["recovery_snap_create_live", "_grown", "claims", "idle", "method", "name", "cp"])
def test_an_action_that_a_driver_does_not_have(action: str) -> None:
    with pytest.raises(Unsupported):
        load("tm", "ssh").method(action)


def test_every_action_has_its_method() -> None:
    from plugins.module_utils._actions import ACTIONS

    families: dict[str, list[list[Callable[[], Any]]]] = {
        "ds": [[lambda: load("ds", "fs")], [lambda: load("ds", "rsync"), lambda: load("ds", "restic")]],
        "tm": [[lambda: load("tm", "qcow2"), lambda: load("tm", "ssh"), lambda: load("tm", "qcow2", "ssh")]],
    }
    for action in ACTIONS.values():
        whole = [all(hasattr(driver(), action.name) for driver in drivers) for drivers in families[action.kind]]
        assert any(whole), action.name


def test_mv_between_datastores_that_do_not_lie_side_by_side_copies(world: World) -> None:
    (world.root / "100/5").mkdir(parents=True)
    far = world.root / "elsewhere" / "101"
    far.mkdir(parents=True)
    said = plan(
        "tm_mv",
        **QCOW2,
        source=world.root / "100/5",
        destination=far / "5",
        datastore=far,
        source_datastore=world.root / "100",
    )
    assert kinds(said) == ["copy-tree", "write-receipt", "publish-for-good", "discard"]
