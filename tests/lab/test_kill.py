# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between any two steps and run again, an action ends as if it had run once (design rule 7)."""

from __future__ import annotations

import pytest

from tests.lab.cases import HERE, ON_NODE, ON_NODE_TOO, TWO_HOSTS, TWO_HOSTS_TOO, Cases, listed
from tests.lab.ground import LabGround
from tests.lab.looking import restore

#: No action has so many steps.
MOST = 40
#: Every action and every way to lead it; what differs in the driver alone waits for the run of all tests.
NOW = {
    "qcow2": ON_NODE["qcow2"],
    "qcow2+ssh": "mvds",
    "ssh": "clone stop_mv migrate_mv mvds",
    "disks-qcow2": "snap_delete resize",
    "disks-ssh": "cpds",
}


@pytest.mark.parametrize(
    ("story", "name"),
    listed(HERE, ON_NODE, ON_NODE_TOO, TWO_HOSTS, TWO_HOSTS_TOO, now=[HERE, NOW]),
)
def test_killed_at_every_step(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    """The process with the core dies: the wrapper itself where the front-end leads, else the one on the node."""
    case, scene = cases.get(story, name), cases.scene
    points = [*map(str, range(MOST)), "end"]
    killed = 0
    while points:
        point = points.pop(0)
        restore(tidy, case.before)
        done = scene.run(case.task, FAULT=point)
        if done.ok:
            cases.ends_right(case, f"not at {point}")
            points = [] if point == "end" else ["end"]
            continue
        killed += 1
        # what began is never begun again by another launcher
        assert not done.warnings
        if done.rc > 0:
            assert any(node in done.sentence for node in tidy.nodes)
        cases.again(case, f"at {point}")
    assert killed >= (1 if name in ("stat", "monitor") else 2), f"killed {killed} times"
