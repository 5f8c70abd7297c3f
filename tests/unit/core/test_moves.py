# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of a VM's directory: chains that open at the other end, places with two names, one lock for one object."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Busy
from plugins.module_utils.steps.base import LEAD, PEER, Site, Timeouts
from plugins.module_utils.steps.claim import Claim
from plugins.module_utils.steps.executor import Executor
from plugins.module_utils.tools.host import Host
from tests.unit.core.cases import LOCAL, QCOW2, SSH, move, with_disk
from tests.unit.core.support import CHAINED, World, act, bytes_of, info, tool


def absolute(world: World) -> Path:
    """Give the layers of a VM's disk the absolute names that stock leaves after a snapshot is deleted (Q1)."""
    snap = world.disk("disk.0.snap")
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", snap / "0", snap / "1")
    (snap / "0.current").write_text(f"{snap}/0")
    return snap


@pytest.mark.parametrize("target_stands", [False, True])
@pytest.mark.parametrize("driver", [SSH, LOCAL, QCOW2], ids=lambda driver: str(driver["driver"]))
def test_chains_with_absolute_names_open_at_the_other_end(
    world: World, driver: dict[str, Any], target_stands: bool
) -> None:
    # a chain in the VM's own directory is what ssh makes of this image; qcow2 moves it like any other
    with_disk(LOCAL if driver is LOCAL else SSH, CHAINED)(world)
    content = bytes_of(world.disk(), "qcow2")
    snap = absolute(world)
    if driver is LOCAL:
        # stock's own has no link of the directory to itself, which relative names need
        (snap / "disk.0.snap").unlink()
    if target_stands:
        world.disk(system=101).parent.mkdir()
    act("tm_mv", **move(driver)(world))
    assert not world.disk().parent.exists()
    assert bytes_of(world.disk(system=101), "qcow2") == content
    assert info(world.disk(system=101))["backing-filename"] == "disk.0.snap/0"
    assert bytes_of(world.disk("disk.0.snap", system=101) / "1", "qcow2") == content
    marker = world.disk("disk.0.snap", system=101) / "0.current"
    assert marker.read_text() == f"{world.disk('disk.0.snap', system=101)}/0"


@pytest.mark.parametrize("driver", [SSH, QCOW2], ids=lambda driver: str(driver["driver"]))
def test_names_that_lead_elsewhere_stay(world: World, driver: dict[str, Any]) -> None:
    with_disk(SSH, CHAINED)(world)
    snap = world.disk("disk.0.snap")
    image = world.qcow2("4" * 32)
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", image, snap / "0")
    act("tm_mv", **move(driver)(world))
    assert info(world.disk("disk.0.snap", system=101) / "0")["backing-filename"] == str(image)


def test_a_raw_disk_that_looks_like_a_chain_is_left_alone(world: World) -> None:
    with_disk(SSH, CHAINED)(world)
    path = world.disk("disk.1")
    name = f"{world.disk('disk.1.snap')}/0"
    subprocess.run(
        ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", name, path, "1M"], check=True, timeout=30
    )
    before = path.read_bytes()
    act("tm_mv", **move(SSH)(world))
    assert world.disk("disk.1", system=101).read_bytes() == before


# ---------------------------------------------------------------- locks


def executor(site: Site, *claims: Claim) -> Executor:
    return Executor(site, list(claims), {}, False, lambda: False, lambda _head: None)


def two_names(folder: Path) -> tuple[str, str]:
    """One folder under two names."""
    (folder / "100").mkdir()
    (folder / "101").symlink_to("100")
    return str(folder / "100"), str(folder / "101")


@pytest.mark.parametrize("shared", [False, True])
def test_one_object_under_two_names_is_locked_once(folder: Path, shared: bool) -> None:
    one, other = two_names(folder)
    site = Site(Host("here"), None, "run", Timeouts(lock=0))
    run = executor(site, Claim(LEAD, other, "vm-5", shared=shared), Claim(LEAD, one, "vm-5"))
    run.enter()
    with pytest.raises(BlockingIOError):
        Host("somebody").lock(one, "vm-5", True, 0)
    run.leave()
    Host("somebody").lock(one, "vm-5", False, 0)


def test_one_object_is_one_for_both_hosts_when_the_storage_is(folder: Path) -> None:
    """The peer is another process in truth; its locks do not go with ours, which is what matters here."""
    one, other = two_names(folder)
    site = Site(Host("here"), Host("there"), "run", Timeouts(lock=0))
    run = executor(site, Claim(LEAD, one, "vm-5"), Claim(PEER, other, "vm-5"))
    run.enter()
    run.leave()
    Host("somebody").lock(other, "vm-5", False, 0)


def test_two_hosts_with_storage_of_their_own_lock_both(folder: Path) -> None:
    for name in ("100", "101"):
        (folder / name).mkdir()
    site = Site(Host("here"), Host("there"), "run", Timeouts(lock=0))
    run = executor(site, Claim(LEAD, f"{folder}/100", "vm-5"), Claim(PEER, f"{folder}/101", "vm-5"))
    run.enter()
    for name in ("100", "101"):
        with pytest.raises(BlockingIOError):
            Host("somebody").lock(f"{folder}/{name}", "vm-5", False, 0)
    run.leave()


def test_somebody_elses_lock_is_not_ours(folder: Path) -> None:
    """The peer cannot lock, and it is not because of us: somebody else is busy with it there."""
    for name in ("100", "101"):
        (folder / name).mkdir()
    somebody = Host("somebody")
    somebody.lock(f"{folder}/101", "vm-5", False, 0)
    site = Site(Host("here"), Host("there"), "run", Timeouts(lock=0))
    run = executor(site, Claim(LEAD, f"{folder}/100", "vm-5"), Claim(PEER, f"{folder}/101", "vm-5"))
    with pytest.raises(Busy, match="Another action has held vm-5"):
        run.enter()
