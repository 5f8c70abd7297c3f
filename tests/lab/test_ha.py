# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two front-ends of an HA set: both get the drivers, and what asks oned goes to the one that leads.

The stand-in says who leads; elections are oned's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.deploy import recap
from tests.integration.test_roles import CONF
from tests.lab.fleet import FROM, contents, sparse
from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import end_shared_connections
from tests.lab.oned import ApiServer, equip_front_end
from tests.lab.operating import USUAL, Operator, checkout
from tests.lab.test_deploy import REMOTES

pytestmark = pytest.mark.full

FIRST, SECOND, NODE = "frontend", "one2", "host01"
FOLLOWS, LEADS = 2, 3
PLAY = "ansible-playbook -i inventory.json one_storage.drivers."
INVENTORY = {
    "all": {
        "children": {
            "one_frontend": {"hosts": {FIRST: {"ansible_connection": "local"}, SECOND: {}}},
            "one_nodes": {"hosts": {NODE: {}}},
        },
        "vars": {
            "ansible_python_interpreter": "/usr/bin/python3",
            "one_storage_datastores": [{"id": FROM, "type": "image", "shared": True}],
            "one_storage_register": [
                {"name": "images", "type": "image", "ds_mad": "fs", "tm_mad": "ssh"},
                {"name": "disks", "type": "system", "tm_mad": "ssh"},
            ],
        },
    }
}


class Pair:
    """Two front-ends with OpenNebula's files, each with an oned of its own that knows the same."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self.ground = ground = LabGround(lab, USUAL)
        ground.nodes = [NODE]
        ground.oned.hosts.pop(ground.oned.host_named(SECOND).id)
        equip_front_end(lab, SECOND, ground.oned.settings)
        self.servers = {
            FIRST: ground.server,
            SECOND: ApiServer(ground.oned, port=USUAL, network_of=lab.leader(SECOND)).start(),
        }
        for host in self.servers:
            for path, text in (("/etc/one/oned.conf", CONF), (f"{REMOTES}/tm/ssh/clone", "#!/bin/sh\nexit 3\n")):
                seen = ground.path(host, path)
                seen.parent.mkdir(parents=True, exist_ok=True)
                seen.write_text(text)
            ground.own(host, REMOTES)
        self.operator = Operator(ground, place)
        self.operator.write({"inventory.json": json.dumps(INVENTORY)})
        # an HA set has one key for all its front-ends
        key = ground.path(FIRST, "/var/lib/one/.ssh")
        for file in key.iterdir():
            if file.is_file():
                there = ground.path(SECOND, f"/var/lib/one/.ssh/{file.name}")
                there.write_bytes(file.read_bytes())
                there.chmod(file.stat().st_mode & 0o777)
        ground.own(SECOND, "/var/lib/one/.ssh")
        tool = ground.path(SECOND, "/usr/local/bin/systemctl")
        tool.write_bytes(ground.path(FIRST, "/usr/local/bin/systemctl").read_bytes())
        tool.chmod(0o755)

    def close(self) -> None:
        self.servers[SECOND].stop()
        end_shared_connections(self.ground)
        self.ground.close()

    def lead(self, leader: str) -> None:
        """From now on this one leads, and the other follows; nobody has asked anything yet."""
        for host, server in self.servers.items():
            server.api.raft = LEADS if host == leader else FOLLOWS
            server.requests.clear()

    def asked(self, host: str) -> set[str]:
        """What an oned was asked, but for its part."""
        return {request.method for request in self.servers[host].requests} - {"one.zone.raftstatus"}

    def files(self) -> dict[str, bytes]:
        """OpenNebula's files on both."""
        return {
            f"{host}:{top}/{path.relative_to(seen)}": path.read_bytes()
            for host in self.servers
            for top in (REMOTES, "/etc/one")
            for seen in [self.ground.path(host, top)]
            for path in sorted(seen.rglob("*"))
            if path.is_file()
        }

    def build(self, host: str, tree: str) -> str:
        return self.ground.path(host, f"{tree}/one_storage/BUILD").read_text()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    names = [FIRST, SECOND, NODE]
    with Lab.up(tmp_path / "lab", names=names, binds=[repository()], masks=[]) as lab, checkout() as place:
        made = Pair(lab, place)
        yield made
        made.close()


def test_two_front_ends(pair: Pair) -> None:
    say, ground = pair.operator.say, pair.ground
    before = pair.files()
    pair.lead(SECOND)
    said = say(f"{PLAY}deploy -e one_storage_oned_restart=true")
    assert len({pair.build(FIRST, REMOTES), pair.build(SECOND, REMOTES), pair.build(NODE, REMOTE)}) == 1
    for host in (FIRST, SECOND):
        assert ground.path(host, "/var/tmp/systemctl").read_text() == "restart opennebula\n"
        assert "local" in ground.path(host, "/etc/one/oned.conf").read_text().split("-d ")[1].split('"')[0]
    assert "one.datastore.allocate" in pair.asked(SECOND) and not pair.asked(FIRST)
    assert {store.name for store in ground.oned.datastores.values()} >= {"images", "disks"}
    said = say(f"{PLAY}deploy -e one_storage_oned_restart=true")
    assert {host: figures["changed"] for host, figures in recap(said).items()} == {FIRST: 0, SECOND: 0, NODE: 0}
    assert say(f"{PLAY}drift").count("as this collection") == 3

    lost = ground.path(FIRST, f"/var/lib/one/datastores/{FROM}/{'a' * 32}")
    sparse(lost, 1)
    held = contents(lost)
    ground.own(FIRST, f"/var/lib/one/datastores/{FROM}")
    for leader, other in ((SECOND, FIRST), (FIRST, SECOND)):
        pair.lead(leader)
        assert "1 orphans" in say(f"{PLAY}orphans")
        assert "Write the page" in say(f"{PLAY}capacity -e capacity_file=/var/tmp/capacity.html")
        assert "one.imagepool.info" in pair.asked(leader) and not pair.asked(other)
    assert contents(lost) == held

    pair.servers[SECOND].api.raft = pair.servers[FIRST].api.raft = FOLLOWS
    said = say(f"{PLAY}orphans", code=2)
    assert f"No front-end has an oned that leads: {FIRST}: it follows; {SECOND}: it follows" in " ".join(said.split())
    pair.lead(SECOND)
    pair.servers[FIRST].stop()
    assert "1 orphans" in say(f"{PLAY}orphans")
    pair.servers[FIRST].start()

    say(f"{PLAY}deploy -e one_storage_state=absent -e one_storage_oned_restart=true")
    lost.unlink()
    assert pair.files() == before
