# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that a wrapper gets to see go nowhere: no log, no journal, no command line, no child's environment."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.oned import Settings, write_session
from tests.unit.door.front_end import STORES, VM, FrontEnd, started

SECRET = "s3cret-Zq81"
#: Attributes of a datastore that oned sends decrypted, and some that sites add.
ATTRIBUTES = {name: f"{SECRET}-{name}" for name in ("RESTIC_PASSWORD", "NETAPP_PASS", "PUREFA_API_TOKEN", "CEPH_KEY")}
TOOLS = ("qemu-img", "mkswap", "mkfs.ext4", "xorriso", "prlimit", "setpriv", "ssh")


@pytest.fixture
def front_end(remotes: Path) -> Iterator[FrontEnd]:
    with started(remotes) as made:
        made.raw(made.store(100) / "image")
        made.qcow2(made.sources / "a.qcow2")
        made.oned.settings = Settings(
            frontend=made.oned.settings.frontend, var_location=f"{made.root}/", session=f"oneadmin:{SECRET}"
        )
        write_session(made.root / "one_auth", f"oneadmin:{SECRET}")
        vm = made.vm("raw", SIZE="2", RESTIC_PASSWORD=SECRET)
        vm.template["PASSWORD"] = SECRET
        vm.user_template["TOKEN"] = SECRET
        vm.context = {"DISK_ID": "3", "ROOT_PASSWORD": SECRET}
        for store in made.oned.datastores.values():
            store.template.update(ATTRIBUTES)
        yield made


@pytest.fixture
def recorder(front_end: FrontEnd) -> Path:
    """A folder for PATH whose tools write down their arguments and environment before they become the real ones."""
    folder = front_end.root / "bin"
    folder.mkdir()
    log = front_end.root / "tools.log"
    for tool in TOOLS:
        real = shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if real:
            path = folder / tool
            script = f'#!/bin/sh\n{{ echo "{tool} $*"; cat /proc/self/environ; echo; }} >>{log}\nexec {real} "$@"\n'
            path.write_text(script)
            path.chmod(0o755)
    return log


@contextmanager
def watched() -> Iterator[set[bytes]]:
    """Command lines of all processes that are there meanwhile, as often as they can be read."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for number in os.listdir("/proc"):
                if number.isdigit():
                    try:
                        seen.add(Path("/proc", number, "cmdline").read_bytes())
                    except OSError:
                        pass
            time.sleep(0.002)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(20)


def _calls(front_end: FrontEnd) -> dict[str, tuple[str, list[str], bytes]]:
    ids = [str(VM), str(STORES["qcow2"][0])]
    context = front_end.root / "context.sh"
    context.write_text(f"ROOT_PASSWORD='{SECRET}'\n")
    return {
        "cp": (
            "datastore/fs/cp",
            ["1"],
            front_end.cp(front_end.sources / "a.qcow2", attributes={"DRIVER": "raw"}),
        ),
        "mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(number=2, fs="ext4", image_format="qcow2")),
        "clone": ("tm/qcow2/clone", [front_end.image("qcow2"), front_end.disk("qcow2"), *ids], b""),
        "mkimage": ("tm/qcow2/mkimage", ["2", "qcow2", front_end.disk("qcow2", "disk.1"), *ids], b""),
        "mkswap": ("tm/qcow2/mkswap", ["1", front_end.disk("qcow2", "disk.2"), *ids], b""),
        "context": ("tm/qcow2/context", [str(context), front_end.disk("qcow2", "disk.3"), *ids], b""),
        "monitor": ("datastore/fs/monitor", ["1"], front_end.monitor()),
        "rm": ("datastore/fs/rm", ["1"], front_end.rm(f"{front_end.store(100)}/image")),
    }


def written(front_end: FrontEnd) -> dict[str, bytes]:
    """What lies below the datastores beside disks and images: journals, markers, what is being built."""
    return {
        str(path): path.read_bytes()
        for path in (front_end.root / "datastores").rglob("*")
        if path.is_file() and not path.is_symlink() and ".one_storage" in path.parts
    }


@pytest.mark.parametrize("name", ["cp", "mkfs", "clone", "mkimage", "mkswap", "context", "monitor", "rm"])
def test_secrets_stay_where_they_are(front_end: FrontEnd, recorder: Path, name: str) -> None:
    wrapper, arguments, stdin = _calls(front_end)[name]
    path = f"{front_end.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    secret = SECRET.encode()
    env = {"PATH": path, "ONE_STORAGE_TRACE": "1", "RESTIC_PASSWORD": SECRET}
    with watched() as seen:
        said = front_end.run(wrapper, *arguments, stdin=stdin, env=env)
    assert said.code == 0, said
    assert SECRET not in said.out + said.err
    assert not any(secret in line for line in seen)
    # nor does a tool inherit what the wrapper's environment holds
    tools = recorder.read_bytes() if recorder.exists() else b""
    assert secret not in tools
    if name in ("cp", "mkfs", "mkimage"):
        assert b"qemu-img" in tools
    assert not any(secret in data for data in written(front_end).values())


@pytest.mark.parametrize("name", ["cp", "mkfs", "clone", "mkimage", "mkswap"])
@pytest.mark.parametrize("fault", ["0", "1", "0+", "end"])
def test_secrets_are_in_no_journal(front_end: FrontEnd, name: str, fault: str) -> None:
    wrapper, arguments, stdin = _calls(front_end)[name]
    said = front_end.run(wrapper, *arguments, stdin=stdin, env={"ONE_STORAGE_FAULT": fault})
    assert said.code == -9
    left = written(front_end)
    assert any(path.endswith(".journal") for path in left)
    assert not any(SECRET.encode() in data for data in left.values())
    assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    "env",
    [
        {"ONE_STORAGE_ONED_TIMEOUT": "0"},
        {"QCOW2_OPTIONS": "-o nonsense=1"},
        {"ONE_AUTH": "/none"},
        {"ONE_STORAGE_EXPLAIN": "1"},
    ],
)
def test_secrets_are_in_no_error(front_end: FrontEnd, env: dict[str, str]) -> None:
    front_end.vm("qcow2")
    front_end.qcow2(front_end.store(100) / "image")
    wrapper, arguments, stdin = _calls(front_end)["clone"]
    said = front_end.run(wrapper, *arguments, stdin=stdin, env=env)
    assert (said.code == 0) is ("ONE_STORAGE_EXPLAIN" in env)
    assert SECRET not in said.out + said.err


def test_a_document_that_is_refused_is_not_shown(front_end: FrontEnd) -> None:
    for stdin in (
        f"<x><RESTIC_PASSWORD>{SECRET}</RESTIC_PASSWORD>".encode(),
        f"<x><RESTIC_PASSWORD>{SECRET}</RESTIC_PASSWORDS></x>".encode(),
        f"{SECRET} is not base64".encode(),
        front_end.cp("/etc/passwd", attributes=ATTRIBUTES),
        front_end.mkfs(fs="ntfs"),
    ):
        said = front_end.run("datastore/fs/cp", "1", stdin=stdin)
        assert said.code == 1 and said.reason
        assert SECRET not in said.out + said.err


def test_oned_that_refuses_us(front_end: FrontEnd) -> None:
    front_end.server.faults.wrong_auth = True
    wrapper, arguments, stdin = _calls(front_end)["clone"]
    said = front_end.run(wrapper, *arguments, stdin=stdin)
    assert said.code == 1 and SECRET not in said.err
    front_end.server.faults.wrong_auth = False
    front_end.server.faults.garbage = SECRET.encode()
    said = front_end.run(wrapper, *arguments, stdin=stdin)
    assert said.code == 1 and SECRET not in said.err


def test_the_recorder_is_not_blind(front_end: FrontEnd, recorder: Path) -> None:
    """A tool that is told a secret is found out."""
    with watched() as seen:
        os.spawnve(os.P_WAIT, str(front_end.root / "bin" / "setpriv"), ["setpriv", "sleep", "0.3"], {"X": SECRET})
    assert SECRET.encode() in recorder.read_bytes()
    assert any(b"sleep\x000.3" in line for line in seen)
