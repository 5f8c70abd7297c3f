# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that are killed, cancelled or run into trouble, as oned makes them: every point stays, and the chain goes on.

A fault point stops the core on its host before a step; then somebody dies, or cancels, and it goes on. All steps of an
action have their turn, and after each the next backup has to be right.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.lab.ground import LabGround
from tests.lab.harming import Harmed
from tests.lab.hosts.proc import HostProcess
from tests.lab.looking import all_running, end, on_its_way, stopped, wait_for
from tests.lab.oned import Call, Outcome
from tests.lab.virt import Hypervisor

MOST = 40

# ---------------------------------------------------------------- who dies

Harm = Callable[[Harmed, HostProcess], bool]


def core(harmed: Harmed, process: HostProcess) -> bool:
    """The process that does the work, on its host."""
    end(process)
    return True


def _by_words(harmed: Harmed, host: str, *words: str) -> bool:
    found = on_its_way(harmed.ground, host, *words)
    for process in found:
        end(process)
    return bool(found)


def wrapper(harmed: Harmed, process: HostProcess) -> bool:
    """oned's own child."""
    return _by_words(harmed, harmed.ground.frontend, "python3", f"/{harmed.front_end.action}")


def client(harmed: Harmed, process: HostProcess) -> bool:
    """The connection between both."""
    return _by_words(harmed, harmed.ground.frontend, "ssh", "one_storage/node.py")


def peer(harmed: Harmed, process: HostProcess) -> bool:
    """What serves the work on the repository's server."""
    found = [
        other
        for other in on_its_way(harmed.ground, harmed.ground.nodes[1], "python3 -I -c", "sent")
        if not other.argv[0].endswith("ssh")
    ]
    for other in found:
        end(other)
    return bool(found)


def cancelled(harmed: Harmed, process: HostProcess) -> bool:
    """The user cancels the backup."""
    calls: list[Call] = []
    asking = threading.Thread(target=lambda: calls.append(harmed.life.cancel_backup(harmed.vm)))
    asking.start()
    wait_for("a cancel", lambda: on_its_way(harmed.ground, harmed.ground.frontend, "backup_cancel"), 20)
    # it goes on when the signal has been sent
    threading.Event().wait(1)
    end(process, signal.SIGCONT)
    asking.join(90)
    assert calls and calls[0].ok, calls[0].stderr if calls else "no answer"
    return True


HARMS: dict[str, Harm] = {"core": core, "wrapper": wrapper, "client": client, "peer": peer, "cancelled": cancelled}


def harmed_at(
    harmed: Harmed, action: str, point: int, harm: Harm, event: Callable[[], Outcome]
) -> tuple[Outcome, bool]:
    """Stop an action before a step, do the harm, let it go on; whether there is such a step."""
    harmed.front_end.action, harmed.front_end.fault = action, f"{point}="
    outcomes: list[Outcome] = []
    living = threading.Thread(target=lambda: outcomes.append(event()))
    living.start()
    wait_for("stopped or ended", lambda: not living.is_alive() or stopped(harmed.ground), 60)
    process = stopped(harmed.ground)
    harmed.front_end.fault = ""
    if process is not None:
        did = harm(harmed, process)
        end(process, signal.SIGCONT)
        living.join(120)
        assert did and not living.is_alive(), all_running(harmed.ground)
        harmed.idle()
    else:
        living.join(120)
        assert outcomes[0].ok, outcomes[0].reason
    return outcomes[0], process is not None


# ---------------------------------------------------------------- kills and cancels

#: Chains that come to harm: driver, repository, way, whether the VM runs.
CHAINS = (("qcow2", "restic", "cbt", "live"), ("local", "rsync", "snapshot", "live"), ("ssh", "rsync", "cbt", "off"))
CHAIN = pytest.mark.parametrize(("driver", "kind", "way", "state"), CHAINS)


@pytest.fixture
def harmed(
    request: pytest.FixtureRequest, quiet: LabGround, driver: str, kind: str, way: str, state: str
) -> Iterator[Harmed]:
    hypervisors: dict[str, Hypervisor] | None = request.getfixturevalue("hypervisors") if state == "live" else None
    made = Harmed(quiet, driver, kind, way, hypervisors)
    made.begin()
    made.tamper()
    made.one_point()
    yield made
    made.close()


#: Who can die in which action: only a backup has a peer, and by postbackup oned has what was to be cancelled.
COMES = [
    (action, harm)
    for action in ("prebackup", "backup", "postbackup")
    for harm in HARMS
    if (harm, action) not in {("peer", "prebackup"), ("peer", "postbackup"), ("cancelled", "postbackup")}
]


@pytest.mark.full
@pytest.mark.parametrize(("action", "harm"), COMES)
@CHAIN
def test_a_backup_comes_to_harm_at_each_step(harmed: Harmed, action: str, harm: str) -> None:
    script = f"{action}_live" if harmed.live and action != "backup" else action
    for point in range(MOST):
        harmed.scribble()
        begun = harmed.moment()
        event = lambda: harmed.life.back_up(harmed.vm, harmed.store)  # noqa: E731
        outcome, came = harmed_at(harmed, script, point, HARMS[harm], event)
        if outcome.ok:
            # oned has it: what comes after the answer, and all of postbackup, changes nothing for it
            harmed.note(outcome, begun)
        else:
            assert action != "postbackup"
            assert harm != "cancelled" or "cancelled" in outcome.reason, outcome.reason
        # with core or peer nobody is left who could take back what is on the server: the next backup does. A core that
        # was stopped when its session ended dies too: the kernel sends SIGHUP to such a process group
        harmed.unharmed(swept=action == "backup" and harm != "cancelled")
        if not came:
            break
    assert 0 < point < MOST - 1, f"it came to harm at {point} steps"
    harmed.off()
    for one in (harmed.points[0], *harmed.points[-3:]):
        harmed.restore(one)
    harmed.finish()
