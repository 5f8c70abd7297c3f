# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From bare hosts to a VM's whole life by one playbook, and back: the lab has hosts of its own for this."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.demo.deploy import play, recap
from tests.integration.test_roles import CONF, EXECRC
from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import all_running, end_shared_connections, wait_for
from tests.lab.oned import stock
from tests.lab.story import PAIRINGS, Story
from tests.tools.stage import stage

pytestmark = pytest.mark.full

REMOTES = "/var/lib/one/remotes"
RIGHTS = ("/etc/sudoers.d/one_storage", "/etc/ssh/sshd_config.d/10-one_storage.conf")
STOCK = ("tm/qcow2/clone", "tm/ssh/mv", "tm/ceph/clone", "datastore/fs/cp", "scripts_common.sh")


class Site:
    """A front-end with OpenNebula's files and two nodes that have some of them, as `onehost sync` left them."""

    def __init__(self, ground: LabGround, collections: Path) -> None:
        self.ground = ground
        self.collections = collections
        for host, top in self.trees():
            for name in STOCK:
                self._write(host, f"{top}/{name}", f"#!/bin/sh\n# stock's {name}\nexit 3\n")
            ground.own(host, top)
        ground.lab.run(ground.frontend, ["mkdir", "-p", "/etc/one/vmm_exec"], user="root")
        self._write(ground.frontend, "/etc/one/oned.conf", CONF)
        self._write(ground.frontend, "/etc/one/vmm_exec/vmm_execrc", EXECRC)
        self.given: dict[str, object] = {
            "one_storage_oned_conf": "/etc/one/oned.conf",
            "one_storage_endpoint": ground.server.url,
            "one_storage_oned_restart": True,
            "one_storage_oned_restart_command": ["touch", "/var/tmp/restarted"],
        }

    def trees(self) -> list[tuple[str, str]]:
        """Each host with its tree."""
        return [(self.ground.frontend, REMOTES), *((node, REMOTE) for node in self.ground.nodes)]

    def _write(self, host: str, path: str, text: str) -> None:
        seen = self.ground.path(host, path)
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.write_text(text)
        seen.chmod(0o755)

    def files(self) -> dict[str, bytes]:
        """Every file of the trees and of OpenNebula's configuration."""
        found = {}
        for host, top in [*self.trees(), (self.ground.frontend, "/etc/one")]:
            seen = self.ground.path(host, top)
            for path in sorted(seen.rglob("*")):
                if path.is_file():
                    found[f"{host}:{top}/{path.relative_to(seen)}"] = path.read_bytes()
        return found

    def build(self, host: str) -> str:
        """The build that a host has."""
        return self.ground.run(host, ["cat", f"{dict(self.trees())[host]}/one_storage/BUILD"]).strip()

    def play(self, playbook: str, more: Mapping[str, object], check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a playbook on the front-end."""
        return play(self.ground, playbook, {**self.given, **more}, check, self.collections)

    def deploy(self, **more: object) -> dict[str, dict[str, int]]:
        """Run the playbook; figures by host."""
        return recap(self.play("deploy", more).stdout.decode())

    def fails(self, **more: object) -> str:
        """Run the playbook, which has to fail; what it said."""
        done = self.play("deploy", more, check=False)
        assert done.returncode != 0
        return done.stdout.decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    # a copy of its own: what is deployed must not change between two runs
    collections = repository() / ".cache" / f"collections-{os.getpid()}"
    stage(target=collections / "ansible_collections" / "one_storage" / "drivers")
    with Lab.up(tmp_path / "lab", binds=[repository()], masks=[repository()]) as lab:
        ground = LabGround(lab)
        try:
            yield Site(ground, collections)
        finally:
            end_shared_connections(ground)
            ground.close()
            shutil.rmtree(collections)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix, with what oned knows of drivers under such names, as it read it in its configuration."""
    prefix = "os_"
    for name in ("qcow2", "ssh"):
        conf = stock.TM_MAD_CONF[name]
        mixed = {f"{prefix}{system}": mode for system, mode in conf.mixed.items()}
        fields = {**vars(conf), "name": f"{prefix}{name}", "mixed": mixed}
        monkeypatch.setitem(stock.TM_MAD_CONF, f"{prefix}{name}", stock.TmMadConf(**fields))
    monkeypatch.setitem(stock.DS_MAD_CONF, f"{prefix}fs", stock.DsMadConf(f"{prefix}fs", (), False, ("export",)))
    return prefix


def wishes(prefix: str) -> list[dict[str, object]]:
    """The story's datastores, whose ids oned gives in this order."""
    attributes = {"SAFE_DIRS": "/var/lib/one/sources", "RESTRICTED_DIRS": "/"}
    images = {"type": "image", "ds_mad": f"{prefix}fs", "tm_mad": f"{prefix}qcow2", "attributes": attributes}
    return [{"name": "images", **images}, {"name": "disks", "type": "system", "tm_mad": f"{prefix}qcow2"}]


@pytest.mark.parametrize("prefix", ["", "os_"])
def test_from_bare_to_a_whole_life_and_back(site: Site, names: str, prefix: str) -> None:
    before = site.files()
    given: dict[str, object] = {
        "one_storage_prefix": prefix,
        "one_storage_register": wishes(prefix),
        "one_storage_sudo": ["/usr/bin/true"],
        "one_storage_sshd": {"MaxSessions": 20},
        "one_storage_sshd_reload": ["touch", "/var/tmp/reloaded"],
    }
    first = site.deploy(**given)
    assert all(figures["changed"] > 0 for figures in first.values()), first
    assert len({site.build(host) for host, _tree in site.trees()}) == 1
    again = site.deploy(**given)
    assert [figures["changed"] for figures in again.values()] == [0, 0, 0], again

    rights = [site.ground.path(site.ground.nodes[0], path) for path in RIGHTS]
    site.ground.run(site.ground.nodes[0], ["sudo", "-n", "/usr/bin/true"])
    assert rights[0].read_text().endswith("\noneadmin ALL=(root) NOPASSWD: /usr/bin/true\n")
    assert rights[1].read_text().endswith("\nMaxSessions 20\n")
    assert site.ground.path(site.ground.nodes[0], "/var/tmp/reloaded").exists()

    store = site.ground.oned.datastore(100)
    assert (store.ds_mad, store.tm_mad, store.template["RESTRICTED_DIRS"]) == (f"{prefix}fs", f"{prefix}qcow2", "/")
    story = Story(site.ground, PAIRINGS["qcow2"], {"ONE_STORAGE_TRACE": "1"})
    story.runner.tm_names = {f"{prefix}{name}" for name in stock.TM_NAMES}
    story.runner.ds_names = {f"{prefix}{name}" for name in stock.DS_NAMES}
    right = story.tell()
    wrong = [f"{call.command}: {call.stderr}" for chapter in story.chapters for call in chapter.calls if not call.ok]
    wrong += [f"{check.what}: {check.detail}" for chapter in story.chapters for check in chapter.checks if not check.ok]
    assert right and not wrong, wrong
    calls = [call for chapter in story.chapters for call in chapter.calls]
    assert any(f"/tm/{prefix}qcow2/clone" in call.command for call in calls)
    assert {
        log.text.split("launcher ")[1].split(",")[0] for call in calls for log in call.logs if "launcher " in log.text
    } == {
        "in process",
        "ssh",
    }
    wait_for("idle", lambda: not all_running(site.ground))

    site.deploy(**given, one_storage_state="absent")
    assert site.files() == before and not any(path.exists() for path in rights)


def test_a_failing_canary_leaves_the_others_the_old_build(site: Site) -> None:
    site.deploy()
    canary, other = site.ground.nodes
    old, files = site.build(other), site.files()
    more = site.ground.path(site.ground.frontend, "/var/tmp/more/plugins/module_utils/drivers/more.py")
    more.parent.mkdir(parents=True)
    more.write_text("# another byte, another build\n")
    upgrade: dict[str, object] = {"one_storage_with": ["/var/tmp/more"]}
    hidden = site.ground.path(canary, "/var/lib/one/datastores/105/.one_storage")
    hidden.rename(hidden.with_name("aside"))
    hidden.write_text("in the way")
    said = site.fails(**upgrade)
    assert f"selftest: {canary}: datastore local:105" in said and "keep the build that they have" in said
    assert site.build(canary) != old
    kept = {name: data for name, data in site.files().items() if not name.startswith(f"{canary}:")}
    assert kept == {name: data for name, data in files.items() if not name.startswith(f"{canary}:")}
    drift = site.play("drift", upgrade).stdout.decode()
    assert site.build(canary)[:12] in drift and old[:12] in drift and "another build" in drift
    # a second run does not get past the canary either
    assert "selftest" in site.fails(**upgrade)

    hidden.unlink()
    hidden.with_name("aside").rename(hidden)
    site.deploy(**upgrade)
    assert len({site.build(host) for host, _tree in site.trees()} - {old}) == 1
    # and back to the old one, which is what a roll-back is
    site.deploy()
    assert {site.build(host) for host, _tree in site.trees()} == {old}


def test_nodes_by_onehost_sync(site: Site) -> None:
    """The same bytes come, and a node goes back by itself."""
    before = site.files()
    given: dict[str, object] = {"one_storage_sync": True}
    site.deploy(**given)
    frontend = site.ground.frontend
    build = site.build(frontend)
    assert {site.build(node) for node in site.ground.nodes} == {build}
    by_sync = site.files()
    assert [figures["changed"] for figures in site.deploy(**given).values()] == [0, 0, 0]
    # the role lays nothing over what was copied
    assert [figures["changed"] for figures in site.deploy().values()] == [0, 0, 0]
    assert site.files() == by_sync
    site.deploy(one_storage_state="absent")
    # what onehost sync brought of the front-end's own files stays on the nodes
    after = site.files()
    assert {name: after.get(name) for name in before} == before
    assert not any("/one_storage/" in name or "/.one_storage" in name for name in after)
