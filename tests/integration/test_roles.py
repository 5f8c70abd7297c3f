# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/deploy.yml on this machine, into folders of the test: what it lays, and that it tells the truth."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from plugins.plugin_utils.settings import read
from tests.tools.stage import stage

BIN = Path(sys.executable).parent
ROLES = Path(__file__).resolve().parents[2] / "roles"
SECONDS = 240
CONF = """\
# The site's own words
TM_MAD = [ EXECUTABLE = "one_tm", ARGUMENTS = "-t 15 -d dummy,shared,qcow2,ssh" ]
DATASTORE_MAD = [ EXECUTABLE = "one_datastore", ARGUMENTS = "-t 15 -d dummy,fs -s shared,ssh,qcow2" ]
"""
EXECRC = 'LIVE_DISK_SNAPSHOTS="kvm-qcow2 kvm-ceph"\n'
SETTINGS = {"LAUNCHER": "auto", "ODD": 'a "b" $(id) `id` \\ $HOME', "NAME": "d'or", "NUMBER": 3}


class Site:
    """A front-end and a node, both this machine, each with folders of its own below `folder`."""

    def __init__(self, folder: Path, collections: Path) -> None:
        self.folder, self.collections = folder, collections
        self.remotes, self.scripts, self.datastores = folder / "remotes", folder / "scripts", folder / "datastores"
        self.datastores.mkdir()
        self.conf, self.execrc = folder / "oned.conf", folder / "vmm_execrc"
        self.conf.write_text(CONF)
        self.execrc.write_text(EXECRC)
        account = pwd.getpwuid(os.geteuid())
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "one_storage_become": False,
            "one_storage_owner": account.pw_name,
            "one_storage_installer": str(folder / "installer.pyz"),
            "one_storage_manage_packages": False,
            "one_storage_oned_conf": str(self.conf),
            "one_storage_vmm_execrc": str(self.execrc),
            "one_storage_oned_restart_command": ["touch", str(folder / "restarted")],
            "one_storage_remotes_dir": str(self.remotes),
            "one_storage_remote_scripts_dir": str(self.scripts),
            "one_storage_datastores_dir": str(self.datastores),
            "one_storage_datastores": [
                {"id": 0, "type": "system", "shared": False},
                {"id": 1, "type": "image", "shared": True},
                {"id": 100, "type": "system", "shared": True},
            ],
        }
        groups: dict[str, object] = {"one_frontend": {"hosts": {"frontend": {}}}, "one_nodes": {"hosts": {"node": {}}}}
        (folder / "inventory.json").write_text(json.dumps({"all": {"vars": variables, "children": groups}}))

    def deploy(self, *arguments: str, settings: object = None) -> tuple[int, str]:
        """Run the playbook; the number of changed tasks on both hosts, and all that Ansible wrote."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.folder / "inventory.json"), *arguments]
        command += ["one_storage.drivers.deploy", "-e", json.dumps({"one_storage_settings": settings or {}})]
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(self.collections), "ANSIBLE_NOCOLOR": "1"}
        env["LC_ALL"] = "C.UTF-8"
        result = subprocess.run(
            command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return sum(map(int, re.findall(r"changed=(\d+)", result.stdout))), result.stdout

    def everything(self) -> dict[str, tuple[float, int]]:
        """Each path below the three folders, with time and mode. A trial changes the times of datastores' folders."""
        tops = (self.remotes, self.scripts, self.datastores)
        found = [path for top in tops for path in sorted(top.rglob("*")) if ".one_storage" not in path.parts]
        timeless = [self.datastores, *self.datastores.iterdir()]
        return {str(path): (0 if path in timeless else path.lstat().st_mtime, path.lstat().st_mode) for path in found}

    def contents(self) -> dict[str, bytes]:
        """All files of OpenNebula, with their bytes."""
        files = [path for top in (self.remotes, self.scripts) for path in sorted(top.rglob("*")) if path.is_file()]
        return {str(path): path.read_bytes() for path in [*files, *self.folder.glob("oned.conf*"), self.execrc]}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    collections = tmp_path / "collections"
    stage(target=collections / "ansible_collections" / "one_storage" / "drivers")
    return Site(tmp_path, collections)


def test_deploy_check_deploy_again(site: Site) -> None:
    promised, text = site.deploy("--check", "--diff")
    assert site.everything() == {}
    assert "new one_storage/BUILD" in text

    changed, text = site.deploy()
    assert changed == promised > 0
    for tree in (site.remotes, site.scripts):
        assert (tree / "one_storage" / "plugins" / "module_utils").is_dir()
    assert (site.remotes / "one_storage/BUILD").read_text() == (site.scripts / "one_storage/BUILD").read_text()
    markers = {path.parent.name: path.read_text() for path in site.datastores.glob("*/.monitor")}
    assert markers == {"0": "ssh\n"}
    assert {path.name for path in site.datastores.iterdir()} == {"0", "1", "100"}

    laid = site.everything()
    assert site.deploy()[0] == 0
    assert site.everything() == laid


@pytest.mark.parametrize("prefix", ["", pytest.param("os_", marks=pytest.mark.full)])
def test_absent_gives_back_the_files(site: Site, prefix: str) -> None:
    for top in (site.remotes, site.scripts):
        for name in ("tm/qcow2/clone", "tm/ceph/clone", "datastore/fs/cp", "scripts_common.sh"):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/bash\n# stock's {name}\n")
    before = site.contents()
    given = ["-e", json.dumps({"one_storage_prefix": prefix, "one_storage_oned_restart": True})]
    site.deploy(*given, settings={"LAUNCHER": "ssh"})
    assert (site.folder / "restarted").exists()
    assert (site.scripts / f"tm/{prefix}qcow2/mvds").exists() and (site.remotes / f"datastore/{prefix}fs/cp").exists()
    assert f"{prefix}local" in site.conf.read_text().split("-d ")[1].split('"')[0]
    assert (site.datastores / "0/.monitor").read_text() == f"{prefix}ssh\n"
    assert ((site.remotes / "tm/qcow2/clone").read_text() == "#!/bin/bash\n# stock's tm/qcow2/clone\n") == bool(prefix)
    site.deploy(*given, "-e", "one_storage_state=absent", settings={"LAUNCHER": "ssh"})
    assert site.contents() == before
    assert (site.datastores / "0/.monitor").exists() == (not prefix)


def test_a_canary_that_fails_stops_all(site: Site) -> None:
    """The node's datastore cannot be written, so neither front-end nor oned's configuration changes."""
    blocked = site.datastores / "1"
    blocked.mkdir()
    (blocked / ".one_storage").write_text("in the way")
    with pytest.raises(AssertionError, match="selftest: .*datastore image:1: .*keep the build that they have") as told:
        site.deploy()
    assert "Traceback" not in str(told.value)
    assert not site.remotes.exists() and site.conf.read_text() == CONF


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"one_storage_prefix": "Bad-"}, "'Bad-' cannot begin the names of drivers"),
        ({"one_storage_with": ["/nonexistent"]}, "/nonexistent has no drivers"),
        ({"one_storage_state": "gone"}, "must be one of: present, absent"),
    ],
)
def test_what_cannot_be_deployed_changes_nothing(site: Site, given: dict[str, object], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        site.deploy("-e", json.dumps(given))
    assert site.everything() == {} and site.conf.read_text() == CONF


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (
            "Debian",
            {"python3-libvirt", "python3-lxml", "qemu-utils", "restic", "rsync", "openssh-client"}
            | {"python3-rados", "python3-rbd", "ceph-common", "qemu-block-extra"},
        ),
        (
            "RedHat",
            {"python3-libvirt", "python3-lxml", "qemu-img", "restic", "rsync", "openssh-clients"}
            | {"python3-rados", "python3-rbd", "ceph-common", "qemu-kvm-block-rbd"},
        ),
    ],
)
def test_names_of_packages_follow_from_the_facts(family: str, names: set[str]) -> None:
    tree, node = ROLES / "tree", ROLES / "node"
    tasks = yaml.safe_load((tree / "tasks/packages.yml").read_text())
    expression = next(task for task in tasks if "ansible.builtin.apt" in task)["vars"]["one_storage_tree_names"]
    needs = yaml.safe_load((node / "vars/main.yml").read_text())["one_storage_node_needs"]
    variables = {
        **yaml.safe_load((tree / "vars/main.yml").read_text()),
        "ansible_facts": {"os_family": family},
        "one_storage_tree_missing": {"stdout_lines": sorted({*needs["hypervisor"], *needs["backup"], *needs["ceph"]})},
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    rendered = templar.template(trust_as_template(expression))
    assert names <= set(rendered) and len(rendered) == len(set(rendered))
    assert installers(family, tasks) == [f"ansible.builtin.{'apt' if family == 'Debian' else 'dnf'}"]


def installers(family: str, tasks: list[dict[str, object]]) -> list[str]:
    """Which of the tasks that are for some families do something on this one, by their modules."""
    packages = yaml.safe_load((ROLES / "tree/vars/main.yml").read_text())
    variables = {**packages, "ansible_facts": {"os_family": family}}
    found = []
    for task in tasks:
        condition = str(task["when"])
        if condition.startswith("ansible_facts['os_family'] ") and "is not defined" not in condition:
            templar = Templar(loader=DataLoader(), variables=variables)
            if templar.evaluate_conditional(trust_as_template(condition)):
                found += [name for name in task if name.startswith("ansible.builtin.")]
    return found


def test_a_family_that_is_not_known_is_refused() -> None:
    tasks = yaml.safe_load((ROLES / "tree/tasks/packages.yml").read_text())
    assert installers("Suse", tasks) == ["ansible.builtin.fail"]


@pytest.mark.parametrize(
    ("there", "called"),
    [
        (["apt-get", "dnf"], ["apt-get update -q", "apt-get install -q -y --no-install-recommends python3"]),
        (["dnf"], ["dnf install -q -y python3"]),
    ],
)
def test_python_is_installed_by_what_the_host_has(tmp_path: Path, there: list[str], called: list[str]) -> None:
    """The command runs before there is a Python, so it cannot go by facts."""
    for name in there:
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"{tmp_path}/called"\n')
        (tmp_path / name).chmod(0o755)
    tasks = yaml.safe_load((ROLES / "tree/tasks/python.yml").read_text())
    command = next(task["ansible.builtin.raw"] for task in tasks if task["name"] == "Install Python")
    subprocess.run(["/bin/sh", "-ec", command], env={"PATH": str(tmp_path)}, check=True, timeout=20)
    assert (tmp_path / "called").read_text().splitlines() == called


@pytest.mark.full
def test_without_systemd_other_commands_are_given(site: Site) -> None:
    """What is not there is named; what is given instead is called, and only when something has changed."""
    given: dict[str, object] = {"one_storage_oned_restart": True, "one_storage_oned_restart_command": ["/no/service"]}
    with pytest.raises(AssertionError, match=r"was not restarted, '/no/service' failed: .*: restart it by hand"):
        site.deploy("--limit", "frontend", "-e", json.dumps(given))
    site.conf.write_text(CONF)
    given["one_storage_oned_restart_command"] = ["touch", str(site.folder / "by hand")]
    site.deploy("--limit", "frontend", "-e", json.dumps(given))
    assert (site.folder / "by hand").exists()
    (site.folder / "by hand").unlink()
    assert site.deploy("--limit", "frontend", "-e", json.dumps(given))[0] == 0
    assert not (site.folder / "by hand").exists()


def test_settings_are_written_as_a_shell_reads_them(site: Site) -> None:
    site.deploy("--limit", "frontend", settings=SETTINGS)
    file = site.remotes / "etc" / "one_storage" / "one_storage.conf"
    for name, value in SETTINGS.items():
        script = f'. "$1"; printf %s "${name}"'
        command = ["/bin/sh", "-eu", "-c", script, "sh", str(file)]
        assert subprocess.run(command, capture_output=True, check=True, text=True, timeout=10).stdout == str(value)
    assert read(str(file)) == {name: str(value) for name, value in SETTINGS.items()}
    assert site.deploy("--limit", "frontend", settings=SETTINGS)[0] == 0

    # Without settings the file is the operator's.
    written = file.read_text()
    site.deploy("--limit", "frontend")
    assert file.read_text() == written


@pytest.mark.parametrize("settings", [{"lower": "x"}, {"A;B": "x"}, {"NAME": "two\nlines"}, {"NAME": "$d'or"}])
def test_settings_that_the_file_cannot_hold_are_refused(site: Site, settings: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="Names of settings are capital letters"):
        site.deploy("--limit", "frontend", settings=settings)
    assert site.everything() == {}
