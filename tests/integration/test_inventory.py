# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin through the real Ansible, from the stand-in's API: groups, variables, cache, failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.runs import Ansible, Said
from tests.lab.oned import ApiServer, Oned
from tests.lab.oned.datastore import Datastore, complete_template
from tests.lab.oned.states import DatastoreType, HostState

#: What a template engine, a shell or a browser would take for something else.
HOSTILE = "{{ lookup('pipe', 'touch /tmp/one_storage-was-here') }}<script>$(id)"


def store(
    oned: Oned, number: int, name: str, kind: DatastoreType, tm_mad: str, clusters: set[int], **more: Any
) -> None:
    """A datastore as oned has it."""
    ds_mad = {DatastoreType.SYSTEM: "-", DatastoreType.BACKUP: "rsync"}.get(kind, "fs")
    given = {"RSYNC_HOST": "b1", "RSYNC_USER": "u"} if kind is DatastoreType.BACKUP else {}
    template = {**complete_template(kind, ds_mad, tm_mad, given), **more.pop("template", {})}
    oned.datastores[number] = Datastore(
        number, name, ds_mad=ds_mad, tm_mad=tm_mad, base_path=f"/var/lib/one//datastores/{number}", type=kind,
        clusters=clusters, template=template, **more,
    )  # fmt: skip


@pytest.fixture
def oned() -> Oned:
    """Three hosts in two clusters with names that make one group, and a datastore of each kind."""
    oned = Oned()
    oned.add_host("host01").template = {"RACK": "r1", "NOTE": HOSTILE}
    oned.add_host("host02", state=HostState.OFFLINE).template = {"RACK": "r2"}
    third = oned.add_host("host03", state=HostState.MONITORING_ERROR)
    oned.host(0).cluster_id, oned.host(0).cluster = 100, "east 1"
    third.cluster_id, third.cluster = 101, "east-1"
    oned.host(0).vms = {7, 9}
    store(oned, 1, "images", DatastoreType.IMAGE, "qcow2", {0, 100}, total_mb=1000, used_mb=300, free_mb=650)
    store(oned, 2, HOSTILE, DatastoreType.IMAGE, "ssh", {0})
    store(oned, 100, "disks", DatastoreType.SYSTEM, "qcow2", {100})
    store(oned, 101, "own", DatastoreType.SYSTEM, "ssh", {0, 101}, state=1)
    store(oned, 102, "backups", DatastoreType.BACKUP, "-", {0, 100, 101})
    return oned


class Site:
    """An inventory file, beside the API that it names."""

    def __init__(self, ansible: Ansible, oned: Oned, server: ApiServer) -> None:
        self.ansible = ansible
        self.server = server
        self.auth = ansible.folder / "auth"
        self.auth.write_text(oned.settings.session, encoding="utf-8")
        self.file = ansible.folder / "one_storage.yml"
        self.write()

    def write(self, **options: Any) -> None:
        """The file, with these options beside the usual ones."""
        usual = {"endpoint": self.server.url, "auth_file": str(self.auth)}
        text = yaml.safe_dump({"plugin": "one_storage.drivers.one_storage", **usual, **options})
        self.file.write_text(text, encoding="utf-8")

    def run(self, *arguments: str, **environment: str) -> Said:
        return self.ansible.command("ansible-inventory", "-i", str(self.file), *arguments, **environment)

    def read(self, **environment: str) -> dict[str, Any]:
        """Groups and variables; nothing is said beside them."""
        said = self.run("--list", **environment)
        assert (said.code, said.err) == (0, ""), said.err
        told: dict[str, Any] = json.loads(said.out, object_hook=_plain)
        return told


def _plain(value: dict[str, Any]) -> Any:
    """A text out of what Ansible writes for one that is no template."""
    return value.get("__ansible_unsafe", value)


@pytest.fixture
def site(ansible: Ansible, oned: Oned) -> Iterator[Site]:
    with ApiServer(oned) as server:
        yield Site(ansible, oned, server)


def members(told: dict[str, Any]) -> dict[str, list[str]]:
    """The hosts of each group."""
    return {name: group["hosts"] for name, group in told.items() if name != "_meta" and "hosts" in group}


def test_groups_and_variables(site: Site) -> None:
    told = site.read()
    assert members(told) == {
        "one_frontend": ["localhost"],
        "one_nodes": ["host01", "host02", "host03"],
        "one_cluster_default": ["host02"],
        "one_cluster_east_1": ["host01"],
        "one_cluster_east_1_101": ["host03"],
        "one_state_monitored": ["host01"],
        "one_state_offline": ["host02"],
        "one_state_error": ["host03"],
        "one_datastore_1": ["host01", "host02"],
        "one_datastore_2": ["host02"],
        "one_datastore_100": ["host01"],
        "one_datastore_101": ["host02", "host03"],
        "one_datastore_102": ["host01", "host02", "host03"],
        "one_tm_mad_qcow2": ["host01", "host02"],
        "one_tm_mad_ssh": ["host02", "host03"],
    }
    variables = told["_meta"]["hostvars"]
    first = variables["host01"]
    assert {key: value for key, value in first.items() if key not in ("one_datastores", "one_attributes")} == {
        "one_id": 0,
        "one_state": "monitored",
        "one_cluster": "east 1",
        "one_cluster_id": 100,
        "one_im_mad": "kvm",
        "one_vm_mad": "kvm",
        "one_vms": [7, 9],
        # what the role node takes; of images only those that are used where they are
        "one_storage_datastores": [
            {"id": 1, "type": "image", "shared": True},
            {"id": 100, "type": "system", "shared": True},
        ],
    }
    assert first["one_datastores"][0] == {
        "id": 1, "name": "images", "type": "image", "ds_mad": "fs", "tm_mad": "qcow2",
        "path": "/var/lib/one/datastores/1", "clusters": [0, 100], "enabled": True, "shared": True, "in_place": True,
        "bridges": [], "total_mb": 1000, "used_mb": 300, "free_mb": 650, "images": 0,
    }  # fmt: skip
    own = variables["host03"]["one_datastores"][0]
    assert (own["id"], own["shared"], own["enabled"], own["ds_mad"]) == (101, False, False, "")
    assert variables["host03"]["one_storage_datastores"] == [{"id": 101, "type": "system", "shared": False}]
    assert [one["id"] for one in variables["localhost"]["one_datastores"]] == [1, 2, 100, 101, 102]
    assert variables["localhost"]["ansible_connection"] == "local"


def test_what_oned_says_is_no_template(site: Site, tmp_path: Path) -> None:
    site.write(compose={"note": "one_attributes.NOTE"})
    play = tmp_path / "play.yml"
    task = {"ansible.builtin.debug": {"msg": "{{ one_attributes.NOTE }} {{ note }} {{ one_datastores[0].name }}"}}
    play.write_text(json.dumps([{"hosts": "host01", "gather_facts": False, "tasks": [task]}]))
    said = site.ansible.command("ansible-playbook", "-i", str(site.file), str(play))
    assert said.code == 0
    assert said.out.count("{{ lookup('pipe'") == 2
    assert not Path("/tmp/one_storage-was-here").exists()


def test_groups_of_ones_own(site: Site) -> None:
    site.write(
        keyed_groups=[{"key": "one_attributes.RACK", "prefix": "rack"}],
        groups={"busy": "one_vms | default([]) | length > 1"},
        compose={"ansible_user": "'oneadmin'"},
        frontends=["one1", "one2"],
        role_variables=False,
    )
    told = site.read()
    groups = members(told)
    assert groups["rack_r1"] == ["host01"]
    assert groups["rack_r2"] == ["host02"]
    assert groups["busy"] == ["host01"]
    assert groups["one_frontend"] == ["one1", "one2"]
    variables = told["_meta"]["hostvars"]
    assert {host: of["ansible_user"] for host, of in variables.items()} == dict.fromkeys(variables, "oneadmin")
    assert "one_storage_datastores" not in variables["host01"]
    assert "ansible_connection" not in variables["one1"]


@pytest.mark.full
def test_a_host_may_be_the_front_end(site: Site, oned: Oned) -> None:
    oned.add_host("localhost")
    told = site.read()
    assert told["one_frontend"]["hosts"] == ["localhost"]
    assert "localhost" in told["one_nodes"]["hosts"]
    variables = told["_meta"]["hostvars"]["localhost"]
    assert (variables["one_id"], len(variables["one_datastores"])) == (3, 5)


@pytest.mark.full
def test_an_empty_site(site: Site, oned: Oned) -> None:
    oned.hosts.clear()
    oned.datastores.clear()
    assert members(site.read()) == {"one_frontend": ["localhost"]}


def test_what_was_heard_is_kept(site: Site, oned: Oned) -> None:
    cache = {"ANSIBLE_INVENTORY_CACHE": "1", "ANSIBLE_INVENTORY_CACHE_PLUGIN": "ansible.builtin.jsonfile"}
    cache["ANSIBLE_INVENTORY_CACHE_CONNECTION"] = str(site.ansible.folder / "cache")
    first = site.read(**cache)
    assert len(site.server.requests) == 2
    oned.add_host("host04")
    assert site.read(**cache) == first
    assert len(site.server.requests) == 2
    # of what is kept nothing is a secret
    [kept] = (site.ansible.folder / "cache").iterdir()
    assert oned.settings.session not in kept.read_text(encoding="utf-8")
    # and another build's is not believed
    kept.write_text(json.dumps({"hosts": [], "stores": []}), encoding="utf-8")
    assert "host04" in site.read(**cache)["_meta"]["hostvars"]
    site.run("--list", "--flush-cache", **cache)
    assert len(site.server.requests) == 6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"endpoint": "http://127.0.0.1:1/RPC2"}, "oned does not answer at http://127.0.0.1:1/RPC2: connection"),
        pytest.param({"endpoint": "localhost:2633"}, "'localhost:2633', which is not an http", marks=pytest.mark.full),
        pytest.param({"auth_file": "/nowhere/a"}, "Cannot read the credentials for oned", marks=pytest.mark.full),
        pytest.param({"timeout": "soon"}, "timeout", marks=pytest.mark.full),
    ],
    ids=["no oned", "no address", "no credentials", "no number"],
)  # fmt: skip
def test_what_fails_is_one_sentence(site: Site, options: dict[str, Any], sentence: str) -> None:
    site.write(**options)
    said = site.run("--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1")
    assert said.code != 0
    assert sentence in said.err
    assert "Traceback" not in said.err


def test_a_wrong_password_is_told(site: Site) -> None:
    site.auth.write_text("oneadmin:s3cret", encoding="utf-8")
    said = site.run("--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1")
    assert said.code != 0
    assert "oned does not give the hosts" in said.err
    assert "s3cret" not in said.err


def test_who_reaches_a_pool_is_told_how(site: Site, oned: Oned) -> None:
    template = {"POOL_NAME": "vms", "CEPH_USER": "libvirt", "CEPH_SECRET": "7ebb2445", "BRIDGE_LIST": "host01"}
    oned.datastores[130] = Datastore(
        130, "rbd", ds_mad="ceph", tm_mad="ceph", base_path="/var/lib/one//datastores/130", type=DatastoreType.IMAGE,
        clusters={100}, template={**template, "LN_TARGET": "NONE"},
    )  # fmt: skip
    variables = site.read()["_meta"]["hostvars"]
    [store] = [one for one in variables["host01"]["one_datastores"] if one["id"] == 130]
    assert (store["settings"]["pool"], store["settings"]["ceph_user"], store["ceph_secret"]) == (
        "vms",
        "libvirt",
        "7ebb2445",
    )
    # its images are no files that a node would need a folder for
    assert store["in_place"] is False
    assert 130 not in [one["id"] for one in variables["host01"]["one_storage_datastores"]]
    assert {name for name, told in variables.items() if told.get("one_storage_ceph")} == {"host01"}
    oned.datastores[130].template["BRIDGE_LIST"] = ""
    variables = site.read()["_meta"]["hostvars"]
    assert {name for name, told in variables.items() if told.get("one_storage_ceph")} == {"host01", "localhost"}
