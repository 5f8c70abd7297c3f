# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a running guest through a real libvirt and QEMU: writes go on during snapshot, pull and copy.

A writer fills block after block, in order. What is kept of one moment is therefore a beginning of that row, without a
gap, and the disk itself has all of it.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts.proc import HostProcess, read_stat
from tests.lab.looking import all_running, wait_for, wipe
from tests.lab.virt import Guest, Hypervisor

_BLOCK = 65536
_BLOCKS = 256
_SYSTEM = "/var/lib/one/datastores/100"
_IMAGES = "/var/lib/one/datastores/1"
#: One action of the core that was deployed on the node.
_RUN = f"""
import json, sys
sys.path.insert(0, {REMOTE + "/one_storage"!r})
from plugins.module_utils import _run
from plugins.module_utils._errors import StorageError
try:
    outcome = _run.run(sys.argv[1], json.loads(sys.argv[2]), _run.Mode())
    outcome.close()
    print(json.dumps(outcome.result))
except StorageError as error:
    print(json.dumps(error.record()))
"""
_ids = itertools.count(7001)


def _parent(pid: int) -> int:
    stat = read_stat(pid)
    return stat.parent if stat else 0


def _stands(pid: int) -> bool:
    """Whether a process sleeps, for longer than any of our waits does at a time."""
    seen = set()
    for _look in range(2):
        try:
            with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
                seen.add(file.read())
        except FileNotFoundError:
            return False
        time.sleep(0.7)
    return len(seen) == 1 and "running" not in seen.pop()


class Machine:
    """A VM with a qcow2 disk in layers, vda, and a raw one, vdb, of 16 MiB each."""

    def __init__(self, hypervisor: Hypervisor, persistent: bool = False) -> None:
        self.hypervisor = hypervisor
        self.lab, self.host = hypervisor.lab, hypervisor.host
        self.id = next(_ids)
        self.folder = f"{_SYSTEM}/{self.id}"
        self.disk = f"{self.folder}/disk.0"
        self.image = f"{_IMAGES}/live{self.id}" if persistent else ""
        self.sh(f"mkdir -p {_IMAGES}")
        if persistent:
            snap, target = f"{self.image}.snap", f"{self.image}.snap/0"
            self.sh(
                f"qemu-img create -q -f qcow2 {self.image} 16M && mkdir -p {snap} && ln -s . {snap}/live{self.id}.snap"
            )
            self.sh(f"ln -s {self.image} {target} && mkdir -p {self.folder}")
        else:
            snap, target = f"{self.disk}.snap", "disk.0.snap/0"
            self.sh(f"mkdir -p {snap} && ln -s . {snap}/disk.0.snap && qemu-img create -q -f qcow2 {snap}/0 16M")
        self.snap = snap
        self.sh(f"ln -s {target} {self.disk} && truncate -s 16M {self.folder}/disk.1")
        twice = self.folder.replace("/one/", "/one//")
        disks = [("vda", f"{twice}/disk.0", "qcow2"), ("vdb", f"{twice}/disk.1", "raw")]
        self.guest = self.boot(disks)
        self.written = 0

    def boot(self, disks: list[tuple[str, str, str]]) -> Guest:
        """Start the machine."""
        return Guest(self.hypervisor, f"one-{self.id}", disks)

    def sh(self, line: str) -> str:
        return self.lab.run(self.host, ["sh", "-ec", line]).stdout.decode()

    def write(self, count: int, target: str = "vda") -> None:
        """The next blocks of the row."""
        for number in range(self.written, self.written + count):
            self.guest.io(f"write -P {number % 255 + 1} {number * _BLOCK} {_BLOCK}", target)
        self.written += count

    def options(self, **more: Any) -> dict[str, Any]:
        image = {"image": self.image, "persistent": True} if self.image else {}
        place = {"driver": "qcow2", "datastore": _SYSTEM, "format": "qcow2"}
        guest = {"running": True, "domain": self.guest.name, "target": "vda", "stall_timeout": 20, "lock_timeout": 20}
        return {**place, **guest, **image, **more}

    def start(self, action: str, pause: str = "", **more: Any) -> subprocess.Popen[bytes]:
        argv = ["/usr/bin/python3", "-I", "-c", _RUN, f"tm_{action}", json.dumps(self.options(**more))]
        return self.lab.popen(self.host, argv, env={"ONE_STORAGE_GUEST_PAUSE": pause})

    def act(self, action: str, **more: Any) -> dict[str, Any]:
        process = self.start(action, **more)
        out, err = process.communicate(timeout=60)
        assert out, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result

    def right(self, action: str, **more: Any) -> dict[str, Any]:
        result = self.act(action, **more)
        assert "sentence" not in result, result
        return result

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the core itself, as nobody can expect it."""
        os.kill(self.lab.inner_pid(process), signal.SIGKILL)
        process.wait(10)
        process.communicate()

    def helper(self, operation: str, place: str) -> HostProcess:
        """The process that talks to libvirt, once it stands where a fault test lets it stop; not its guard."""
        found: list[HostProcess] = []

        def stands() -> bool:
            words = ("m.main(sys.argv[1])", f'"operation":"{operation}"', f'"pause":"{place}"')
            found[:] = [
                process
                for process in self.lab.processes(self.host)
                if all(word in " ".join(process.argv) for word in words)
            ]
            # its guard was forked from it
            pids = {process.pid for process in found}
            found[:] = [process for process in found if _parent(process.pid) not in pids]
            return len(found) == 1 and _stands(found[0].pid)

        self.hypervisor.until(f"{place} in the talk with libvirt", stands, 20)
        return found[0]

    def content(self, path: str, image_format: str = "qcow2") -> bytes:
        flat = f"/var/tmp/live-{self.id}.raw"
        self.guest.io("flush")
        self.sh(f"qemu-img convert -U -f {image_format} -O raw {path} {flat}")
        return self.lab.path(self.host, flat).read_bytes()

    def blocks(self, path: str, image_format: str = "qcow2") -> int:
        """How many blocks of the row a file has; it must have nothing else."""
        data = self.content(path, image_format)
        count = next((n for n in range(_BLOCKS) if not data[n * _BLOCK]), _BLOCKS)
        assert data == b"".join(bytes([n % 255 + 1]) * _BLOCK for n in range(count)).ljust(_BLOCKS * _BLOCK, b"\0")
        return count

    def snapshot(self, number: int) -> str:
        """The file that holds a snapshot, as stock finds it: that of its number, or the one that a marker names."""
        marker = self.lab.path(self.host, f"{self.snap}/{number}.current")
        return marker.read_text(encoding="utf-8").strip() if marker.exists() else f"{self.snap}/{number}"

    def files(self) -> set[str]:
        """What lies in the snapshot directory, but for its link to itself."""
        return {name for name in self.sh(f"ls {self.snap}").split() if not name.endswith(".snap")}

    def backing(self, layer: str) -> str:
        """The name that a layer's header has for its backing file; empty for none."""
        info = json.loads(self.sh(f"qemu-img info -U -f qcow2 --output=json {layer}"))
        return str(info.get("backing-filename", ""))

    def left(self) -> list[str]:
        """What is hidden of this machine in both datastores, but for the locks."""
        found = self.sh(f"cd {_SYSTEM}/.one_storage && ls; cd {_IMAGES}/.one_storage 2>/dev/null && ls || true").split()
        return [name for name in found if name != "locks" and str(self.id) in name]


@pytest.fixture(scope="module")
def hypervisor(ground: LabGround) -> Iterator[Hypervisor]:
    """libvirt on the first node; the lab is other tests' too, so nothing of it stays."""
    made = Hypervisor(ground.lab, ground.nodes[0])
    yield made
    made.stop()
    wait_for("libvirt to end", lambda: not all_running(ground), 20)
    wipe(ground)


@pytest.fixture
def machine(hypervisor: Hypervisor) -> Iterator[Machine]:
    made = Machine(hypervisor)
    yield made
    made.guest.destroy()


class Writing:
    """Writes in a thread while the body runs, and some blocks before and after it."""

    def __init__(self, machine: Machine, target: str = "vda") -> None:
        self.machine = machine
        self.target = target
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        while not self._over.is_set() and self.machine.written < _BLOCKS - 2:
            self.machine.write(1, self.target)

    def __enter__(self) -> None:
        self.machine.write(1, self.target)
        self._thread.start()

    def __exit__(self, *_what: object) -> None:
        self._over.set()
        self._thread.join(30)
        self.machine.write(1, self.target)


def test_snapshots_while_a_guest_writes(machine: Machine) -> None:
    kept = {}
    for number in range(4):
        before = machine.written
        with Writing(machine):
            result = machine.right("snap_create_live", path=machine.disk, snapshot_id=number)
        assert result["consistency"] == "suspend" and machine.guest.state() == "running"
        kept[number] = machine.blocks(result["snapshot"])
        assert before < kept[number] < machine.written
    assert machine.sh(f"readlink {machine.disk}").strip() == "disk.0.snap/4"
    # in the middle, by a commit; the first, which libvirt knows by the disk's link, and the last, by pulls
    for number, files in (
        (1, {"0", "1", "2.current", "3", "4"}),
        (0, {"1", "2.current", "3", "4"}),
        (3, {"1", "2.current", "4"}),
    ):
        with Writing(machine):
            machine.right("snap_delete", path=machine.disk, snapshot_id=number)
        del kept[number]
        assert machine.files() == files
        assert {other: machine.blocks(machine.snapshot(other)) for other in kept} == kept
        assert machine.blocks(machine.disk) == machine.written
        assert len(machine.guest.chain()) == len(machine.sh(f"qemu-img info -U --backing-chain {machine.disk} | "
                                                            "grep ^image").splitlines())  # fmt: skip
    assert machine.left() == []
    # what is at rest afterwards is what the guest had
    assert machine.snapshot(2) == f"{machine.snap}/1" and "backing file" not in machine.sh(
        f"qemu-img info -U {machine.disk}"
    )


def test_layers_of_a_persistent_image(hypervisor: Hypervisor) -> None:
    machine = Machine(hypervisor, persistent=True)
    try:
        kept = {}
        for number in range(3):
            machine.write(2)
            kept[number] = machine.blocks(
                machine.right("snap_create_live", path=machine.disk, snapshot_id=number)["snapshot"]
            )
        assert kept == {0: 2, 1: 4, 2: 6}
        machine.write(2)
        # by a commit: names beside an image are absolute, and stay so
        machine.right("snap_delete", path=machine.disk, snapshot_id=1)
        assert machine.snapshot(2) == f"{machine.snap}/1" == machine.backing(machine.disk)
        assert [machine.blocks(path) for path in (machine.disk, machine.snapshot(2), machine.image)] == [8, 6, 2]
        # by a pull, and its base is the layer that libvirt knows by the disk's link
        machine.right("snap_delete", path=machine.disk, snapshot_id=2)
        assert [machine.blocks(path) for path in (machine.disk, machine.image)] == [8, 2]
        assert machine.files() == {"0", "3"}
    finally:
        machine.guest.destroy()


def test_copies_while_a_guest_writes(machine: Machine) -> None:
    machine.right("snap_create_live", path=machine.disk, snapshot_id=0)
    image = f"{_IMAGES}/saved{machine.id}"
    with Writing(machine):
        result = machine.right("cpds", source=machine.disk, destination=image, snapshot_id=-1)
    assert result["consistency"] == "suspend"
    assert 0 < machine.blocks(image) < machine.written
    assert "backing file" not in machine.sh(f"qemu-img info {image}")
    machine.right("cpds", source=machine.disk, destination=f"{image}.0", snapshot_id=0)
    assert machine.blocks(f"{image}.0") == 0
    machine.written = 0
    with Writing(machine, "vdb"):
        raw = {"path": f"{machine.folder}/disk.1", "target": "vdb", "format": "raw"}
        result = machine.right("snap_create_live", snapshot_id=5, **raw)
    assert result["snapshot"] == f"{machine.folder}/disk.1.snap/5"
    assert 0 < machine.blocks(result["snapshot"], "raw") < machine.written
    assert machine.guest.state() == "running" and machine.left() == []


#: What can be under way in the talk with libvirt when it is stopped there: the call, what it asks for, and the place.
_UNDER_WAY: dict[str, tuple[str, str, str]] = {
    "snapshot-held": ("snap_create_live", "snapshot", "held"),
    "snapshot-taken": ("snap_create_live", "snapshot", "taken"),
    "commit": ("snap_delete", "commit", "committing"),
    "pull": ("snap_delete", "pull", "pulling"),
    "copy": ("cpds", "copy", "copying"),
    "copy-held": ("cpds", "copy", "held"),
}


@pytest.mark.parametrize(
    ("case", "victim"),
    [
        (name, victim) if (name, victim) == ("commit", "core") else pytest.param(name, victim, marks=pytest.mark.full)
        for name in _UNDER_WAY
        for victim in ("core", "helper")
    ],
)
def test_killed_in_the_middle_and_run_again(machine: Machine, case: str, victim: str) -> None:
    """The guest goes on, no job is left, nothing is lost, and the rerun ends where it would have."""
    action, operation, pause = _UNDER_WAY[case]
    kept = {}
    # a commit needs a layer between the one that goes and the top, and not that which libvirt knows by the link
    for number in range(3 if action == "snap_delete" else 0):
        machine.write(3)
        kept[number] = machine.blocks(
            machine.right("snap_create_live", path=machine.disk, snapshot_id=number)["snapshot"]
        )
    machine.write(3)
    gone = {"commit": 1, "pull": 2}.get(case, 0)
    image = f"{_IMAGES}/killed{machine.id}"
    call: dict[str, Any] = {"path": machine.disk, "snapshot_id": gone}
    if action == "cpds":
        call = {"source": machine.disk, "destination": image, "snapshot_id": -1}
    process = machine.start(action, pause=pause, **call)
    helper = machine.helper(operation, pause)
    if victim == "helper":
        os.kill(helper.pid, signal.SIGKILL)
        out, _err = process.communicate(timeout=60)
        assert "broke off" in json.loads(out)["sentence"], out
    else:
        machine.kill(process)
    machine.hypervisor.until("the guest goes on", lambda: machine.guest.state() == "running")
    if action == "cpds":
        machine.hypervisor.until("the end of the copy", lambda: not machine.guest.job())
        assert not machine.lab.path(machine.host, image).exists()
    machine.write(2)
    assert machine.blocks(machine.guest.chain()[0]) == machine.written
    if case == "snapshot-taken":
        # it was taken, and the guest has written since: it is not taken anew, and is the one that there is
        assert machine.act(action, **call)["code"] == "refused"
        kept[0] = machine.blocks(machine.snapshot(0))
        assert kept[0] == 3
        call["snapshot_id"] = 1
    again = machine.right(action, **call)
    assert machine.guest.state() == "running" and not machine.guest.job()
    assert machine.blocks(machine.disk) == machine.written
    if action == "snap_create_live":
        assert machine.blocks(again["snapshot"]) == machine.written
    elif action == "snap_delete":
        del kept[gone]
    else:
        assert machine.blocks(image) == machine.written
    assert {number: machine.blocks(machine.snapshot(number)) for number in kept} == kept
    machine.write(1)
    assert machine.blocks(machine.disk) == machine.written and machine.left() == []


def test_a_link_that_was_not_moved_is_put_right_by_whatever_comes_next(machine: Machine) -> None:
    """Killed between libvirt's answer and the link: the guest writes to the new layer already (Step.complete)."""
    machine.write(3)
    process = machine.start("snap_create_live", pause="taken", path=machine.disk, snapshot_id=0)
    machine.helper("snapshot", "taken")
    machine.kill(process)
    assert machine.sh(f"readlink {machine.disk}").strip() == "disk.0.snap/0"
    machine.write(4)
    # another disk's call, in the same datastore
    other = {"path": f"{machine.folder}/disk.1", "target": "vdb", "format": "raw"}
    machine.right("snap_create_live", snapshot_id=0, **other)
    assert machine.sh(f"readlink {machine.disk}").strip() == "disk.0.snap/1"
    assert machine.blocks(f"{machine.snap}/0") == 3 and machine.blocks(machine.disk) == 7
    assert machine.left() == []


def test_a_guest_is_not_held_for_longer_than_it_may(machine: Machine) -> None:
    process = machine.start("snap_create_live", pause="held", path=machine.disk, snapshot_id=0, freeze_timeout=1)
    machine.hypervisor.until("the guest stops", lambda: machine.guest.state() == "paused")
    machine.hypervisor.until("the guest goes on", lambda: machine.guest.state() == "running")
    machine.kill(process)


def test_a_pull_that_still_runs_is_waited_for(machine: Machine) -> None:
    machine.write(20)
    for number in range(2):
        machine.right("snap_create_live", path=machine.disk, snapshot_id=number)
        machine.write(20)
    # what a dead run left: a pull that libvirt goes on with, slowly
    chain = machine.guest.chain()
    machine.hypervisor.virsh("blockpull", machine.guest.name, "vda", "--base", chain[2], "--keep-relative",
                             "--bytes", "--bandwidth", "2097152")  # fmt: skip
    assert machine.guest.job() == "Block Pull"
    with Writing(machine):
        machine.right("snap_delete", path=machine.disk, snapshot_id=1)
    assert machine.blocks(machine.disk) == machine.written and machine.blocks(f"{machine.snap}/0") == 20
    assert machine.left() == []


def test_a_copy_comes_to_the_front_end(ground: LabGround, machine: Machine) -> None:
    machine.write(5)
    image = f"{_IMAGES}/over{machine.id}"
    core = f"{ground.oned.settings.remotes}/one_storage"
    orders = machine.options(driver="ssh", peer=machine.host, source=machine.disk, destination=image, snapshot_id=-1)
    argv = ["/usr/bin/python3", "-I", "-c", _RUN.replace(f"{REMOTE}/one_storage", core), "tm_cpds", json.dumps(orders)]
    result = json.loads(ground.run(ground.frontend, argv))
    assert result.get("consistency") == "suspend", result
    there = f"/var/tmp/over{machine.id}.raw"
    ground.run(ground.frontend, ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, there])
    data = ground.path(ground.frontend, there).read_bytes()
    assert data == b"".join(bytes([n + 1]) * _BLOCK for n in range(5)).ljust(_BLOCKS * _BLOCK, b"\0")
    assert machine.left() == []


#: What is wrong with a call, and the code of the error that says so.
_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"quiesce": "agent"}, "tool-failed"),
    ({"domain": "one-0"}, "missing"),
    ({"target": "vdz"}, "missing"),
    ({"target": "vdb"}, "corrupt"),
    ({"domain": ""}, "bad-call"),
]


def test_what_cannot_be_is_said_and_changes_nothing(machine: Machine) -> None:
    machine.write(1)
    before = machine.sh(f"ls -l {machine.folder} {machine.snap}")
    for more, code in _WRONG:
        result = machine.act("snap_create_live", path=machine.disk, snapshot_id=0, **more)
        assert result["code"] == code, result
        assert machine.sh(f"ls -l {machine.folder} {machine.snap}") == before
        assert machine.guest.state() == "running" and machine.left() == []
