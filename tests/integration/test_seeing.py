# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The info modules and the capacity report through the real Ansible, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from plugins.module_utils.steps.journal import Journal
from plugins.module_utils.tools.host import Host
from tests.integration.runs import COLLECTION, Ansible, everything
from tests.lab.oned import ApiServer, Oned
from tests.lab.oned.datastore import Datastore, complete_template
from tests.lab.oned.image import Image
from tests.lab.oned.states import DatastoreType
from tests.unit.core.support import MIB, World

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>{{ lookup('pipe', 'touch /tmp/one_storage-was-here') }}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "datastores").mkdir()
    return World(tmp_path / "datastores")


def test_info_modules(ansible: Ansible, world: World) -> None:
    world.raw()
    world.layered()
    (world.images / os.fsdecode(b"bad-\xff-name")).write_bytes(b"x")
    host = Host("here")
    host.lock(str(world.images), "image-x", False, 0)
    Journal(
        str(world.images), "image-x", {"run": "r1", "action": "ds_cp", "driver": "fs", "peer": None, "pid": 1}
    ).plan([])
    before = everything(world.root)
    stores = [
        # as the inventory plugin gives them
        {"id": 1, "name": "<script>", "path": str(world.images), "type": "image", "ds_mad": "fs", "tm_mad": "qcow2",
         "clusters": [0], "enabled": True, "shared": True, "in_place": True, "bridges": [], "images": 2,
         "total_mb": 1, "used_mb": 1, "free_mb": 0},
        {"path": str(world.root / "77"), "type": "system", "tm_mad": "ssh"},
    ]  # fmt: skip
    modules = ["datastores_info", "images_info", "chains_info"]
    tasks: list[dict[str, Any]] = [{f"{COLLECTION}.{name}": {"datastores": stores}} for name in modules]
    tasks += [
        {f"{COLLECTION}.operations_info": {"folders": [str(world.root)]}},
        {f"{COLLECTION}.datastores_info": {"datastores": [{"path": "/d"}]}},
        {f"{COLLECTION}.images_info": {"datastores": stores}, "check_mode": True},
    ]
    room, images, chains, operations, refused, checked = ansible.tasks(tasks)
    assert everything(world.root) == before
    for found in (room, images, chains, operations, checked):
        assert (found["failed"], found["changed"]) == (False, False), found
    first, second = room["datastores"]
    assert (first["name"], first["items"], first["logical_bytes"], first["depth"]) == ("<script>", 3, 4 * MIB + 1, 2)
    assert second["error"].startswith(f"{world.root}/77 is not there")
    names = [one["name"] for one in images["datastores"][0]["images"]]
    assert len(names) == 3 and "bad-\\udcff-name" in names
    assert images["datastores"] == checked["datastores"]
    [chain] = chains["datastores"][0]["chains"]
    assert [layer["format"] for layer in chain["layers"]] == ["qcow2", "qcow2"]
    [one] = operations["operations"]
    assert (one["action"], one["state"], one["object"]) == ("ds_cp", "running", "image-x")
    assert refused["failed"] and refused["msg"] == "The datastore '/d' is none of image, file, backup, system"
    assert refused["error"]["code"] == "bad-call"


def test_capacity_report(ansible: Ansible, world: World, tmp_path: Path) -> None:
    name = "a" * 32
    world.raw(name, size=40 * MIB)
    world.layered()
    oned = Oned()
    oned.add_host("host01")
    for number, kind, tm_mad in (
        (1, DatastoreType.IMAGE, "qcow2"),
        (100, DatastoreType.SYSTEM, "qcow2"),
        (101, DatastoreType.SYSTEM, "ssh"),
    ):
        template = complete_template(kind, "fs", tm_mad, {})
        oned.datastores[number] = Datastore(
            number, f"store {number} {HOSTILE}", ds_mad="fs", tm_mad=tm_mad, base_path=f"{world.root}//{number}",
            type=kind, template=template,
        )  # fmt: skip
    oned.images[7] = Image(7, HOSTILE, source=f"{world.images}/{name}", format="raw", datastore_id=1)
    subprocess.run(
        [sys.executable, str(ROOT / "remotes/one_storage/build.py"), str(tmp_path / "remotes")], check=True, timeout=60
    )
    (tmp_path / "auth").write_text(oned.settings.session)
    inventory = {
        "one_frontend": {"hosts": {"localhost": {"ansible_connection": "local"}}},
        # a node that does not answer keeps nothing back
        "one_nodes": {"hosts": {"host01": {"ansible_host": "host01.invalid"}}},
    }
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    before = everything(world.root)
    with ApiServer(oned) as server:
        given = {
            "one_storage_become": False,
            "one_storage_remotes_dir": str(tmp_path / "remotes"),
            "one_storage_endpoint": server.url,
            "one_storage_auth": str(tmp_path / "auth"),
            "capacity_file": str(tmp_path / "report.html"),
        }
        said = ansible.playbook(f"{COLLECTION}.capacity", "-i", str(tmp_path / "hosts.json"), variables=given)
    assert said.code == 0, said.out + said.err
    assert everything(world.root) == before
    assert not Path("/tmp/one_storage-was-here").exists()
    told = json.loads((tmp_path / "report.json").read_text())
    assert [(row["id"], row["host"], row["measured"]) for row in told["datastores"]] == [
        (1, "", True), (100, "", True), (101, "host01", False)
    ]  # fmt: skip
    assert told["totals"]["logical_bytes"] == 42 * MIB
    assert told["problems"] == ["host01 does not tell of its datastores"]
    assert [(one["name"], one["what"]) for one in told["consumers"]] == [
        ("3" * 32, "no image that OpenNebula knows"), (HOSTILE, "image 7")
    ]  # fmt: skip
    page: Any = html.document_fromstring((tmp_path / "report.html").read_text())
    assert not page.xpath("//script")
    assert page.xpath("string(//title)").startswith("Storage capacity, 20")
    assert f"store 1 {HOSTILE}" in page.xpath("string(//table)")
