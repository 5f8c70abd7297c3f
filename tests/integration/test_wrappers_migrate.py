# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrappers of the hooks around a live migration, as processes: to another datastore of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.oned import Vm
from tests.lab.oned.disk import Disk
from tests.lab.oned.messages import encode
from tests.lab.oned.vm import History
from tests.unit.door.front_end import VM, FrontEnd, Said


def leaving(front_end: FrontEnd, driver: str) -> Vm:
    """The VM runs in datastore 105 and goes to 101; its second disk is another driver's."""
    machine = front_end.vm("raw")
    machine.disks[1] = Disk({"DISK_ID": "1", "FORMAT": "raw", "SIZE": "1", "TYPE": "RBD", "TM_MAD": driver})
    machine.history = [
        History(vm_id=VM, seq=number, hostname="localhost", host_id=0, ds_id=store, tm_mad="ssh")
        for number, store in enumerate((105, 101))
    ]
    front_end.raw(front_end.store(105) / str(VM) / "disk.0")
    return machine


def hook(front_end: FrontEnd, name: str, **env: str) -> Said:
    arguments = ["localhost", "localhost", f"{front_end.root}//datastores/101/{VM}", str(VM), "101"]
    return front_end.run(f"tm/ssh/{name}", *arguments, stdin=encode("<VM/>"), env=env)


@pytest.fixture
def other(front_end: FrontEnd) -> Iterator[Path]:
    """The wrapper of a driver of somebody else's."""
    folder = front_end.remotes / "tm" / "theirs"
    folder.mkdir()
    for name in ("premigrate", "postmigrate", "failmigrate"):
        (folder / name).write_text(
            f'#!/bin/sh\ncat > {front_end.root}/stdin\necho "$0 $*" >> {front_end.root}/called\n'
        )
        (folder / name).chmod(0o755)
    yield front_end.root / "called"
    shutil.rmtree(folder)


def test_hooks_to_another_datastore(front_end: FrontEnd, other: Path) -> None:
    leaving(front_end, "theirs")
    old, new = (front_end.store(number) / str(VM) for number in (105, 101))
    before = front_end.state()
    said = hook(front_end, "premigrate", ONE_STORAGE_EXPLAIN="1")
    assert said.code == 0 and "make room for disk.0" in said.out, said.err
    assert front_end.state() == before and not other.exists(), "nobody is called to explain"
    said = hook(front_end, "premigrate")
    assert (said.code, said.out) == (0, ""), said.err
    assert (new / "disk.0").stat().st_size == (old / "disk.0").stat().st_size
    assert other.read_text().split()[1:] == [
        "localhost", "localhost", f"{front_end.root}//datastores/101/{VM}", str(VM), "101", "ssh"
    ]  # fmt: skip
    assert (front_end.root / "stdin").read_bytes() == encode("<VM/>")
    # nothing was copied: the source stays, and oned is told why
    said = hook(front_end, "postmigrate")
    assert said.code == 1 and "as empty as it was made" in said.reason and said.out == ""
    (new / "disk.0").write_bytes((old / "disk.0").read_bytes())
    assert hook(front_end, "postmigrate").code == 0
    assert not old.exists() and (new / "disk.0").stat().st_size and front_end.hidden() == []


def test_a_failed_one_is_taken_back(front_end: FrontEnd, other: Path) -> None:
    leaving(front_end, "theirs")
    before = front_end.state()
    assert hook(front_end, "premigrate").code == 0
    assert hook(front_end, "failmigrate").code == 0
    after = front_end.state()
    # the marker says what the datastore is
    assert {key: value for key, value in after.items() if not key.endswith(".monitor")} == before
    assert len(other.read_text().splitlines()) == 2


def test_a_driver_that_fails_stops_it_before_anything_is_done(front_end: FrontEnd, other: Path) -> None:
    leaving(front_end, "theirs")
    script = front_end.remotes / "tm" / "theirs" / "premigrate"
    script.write_text("#!/bin/sh\necho 'no such pool' >&2\nexit 1\n")
    before = front_end.state()
    said = hook(front_end, "premigrate")
    assert said.code == 1 and said.reason == "The driver theirs fails to premigrate: no such pool"
    assert front_end.state() == before


@pytest.mark.parametrize("name", ["premigrate", "postmigrate", "failmigrate"])
def test_on_behalf_of_another_driver_nothing_is_done(front_end: FrontEnd, name: str) -> None:
    leaving(front_end, "theirs")
    before = front_end.state()
    arguments = ["localhost", "localhost", f"{front_end.root}//datastores/101/{VM}", str(VM), "101", "ceph"]
    for driver in ("qcow2", "shared", "ssh", "local"):
        said = front_end.run(f"tm/{driver}/{name}", *arguments, stdin=encode("<VM/>" * 50_000))
        assert (said.code, said.out, said.err) == (0, "", "")
    assert front_end.state() == before
