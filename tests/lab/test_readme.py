# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's operator section, line by line: the archive in a clean virtual environment, on a site, and back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LabGround
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import end_shared_connections
from tests.lab.oned import ApiServer
from tests.lab.test_deploy import REMOTES, Site, names  # noqa: F401  # a fixture
from tests.tools.stage import stage

pytestmark = pytest.mark.full

FOLDER = "/var/tmp/operator"
SYSTEMCTL = '#!/bin/sh\necho "$@" >>/var/tmp/systemctl\n'
SECONDS = 600


def section() -> tuple[str, list[str]]:
    """The commands of "Install it": all up to the inventory's end as one script, then line by line."""
    text = (repository() / "README.md").read_text(encoding="utf-8").partition("\n## Install it\n")[2]
    head, end, rest = text.partition("```\n")[2].partition("```")[0].partition("\nY\n")
    return head + end, [line for line in rest.splitlines() if line]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that front-ends of labs see, with the archive, and with Ansible in an environment of its own."""
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    folder = repository() / ".cache" / f"readme-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        collection = stage(target=folder / "collection")
        command = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection", "build"]
        subprocess.run([*command, "--output-path", str(folder / "dist")], cwd=collection, check=True, timeout=SECONDS)
        venv.create(folder / "venv", with_pip=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--no-input"]
        constraints = ["-c", str(repository() / "requirements/dev.txt")]
        subprocess.run([*pip, *constraints, "ansible-core"], check=True, stdin=subprocess.DEVNULL, timeout=SECONDS)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """OpenNebula's front-end and two nodes; oned listens where it does by default."""
    with Lab.up(tmp_path / "lab", binds=[repository()], masks=[repository()]) as lab:
        ground = LabGround(lab)
        ground.server.stop()
        ground.server = ApiServer(ground.oned, port=2633, network_of=lab.leader(lab.frontend)).start()
        try:
            yield Site(ground, Path())
        finally:
            end_shared_connections(ground)
            ground.close()


def test_the_operators_section(place: Path, site: Site, names: str) -> None:  # noqa: F811
    ground = site.ground
    manager = ground.path(ground.frontend, "/usr/local/bin/systemctl")
    manager.write_text(SYSTEMCTL)
    manager.chmod(0o755)
    folder = ground.path(ground.frontend, FOLDER)
    shutil.copytree(place / "dist", folder / "dist")
    ground.own(ground.frontend, FOLDER)
    before = site.files()

    def say(script: str) -> str:
        env = {"PATH": f"{place}/venv/bin:/usr/bin:/bin", "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
        argv = ["/bin/bash", "-euo", "pipefail", "-c", f"cd {FOLDER}\n{script}"]
        done = ground.lab.run(ground.frontend, argv, env=env, timeout=SECONDS, check=False)
        text = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, f"{script}\n{text}"
        return text

    install, (check, deploy, drift, absent) = section()
    say(install)
    assert "new tm/os_qcow2/clone" in say(check)
    assert site.files() == before
    say(deploy)
    assert (ground.path(ground.frontend, f"{REMOTES}/tm/os_qcow2/clone")).is_file()
    assert {store.name for store in ground.oned.datastores.values()} >= {"images", "disks"}
    assert ground.path(ground.frontend, "/var/tmp/systemctl").read_text() == "restart opennebula\n"
    assert say(drift).count("as this collection") == 3
    say(absent)
    assert site.files() == before
