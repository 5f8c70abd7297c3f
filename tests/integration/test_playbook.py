# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/disk_life.yml: it makes what it says, a second run changes nothing, and a check tells the truth."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import Ansible, Said, everything

SECONDS = 30
NAME = "55e70f91b5d8e46c11301a7df2fa8dbb"


class Life:
    """The playbook, with its datastores below *scratch*."""

    def __init__(self, ansible: Ansible, scratch: Path) -> None:
        self.ansible = ansible
        self.scratch = scratch
        self.images = scratch / "datastores" / "1"
        self.vm = scratch / "datastores" / "0" / "42"
        self.image = self.images / NAME

    def run(self, *arguments: str) -> Said:
        said = self.ansible.playbook(
            "one_storage.drivers.disk_life", *arguments, variables={"disk_life_scratch": str(self.scratch)}
        )
        assert said.code == 0, said.out + said.err
        assert said.count("failed") == 0
        return said


@pytest.fixture
def life(ansible: Ansible, tmp_path: Path) -> Life:
    return Life(ansible, tmp_path / "scratch with a blank")


def qemu_info(path: Path) -> dict[str, Any]:
    """What qemu-img says of an image."""
    command = ["qemu-img", "info", "--output=json", str(path)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout)
    return told


def diff_of(said: Said) -> dict[str, list[str]]:
    """Each path of a diff with the lines that go and come."""
    found: dict[str, list[str]] = {}
    path = ""
    for line in said.out.splitlines():
        if line.startswith("+++ after: "):
            path = line.removeprefix("+++ after: ").rsplit(" on ", 1)[0]
            found[path] = []
        elif path and line.startswith(("+", "-")) and not line.startswith(("---", "+++")):
            found[path].append(line)
    return found


def test_make_link_delete(life: Life) -> None:
    # a check of everything, where nothing is
    said = life.run("--check", "--diff")
    assert not life.scratch.exists()
    assert said.count("changed") == 2
    assert said.count("skipped") == 1
    assert diff_of(said)[str(life.image)] == ["-absent", "+image"]
    assert diff_of(said)[str(life.vm / "disk.1")] == ["-absent", "+disk"]

    # the first run
    said = life.run("--diff")
    assert said.count("changed") == 3
    assert diff_of(said)[str(life.vm / "disk.0")] == ["-absent", f"+link to {life.image}.snap/0"]
    info = qemu_info(life.image)
    assert (info["format"], info["virtual-size"]) == ("qcow2", 64 << 20)
    layer = Path(f"{life.image}.snap/0")
    assert os.readlink(life.vm / "disk.0") == str(layer)
    assert os.readlink(layer) == str(life.image)
    assert os.readlink(f"{life.image}.snap/{NAME}.snap") == "."
    assert (life.vm / "disk.1").stat().st_size == 16 << 20
    blkid = ["blkid", "-p", "-o", "value", "-s", "TYPE", str(life.vm / "disk.1")]
    assert subprocess.run(blkid, capture_output=True, timeout=SECONDS, check=True).stdout == b"swap\n"

    # again, by itself and as a check
    made = everything(life.scratch)
    assert life.run().count("changed") == 0
    said = life.run("--check", "--diff")
    assert said.count("changed") == 0
    assert diff_of(said) == {}
    assert everything(life.scratch) == made

    # a check of the end, which changes nothing
    said = life.run("--tags", "delete", "--check", "--diff")
    assert said.count("changed") == 3
    assert diff_of(said)[str(life.vm / "disk.0")] == [f"-link to {life.image}.snap/0", "+absent"]
    assert diff_of(said)[str(life.vm)] == ["-directory", "+absent"]
    assert diff_of(said)[str(life.image)] == ["-file", "+absent"]
    assert everything(life.scratch) == made

    # the end, and once more
    assert life.run("--tags", "delete").count("changed") == 3
    left = [name for name, what in everything(life.scratch).items() if what != "directory"]
    assert left == ["datastores/0/.one_storage/locks", "datastores/1/.one_storage/locks"]
    assert life.run("--tags", "delete").count("changed") == 0


def test_what_was_changed_by_hand_is_put_right(life: Life) -> None:
    life.run("--tags", "make")
    disk = life.vm / "disk.0"
    disk.unlink()
    disk.symlink_to("/nowhere")
    said = life.run("--tags", "make", "--check", "--diff")
    assert diff_of(said)[str(disk)] == ["-link to /nowhere", f"+link to {life.image}.snap/0"]
    assert os.readlink(disk) == "/nowhere"
    assert life.run("--tags", "make").count("changed") == 1
    assert os.readlink(disk) == f"{life.image}.snap/0"
