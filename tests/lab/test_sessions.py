# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often an action knocks at each host: one SSH command to each that it touches, data included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.cases import STORIES
from tests.lab.ground import LabGround
from tests.lab.looking import wipe
from tests.lab.scene import Scene

_COUNT = "/var/tmp/sessions"
_RC = "/var/lib/one/.ssh/rc"
#: Actions that two hosts have a part in, by story; what they do there is of no use to the others.
TWO = {
    "ssh": {"stop_mv": 1, "resume_mv": 1, "migrate_mv": 2, "clone": 1, "ln": 1, "context": 1, "mvds": 1},
    "qcow2+ssh": {"stop_mv": 1, "resume_mv": 1, "migrate_mv": 2, "context": 1},
    "disks-ssh": {"cpds": 1},
}


class Knocks:
    """Counts the commands that each host runs for others: sshd starts ``~/.ssh/rc`` before each of them."""

    def __init__(self, ground: LabGround) -> None:
        self._ground = ground
        for host in ground.lab.hosts:
            ground.run(host, ["sh", "-c", f"echo 'echo x >> {_COUNT}' > {_RC}"])
        self.take()

    def take(self) -> dict[str, int]:
        """Commands by host since the last time, hosts without any left out."""
        found = {}
        for host in self._ground.lab.hosts:
            path = self._ground.path(host, _COUNT)
            if path.exists():
                found[host] = len(path.read_text().split())
                path.unlink()
        return found

    def end(self) -> None:
        """Count no more."""
        for host in self._ground.lab.hosts:
            self._ground.run(host, ["rm", "-f", _RC, _COUNT])


@pytest.fixture
def knocks(tidy: LabGround) -> Iterator[Knocks]:
    made = Knocks(tidy)
    yield made
    made.end()


@pytest.mark.parametrize(
    "story", [name if name == "ssh" else pytest.param(name, marks=pytest.mark.full) for name in STORIES if name != "fs"]
)
def test_one_command_for_each_host(scene: Scene, tidy: LabGround, knocks: Knocks, story: str) -> None:
    wipe(tidy)
    told = {}
    try:
        for label, task in STORIES[story](scene):
            knocks.take()
            scene.right(task)
            found = told[label or task.action] = knocks.take()
            named = [host for host in tidy.nodes if any(word.startswith(f"{host}:") for word in task.argv)]
            assert set(found) <= set(named), (label, found, "a host that is not in the call")
            assert all(count == 1 for count in found.values()), (label, found)
    finally:
        wipe(tidy)
    assert tidy.frontend not in {host for found in told.values() for host in found}
    for label, hosts in TWO.get(story, {}).items():
        assert len(told[label]) == hosts, (label, told[label])
