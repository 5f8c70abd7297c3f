# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a running guest that are killed or cancelled: it runs on, nothing is left, the next one is right."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backed_guest import MB, MODES, QEMU, Machine, goes_on, machine_of, one_point
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor

#: Steps that no action has.
MOST = 30


@pytest.fixture
def hypervisor(ground: LabGround, hypervisors: dict[str, Hypervisor]) -> Hypervisor:
    return hypervisors[ground.nodes[0]]


@pytest.fixture
def machine(hypervisor: Hypervisor) -> Iterator[Machine]:
    yield from machine_of(hypervisor)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_each_step(machine: Machine, mode: str) -> None:
    """Before it and after it. One chain gets all the kills, so that what one of them leaves meets the next."""
    one_point(machine, mode)
    last = 0
    for number, after in itertools.product(range(MOST), ("", "+")):
        machine.scribble(number)
        if not _killed(machine, mode, f"{number}{after}", last):
            break
        machine.scribble(number + 1)
        machine.back_up(mode, last)
        last += 1
    assert number > 4
    goes_on(machine, mode, last)


def test_killed_while_the_job_runs(machine: Machine) -> None:
    one_point(machine, "cbt")
    assert _killed(machine, "cbt", "2")
    goes_on(machine, "cbt")


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
    machine.write(0, 99, 9 * MB, 4096)
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
    one_point(machine, mode)
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
    goes_on(machine, mode, last)


@pytest.mark.full
@pytest.mark.parametrize("ends", [False, True], ids=["runs on", "ends"])
def test_killed_while_layers_are_committed(machine: Machine, ends: bool) -> None:
    """QEMU goes on with the commit, and then names the disk's own link in the header of the top, which leads there: the
    guard puts that right, and where nobody is left the next action does."""
    one_point(machine, "snapshot")
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
        machine.hypervisor.until("the end of QEMU", lambda: not machine.sh(QEMU.format(machine.id)).strip())
        assert "backing file: disk.0.snap/0 " not in machine.sh(f"qemu-img info {machine.disk}")
        machine.right("prebackup")
        machine.right("postbackup")
        machine.start_guest()
    named = f"qemu-img info -U {machine.disk} | grep 'backing file: disk.0.snap/0 '"
    machine.hypervisor.until("a header that is right", lambda: bool(machine.sh(named)))
    machine.check_guest()
    goes_on(machine, "snapshot", 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_a_guest_that_is_held_is_let_go(machine: Machine, mode: str) -> None:
    one_point(machine, mode)
    how: dict[str, Any] = {"mode": "increment", "increment_mode": mode, "last_increment": 0}
    # the process that talks to libvirt stands still for the test, so it is the guard that lets the guest go
    process = machine.start("prebackup_live", pause="held", freeze="suspend", freeze_timeout=5, **how)
    machine.hypervisor.until("the guest stops", lambda: machine.guest.state() == "paused")
    os.kill(machine.lab.inner_pid(process), signal.SIGKILL)
    process.communicate(timeout=20)
    machine.hypervisor.until("the guest goes on", lambda: machine.guest.state() == "running")
    machine.right("postbackup_live", failed=True, **how)
    machine.at_rest()
    goes_on(machine, mode)


def _stopped(machine: Machine, action: str, number: int, **how: Any) -> tuple[subprocess.Popen[bytes], int]:
    """Start an action that stands still before a step; its process, and the core's id, 0 when it came to its end."""
    process = machine.start(action, fault=f"{number}=", **how)
    core = machine.lab.inner_pid(process)

    def still() -> bool:
        try:
            return Path(f"/proc/{core}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except FileNotFoundError:
            return False

    machine.hypervisor.until("it stands still, or ends", lambda: process.poll() is not None or still(), 60)
    return process, core if process.poll() is None else 0


def _go_on(process: subprocess.Popen[bytes], core: int) -> dict[str, Any]:
    """Let it go on to its end; its answer, empty when it was killed."""
    if core:
        os.kill(core, signal.SIGCONT)
        # what enters the host stops with what it started there
        os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    answer: dict[str, Any] = json.loads(out) if out else {}
    assert "Traceback" not in err.decode(), err.decode()
    return answer


#: Who holds a backup job, and dies at once: what talks to libvirt, its guard, the core.
WHO = {"helper": "h", "guard": "g", "helper and guard": "hg", "all": "hgc"}


@pytest.mark.full
@pytest.mark.parametrize("who", WHO)
def test_who_holds_the_job_is_killed_at_each_step(machine: Machine, who: str) -> None:
    one_point(machine, "cbt")
    last = kills = 0
    for number in range(MOST):
        machine.scribble(number)
        how: dict[str, Any] = {"mode": "increment", "increment_mode": "cbt", "last_increment": last}
        moment = {disk: bytes(data) for disk, data in machine.golden.items()}
        process, core = _stopped(machine, "prebackup_live", number, **how)
        dead = _kill(machine, WHO[who], core) if core else 0
        answer = _go_on(process, core)
        kills += bool(dead)
        made = bool(answer) and "sentence" not in answer
        # the guard is for the case that somebody else dies
        assert made or (dead and who != "guard"), answer
        if made:
            machine.sh(f"cp {machine.folder}/backup/* {machine.store}/")
            machine.moments.append(moment)
        machine.right("postbackup_live", failed=not made, **how)
        machine.at_rest()
        last += made
        assert machine.marks() == sorted({f"one-{machine.id}-{number}" for number in (max(last - 1, 0), last)})
        machine.scribble(number + 1)
        machine.back_up("cbt", last)
        last += 1
        if not core:
            break
    assert kills > 3
    goes_on(machine, "cbt", last)


def _kill(machine: Machine, who: str, core: int) -> int:
    """Kill those of one job that are wanted; how many there were."""
    found = machine.sh("pgrep -f '[o]peration\":\"backup' || true").split()
    # the guard leads a session of its own
    guards = [pid for pid in found if machine.sh(f"ps -o sid= -p {pid} || true").strip() == pid]
    dead = [pid for pid in found if ("g" if pid in guards else "h") in who]
    if dead:
        machine.sh(f"kill -9 {' '.join(dead)}")
        if "c" in who:
            os.kill(core, signal.SIGKILL)
    return len(dead)


@pytest.mark.full
@pytest.mark.parametrize("who", ["libvirt", "QEMU"])
def test_what_runs_the_guest_is_killed_while_the_job_runs(machine: Machine, who: str) -> None:
    """libvirt's daemon, which comes back, or the guest itself, which is started again."""
    one_point(machine, "cbt")
    how: dict[str, Any] = {"mode": "increment", "increment_mode": "cbt", "last_increment": 0}
    process, core = _stopped(machine, "prebackup_live", 2, **how)
    machine.flush()
    if who == "libvirt":
        machine.lab.run(machine.host, ["sh", "-ec", "kill -9 $(cat /run/libvirtd.pid)"], user="root")
        machine.hypervisor.start()
    else:
        machine.sh(f"kill -9 $({QEMU.format(machine.id)})")
        machine.hypervisor.until(
            "its end", lambda: machine.guest.name not in machine.hypervisor.virsh("list", "--name")
        )
    answer = _go_on(process, core)
    assert answer.get("sentence"), answer
    if who == "QEMU":
        machine.start_guest()
    machine.at_rest()
    machine.right("postbackup_live", failed=True, **how)
    machine.at_rest()
    machine.check_guest()
    machine.scribble(3)
    result = machine.back_up("cbt", 0)
    assert len(result.get("warnings", [])) == (2 if who == "QEMU" else 0), result
    machine.check()
    goes_on(machine, "cbt", 1)


@pytest.mark.full
@pytest.mark.parametrize("action", ["prebackup_live", "postbackup_live"])
@pytest.mark.parametrize("mode", MODES)
def test_cancelled_at_each_step(machine: Machine, mode: str, action: str) -> None:
    """A prebackup takes all of it away, also when the job is over; what a postbackup leaves the next one does."""
    one_point(machine, mode)
    last = 0
    for number in range(MOST):
        machine.scribble(number)
        how: dict[str, Any] = {"mode": "increment", "increment_mode": mode, "last_increment": last}
        first = action == "prebackup_live"
        if not first:
            moment = {disk: bytes(data) for disk, data in machine.golden.items()}
            machine.right("prebackup_live", **how)
            machine.scribble(number + 2)
            machine.sh(f"cp {machine.folder}/backup/* {machine.store}/")
            machine.moments.append(moment)
        process, core = _stopped(machine, action, number, **how)
        if core:
            os.kill(core, signal.SIGTERM)
        answer = _go_on(process, core)
        assert answer.get("code", "") == ("cancelled" if core else "") or not first, answer
        if first and core:
            machine.at_rest()
            if mode == "cbt":
                assert machine.marks() == sorted({f"one-{machine.id}-{number}" for number in (max(last - 1, 0), last)})
        elif first:
            machine.right("postbackup_live", failed=True, **how)
        else:
            last += 1
        machine.check_guest()
        machine.back_up(mode, last)
        last += 1
        if not core:
            break
    assert number > (3 if first else 0)
    goes_on(machine, mode, last)
