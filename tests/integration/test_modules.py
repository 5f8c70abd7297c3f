# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module through the real Ansible on this machine: a check, a run, and the run once more.

A row of the table is one task. It runs as a check, then for real, then again. What a check promised the run must find
undone, and what the run did the third must find done. The core's own tests say in depth what disks look like.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import COLLECTION, Ansible, everything

SECONDS = 30
MIB = 1 << 20
REGTIME = 1767225600


@dataclass(frozen=True)
class Row:
    """One task and what it is to do.

    :ivar returns: values that the result must have.
    :ivar repeats: whether the third run changes something again.
    """

    module: str
    options: dict[str, Any]
    returns: dict[str, Any]
    changes: bool = True
    repeats: bool = False


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Directory of the datastores 0 (system), 1 (images) and 2 (another system), and of what is imported."""
    folder = tmp_path / "one"
    for name in ("0", "1", "2"):
        (folder / name).mkdir(parents=True)
    (folder / "source.raw").write_bytes(os.urandom(MIB) + bytes(3 * MIB) + os.urandom(100))
    (folder / "context.sh").write_text("NAME='one two'\n", encoding="utf-8")
    return folder


def image_name(number: int) -> str:
    """The name of the file of an image of datastore 1, as the modules' documentation says it."""
    return hashlib.md5(f"1:{number}:{REGTIME}".encode(), usedforsecurity=False).hexdigest()


def image(site: Path, number: int) -> dict[str, Any]:
    """The options of a new image."""
    return {
        "driver": "fs",
        "datastore": str(site / "1"),
        "datastore_id": 1,
        "image_id": number,
        "regtime": REGTIME,
    }


def life(site: Path) -> list[Row]:
    """The table: images first, then disks, and their end."""
    images, system, other = site / "1", site / "0", site / "2"
    imported, empty, copy = (str(images / image_name(number)) for number in (1, 2, 3))
    source, vm = str(site / "source.raw"), system / "42"
    shared = {"driver": "qcow2", "datastore": str(system)}
    local = {"driver": "ssh", "datastore": str(other)}
    here = str(other / "7")
    digest = hashlib.sha1((site / "source.raw").read_bytes(), usedforsecurity=False).hexdigest()
    return [
        Row("ds_stat", {"driver": "fs", "source": source}, {"size": 5}, changes=False),
        Row("ds_monitor", {"driver": "fs", "datastore": str(images)}, {}, changes=False),
        Row(
            "ds_cp",
            {**image(site, 1), "source": source, "convert_to": "qcow2", "sha1": digest, "size": 5},
            {"source": imported, "format": "qcow2"},
        ),
        Row("ds_mkfs", {**image(site, 2), "format": "qcow2", "size": 16, "fs": "ext4"}, {"source": empty}),
        Row("ds_mkfs", {**image(site, 9), "format": "save_as", "size": 1}, {}, changes=False),
        Row("ds_clone", {**image(site, 3), "source": imported, "format": "qcow2"}, {"source": copy, "format": "qcow2"}),
        Row(
            "ds_export",
            {"driver": "fs", "datastore": str(images), "source": imported, "format": "qcow2"},
            {"file": imported, "size": 5, "format": "qcow2", "dispose": False},
            changes=False,
        ),
        Row("ds_cp", {**image(site, 4), "driver": "dummy", "source": "x"}, {"source": "dummy_path"}, changes=False),
        Row(
            "tm_clone",
            {
                **shared,
                "source": imported,
                "destination": f"{vm}/disk.0",
                "format": "qcow2",
                "original_size": 5,
                "size": 8,
            },
            {"path": f"{vm}/disk.0"},
        ),
        Row(
            "tm_ln",
            {**shared, "source": empty, "destination": f"{vm}/disk.1", "format": "qcow2"},
            {"path": f"{vm}/disk.1", "target": f"{empty}.snap/0"},
        ),
        Row("tm_mkimage", {**shared, "destination": f"{vm}/disk.2", "size": 16, "fs": "ext4"}, {}),
        Row("tm_mkswap", {**shared, "destination": f"{vm}/disk.3", "size": 8}, {}),
        Row("tm_context", {**shared, "destination": f"{vm}/disk.4", "files": [f"{site}/context.sh"]}, {}),
        Row(
            "tm_mvds", {**shared, "source": f"{vm}/disk.1", "destination": empty, "format": "qcow2"}, {}, changes=False
        ),
        Row("tm_monitor", shared, {"missed": []}, changes=False),
        Row("tm_delete", {**shared, "path": f"{vm}/disk.3"}, {"path": f"{vm}/disk.3"}),
        Row(
            "tm_mv",
            {
                "driver": "qcow2",
                "source_datastore": str(system),
                "datastore": str(other),
                "source": str(vm),
                "destination": f"{other}/42",
            },
            {"path": f"{other}/42"},
        ),
        Row("tm_ln", {**local, "source": copy, "destination": f"{here}/disk.0", "format": "qcow2"}, {}),
        Row("tm_monitor_ds", local, {"missed": []}, changes=False),
        Row(
            "tm_mvds",
            {**local, "source": f"{here}/disk.0", "destination": copy, "format": "qcow2"},
            {"path": copy},
            repeats=True,
        ),
        Row("tm_delete", {**local, "path": here}, {"path": here}),
        Row("ds_rm", {"driver": "fs", "datastore": str(images), "source": copy}, {"source": copy}),
    ]


def test_check_run_run_again(ansible: Ansible, site: Path) -> None:
    rows = life(site)
    tasks: list[dict[str, Any]] = []
    for row in rows:
        task = {f"{COLLECTION}.{row.module}": row.options}
        tasks += [{**task, "check_mode": True}, task, task]
    results = ansible.tasks(tasks)
    for number, row in enumerate(rows):
        promised, done, again = results[number * 3 : number * 3 + 3]
        where = f"row {number}, {row.module}: "
        for result in (promised, done, again):
            assert not result["failed"], where + result["msg"]
            assert result["changed"] == bool(result["actions"])
        assert promised["changed"] == done["changed"] == row.changes, where
        assert again["changed"] == row.repeats, where + str(again["actions"])
        told = {name: done.get(name) for name in row.returns}
        assert told == row.returns, where
        if not row.repeats and row.changes:
            assert {name: again.get(name) for name in row.returns} == row.returns, where
        for entry in promised["diff"] + done["diff"]:
            assert entry["before"] != entry["after"], where
        if row.changes:
            assert promised["diff"], where
            assert done["diff"], where
    before = outside_of_ours(site)
    (space,) = ansible.tasks(
        [{f"{COLLECTION}.ds_monitor": {"driver": "fs", "datastore": f"{site}/new/3"}, "check_mode": True}]
    )
    assert space["total_mb"] > 0
    assert outside_of_ours(site) == before, "a check made the datastore"
    assert_the_end(site)


def assert_the_end(site: Path) -> None:
    """What the table leaves: machine 42 in the other datastore, and two images."""
    vm = site / "2" / "42"
    disks = {path.name for path in vm.iterdir()}
    assert disks == {"disk.0", "disk.0.snap", "disk.1", "disk.2", "disk.4"}
    overlay = qemu_info(vm / "disk.0")
    assert (overlay["format"], overlay["virtual-size"]) == ("qcow2", 8 * MIB)
    assert overlay["backing-filename"] == str(site / "1" / image_name(1))
    assert os.readlink(vm / "disk.0") == "disk.0.snap/0"
    assert os.readlink(vm / "disk.1") == f"{site}/1/{image_name(2)}.snap/0"
    volume = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "LABEL", str(vm / "disk.4")], capture_output=True, timeout=SECONDS
    )
    assert volume.stdout == b"CONTEXT\n"
    assert not (site / "0" / "42").exists()
    assert not (site / "2" / "7").exists()
    left = {path.name for path in (site / "1").iterdir()}
    assert left == {".one_storage", image_name(1), image_name(2), image_name(2) + ".snap"}
    # what proves that a VM's directory came, which mv moved, stays as long as the directory
    for number, kept in (("0", {"locks"}), ("1", {"locks"}), ("2", {"locks", "vm-42.arrived"})):
        assert {path.name for path in (site / number / ".one_storage").iterdir()} == kept


def qemu_info(path: Path) -> dict[str, Any]:
    """What qemu-img says of an image."""
    command = ["qemu-img", "info", "--output=json", str(path)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout)
    return told


def test_bad_options_change_nothing(ansible: Ansible, site: Path) -> None:
    """One plain sentence each, from whichever part of the core finds the mistake."""
    system, vm = str(site / "0"), f"{site}/0/42"
    disk = {"driver": "qcow2", "datastore": system, "source": f"{site}/source.raw", "destination": f"{vm}/disk.0"}
    table: list[tuple[str, dict[str, Any], str, str]] = [
        ("tm_clone", {**disk, "driver": "lvm"}, "unsupported", "There is no tm driver 'lvm'"),
        ("tm_clone", {**disk, "peer": "host01"}, "unsupported", "qcow2 does clone on one host, it takes no peer"),
        ("tm_clone", {**disk, "driver": "ssh", "peer": "-oProxyCommand=id"}, "bad-call", "is not the name of a host"),
        ("tm_clone", {**disk, "source": f"{site}/none"}, "missing", f"The image {site}/none is not there"),
        ("tm_clone", {**disk, "destination": "/tmp/42/disk.0"}, "refused", f"is not inside {system}"),
        ("tm_clone", {**disk, "destination": f"{system}/../1/42/disk.0"}, "bad-call", "contains '..'"),
        ("tm_clone", {**disk, "destination": f"{vm}/disk.0\nx"}, "bad-call", "contains control characters"),
        ("tm_mkimage", {**pick(disk), "size": 0}, "bad-call", "The size 0 MB is not possible"),
        ("tm_mkimage", {**pick(disk), "size": 8, "fs": "btrfs"}, "bad-call", "Unsupported file system type 'btrfs'"),
        ("tm_context", {**pick(disk), "files": ["/none:x"]}, "missing", "The context file /none is not there"),
        ("tm_delete", {"driver": "qcow2", "datastore": system, "path": system}, "refused", "is not inside"),
        (
            "ds_cp",
            {**image(site, 1), "source": "/etc/shadow", "restricted_dirs": ["/etc"]},
            "refused",
            "RESTRICTED_DIRS",
        ),
        (
            "ds_cp",
            {**image(site, 1), "source": "file:///etc/shadow", "restricted_dirs": ["/etc"]},
            "refused",
            "RESTRICTED_DIRS",
        ),
    ]
    tasks = [
        {f"{COLLECTION}.{module}": options, "check_mode": check}
        for check in (True, False)
        for module, options, _code, _sentence in table
    ]
    before = outside_of_ours(site)
    results = ansible.tasks(tasks)
    for number, result in enumerate(results):
        module, options, code, sentence = table[number % len(table)]
        where = f"{module} {options}: {result}"
        assert result["failed"], where
        assert sentence in result["msg"], where
        assert result["error"]["code"] == code, where
        assert "\n" not in result["msg"], where
    assert outside_of_ours(site) == before


def pick(disk: dict[str, Any]) -> dict[str, Any]:
    """The options of a disk that comes from no image."""
    return {name: value for name, value in disk.items() if name != "source"}


def outside_of_ours(site: Path) -> dict[str, str]:
    """What is there, without the locks, which stay."""
    return {name: what for name, what in everything(site).items() if ".one_storage" not in name}


def test_a_second_host(ansible: Ansible, site: Path, tmp_path: Path) -> None:
    """The helper that a lead sends to its peer is found in Ansible's packed module too.

    The way to the peer is a stand-in for ssh that runs the command here, where it sees a datastore of its own at the
    path of the lead's.
    """
    far = tmp_path / "far"
    far.mkdir()
    ssh = tmp_path / "ssh"
    # the last argument is the remote command, quoted once
    inner = f'mount --bind {far} {site}/2 && exec sh -c "$1"'
    lines = ["#!/bin/sh", 'for word in "$@"; do last=$word; done']
    lines += [f"exec unshare --mount --propagation private sh -c '{inner}' sh \"$last\"", ""]
    ssh.write_text("\n".join(lines), encoding="utf-8")
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    try:
        subprocess.run([str(ssh), "true"], check=True, capture_output=True, timeout=SECONDS)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no rights to make a mount namespace: {error.stderr.decode()}")
    disk = f"{site}/2/5/disk.0"
    clone = {
        "driver": "ssh",
        "datastore": f"{site}/2",
        "source": f"{site}/source.raw",
        "destination": disk,
        "peer": "node01",
    }
    back = {
        "driver": "ssh",
        "datastore": f"{site}/2",
        "source_datastore": f"{site}/2",
        "source": f"{site}/2/5",
        "destination": f"{site}/2/5",
        "peer": "node01",
        "peer_role": "source",
    }
    task, move = {f"{COLLECTION}.tm_clone": clone}, {f"{COLLECTION}.tm_mv": back}
    tasks: list[dict[str, Any]] = [{**task, "check_mode": True}, task, task, {**move, "check_mode": True}]
    promised, done, again, leaves = ansible.tasks(tasks, ONE_STORAGE_SSH=str(ssh))
    for result in (promised, done, again, leaves):
        assert not result["failed"], result["msg"]
    assert [result["changed"] for result in (promised, done, again, leaves)] == [True, True, False, True]
    assert f"node01: put the disk {disk} in place" in done["actions"]
    assert (far / "5" / "disk.0").read_bytes() == (site / "source.raw").read_bytes()
    assert not (site / "2" / "5").exists()
    (moved,) = ansible.tasks([move], ONE_STORAGE_SSH=str(ssh))
    assert moved["changed"], moved["msg"]
    assert (site / "2" / "5" / "disk.0").read_bytes() == (site / "source.raw").read_bytes()
    assert not (far / "5").exists()
