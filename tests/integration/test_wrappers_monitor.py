# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitoring by real wrappers: what oned reads, what monitord gets, and what a node's probe is told."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.test_wrappers_answer import Recorded, df
from tests.lab.oned.answers import read_monitor
from tests.lab.oned.messages import encode, monitor_action
from tests.unit.door.front_end import MIB, STORES, FrontEnd
from tests.unit.door.test_monitord import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.socket.close()


def configured(front_end: FrontEnd, port: int, key: str = "") -> dict[str, str]:
    """The environment of a self-contained installation whose monitord listens at a port."""
    folder = front_end.root / "location" / "etc"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "monitord.conf").write_text(f'NETWORK = [ MONITOR_ADDRESS = "auto", PORT = {port}, PUBKEY = "{key}" ]\n')
    return {"ONE_LOCATION": str(folder.parent)}


def filled(folder: Path) -> Path:
    """A disk of two layers, of 1 and 3 MB, in VM 12; and one of 2 MB."""
    snap = folder / "12" / "disk.0.snap"
    snap.mkdir(parents=True)
    for number, size in ((0, 3), (1, 1)):
        (snap / str(number)).write_bytes(b"x" * (size * MIB))
    (folder / "12" / "disk.0").symlink_to("disk.0.snap/1")
    (folder / "12" / "disk.1").write_bytes(b"x" * (2 * MIB))
    return folder


LIST = "DISK_SIZE = [ ID=0, SIZE=1 ]\nSNAPSHOT_SIZE = [ ID=0, DISK_ID=0, SIZE=3 ]\nDISK_SIZE = [ ID=1, SIZE=2 ]\n"


@pytest.mark.parametrize("mad", ["qcow2", "shared"])
def test_a_shared_datastore(front_end: FrontEnd, receiver: Receiver, mad: str) -> None:
    document = Recorded(front_end, f"ds.monitor.--{mad}.success.xml")
    store = filled(Path(document.folder))
    env = configured(front_end, receiver.port)
    for _try in range(10):
        before = df(store)
        said = front_end.run(f"tm/{mad}/monitor", document.text_of("DATASTORE/ID"), stdin=document.stdin, env=env)
        if said.out in (before, df(store)):
            break
        # of the tries that something else on the disk came between, nothing counts
        receiver.messages()
    else:
        pytest.fail(f"{said.out} is not {before}")
    assert (said.code, said.err) == (0, "")
    assert read_monitor(said.out)["TOTAL_MB"] > 0
    assert receiver.vms()[12] == LIST


def test_disks_are_measured_when_oned_wants_them(front_end: FrontEnd, receiver: Receiver) -> None:
    store = front_end.oned.datastores[STORES["qcow2"][1]]
    filled(front_end.store(store.id))
    text = monitor_action(replace(front_end.oned.settings, monitor_vm_disks=0), store)
    assert "<MONITOR_VM_DISKS>0<" in text
    said = front_end.run(
        "tm/qcow2/monitor", str(store.id), stdin=encode(text), env=configured(front_end, receiver.port)
    )
    assert said.code == 0 and said.out.count("\n") == 3
    assert receiver.messages() == []


def test_nobody_listens_or_nothing_is_configured(front_end: FrontEnd) -> None:
    store = front_end.oned.datastores[STORES["shared"][1]]
    filled(front_end.store(store.id))
    stdin = encode(monitor_action(front_end.oned.settings, store))
    for env in ({}, configured(front_end, 1)):
        said = front_end.run("tm/shared/monitor", str(store.id), stdin=stdin, env=env)
        assert said.code == 0 and said.out.count("\n") == 3 and said.err == ""
    said = front_end.run("tm/shared/monitor", str(store.id), stdin=stdin, env=configured(front_end, 1, "/none.pem"))
    assert said.code == 0 and said.out.count("\n") == 3
    assert said.err == (
        "WARN: monitor: monitord is not told the sizes of disks: "
        "Cannot read the public key /none.pem: No such file or directory\n"
    )


@pytest.mark.parametrize("mad", ["ssh", "local"])
@pytest.mark.parametrize("stdin", [b"", b"x" * (1 << 20) + b"<", b"<A/>"], ids=["none", "long", "short"])
def test_storage_of_each_host(front_end: FrontEnd, mad: str, stdin: bytes) -> None:
    """Nothing is said, and whoever writes the document is not left with a broken pipe (contract-tm 9.1)."""
    if stdin.endswith(b"<"):
        stdin = encode(f"<A>{stdin[:-1].decode()}</A>")
    process = subprocess.Popen(
        [front_end.remotes / "tm" / mad / "monitor", "105"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=front_end.environment(),
    )
    assert process.stdin
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"", b"")


# ---------------------------------------------------------------- on a node


def probed(remotes: Path, folder: Path, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """What the monitoring probe of a node does with a datastore that has a marker: the driver that it names is run."""
    driver = (folder / ".monitor").read_text().strip()
    done = subprocess.run(
        [remotes / "tm" / driver / "monitor_ds", f"{folder.parent}//{folder.name}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder.parent.parent / "home"), **(env or {})},
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def read(lines: str) -> dict[int, str]:
    """What the probe passes on, as monitord reads it."""
    found = {}
    for line in lines.splitlines():
        match = re.fullmatch(r'VM = \[ ID = (\d+), MONITOR = "([A-Za-z0-9+/=]+)" \]', line)
        assert match, line
        found[int(match[1])] = base64.b64decode(match[2], validate=True).decode()
    return found


@pytest.mark.parametrize("marker", ["ssh\n", "ssh", "local\n", "qcow2\n", "shared\n"])
def test_a_node_measures_its_own_storage(front_end: FrontEnd, marker: str) -> None:
    store = filled(front_end.store(105))
    (store / ".monitor").write_text(marker)
    (store / "13").mkdir()
    code, out, err = probed(front_end.remotes, store)
    assert (code, err) == (0, "")
    assert read(out) == {12: LIST}


def test_a_node_needs_nothing_of_the_front_end(front_end: FrontEnd, tmp_path: Path) -> None:
    """No launcher, whatever the settings say that nodes get too; no lxml, no oned."""
    tree = tmp_path / "one"
    shutil.copytree(front_end.remotes, tree)
    (tree / "etc" / "one_storage" / "one_storage.conf").write_text("LAUNCHER=ansible\nANSIBLE=/bin/false\n")
    store = filled(front_end.store(105))
    (store / ".monitor").write_text("ssh\n")
    assert probed(tree, store)[::2] == (0, "")
    assert front_end.server.requests == []
    trace = subprocess.run(
        [
            "/usr/bin/python3", "-I", "-S", "-X", "importtime", tree / "one_storage" / "wrapper.py",
            tree / "tm" / "ssh" / "monitor_ds", store,
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in trace.stderr.splitlines() if line.startswith("import time")}
    assert trace.returncode == 0 and "plugins.module_utils.drivers.vm_monitor" in loaded
    assert not {"lxml", "lxml.etree", "socket", "json", "subprocess", "threading", "ansible"} & loaded


def test_a_datastore_that_is_not_there(front_end: FrontEnd) -> None:
    said = front_end.run("tm/ssh/monitor_ds", f"{front_end.root}/datastores/999")
    assert (said.code, said.out) == (1, "")
    assert said.reason.startswith(f"{front_end.root}/datastores/999 is not there on ")


def test_killing_a_monitor_leaves_nobody_behind(front_end: FrontEnd) -> None:
    """oned ends an action that takes too long: what looks for it ends by itself."""
    store = front_end.store(105)
    for number in range(3000):
        (store / str(number)).mkdir()
        for disk in range(4):
            (store / str(number) / f"disk.{disk}").touch()
    process = subprocess.Popen(
        [front_end.remotes / "tm" / "ssh" / "monitor_ds", store],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=front_end.environment(),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 20
    while not (looking := children.read_text().split()) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert looking, "it ended before it could be killed"
    while os.path.exists(f"/proc/{looking[0]}") and time.monotonic() < until:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{looking[0]}")
    assert front_end.run("tm/ssh/monitor_ds", str(store)).out.count("VM = [") == 3000
