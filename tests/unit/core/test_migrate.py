# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of a live migration: what is made, what a receipt is good for, and what is never removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError
from tests.unit.core.cases import LOCAL, QCOW2, SSH
from tests.unit.core.cases_migrate import arrived, cloned, hypervisor, prepared, running, way
from tests.unit.core.support import (
    CHAINED,
    OVERLAID,
    World,
    act,
    bytes_of,
    explained,
    info,
    killed_at,
    tree,
)

RECEIPT = "vm-5.receipt"


def home(world: World, system: int = 101) -> Path:
    """The VM's directory."""
    return world.disk(system=system).parent


def receipt(world: World) -> Path:
    return world.root / "101" / ".one_storage" / RECEIPT


def state(world: World) -> dict[str, tuple[str, ...]]:
    """Everything at the source."""
    return tree(home(world, 100))


@contextmanager
def written_by_a_guest(path: Path, image_format: str) -> Iterator[None]:
    """A real QEMU process that has an image open for writing, as a running VM has."""
    process = subprocess.Popen(
        ["qemu-io", "-f", image_format, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        # its answer tells that the image is open
        process.stdin.write("length\n")
        process.stdin.flush()
        while "MiB" not in (line := process.stdout.readline()):
            assert line or process.poll() is None, "qemu-io ended"
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


# ---------------------------------------------------------------- premigrate


@pytest.mark.parametrize("driver", [SSH, LOCAL, QCOW2], ids=lambda driver: str(driver["driver"]))
def test_the_destination_is_ready_for_the_hypervisor(world: World, driver: dict[str, Any]) -> None:
    (cloned if driver is QCOW2 else running(driver))(world)
    before = state(world)
    result = act("tm_premigrate", **way(driver)(world))
    assert result["changed"] and result["path"] == str(home(world))
    assert state(world) == before, "the source stays as it is"
    there = home(world)
    # what the guest writes to has its size and nothing in it
    assert (there / "disk.1").stat().st_size == 1_234_944 and (there / "disk.1").stat().st_blocks == 0
    assert info(there / "disk.2")["virtual-size"] == info(home(world, 100) / "disk.2")["virtual-size"]
    assert not any(bytes_of(there / "disk.2", "qcow2"))
    # all else is there as it was
    for name in ("disk.1.snap/3", "disk.3", "kernel", "deployment.0"):
        assert (there / name).read_bytes() == (home(world, 100) / name).read_bytes(), name
    assert os.readlink(there / "disk.4") == os.readlink(home(world, 100) / "disk.4")
    assert not (there / "checkpoint").exists()
    assert world.is_tidy() and world.receipts() == [RECEIPT]


def test_frozen_layers_are_copied_and_the_active_one_is_made(world: World) -> None:
    running(SSH)(world)
    act("tm_premigrate", **way(SSH)(world))
    snap, old = home(world) / "disk.0.snap", home(world, 100) / "disk.0.snap"
    assert os.readlink(world.disk(system=101)) == "disk.0.snap/1"
    assert os.readlink(snap / "disk.0.snap") == "."
    assert (snap / "0").read_bytes() == (old / "0").read_bytes()
    assert info(world.disk(system=101))["backing-filename"] == "disk.0.snap/0"
    # an empty layer shows what it stands on
    assert bytes_of(world.disk(system=101), "qcow2") == bytes_of(old / "0", "qcow2")
    assert bytes_of(world.disk(system=101), "qcow2") != bytes_of(world.disk(), "qcow2")
    hypervisor(world)
    assert bytes_of(world.disk(system=101), "qcow2") == bytes_of(world.disk(), "qcow2")


def test_absolute_names_of_layers_are_mended_on_the_way(world: World) -> None:
    """Stock writes them when a snapshot is deleted; in another datastore they would lead back to the source (Q1)."""
    running(SSH)(world)
    snap = home(world, 100) / "disk.0.snap"
    subprocess.run(
        ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", snap / "0", snap / "1"],
        check=True,
        timeout=30,
    )
    (snap / "0.current").write_text(f"{snap}/0")
    act("tm_premigrate", **way(SSH)(world))
    assert info(world.disk(system=101))["backing-filename"] == "disk.0.snap/0"
    assert (home(world) / "disk.0.snap" / "0.current").read_text() == f"{home(world)}/disk.0.snap/0"


def test_an_image_that_the_destination_does_not_see_is_told(world: World) -> None:
    running(SSH)(world)
    (home(world, 100) / "disk.5").symlink_to(world.images / "not-mounted")
    with pytest.raises(Missing, match="not-mounted, which is not there"):
        act("tm_premigrate", **way(SSH)(world))
    assert not home(world).exists() and world.is_tidy() and not world.receipts()


def test_a_directory_of_an_earlier_migration_is_replaced(world: World) -> None:
    running(SSH)(world)
    home(world).mkdir()
    (home(world) / "disk.9").write_text("of an earlier one")
    act("tm_premigrate", **way(SSH)(world))
    assert not (home(world) / "disk.9").exists() and (home(world) / "disk.1").exists()


def test_a_machine_that_runs_at_the_destination_is_never_replaced(world: World) -> None:
    arrived(SSH)(world)
    before = tree(home(world))
    for disk, image_format in (("disk.1", "raw"), ("disk.0", "qcow2")):
        with written_by_a_guest(home(world) / disk, image_format):
            with pytest.raises(Refused, match=f"{disk} is in use"):
                act("tm_premigrate", **way(SSH)(world))
            with pytest.raises(Refused, match=f"stays: .*{disk} is in use"):
                act("tm_failmigrate", **way(SSH)(world))
    assert tree(home(world)) == before and world.receipts() == [RECEIPT]


def test_one_storage_is_refused_by_proof(world: World) -> None:
    """Two names of one folder: the hypervisor would copy each disk onto itself."""
    running(SSH)(world)
    (world.root / "101").rmdir()
    (world.root / "101").symlink_to("100")
    before = state(world)
    with pytest.raises(Refused, match="are the same storage"):
        act("tm_premigrate", **way(SSH)(world))
    for hook in ("tm_failmigrate", "tm_postmigrate"):
        assert not act(hook, **way(SSH)(world))["changed"]
    assert state(world) == before and world.is_tidy() and not world.receipts()


def test_run_again_it_is_built_anew(world: World) -> None:
    """What an earlier run copied may have changed since: nothing of it is kept."""
    prepared(SSH)(world)
    first = receipt(world).read_text()
    (home(world) / "disk.3").write_text("old")
    assert act("tm_premigrate", **way(SSH)(world))["changed"]
    assert (home(world) / "disk.3").read_text() == "read-only"
    assert receipt(world).read_text() != first
    assert act("tm_failmigrate", **way(SSH)(world))["changed"]
    assert not home(world).exists() and not world.receipts()


@pytest.mark.parametrize("disks", [["x:raw"], ["1"], ["1:vmdk"], ["-1:raw"], [""]])
def test_disks_that_are_none(world: World, disks: list[str]) -> None:
    running(SSH)(world)
    with pytest.raises(BadCall, match="is not a disk's id and format"):
        act("tm_premigrate", **{**way(SSH)(world), "disks": disks})
    assert not home(world).exists()


def test_check_mode_changes_nothing(world: World) -> None:
    running(SSH)(world)
    before = world.tree()
    told = explained("tm_premigrate", **way(SSH)(world))["actions"]
    assert any("make room for disk.1: raw, 1234944 bytes" in line for line in told)
    assert any("vm-5.receipt" in line for line in told)
    assert world.tree() == before and not world.receipts()


def stays(driver: dict[str, Any]) -> Callable[[World], dict[str, Any]]:
    """Options of the hooks for a VM that changes its host and not its datastore."""
    return lambda world: {
        **way(driver)(world),
        "datastore": world.system,
        "destination": home(world, 100),
    }


def test_shared_storage_has_to_be_seen_by_the_destination(world: World) -> None:
    running(QCOW2, OVERLAID)(world)
    before = world.tree()
    assert not act("tm_premigrate", **stays(QCOW2)(world))["changed"]
    for hook in ("tm_postmigrate", "tm_failmigrate"):
        assert not act(hook, **stays(QCOW2)(world))["changed"]
    assert world.tree() == before
    shutil.rmtree(home(world, 100))
    with pytest.raises(Missing, match="mounted on this host"):
        act("tm_premigrate", **stays(QCOW2)(world))


@pytest.mark.parametrize("driver", [SSH, LOCAL])
def test_nothing_to_do_on_one_host_in_one_datastore(world: World, driver: dict[str, Any]) -> None:
    running(driver)(world)
    before = world.tree()
    for hook in ("tm_premigrate", "tm_postmigrate", "tm_failmigrate"):
        assert not act(hook, **stays(driver)(world))["changed"]
    assert world.tree() == before


# ---------------------------------------------------------------- postmigrate


@pytest.mark.parametrize(("driver", "image"), [(SSH, CHAINED), (LOCAL, CHAINED), (QCOW2, CHAINED), (QCOW2, OVERLAID)])
def test_the_source_goes_when_the_destination_has_it_all(world: World, driver: dict[str, Any], image: str) -> None:
    arrived(driver, image)(world)
    wanted = {name: bytes_of(world.disk(name), kind) for name, kind in (("disk.0", "qcow2"), ("disk.1", "raw"))}
    images = tree(world.images)
    act("tm_postmigrate", **way(driver)(world))
    assert not home(world, 100).exists()
    for name, content in wanted.items():
        assert bytes_of(world.disk(name, system=101), "raw" if name == "disk.1" else "qcow2") == content
    assert tree(world.images) == images, "a persistent image is not the VM's to remove"
    assert world.is_tidy() and not world.receipts()
    assert not act("tm_postmigrate", **way(driver)(world))["changed"]


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 512)


def other_size(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True, timeout=30)


@pytest.mark.parametrize(
    ("name", "spoil", "wanted"),
    [
        ("disk.0", Path.unlink, "disk.0 is not there"),
        ("disk.1", Path.unlink, "disk.1 is not there"),
        ("disk.1", shorten, "disk.1 has 1234432 bytes, not 1234944"),
        ("disk.2", other_size, "disk.2 has 1048576 bytes, not 2097152"),
        ("disk.0.snap/0", Path.unlink, "disk.0.snap/0 is not there"),
        ("disk.1.snap/3", shorten, "disk.1.snap/3 has 29488 bytes, not 30000"),
        ("disk.3", Path.unlink, "disk.3 is not there"),
        ("kernel", Path.unlink, "kernel is not there"),
    ],
)
def test_the_source_stays_while_something_is_missing(
    world: World, name: str, spoil: Callable[[Path], None], wanted: str
) -> None:
    arrived(SSH)(world)
    spoil(home(world) / name)
    before = state(world)
    with pytest.raises(StorageError, match=wanted) as caught:
        act("tm_postmigrate", **way(SSH)(world))
    assert isinstance(caught.value, (Refused, Missing))
    assert state(world) == before and world.is_tidy()


def test_the_source_stays_while_the_destination_is_not_there_at_all(world: World) -> None:
    running(SSH)(world)
    for name in ("disk.0", "disk.1", "disk.2", "disk.3", "disk.4", "kernel"):
        (home(world, 100) / name).unlink()
    for name in ("disk.0.snap", "disk.1.snap"):
        shutil.rmtree(home(world, 100) / name)
    with pytest.raises(Refused, match="101/5 is not there"):
        act("tm_postmigrate", **way(SSH)(world))
    assert (home(world, 100) / "deployment.0").exists()


@pytest.mark.parametrize("disk", ["disk.0", "disk.1", "disk.2"])
def test_the_source_stays_while_room_is_empty(world: World, disk: str) -> None:
    """Sizes are right from the beginning: what nobody ever wrote to is no copy."""
    arrived(SSH)(world)
    kept = {name: world.disk(name, system=101).read_bytes() for name in ("disk.0", "disk.1", "disk.2") if name != disk}
    act("tm_premigrate", **way(SSH)(world))
    for name, content in kept.items():
        world.disk(name, system=101).write_bytes(content)
    with pytest.raises(Refused, match=rf"{'disk.0.snap/1' if disk == 'disk.0' else disk} is as empty as it was made"):
        act("tm_postmigrate", **way(SSH)(world))
    assert home(world, 100).exists()
    hypervisor(world)
    act("tm_postmigrate", **way(SSH)(world))
    assert not home(world, 100).exists()


def test_the_source_stays_while_the_machine_runs_there(world: World) -> None:
    arrived(SSH)(world)
    with (
        written_by_a_guest(world.disk("disk.2"), "qcow2"),
        pytest.raises(Refused, match=r"100/5 stays: .*disk\.2 is in use"),
    ):
        act("tm_postmigrate", **way(SSH)(world))
    assert home(world, 100).exists()
    act("tm_postmigrate", **way(SSH)(world))
    assert not home(world, 100).exists()


def test_a_machine_that_runs_at_the_destination_is_where_it_should_be(world: World) -> None:
    arrived(SSH)(world)
    with written_by_a_guest(world.disk("disk.2", system=101), "qcow2"):
        act("tm_postmigrate", **way(SSH)(world))
    assert not home(world, 100).exists()


def test_a_destination_that_stock_prepared_has_no_receipt(world: World) -> None:
    arrived(SSH)(world)
    receipt(world).unlink()
    act("tm_postmigrate", **way(SSH)(world))
    assert not home(world, 100).exists() and home(world).exists()


# ---------------------------------------------------------------- failmigrate


def test_what_was_made_is_taken_back_and_nothing_else(world: World) -> None:
    running(SSH)(world)
    before = state(world)
    (world.root / "101" / "6").mkdir()
    (world.root / "101" / "6" / "disk.0").write_text("another VM's")
    act("tm_premigrate", **way(SSH)(world))
    # what the hypervisor put there before it failed goes with it
    (home(world) / "disk.7").write_text("half a disk")
    act("tm_failmigrate", **way(SSH)(world))
    assert not home(world).exists() and not world.receipts() and world.is_tidy()
    assert (world.root / "101" / "6" / "disk.0").read_text() == "another VM's"
    assert state(world) == before
    assert not act("tm_failmigrate", **way(SSH)(world))["changed"]


def test_without_a_receipt_nothing_is_taken(world: World) -> None:
    running(SSH)(world)
    home(world).mkdir()
    (home(world) / "disk.0").write_text("nobody said that it was made for this")
    assert not act("tm_failmigrate", **way(SSH)(world))["changed"]
    assert (home(world) / "disk.0").exists()


def test_a_directory_that_somebody_else_put_there_stays(world: World) -> None:
    prepared(SSH)(world)
    home(world).rename(world.root / "101" / "5.kept")
    home(world).mkdir()
    (home(world) / "disk.0").write_text("another one")
    act("tm_failmigrate", **way(SSH)(world))
    assert (home(world) / "disk.0").read_text() == "another one" and not world.receipts()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"format": 2, "inode": 1, "rooms": {}}', '{"format": 1}'])
def test_a_receipt_that_says_nothing_gives_no_right(world: World, text: str) -> None:
    prepared(SSH)(world)
    receipt(world).write_text(text)
    act("tm_failmigrate", **way(SSH)(world))
    assert home(world).exists() and not world.receipts()


def test_the_only_copy_stays(world: World) -> None:
    """The source is gone, so the machine must have arrived, whatever the hypervisor says."""
    arrived(SSH)(world)
    shutil.rmtree(home(world, 100))
    with pytest.raises(Refused, match="no other copy"):
        act("tm_failmigrate", **way(SSH)(world))
    assert home(world).exists()


def test_a_receipt_names_the_directory_and_where_it_came_from(world: World) -> None:
    prepared(SSH)(world)
    found = json.loads(receipt(world).read_text())
    assert found["inode"] == home(world).stat().st_ino
    assert found["directory"] == str(home(world)) and found["source"] == str(home(world, 100))
    assert found["host"] == os.uname().nodename
    assert set(found["rooms"]) == {"disk.0.snap/1", "disk.1", "disk.2"}


# ---------------------------------------------------------------- deaths


def deaths(folder: Path, action: str, prepare: Callable[[World], None]) -> Iterator[tuple[str, World]]:
    """Worlds in which a hook was killed, each at another point; each is made anew, as inodes count."""
    number = 0
    for point in [*(f"{number}{after}" for number in range(40) for after in ("", "+")), "end"]:
        place = folder / str(number)
        number += 1
        place.mkdir()
        world = World(place)
        prepare(world)
        if killed_at(point, action, way(SSH)(world)):
            yield point, world
        shutil.rmtree(place)
    assert number > 10


def test_failmigrate_after_a_premigrate_that_was_killed(folder: Path) -> None:
    """What the VM manager does: the source is as it was, and nothing is left of the destination."""
    points = []
    for point, world in deaths(folder, "tm_premigrate", small):
        before = state(world)
        act("tm_failmigrate", **way(SSH)(world))
        assert not home(world).exists(), f"killed at {point}"
        assert world.is_tidy() and not world.receipts(), f"killed at {point}: {world.hidden()}"
        assert state(world) == before, f"killed at {point}"
        points.append(point)
    assert {"0", "1+", "end"} <= set(points)


def test_failmigrate_is_killed_and_run_again(folder: Path) -> None:
    points = []
    for point, world in deaths(folder, "tm_failmigrate", small_prepared):
        before = state(world)
        act("tm_failmigrate", **way(SSH)(world))
        assert not home(world).exists() and not world.receipts() and world.is_tidy(), f"killed at {point}"
        assert state(world) == before, f"killed at {point}"
        points.append(point)
    assert {"0", "0+", "1", "1+", "end"} <= set(points)


def test_a_delete_settles_what_a_killed_premigrate_left(folder: Path) -> None:
    """oned may send a delete for the destination instead (rule 7)."""
    for point, world in deaths(folder, "tm_premigrate", small):
        act("tm_delete", **QCOW2, datastore=world.root / "101", path=home(world))
        # the workshop at the source is cleared by whatever is done there next
        act("tm_delete", **QCOW2, datastore=world.system, path=world.system / "99")
        assert not home(world).exists() and not world.receipts() and world.is_tidy(), f"killed at {point}"


def test_postmigrate_is_killed_and_one_end_is_whole(folder: Path) -> None:
    def ready(world: World) -> None:
        small_prepared(world)
        (home(world) / "disk.1").write_bytes((home(world, 100) / "disk.1").read_bytes())

    for point, world in deaths(folder, "tm_postmigrate", ready):
        assert (home(world) / "disk.1").read_bytes() == b"x" * 70_000, f"killed at {point}"
        act("tm_postmigrate", **way(SSH)(world))
        assert not home(world, 100).exists() and not world.receipts() and world.is_tidy(), f"killed at {point}"


def small(world: World) -> None:
    """A VM that takes no time to make."""
    home(world, 100).mkdir()
    (home(world, 100) / "disk.1").write_bytes(b"x" * 70_000)
    (home(world, 100) / "disk.3").write_bytes(b"read-only")


def small_prepared(world: World) -> None:
    small(world)
    act("tm_premigrate", **way(SSH)(world))


def test_a_layer_that_is_no_image_is_told(world: World) -> None:
    running(SSH)(world)
    (home(world, 100) / "disk.2").write_bytes(b"not what oned says")
    with pytest.raises(Corrupt, match="disk.2 is not a qcow2 image"):
        act("tm_premigrate", **way(SSH)(world))
    assert not home(world).exists() and not world.receipts()


def test_raw_stays_raw_whatever_the_guest_wrote(world: World) -> None:
    """A guest may write a qcow2 header that points at a file of the host: it is never read (rule 10)."""
    running(SSH)(world)
    subprocess.run(
        ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", world.disk("disk.1"), "9G"],
        check=True,
        timeout=30,
    )
    size = world.disk("disk.1").stat().st_size
    act("tm_premigrate", **way(SSH)(world))
    assert world.disk("disk.1", system=101).stat().st_size == size
    assert world.disk("disk.1", system=101).stat().st_blocks == 0
