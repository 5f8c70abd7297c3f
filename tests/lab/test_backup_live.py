# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a running guest through a real libvirt and QEMU.

The guest writes to both of its disks in the moments before, while and after a backup is made. What a backup gives when
its chain is flattened has to be, byte for byte, what the guest had at the moment at which it was begun.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.ground import REMOTE, LabGround
from tests.lab.looking import all_running, wait_for, wipe
from tests.lab.virt import Guest, Hypervisor

_MB = 1 << 20
_SIZE = 16 * _MB
_SYSTEM = "/var/lib/one/datastores/100"
_IMAGES = "/var/lib/one/datastores/1"
_RUN = f"""
import json, signal, sys
sys.path.insert(0, {REMOTE + "/one_storage"!r})
from plugins.module_utils import _run
from plugins.module_utils._errors import StorageError
from plugins.module_utils.tools.command import stop_work
gone = []
def cancel(*_what):
    gone.append(True)
    stop_work()
signal.signal(signal.SIGTERM, cancel)
try:
    outcome = _run.run(sys.argv[1], json.loads(sys.argv[2]), _run.Mode(fault=sys.argv[3], stopped=lambda: bool(gone)))
    outcome.close()
    print(json.dumps(outcome.result))
except StorageError as error:
    print(json.dumps(error.record()))
"""
_ids = itertools.count(8001)
_QEMU = "pgrep -f guest=[o]ne-{}, || true"
#: How disk 0 lies: in layers of its own, as a persistent image, as one file.
LAYOUTS = ("layers", "persistent", "file")


class Machine:
    """A VM with two disks of 16 MiB, and what it must have on them."""

    def __init__(self, hypervisor: Hypervisor, layout: str = "layers", raw: bool = False) -> None:
        self.hypervisor, self.layout = hypervisor, layout
        self.lab, self.host = hypervisor.lab, hypervisor.host
        self.id = next(_ids)
        self.folder = f"{_SYSTEM}/{self.id}"
        self.disk = f"{self.folder}/disk.0"
        self.image = f"{_IMAGES}/backup{self.id}"
        self.formats = {0: "qcow2", 1: "raw" if raw else "qcow2"}
        self.sh(f"mkdir -p {_IMAGES} {self.folder}")
        self._lay_out()
        self.sh(f"qemu-img create -q -f {self.formats[1]} {self.folder}/disk.1 16M")
        self.golden = {number: bytearray(_SIZE) for number in (0, 1)}
        self.moments: list[dict[int, bytes]] = []
        self.store = f"/var/tmp/store{self.id}"
        self.sh(f"mkdir -p {self.store}")
        self.start_guest()

    def _lay_out(self) -> None:
        snap, name = f"{self.disk}.snap", "disk.0.snap"
        if self.layout == "file":
            self.sh(f"qemu-img create -q -f qcow2 {self.disk} 16M")
            return
        self.sh(f"qemu-img create -q -f qcow2 {self.image} 16M")
        if self.layout == "persistent":
            snap, name = f"{self.image}.snap", f"backup{self.id}.snap"
            self.sh(f"mkdir {snap} && ln -s . {snap}/{name} && ln -s {self.image} {snap}/0")
            self.sh(f"ln -s {snap}/0 {self.disk}")
            return
        self.sh(f"mkdir {snap} && ln -s . {snap}/{name} && ln -s disk.0.snap/0 {self.disk}")
        self.sh(f"qemu-img create -q -f qcow2 -F qcow2 -b {self.image} {snap}/0")

    def start_guest(self) -> None:
        twice = self.folder.replace("/one/", "/one//")
        disks = [("vda", f"{twice}/disk.0", "qcow2"), ("vdb", f"{twice}/disk.1", self.formats[1])]
        self.guest = Guest(self.hypervisor, f"one-{self.id}", disks)

    def power_cycle(self) -> None:
        self.guest.destroy()
        self.hypervisor.until("the end of QEMU", lambda: not self.sh(_QEMU.format(self.id)).strip())
        self.start_guest()

    def sh(self, line: str) -> str:
        return self.lab.run(self.host, ["sh", "-ec", line]).stdout.decode()

    def write(self, disk: int, pattern: int, offset: int, size: int) -> None:
        """Let the guest write, zeros as zeros."""
        word = f"write -P {pattern}" if pattern else "write -z"
        self.guest.io(f"{word} {offset} {size}", ("vda", "vdb")[disk])
        self.golden[disk][offset : offset + size] = bytes([pattern]) * size

    def scribble(self, seed: int) -> None:
        """Some writes on both disks, over old ones, new, across clusters, and zeros over data."""
        for disk in (0, 1):
            self.write(disk, seed + 1, (seed * 3 % 12) * _MB + disk * 4096, 200 * 1024)
            self.write(disk, seed + 100, 13 * _MB, 65536)
            self.write(disk, 0, max(0, (seed - 1) * 3 % 12) * _MB, 65536)

    def options(self, **more: Any) -> dict[str, Any]:
        place = {"driver": "ssh" if self.layout == "file" else "qcow2", "datastore": _SYSTEM, "path": self.folder}
        disks = {"disks": [f"{n}:{kind}" for n, kind in self.formats.items()], "images": [f"0:{self.image}"]}
        own = {"persistent": ["0"]} if self.layout == "persistent" else {}
        guest = {"domain": self.guest.name, "targets": ["0:vda", "1:vdb"]}
        return {**place, **disks, **own, **guest, "lock_timeout": 20, "stall_timeout": 20, **more}

    def start(self, action: str, pause: str = "", fault: str = "", **more: Any) -> subprocess.Popen[bytes]:
        if action.startswith("pre"):
            more = {"document": f"<VM><ID>{self.id}</ID></VM>", **more}
        given = self.options(**more)
        if action in ("prebackup", "postbackup"):
            given = {name: value for name, value in given.items() if name not in ("domain", "targets")}
        argv = ["/usr/bin/python3", "-I", "-c", _RUN, f"tm_{action}", json.dumps(given), fault]
        return self.lab.popen(self.host, argv, env={"ONE_STORAGE_GUEST_PAUSE": pause})

    def act(self, action: str, **more: Any) -> dict[str, Any]:
        out, err = self.start(action, **more).communicate(timeout=90)
        assert out, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result

    def right(self, action: str, **more: Any) -> dict[str, Any]:
        result = self.act(action, **more)
        assert "sentence" not in result, result
        return result

    # ------------------------------------------------------------ whole backups

    def back_up(self, mode: str, last: int = -1, failed: bool = False, **more: Any) -> dict[str, Any]:
        """One backup: prepared, taken away, ended."""
        how: dict[str, Any] = {"mode": "increment", "increment_mode": mode} if mode else {"mode": "full"}
        moment = {disk: bytes(data) for disk, data in self.golden.items()}
        result = self.right("prebackup_live", last_increment=last, **how, **more)
        self.scribble(40 + last)
        if not failed:
            self.moments[last + 1 :] = [moment]
            self.sh(f"cp {self.folder}/backup/* {self.store}/")
        ended = self.right("postbackup_live", last_increment=last, failed=failed, **how)
        assert "warnings" not in ended, ended
        self.at_rest()
        return result

    def chain(self, disk: int) -> None:
        """Put the increments of a disk upon each other, by stock's recipe (contract-ds 10.3)."""
        self.sh(
            f"rm -rf {self.store}/chain; mkdir {self.store}/chain; cp {self.store}/disk.{disk}.* {self.store}/chain"
        )
        for upper in range(1, len(self.moments)):
            self.sh(f"cd {self.store}/chain && qemu-img rebase -u -f qcow2 -F qcow2 -b disk.{disk}.{upper - 1} "
                    f"disk.{disk}.{upper}")  # fmt: skip

    def flat(self, disk: int, number: int) -> bytes:
        """A disk as increments tell it, when its chain is laid."""
        self.sh(f"cd {self.store}/chain && qemu-img convert -f qcow2 -O raw disk.{disk}.{number} flat")
        return self.lab.path(self.host, f"{self.store}/chain/flat").read_bytes()

    def check(self) -> None:
        """Every point of the chain, and the guest itself."""
        for disk in self.golden:
            self.chain(disk)
            for number, moment in enumerate(self.moments):
                assert self.flat(disk, number) == moment[disk], f"disk {disk} of increment {number}"
        self.check_guest()

    def flush(self) -> None:
        """Let QEMU write down what it has in memory."""
        self.guest.io("flush")
        self.guest.io("flush", "vdb")

    def check_guest(self) -> None:
        self.flush()
        for disk, data in self.golden.items():
            self.sh(f"qemu-img convert -U -f {self.formats[disk]} -O raw {self.folder}/disk.{disk} /var/tmp/now")
            assert self.lab.path(self.host, "/var/tmp/now").read_bytes() == bytes(data), f"disk {disk} of the guest"

    def at_rest(self) -> None:
        """The guest runs on, with no job, and nothing of ours lies about."""
        assert self.guest.state() == "running"
        assert "None" in self.hypervisor.virsh("domjobinfo", self.guest.name)
        assert self.sh(f"ls {self.folder}").split() == [
            name for name in ("disk.0", "disk.0.snap", "disk.1", "disk.1.snap")
            if self.lab.path(self.host, f"{self.folder}/{name}").exists() or name in ("disk.0", "disk.1")
        ]  # fmt: skip
        left = self.sh(f"cd {_SYSTEM}/.one_storage && ls; cd {_IMAGES}/.one_storage 2>/dev/null && ls || true").split()
        assert [name for name in left if name != "locks"] == []

    def checkpoints(self) -> list[str]:
        return self.hypervisor.virsh("checkpoint-list", "--name", self.guest.name).split()

    def marks(self) -> list[str]:
        """Bitmaps that QEMU has of disk 0."""
        nodes = self.guest.qmp("query-named-block-nodes", flat=True)
        assert isinstance(nodes, list)
        return sorted({mark["name"] for node in nodes for mark in node.get("dirty-bitmaps", []) if "name" in mark})


@pytest.fixture(scope="module")
def hypervisor(ground: LabGround) -> Iterator[Hypervisor]:
    """libvirt on the first node; the lab is other tests' too, so nothing of it stays."""
    made = Hypervisor(ground.lab, ground.nodes[0])
    yield made
    made.stop()
    wait_for("libvirt to end", lambda: not all_running(ground), 20)
    wipe(ground)


def _machine(hypervisor: Hypervisor, **how: Any) -> Iterator[Machine]:
    made = Machine(hypervisor, **how)
    yield made
    made.guest.destroy()


@pytest.fixture
def machine(hypervisor: Hypervisor) -> Iterator[Machine]:
    yield from _machine(hypervisor)


def _one_point(machine: Machine, mode: str) -> None:
    """The first backup of a chain, and writes after it."""
    machine.scribble(0)
    machine.back_up(mode)
    machine.scribble(1)


def _goes_on(machine: Machine, mode: str, last: int = 0) -> None:
    """The next increment is right, small, and the guest has lost nothing."""
    machine.scribble(5)
    result = machine.back_up(mode, last)
    assert "warnings" not in result, result
    machine.check()
    assert int(machine.sh(f"stat -c %s {machine.store}/disk.0.{last + 1}")) < 3 * _MB


MODES = ("cbt", "snapshot")
#: Steps that no action has.
MOST = 30


@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_increments(machine: Machine, mode: str) -> None:
    for number in range(3):
        machine.scribble(number)
        result = machine.back_up(mode, number - 1, freeze="suspend")
        assert result["consistency"] == "suspend" and result["increment"] == number
        assert "warnings" not in result, result
    machine.check()
    assert int(machine.sh(f"stat -c %s {machine.store}/disk.0.2")) < 2 * _MB
    if mode == "cbt":
        assert machine.checkpoints() == machine.marks() == [f"one-{machine.id}-{n}" for n in (1, 2)]
    else:
        assert machine.sh(f"readlink {machine.disk}").strip() == "disk.0.snap/3"
        assert machine.sh(f"ls {machine.disk}.snap").split() == ["0", "3", "disk.0.snap"]
        assert "backing file: disk.0.snap/0 " in machine.sh(f"qemu-img info -U {machine.disk}")


@pytest.mark.full
@pytest.mark.parametrize("layout", ["persistent", "file"])
@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_five_in_other_layouts(hypervisor: Hypervisor, mode: str, layout: str) -> None:
    for machine in _machine(hypervisor, layout=layout):
        for number in range(5):
            machine.scribble(number)
            if number == 3:
                machine.power_cycle()
            assert "warnings" not in machine.back_up(mode, number - 1)
        machine.check()


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_failed_backups_do_not_break_the_chain(machine: Machine, mode: str) -> None:
    _one_point(machine, mode)
    for number in range(3):
        machine.scribble(10 + number)
        machine.back_up(mode, 0, failed=True)
    if mode == "cbt":
        assert machine.marks() == [f"one-{machine.id}-0"]
    else:
        assert len(machine.guest.chain()) == 4
    _goes_on(machine, mode)
    _goes_on(machine, mode, 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_an_outcome_that_nobody_heard(machine: Machine, mode: str) -> None:
    _one_point(machine, mode)
    machine.right("prebackup_live", last_increment=0, mode="increment", increment_mode=mode)
    machine.scribble(11)
    machine.right("prebackup_live", last_increment=0, mode="increment", increment_mode=mode)
    machine.scribble(12)
    _goes_on(machine, mode)
    _goes_on(machine, mode, 1)


@pytest.mark.full
def test_full_backups_with_raw_disks_leave_chains_alone(hypervisor: Hypervisor) -> None:
    for machine in _machine(hypervisor, raw=True):
        machine.scribble(0)
        only = {"disks": ["0:qcow2"], "targets": ["0:vda"]}
        machine.right("prebackup_live", mode="increment", **only)
        machine.right("postbackup_live", mode="increment", **only)
        before = machine.marks()
        machine.back_up("")
        assert machine.marks() == before == [f"one-{machine.id}-0"]
        machine.check()
        wrong = machine.act("prebackup_live", mode="increment")
        assert wrong["code"] == "bad-call" and "raw" in wrong["sentence"]
        machine.at_rest()


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_power_cycles_and_growth(machine: Machine, mode: str) -> None:
    _one_point(machine, mode)
    machine.power_cycle()
    _goes_on(machine, mode)
    machine.guest.destroy()
    machine.sh(f"sleep 0.5; qemu-img resize -q $(readlink -f {machine.disk}) 24M")
    machine.golden[0].extend(bytes(8 * _MB))
    machine.start_guest()
    machine.write(0, 77, 20 * _MB, 100_000)
    machine.scribble(3)
    _goes_on(machine, mode, 1)
    machine.hypervisor.virsh("blockresize", machine.guest.name, "vda", "32M")
    machine.golden[0].extend(bytes(8 * _MB))
    machine.write(0, 78, 30 * _MB, 100_000)
    _goes_on(machine, mode, 2)


@pytest.mark.full
def test_a_guest_that_was_killed_has_its_disks_backed_up_whole(machine: Machine) -> None:
    _one_point(machine, "cbt")
    machine.flush()
    machine.sh(f"kill -9 $(pgrep -f guest=[o]ne-{machine.id},)")
    machine.hypervisor.until("its end", lambda: machine.guest.name not in machine.hypervisor.virsh("list", "--name"))
    machine.start_guest()
    machine.scribble(3)
    result = machine.back_up("cbt", 0)
    # what QEMU had not written down when it was killed is not there, else it is marked as not to be believed
    assert len(result["warnings"]) == 2 and all("has all of disk" in line for line in result["warnings"])
    machine.check()
    _goes_on(machine, "cbt", 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_each_step(machine: Machine, mode: str) -> None:
    """Before it and after it. One chain gets all the kills, so that what one of them leaves meets the next."""
    _one_point(machine, mode)
    last = 0
    for number, after in itertools.product(range(MOST), ("", "+")):
        machine.scribble(number)
        if not _killed(machine, mode, f"{number}{after}", last):
            break
        machine.scribble(number + 1)
        machine.back_up(mode, last)
        last += 1
    assert number > 4
    _goes_on(machine, mode, last)


def test_killed_while_the_job_runs(machine: Machine) -> None:
    _one_point(machine, "cbt")
    assert _killed(machine, "cbt", "2")
    _goes_on(machine, "cbt")


def _killed(machine: Machine, mode: str, fault: str, last: int = 0) -> bool:
    """Kill prebackup_live at a step, and let oned clear up; whether there is such a step."""
    how: dict[str, Any] = {"mode": "increment", "increment_mode": mode, "last_increment": last}
    process = machine.start("prebackup_live", fault=fault, **how)
    out, _err = process.communicate(timeout=60)
    assert not out or "sentence" not in json.loads(out), out
    assert machine.guest.state() == "running"
    machine.hypervisor.until(
        "the end of the job", lambda: "None" in machine.hypervisor.virsh("domjobinfo", machine.guest.name)
    )
    machine.write(0, 99, 9 * _MB, 4096)
    machine.right("postbackup_live", failed=True, **how)
    machine.at_rest()
    machine.check_guest()
    if mode == "cbt":
        # the bitmap of the increment before goes with the next one that is kept
        assert machine.marks() == sorted({f"one-{machine.id}-{number}" for number in (max(last - 1, 0), last)})
    return not out


@pytest.mark.full
@pytest.mark.parametrize("ends", [False, True], ids=["runs on", "ends"])
@pytest.mark.parametrize("failed", [False, True], ids=["kept", "failed"])
@pytest.mark.parametrize("mode", MODES)
def test_postbackup_is_killed_at_each_step(machine: Machine, mode: str, failed: bool, ends: bool) -> None:
    """Nobody repeats it, and the guest may end before the next backup; the chain goes on, whether it was heard or not.

    One chain gets all the kills, so that what one of them leaves meets the next.
    """
    _one_point(machine, mode)
    last = 0
    for number, after in itertools.product(range(MOST), ("", "+")):
        how: dict[str, Any] = {"mode": "increment", "increment_mode": mode, "last_increment": last}
        moment = {disk: bytes(data) for disk, data in machine.golden.items()}
        machine.right("prebackup_live", **how)
        machine.scribble(number)
        machine.sh(f"cp {machine.folder}/backup/* {machine.store}/")
        out, _err = machine.start("postbackup_live", fault=f"{number}{after}", failed=failed, **how).communicate(
            timeout=90
        )
        if not failed:
            last += 1
            machine.moments.append(moment)
        machine.check_guest()
        if ends:
            machine.power_cycle()
            machine.check_guest()
        if out:
            assert "sentence" not in json.loads(out), out
            break
    else:
        raise AssertionError("postbackup_live has no end")
    assert number > 0
    _goes_on(machine, mode, last)


@pytest.mark.full
@pytest.mark.parametrize("ends", [False, True], ids=["runs on", "ends"])
def test_killed_while_layers_are_committed(machine: Machine, ends: bool) -> None:
    """QEMU goes on with the commit, and then names the disk's own link in the header of the top, which leads there: the
    guard puts that right, and where nobody is left the next action does."""
    _one_point(machine, "snapshot")
    how: dict[str, Any] = {"mode": "increment", "increment_mode": "snapshot", "last_increment": 0}
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    machine.right("prebackup_live", **how)
    machine.sh(f"cp {machine.folder}/backup/* {machine.store}/")
    process = machine.start("postbackup_live", pause="committing", **how)
    machine.hypervisor.until("the commit", lambda: len(machine.guest.chain()) == 3, 30)
    core = machine.lab.inner_pid(process)
    if ends:
        os.kill(core, signal.SIGSTOP)
        machine.sh("kill -9 $(pgrep -f '[o]peration\":\"merge')")
    os.kill(core, signal.SIGKILL)
    # what enters the host stops with what it started there
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=30)
    if ends:
        machine.guest.destroy()
        machine.hypervisor.until("the end of QEMU", lambda: not machine.sh(_QEMU.format(machine.id)).strip())
        assert "backing file: disk.0.snap/0 " not in machine.sh(f"qemu-img info {machine.disk}")
        machine.right("prebackup")
        machine.right("postbackup")
        machine.start_guest()
    named = f"qemu-img info -U {machine.disk} | grep 'backing file: disk.0.snap/0 '"
    machine.hypervisor.until("a header that is right", lambda: bool(machine.sh(named)))
    machine.check_guest()
    _goes_on(machine, "snapshot", 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_is_held_is_let_go(machine: Machine, mode: str) -> None:
    _one_point(machine, mode)
    how: dict[str, Any] = {"mode": "increment", "increment_mode": mode, "last_increment": 0}
    # the process that talks to libvirt stands still for the test, so it is the guard that lets the guest go
    process = machine.start("prebackup_live", pause="held", freeze="suspend", freeze_timeout=5, **how)
    machine.hypervisor.until("the guest stops", lambda: machine.guest.state() == "paused")
    os.kill(machine.lab.inner_pid(process), signal.SIGKILL)
    process.communicate(timeout=20)
    machine.hypervisor.until("the guest goes on", lambda: machine.guest.state() == "running")
    machine.right("postbackup_live", failed=True, **how)
    machine.at_rest()
    _goes_on(machine, mode)


@pytest.mark.full
def test_the_process_that_talks_to_libvirt_is_killed(machine: Machine) -> None:
    _one_point(machine, "cbt")
    how: dict[str, Any] = {"mode": "increment", "last_increment": 0}
    process = machine.start("prebackup_live", fault="1=", **how)
    machine.hypervisor.until("the job", lambda: "Backup" in machine.hypervisor.virsh("domjobinfo", machine.guest.name))
    pid = machine.lab.inner_pid(process)
    machine.hypervisor.until(
        "the core stands still",
        lambda: "T" in machine.sh("ps -e -o stat=,args= | grep tm_prebackup_live | grep -v grep"),
    )
    for helper in machine.sh("pgrep -f '[o]peration\":\"backup' || true").split():
        # the guard leads a session of its own
        if machine.sh(f"ps -o sid= -p {helper} || true").strip() != helper:
            machine.sh(f"kill -9 {helper}")
    machine.hypervisor.until(
        "the end of the job", lambda: "None" in machine.hypervisor.virsh("domjobinfo", machine.guest.name)
    )
    os.kill(pid, signal.SIGCONT)
    # what enters the host stops with what it started there
    os.kill(process.pid, signal.SIGCONT)
    out, _err = process.communicate(timeout=60)
    assert "sentence" in json.loads(out)
    machine.at_rest()
    assert machine.marks() == [f"one-{machine.id}-0"]
    _goes_on(machine, "cbt")


@pytest.mark.full
@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_cancelled_backup_takes_all_of_it_away(machine: Machine, number: int) -> None:
    _one_point(machine, "cbt")
    process = machine.start("prebackup_live", fault=f"{number}=", mode="increment", last_increment=0)
    machine.hypervisor.until("the job", lambda: "Backup" in machine.hypervisor.virsh("domjobinfo", machine.guest.name))
    time.sleep(1)
    pid = machine.lab.inner_pid(process)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    # what enters the host stops with what it started there
    os.kill(process.pid, signal.SIGCONT)
    out, _err = process.communicate(timeout=30)
    assert json.loads(out)["code"] == "cancelled", out
    machine.at_rest()
    assert machine.marks() == [f"one-{machine.id}-0"]
    _goes_on(machine, "cbt")


@pytest.mark.full
def test_what_stock_left_below_a_guest_comes_home(machine: Machine) -> None:
    machine.scribble(0)
    machine.sh(
        f"mkdir {machine.folder}/tmp && touch {machine.folder}/tmp/overlay_0.qcow2 {machine.folder}/tmp/overlay_1.qcow2"
    )
    specs = [f"{target},file={machine.folder}/tmp/overlay_{n}.qcow2" for n, target in enumerate(("vda", "vdb"))]
    machine.hypervisor.virsh("snapshot-create-as", machine.guest.name, f"one-{machine.id}-backup", "--disk-only",
                             "--atomic", "--diskspec", specs[0], "--diskspec", specs[1])  # fmt: skip
    machine.scribble(1)
    machine.back_up("cbt")
    machine.check()
    assert len(machine.guest.chain()) == 2


@pytest.mark.full
def test_a_chain_that_stock_began_goes_on(machine: Machine) -> None:
    """Stock's names and shapes of a first CBT backup, and its pruning."""
    machine.scribble(0)
    machine.flush()
    machine.sh(f"qemu-img convert -U -f qcow2 -O qcow2 {machine.disk} {machine.store}/disk.0.0")
    machine.sh(f"qemu-img convert -U -f qcow2 -O qcow2 {machine.folder}/disk.1 {machine.store}/disk.1.0")
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    disks = "<disks><disk name='vda'/><disk name='vdb'/></disks>"
    text = f"<domaincheckpoint><name>one-{machine.id}-0</name>{disks}</domaincheckpoint>"
    machine.lab.path(machine.host, "/var/tmp/checkpoint.xml").write_text(text, encoding="utf-8")
    machine.hypervisor.virsh("checkpoint-create", machine.guest.name, "--xmlfile", "/var/tmp/checkpoint.xml")
    _goes_on(machine, "cbt")


@pytest.mark.full
def test_stock_goes_on_with_a_chain_of_ours(machine: Machine) -> None:
    """Stock's commands of a CBT increment, on what two of ours left; then ours again."""
    _one_point(machine, "cbt")
    machine.back_up("cbt", 0)
    machine.scribble(3)
    machine.flush()
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    _stock_increment(machine, 2)
    _goes_on(machine, "cbt", 2)


def _stock_increment(machine: Machine, number: int) -> None:
    """As contract-tm 8.3 has it: a pull backup with a checkpoint, what changed by copy on read."""
    socket, disks, marks = f"{machine.folder}/backup.socket", "", ""
    machine.sh(f"mkdir {machine.folder}/tmp")
    for target, disk in (("vda", 0), ("vdb", 1)):
        scratch = f"{machine.folder}/tmp/scracth.{disk}.qcow2"
        machine.sh(f"qemu-img create -q -f qcow2 {scratch} {len(machine.golden[disk])}")
        disks += f"<disk name='{target}' backup='yes' type='file'><scratch file='{scratch}'/></disk>"
        marks += f"<disk name='{target}'/>"
    documents = {
        "backup": f"<domainbackup mode='pull'><incremental>one-{machine.id}-{number - 1}</incremental>"
        f"<server transport='unix' socket='{socket}'/><disks>{disks}</disks></domainbackup>",
        "checkpoint": f"<domaincheckpoint><name>one-{machine.id}-{number}</name><disks>{marks}</disks>"
        "</domaincheckpoint>",
    }
    for name, text in documents.items():
        machine.lab.path(machine.host, f"{machine.folder}/tmp/{name}.xml").write_text(text, encoding="utf-8")
    words = [f"--{name}xml={machine.folder}/tmp/{name}.xml" for name in documents]
    machine.hypervisor.virsh("backup-begin", machine.guest.name, "--reuse-external", *words)
    for target, disk in (("vda", 0), ("vdb", 1)):
        export = f"driver=nbd,server.type=unix,server.path={socket},export={target}"
        wanted = f"{export},x-dirty-bitmap=qemu:dirty-bitmap:backup-{target}"
        extents = json.loads(machine.sh(f"qemu-img map --output=json --image-opts {wanted}"))
        reads = " ".join(f"-c 'read -q {row['start']} {row['length']}'" for row in extents if not row["data"])
        file = f"{machine.store}/disk.{disk}.{number}"
        machine.sh(f"qemu-img create -q -f qcow2 -F raw -b 'nbd+unix:///{target}?socket={socket}' {file}")
        machine.sh(f"qemu-io -C -f qcow2 {reads} {file}; qemu-img rebase -q -u -f qcow2 -b '' {file}")
    machine.hypervisor.virsh("domjobabort", machine.guest.name)
    machine.hypervisor.virsh("checkpoint-delete", machine.guest.name, f"one-{machine.id}-{number - 2}")
    machine.sh(f"rm -rf {machine.folder}/tmp")


def test_what_is_wrong_is_said_and_changes_nothing(machine: Machine) -> None:
    machine.write(0, 1, 0, 65536)
    before = machine.sh(f"ls -lR {machine.folder}")
    for more, code in (
        ({"freeze": "agent", "require_quiesce": True}, "tool-failed"),
        ({"domain": "one-0"}, "missing"),
        ({"targets": ["0:vda"]}, "bad-call"),
        ({"targets": ["0:vda", "1:vdz"]}, "missing"),
        ({"freeze_timeout": 0}, "bad-call"),
    ):
        result = machine.act("prebackup_live", **more)
        assert result["code"] == code, (more, result)
        assert machine.sh(f"ls -lR {machine.folder}") == before
        machine.at_rest()
    result = machine.back_up("", freeze="agent")
    assert result["consistency"] == "crash" and "agent" in result["warnings"][0]
    told = json.loads(machine.sh(f"cat {machine.store}/manifest.json"))
    assert told["consistency"] == "crash" and told["warnings"] == result["warnings"]
