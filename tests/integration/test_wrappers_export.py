# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports through real wrappers, the drivers ``dummy``, and actions that a driver lacks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from tests.integration.test_wrappers_answer import NOT_SUPPORTED
from tests.lab.oned.answers import read_clone, read_cp, read_mkfs, read_monitor, read_stat
from tests.unit.door.front_end import FrontEnd, Said


def told(said: Said) -> dict[str, str]:
    """The parts of the answer, in their order."""
    assert (said.code, said.err) == (0, ""), said
    assert said.out.count("\n") == 1
    root = etree.fromstring(said.out.encode())
    assert root.tag == "IMPORT_INFO"
    return {str(node.tag): node.text or "" for node in root}


def chain(front_end: FrontEnd, name: str) -> Path:
    """An image that is the lower of two layers."""
    source = front_end.qcow2(front_end.store(100) / name)
    snap = front_end.store(100) / f"{name}.snap"
    snap.mkdir()
    (snap / "0").symlink_to(source)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snap / "0", snap / "1")
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x5a 64k 64k", snap / "1")
    return source


def run(*argv: str | Path) -> bytes:
    """A command's stdout."""
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, timeout=60).stdout


def md5(path: str) -> str:
    return hashlib.md5(Path(path).read_bytes()).hexdigest()


def test_an_image_that_stands_alone(front_end: FrontEnd) -> None:
    front_end.raw(front_end.store(100) / "image")
    source = f"{front_end.root}//datastores/100/image"
    answer = told(front_end.run("datastore/fs/export", "77", stdin=front_end.export(source, size=12)))
    assert answer == {
        "IMPORT_SOURCE": source,
        "MD5": md5(source),
        "SIZE": "12",
        "FORMAT": "raw",
        "DISPOSE": "NO",
    }
    assert front_end.hidden() == []


def test_a_chain_through_a_marketplace(front_end: FrontEnd) -> None:
    """Exported, fetched and disposed of, as the drivers of marketplaces do it."""
    source = chain(front_end, "image")
    before = front_end.state()
    answer = told(front_end.run("datastore/fs/export", "77", stdin=front_end.export(str(source), image_format="qcow2")))
    assert list(answer) == ["IMPORT_SOURCE", "MD5", "SIZE", "FORMAT", "DISPOSE", "DISPOSE_CMD"]
    assert (answer["DISPOSE"], answer["FORMAT"]) == ("YES", "qcow2")
    app = front_end.root / "app"
    run("bash", "-c", f"cat {answer['IMPORT_SOURCE']} > {app}")
    assert md5(str(app)) == answer["MD5"]
    assert b"backing file" not in run("qemu-img", "info", app)
    assert (
        run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", app, f"{source}.snap/1") == b"Images are identical.\n"
    )
    # one of them runs it unquoted, the other one through a shell
    run("bash", "-c", "command=$1; $command", "market", answer["DISPOSE_CMD"])
    run("bash", "-c", answer["DISPOSE_CMD"])
    assert {key: value for key, value in front_end.state().items() if not key.endswith("/exports")} == before


def test_nobody_reads_the_answer(front_end: FrontEnd) -> None:
    source = chain(front_end, "image")
    reader, writer = os.pipe()
    os.close(reader)
    wrapper = str(front_end.remotes / "datastore/fs/export")
    done = subprocess.run(
        [wrapper, "7"],
        input=front_end.export(str(source), image_format="qcow2"),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=front_end.environment(),
        timeout=60,
    )
    os.close(writer)
    assert done.returncode == 1
    front_end.run("datastore/fs/rm", "1", stdin=front_end.rm(f"{front_end.root}//datastores/100/gone"))
    assert [name for name in front_end.hidden() if not name.endswith("/exports")] == []


def test_explained(front_end: FrontEnd) -> None:
    source = chain(front_end, "image")
    before = front_end.state()
    said = front_end.run(
        "datastore/fs/export",
        "7",
        stdin=front_end.export(str(source), image_format="qcow2"),
        env={"ONE_STORAGE_EXPLAIN": "1"},
    )
    assert said.out.startswith("fs on ") and "as a qcow2 image of its own" in said.out
    assert front_end.state() == before


def test_on_a_bridge_it_is_a_url(front_end: FrontEnd) -> None:
    """The node's side runs here in the place of a bridge's; what disposes of the file goes there as well."""
    source = chain(front_end, "image")
    ssh = front_end.root / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n')
    ssh.chmod(0o755)
    way = {
        "ONE_STORAGE_LAUNCHER": "ssh",
        "ONE_STORAGE_SSH": str(ssh),
        "ONE_STORAGE_REMOTE_DIRECTORY": str(front_end.remotes),
    }
    document = front_end.export(str(source), image_format="qcow2", attributes={"BRIDGE_LIST": "bridge01"})
    answer = told(front_end.run("datastore/fs/export", "7", stdin=document, env=way))
    assert answer["IMPORT_SOURCE"].startswith(f"ssh://bridge01:{front_end.store(100)}/.one_storage/exports/image-")
    path = answer["IMPORT_SOURCE"].removeprefix("ssh://bridge01:")
    assert md5(path) == answer["MD5"]
    assert answer["DISPOSE_CMD"] == f"ssh -n -o BatchMode=yes bridge01 rm -f {path}"


# ---------------------------------------------------------------- dummy

IMAGES = {
    "cp": "dummy_path dummy_format\n",
    "mkfs": "dummy_path\n",
    "clone": "dummy_path\n",
    "stat": "1024\n",
    "monitor": "USED_MB=9720\nFREE_MB=20480\nTOTAL_MB=20480\n",
    "restore": "0 dummy_image\n",
    "rm": "",
    "snap_delete": "",
    "snap_revert": "",
    "snap_flatten": "",
}
TOTALS = "USED_MB=1429920\nFREE_MB=3333260\nTOTAL_MB=4796800\n"
DISKS = (
    "clone ln mv mvds cpds delete context mkimage mkswap resize premigrate postmigrate failmigrate "
    "snap_create snap_delete snap_revert restore"
).split()
LACKING = {
    "datastore": "backup backup_cancel increment_flatten ls".split(),
    "tm": "snap_create_live prebackup prebackup_live postbackup postbackup_live".split(),
}


def refused(said: Said, action: str) -> None:
    """The one sentence that an action gets which is not supported."""
    assert (said.code, said.out) == (1, "")
    assert said.reason.endswith(f"{action}: Operation not supported"), said


@pytest.mark.parametrize("action", IMAGES)
def test_dummy_images(front_end: FrontEnd, action: str) -> None:
    """Whatever the document is, as long as anybody sends one; it is read, but nobody looks at it."""
    before = front_end.state()
    for stdin in (b"", b"anything", front_end.cp("/no/such/file"), b"x" * 3_000_000):
        said = front_end.run(f"datastore/dummy/{action}", "1", stdin=stdin)
        assert said == Said(0, IMAGES[action], "")
    assert front_end.state() == before and front_end.server.requests == []


def test_oned_understands_dummy() -> None:
    assert read_cp(IMAGES["cp"]) == ("dummy_path", "dummy_format")
    assert read_mkfs(IMAGES["mkfs"]) == "dummy_path"
    assert read_clone(IMAGES["clone"], "raw")[0] == "dummy_path"
    assert read_stat(IMAGES["stat"]) == 1024
    assert read_monitor(IMAGES["monitor"]) == {"USED_MB": 9720, "FREE_MB": 20480, "TOTAL_MB": 20480}


def test_dummy_exports_a_document(front_end: FrontEnd) -> None:
    answer = told(front_end.run("datastore/dummy/export", "1", stdin=front_end.export("dummy_path")))
    assert (answer["IMPORT_SOURCE"], answer["DISPOSE"]) == ("dummy_path", "NO")


def test_dummy_disks_touch_no_host(front_end: FrontEnd) -> None:
    """The hosts have names that nobody can reach."""
    before = front_end.state()
    disk = "host.invalid:/var/lib/one/datastores/0/7/disk.0"
    for action in DISKS:
        for env in ({}, {"ONE_STORAGE_LAUNCHER": "ssh"}):
            said = front_end.run(f"tm/dummy/{action}", disk, disk, "7", "0", env=env, timeout=20)
            assert said == Said(0, "", ""), action
    assert front_end.run("tm/dummy/monitor", "0", stdin=front_end.monitor()) == Said(0, TOTALS, "")
    assert front_end.state() == before and front_end.server.requests == []


def test_dummy_explained(front_end: FrontEnd) -> None:
    for wrapper in ("tm/dummy/mv", "datastore/dummy/cp"):
        said = front_end.run(wrapper, "x", env={"ONE_STORAGE_EXPLAIN": "1"})
        assert said == Said(0, f"dummy {wrapper.split('/')[-1]}: nothing to do\n", "")


def test_every_dummy_wrapper_is_known(remotes: Path) -> None:
    assert {path.name for path in (remotes / "datastore/dummy").iterdir()} == {*IMAGES, "export", *LACKING["datastore"]}
    assert {path.name for path in (remotes / "tm/dummy").iterdir()} == {*DISKS, "monitor", *LACKING["tm"]}


# ---------------------------------------------------------------- not supported


@pytest.mark.parametrize(
    "wrapper", [*NOT_SUPPORTED, *(f"{kind}/dummy/{action}" for kind, names in LACKING.items() for action in names)]
)
def test_what_a_driver_lacks(front_end: FrontEnd, wrapper: str) -> None:
    before = front_end.state()
    refused(front_end.run(wrapper, "1", "2", "3", stdin=front_end.rm("/x")), wrapper.split("/")[-1])
    assert front_end.state() == before


def test_who_sends_much_is_heard_out(front_end: FrontEnd) -> None:
    """A sender that is cut off would report a broken pipe, and not the reason."""
    wrapper = front_end.remotes / "datastore/fs/backup"
    script = 'set -o pipefail; head -c 20000000 /dev/zero | "$1" h:/ds/0/1 0 x - 1 0'
    bash = shutil.which("bash") or "bash"
    done = subprocess.run(
        [bash, "-c", script, "test", wrapper], capture_output=True, text=True, env=front_end.environment(), timeout=60
    )
    assert done.stderr.splitlines()[-1] == "backup: Operation not supported"
    assert "write error" not in done.stderr and done.returncode == 1
