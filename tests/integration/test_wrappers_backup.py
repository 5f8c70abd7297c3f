# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""prebackup and postbackup of a VM that is off, as processes, with the document on stdin that oned sends."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.door.front_end import STORES, VM, FrontEnd, Said, laid_out, started


@pytest.fixture(scope="module")
def remotes() -> Iterator[Path]:
    with laid_out() as tree:
        yield tree


@pytest.fixture
def front_end(remotes: Path) -> Iterator[FrontEnd]:
    with started(remotes) as made:
        yield made


class Machine:
    """A VM with one disk of a driver."""

    def __init__(self, front_end: FrontEnd, mad: str = "qcow2") -> None:
        self.front_end, self.mad = front_end, mad
        image = front_end.qcow2(front_end.store(STORES[mad][0]) / "image", 4 << 20)
        self.write(image, 1)
        front_end.vm("qcow2")
        said = front_end.run(f"tm/{mad}/clone", front_end.image(mad), front_end.disk(mad), str(VM), str(STORES[mad][0]))
        assert said.code == 0, said.err
        self.home = front_end.store(STORES[mad][1]) / str(VM)
        self.backup = self.home / "backup"
        self.golden: list[bytes] = []

    @staticmethod
    def write(path: Path, byte: int) -> None:
        orders = ["-c", f"write -q -P {byte} {byte * 100}k 70k"]
        subprocess.run(["qemu-io", "-f", "qcow2", *orders, str(path)], check=True, timeout=30)

    def document(self, config: str = "", more: str = "") -> bytes:
        disk = (
            f"<DISK><DISK_ID>0</DISK_ID><FORMAT>qcow2</FORMAT><CLONE>YES</CLONE><TARGET>vda</TARGET>"
            f"<TM_MAD>{self.mad}</TM_MAD><SOURCE>{self.front_end.root}//datastores/{STORES[self.mad][0]}/image</SOURCE></DISK>"
        )
        return (
            f"<VM><ID>{VM}</ID><DEPLOY_ID>one-{VM}</DEPLOY_ID><TEMPLATE>{disk}</TEMPLATE>"
            f"<BACKUPS><BACKUP_CONFIG>{config}</BACKUP_CONFIG></BACKUPS>{more}</VM>"
        ).encode()

    def arguments(self) -> list[str]:
        return [self.front_end.disk(self.mad, ""), "0", f"one-{VM}", "-", str(VM), str(STORES[self.mad][1])]

    def run(self, action: str, config: str = "", more: str = "", **env: str) -> Said:
        stdin = self.document(config, more)
        return self.front_end.run(f"tm/{self.mad}/{action}", *self.arguments(), stdin=stdin, env=env)


@pytest.mark.parametrize(
    ("mad", "way", "names"),
    [
        ("qcow2", "CBT", ("prebackup", "postbackup")),
        pytest.param("ssh", "SNAPSHOT", ("pre_backup", "post_backup"), marks=pytest.mark.full),
        pytest.param("local", "CBT", ("prebackup", "postbackup"), marks=pytest.mark.full),
        pytest.param("shared", "SNAPSHOT", ("pre_backup", "post_backup"), marks=pytest.mark.full),
    ],
)
def test_a_chain_by_wrappers(front_end: FrontEnd, mad: str, way: str, names: tuple[str, str]) -> None:
    machine = Machine(front_end, mad)
    kept = front_end.root / "kept"
    kept.mkdir()
    for number in range(3):
        machine.write(machine.home / "disk.0", number + 2)
        config = f"<MODE>INCREMENT</MODE><INCREMENT_MODE>{way}</INCREMENT_MODE>"
        config += f"<LAST_INCREMENT_ID>{number - 1}</LAST_INCREMENT_ID>"
        said = machine.run(names[0], config)
        assert (said.code, said.out, said.err) == (0, "", "")
        assert base64.b64decode((machine.backup / "vm.xml").read_bytes()) == machine.document(config)
        assert json.loads((machine.backup / "manifest.json").read_bytes())["increment"] == number
        shutil.copy(machine.backup / f"disk.0.{number}", kept)
        said = machine.run(names[1], config)
        assert (said.code, said.out, said.err) == (0, "", "")
        assert not machine.backup.exists()
    for number in (1, 2):
        argv = ["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", f"disk.0.{number - 1}", str(kept / f"disk.0.{number}")]
        subprocess.run(argv, check=True, timeout=30, capture_output=True)
    compare = [
        "qemu-img",
        "compare",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        str(kept / "disk.0.2"),
        str(machine.home / "disk.0"),
    ]
    subprocess.run(compare, check=True, timeout=30, capture_output=True)
    assert front_end.hidden() == []


def test_postbackup_never_fails_and_says_what_went_wrong(front_end: FrontEnd) -> None:
    machine = Machine(front_end)
    assert machine.run("prebackup").code == 0
    said = machine.run("postbackup", "<MODE>NEVER</MODE>")
    assert (said.code, said.out) == (0, "")
    assert said.reason == "The backup has MODE=NEVER, and FULL and INCREMENT are supported"
    said = front_end.run("tm/qcow2/postbackup", "nonsense", stdin=b"")
    assert said.code == 0 and said.reason.startswith("postbackup takes 6 arguments")
    assert machine.run("post_backup").code == 0
    assert not machine.backup.exists()


def test_prebackup_fails_with_one_sentence(front_end: FrontEnd) -> None:
    machine = Machine(front_end)
    before = front_end.state()
    said = machine.run("prebackup", "<INTERACTIVE>YES</INTERACTIVE>")
    assert said.code == 1
    assert said.reason == "Interactive backups (INTERACTIVE=YES) are not supported by these drivers"
    assert front_end.state() == before


def test_explained_it_changes_nothing(front_end: FrontEnd) -> None:
    machine = Machine(front_end)
    before = front_end.state()
    said = machine.run("prebackup", ONE_STORAGE_EXPLAIN="1")
    assert said.code == 0 and "write all of" in said.out and "put the backup" in said.out
    assert front_end.state() == before


def test_cancelled_it_takes_back_what_it_did_within_seconds(front_end: FrontEnd) -> None:
    machine = Machine(front_end)
    before = front_end.state()
    wrapper = front_end.remotes / "tm/qcow2/prebackup"
    process = subprocess.Popen(
        [str(wrapper), *machine.arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=front_end.environment(ONE_STORAGE_FAULT="1="),
        cwd=front_end.root,
    )
    assert process.stdin and process.stderr
    process.stdin.write(machine.document())
    process.stdin.close()
    try:
        until = time.monotonic() + 30
        # it stops itself in the middle of its work, and is found in the register
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert machine.run("prebackup").reason.startswith(f"VM {VM} is being backed up already")
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(10) == 1
        said = process.stderr.read().decode()
        assert "The caller went away" in said.splitlines()[-1], said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert front_end.state() == before
    assert machine.run("prebackup").code == 0
