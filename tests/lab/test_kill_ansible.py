# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One kill of every action that went through ansible; the same call again, by whatever launcher, ends right."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.cases import HERE, ON_NODE, ON_NODE_TOO, TWO_HOSTS, TWO_HOSTS_TOO, Cases, listed
from tests.lab.ground import LabGround
from tests.lab.looking import all_running, on_its_way, restore, wait_for
from tests.lab.scene import ANSIBLE, impostor
from tests.lab.test_kill_long import ENDLESS, PROMPT, kill

#: A Python on the hosts that passes a fault on to the module, which Ansible does not.
FAULTY = "/usr/local/bin/faulty-python"
THROUGH = {"LAUNCHER": "ansible", "ANSIBLE": ANSIBLE}


@pytest.fixture
def point(ground: LabGround, request: pytest.FixtureRequest) -> Iterator[str]:
    """The step before which modules on all hosts die."""
    number = str(request.param)
    for host in ground.lab.hosts:
        path = ground.lab.path(host, FAULTY)
        path.write_text(f'#!/bin/sh\nONE_STORAGE_FAULT={number} exec /usr/bin/python3 "$@"\n')
        path.chmod(0o755)
    yield number
    for host in ground.lab.hosts:
        ground.lab.path(host, FAULTY).unlink()


NOW = [{"qcow2": "clone", "fs": "cp"}]


@pytest.mark.parametrize("point", [1], indirect=True)
@pytest.mark.parametrize(("story", "name"), listed(HERE, ON_NODE, ON_NODE_TOO, TWO_HOSTS, TWO_HOSTS_TOO, now=NOW))
def test_the_module_dies(cases: Cases, tidy: LabGround, point: str, story: str, name: str) -> None:
    case, scene = cases.get(story, name), cases.scene
    restore(tidy, case.before)
    done = scene.run(case.task, NODE_PYTHON=FAULTY, **THROUGH)
    if done.ok:
        # not so many steps: then its end
        restore(tidy, case.before)
        done = scene.run(case.task, FAULT="end", **THROUGH)
    if done.ok:
        pytest.skip("on a node, and with a single step")
    assert done.sentence
    # by ansible again, and it is right already for the others
    scene.right(case.task, **THROUGH)
    cases.again(case, f"at {point}")


def test_the_wrapper_dies(cases: Cases, tidy: LabGround) -> None:
    """Ansible and what it runs on the node end with it; a hanging tool too."""
    case, scene, node = cases.get("qcow2", "mkswap"), cases.scene, tidy.nodes[0]
    restore(tidy, case.before)
    with impostor(tidy, node, "mkswap", ENDLESS):
        run = scene.start(case.task, **THROUGH)
        wait_for("hanging", lambda: on_its_way(tidy, node, "sleep 300"), 20)
        kill(run)
        wait_for(f"idle: {all_running(tidy)}", lambda: not all_running(tidy), PROMPT)
    assert not list(tidy.lab.path(node, "/var/tmp").glob("ansible*"))
    cases.again(case, "while a tool hung")
    # the folder with the parameters goes when somebody next comes by
    temporary = tidy.lab.path(tidy.frontend, "/tmp")
    left = list(temporary.glob("one_storage-*"))
    assert len(left) == 1
    os.utime(left[0], (0, 0))
    scene.right(case.task, **THROUGH)
    assert not list(temporary.glob("one_storage-*"))
