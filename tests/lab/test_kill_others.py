# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process with the core lives, and loses another one: its caller, its peer, the connection between them.

A fault point stops the core between two steps; it goes on when the other one is dead.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.lab.cases import ON_NODE, ON_NODE_TOO, TWO_HOSTS, TWO_HOSTS_TOO, Case, Cases, listed
from tests.lab.ground import LabGround
from tests.lab.hosts.proc import HostProcess
from tests.lab.looking import all_running, end, on_its_way, restore, stopped, wait_for
from tests.lab.scene import Done, Running
from tests.lab.story import PAIRINGS

MOST = 40
#: Seconds in which all that belongs to a dead caller has ended.
PROMPT = 5.0

Kill = Callable[[LabGround, Running, HostProcess], bool]


def wrapper(ground: LabGround, running: Running, core: HostProcess) -> bool:
    """Kill the wrapper."""
    end(HostProcess(running.pid, ()))
    return True


def client(ground: LabGround, running: Running, core: HostProcess) -> bool:
    """Kill the ssh process that carries the session between the wrapper and the node."""
    found = on_its_way(ground, ground.frontend, "ssh", "one_storage/node.py")
    for process in found:
        end(process)
    return bool(found)


def peer(ground: LabGround, running: Running, core: HostProcess) -> bool:
    """Kill what serves the core on the other host."""
    found = [
        process
        for host in ground.lab.hosts
        for process in on_its_way(ground, host, "python3 -I -c", "sent")
        if process.pid != core.pid and not process.argv[0].endswith("ssh")
    ]
    for process in found:
        end(process)
    return bool(found)


def standing(ground: LabGround, running: Running) -> HostProcess | None:
    """The core, once it stands still before a step; None when it came to its end without."""
    wait_for("stopped or ended", lambda: running.process.poll() is not None or stopped(ground), 20)
    return stopped(ground)


def lose(cases: Cases, case: Case, point: int, kill: Kill) -> Done | None:
    """Stop the core before a step, kill another process, go on; None when there is no such step."""
    scene, ground = cases.scene, cases.scene.ground
    restore(ground, case.before)
    running = scene.start(case.task, FAULT=f"{point}=")
    core = standing(ground, running)
    if core is None:
        assert running.finish().ok
        return None
    assert kill(ground, running, core), all_running(ground)
    for pid in (core.pid, running.process.pid):
        # the one who waits for a stopped wrapper has stopped with it
        end(HostProcess(pid, ()), signal.SIGCONT)
    done = running.finish()
    wait_for(f"idle: {all_running(ground)}", lambda: not all_running(ground), PROMPT)
    return done


def at_every_step(cases: Cases, story: str, name: str, kill: Kill) -> list[Done]:
    """Lose the other process before each step, each time run the call again; what came of the first runs."""
    case = cases.get(story, name)
    ends = []
    for point in range(MOST):
        done = lose(cases, case, point, kill)
        if done is None:
            break
        ends.append(done)
        cases.again(case, f"{kill.__name__} at {point}")
    assert ends
    return ends


@pytest.mark.parametrize(("story", "name"), listed(ON_NODE, ON_NODE_TOO, now=[{"qcow2": "clone"}]))
def test_wrapper_dies_and_the_node_stops(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    at_every_step(cases, story, name, wrapper)


@pytest.mark.parametrize(("story", "name"), listed(ON_NODE, ON_NODE_TOO, now=[{"qcow2": "ln"}]))
def test_the_connection_to_the_node_dies(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    for done in at_every_step(cases, story, name, client):
        assert not done.ok and not done.warnings
        assert done.sentence.startswith("The connection to host0") and "run it again" in done.sentence


@pytest.mark.parametrize(("story", "name"), listed(TWO_HOSTS, TWO_HOSTS_TOO, now=[{"ssh": "mvds"}]))
def test_the_peer_dies(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    for done in at_every_step(cases, story, name, peer):
        assert not done.ok
        assert "The connection to " in done.sentence or "stream of data" in done.sentence, done.sentence


#: The front-end leads and loses its peer,
FROM_HERE = {
    "ssh": "clone ln context stop_mv resume_mv mvds",
    "local": "stop_mv resume_mv mvds",
    "qcow2+ssh": "stop_mv",
    "shared+ssh": "stop_mv",
    "disks-ssh": "cpds cpds_snapshot",
    "disks-local": "cpds cpds_snapshot",
}
#: or it waits for the node that leads.
FROM_NODE = {
    "qcow2": "move",
    "shared": "move",
    "ssh": "migrate_mv",
    "local": "migrate_mv",
    "qcow2+ssh": "migrate_mv mvds",
    "shared+ssh": "migrate_mv mvds",
    **{f"disks-{name}": "snap_delete resize" for name in PAIRINGS},
    **{f"disks-{name}": "snap_delete resize cpds cpds_snapshot" for name in PAIRINGS if name not in ("ssh", "local")},
}
#: Seconds in which a caller has its sentence when data may stall for three.
SOON = 15.0


@pytest.mark.parametrize(
    ("story", "name"), listed(FROM_HERE, FROM_NODE, now=[{"disks-ssh": "cpds", "disks-qcow2": "resize"}])
)
def test_the_cable_is_pulled(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    """A node cannot be reached from before a step on; the caller has its sentence soon, and a rerun is right."""
    case, failed = cases.get(story, name), 0
    node = next(node for node in tidy.nodes for word in case.task.argv if word.startswith(f"{node}:"))
    for point in range(MOST):
        restore(tidy, case.before)
        running = cases.scene.start(case.task, FAULT=f"{point}=", STALL_TIMEOUT="3", CONNECT_TIMEOUT="3")
        core = standing(tidy, running)
        if core is None:
            assert running.finish().ok
            break
        tidy.lab.cut(node)
        try:
            for pid in (core.pid, running.process.pid):
                end(HostProcess(pid, ()), signal.SIGCONT)
            done = running.finish(30)
        finally:
            tidy.lab.heal(node)
        failed += not done.ok
        assert done.seconds < SOON, f"{done.seconds:.0f} s at {point}: {done.err}"
        wait_for(f"idle: {all_running(tidy)}", lambda: not all_running(tidy), 20)
        cases.again(case, f"the cable pulled at {point}")
    assert failed
