# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators see of several hosts: running operations over SSH, and the capacity report by the site's inventory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils.steps.journal import Journal
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.progress import Progress
from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts import repository
from tests.lab.oned.datastore import Datastore, complete_template
from tests.lab.oned.states import DatastoreType
from tests.lab.oned.store import Oned
from tests.tools.stage import stage

STORES = "/var/lib/one/datastores"
PROGRESS = "/var/lib/one/remotes/one_storage/progress"


def act(ground: LabGround, node: str, store: int, key: str, what: str) -> Host:
    """Something that goes on in a datastore as a host sees it; it holds its lock until that is given back."""
    folder = ground.path(node, f"{STORES}/{store}")
    host = Host(node)
    host.lock(str(folder), key, False, 0)
    Journal(str(folder), key, {"run": f"r-{key}", "action": "tm_mv", "driver": "ssh", "peer": None, "pid": 1}).plan([])
    status = folder / ".one_storage" / f"{key}.status"
    progress = Progress(str(status), f"{status}.new", f"r-{key}", what, 4 << 30)
    progress.done = 1 << 30
    progress._write()
    # as the drivers' user has it
    ground.own(node, f"{STORES}/{store}/.one_storage")
    return host


@pytest.fixture
def at_work(ground: LabGround) -> Iterator[list[Host]]:
    """Two moves, one in each node's own datastore, and a copy in what all hosts share."""
    first, second = ground.nodes[:2]
    where = [(first, 105, "vm-901"), (second, 105, "vm-902"), (second, 100, "image-903")]
    yield [act(ground, node, store, key, f"copy {key}") for node, store, key in where]
    for node, store, key in where:
        for end in ("status", "journal"):
            (ground.path(node, f"{STORES}/{store}") / ".one_storage" / f"{key}.{end}").unlink()


def test_what_runs_on_all_hosts(tidy: LabGround, ground: LabGround, at_work: list[Host]) -> None:
    given = {"ONE_XMLRPC": ground.server.url}
    said = ground.lab.run(ground.frontend, [PROGRESS, "-H", "all", "--json"], env=given, check=False)
    told = json.loads(said.stdout)
    assert (said.returncode, told["missed"]) == (0, []), said.stderr
    found = [(one["seen_on"], one["object"], one["what"], one["done_bytes"]) for one in told["operations"]]
    own = [one for one in found if one[1] != "image-903"]
    first, second = ground.nodes[:2]
    assert sorted(own) == [(first, "vm-901", "copy vm-901", 1 << 30), (second, "vm-902", "copy vm-902", 1 << 30)]
    # what all hosts see is one operation
    assert len(found) == 3
    assert {one["state"] for one in told["operations"]} == {"running"}
    for host, (store, key) in zip(at_work, ((105, "vm-901"), (105, "vm-902"), (100, "image-903")), strict=True):
        host.unlock(str(ground.path(host.name, f"{STORES}/{store}")), key)


def test_a_host_that_has_nothing_of_ours(bare_nodes: LabGround) -> None:
    """It needs Python alone; one that does not answer keeps the others not back."""
    node = bare_nodes.nodes[0]
    assert not bare_nodes.path(node, REMOTE).exists()
    said = bare_nodes.lab.run(bare_nodes.frontend, [PROGRESS, "-H", f"{node},nosuchhost"], check=False)
    assert said.returncode == 1
    assert said.stdout.decode() == "nothing runs\n"
    assert said.stderr.decode().startswith("progress: Cannot log in to nosuchhost: ")


@pytest.fixture
def datastores(ground: LabGround) -> Iterator[Oned]:
    """Images and disks that all hosts share, and disks that each has for itself."""
    oned, before = ground.oned, dict(ground.oned.datastores)
    kinds = (
        (100, DatastoreType.IMAGE, "qcow2"),
        (101, DatastoreType.SYSTEM, "qcow2"),
        (105, DatastoreType.SYSTEM, "ssh"),
    )
    oned.datastores.clear()
    for number, kind, tm_mad in kinds:
        oned.datastores[number] = Datastore(
            number, f"store{number}", ds_mad="fs", tm_mad=tm_mad, base_path=f"/var/lib/one//datastores/{number}",
            type=kind, template=complete_template(kind, "fs", tm_mad, {}),
        )  # fmt: skip
    yield oned
    oned.datastores.clear()
    oned.datastores.update(before)


@pytest.mark.full
def test_the_report_of_a_site(ground: LabGround, datastores: Oned, tmp_path: Path) -> None:
    """By the inventory that oned gives, as its user on the front-end."""
    node = ground.nodes[0]
    for host, stores in [(ground.frontend, (100, 101)), *((name, (105,)) for name in ground.nodes)]:
        ground.run(host, ["mkdir", "-p", *(f"{STORES}/{store}" for store in stores)])
    disk = ground.path(node, f"{STORES}/105/42/disk.0")
    disk.parent.mkdir(parents=True)
    disk.write_bytes(b"x" * (5 << 20))
    collections = repository() / ".cache" / "collections-seeing"
    stage(target=collections / "ansible_collections" / "one_storage" / "drivers")
    folder = ground.path(ground.frontend, "/var/tmp/seeing")
    folder.mkdir()
    (folder / "one_storage.yml").write_text("plugin: one_storage.drivers.one_storage\n")
    ground.own(ground.frontend, "/var/tmp/seeing")
    try:
        said = ground.lab.run(
            ground.frontend,
            [
                *(str(repository() / ".venv" / "bin" / "ansible-playbook"), "-i", "/var/tmp/seeing/one_storage.yml"),
                *("one_storage.drivers.capacity", "-e", "capacity_file=/var/tmp/seeing/report.html"),
                *("-e", json.dumps({"one_storage_become": False, "one_storage_endpoint": ground.server.url})),
            ],
            env={
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": "/var/tmp/seeing/ansible",
                "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
                "ONE_XMLRPC": ground.server.url,
            },
            timeout=300,
            check=False,
        )
        assert said.returncode == 0, said.stdout.decode() + said.stderr.decode()
        told = json.loads((folder / "report.json").read_text())
        rows = {(row["id"], row["host"]): row for row in told["datastores"]}
        assert set(rows) == {(100, ""), (101, ""), *((105, name) for name in ground.nodes)}
        assert all(row["measured"] for row in rows.values())
        assert rows[(105, node)]["allocated_bytes"] == 5 << 20
        assert "disk 0 of VM 42, which OpenNebula does not know" in [one["what"] for one in told["consumers"]]
        assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    finally:
        ground.lab.run(ground.frontend, ["rm", "-rf", "/var/tmp/seeing"], user="root")
        ground.lab.run(node, ["rm", "-rf", f"{STORES}/105/42"], user="root")
