# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the drivers on the lab with the collection's own playbook and roles, run on the front-end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.lab.ground import LabGround
from tests.lab.hosts import repository

COLLECTIONS = repository() / ".cache" / "stage"

#: The lab's datastores: id, type, and whether all hosts see one storage.
DATASTORES = (
    (100, "image", True),
    (101, "system", True),
    (102, "image", True),
    (103, "system", True),
    (105, "system", False),
)


def stage() -> None:
    """Copy the collection to where Ansible finds it by its name."""
    subprocess.run([sys.executable, "-m", "tests.tools.stage"], cwd=repository(), check=True, timeout=60)


def inventory(ground: LabGround) -> dict[str, object]:
    """The lab as an Ansible inventory."""
    variables = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "one_storage_manage_packages": False,
        # the lab's front-end has no OpenNebula
        "one_storage_oned_conf": "",
        "one_storage_datastores": [
            {"id": number, "type": kind, "shared": shared} for number, kind, shared in DATASTORES
        ],
    }
    return {
        "all": {
            "vars": variables,
            "children": {
                "one_frontend": {"hosts": {ground.frontend: {"ansible_connection": "local"}}},
                "one_nodes": {"hosts": {node: {} for node in ground.nodes}},
            },
        }
    }


def deploy(ground: LabGround) -> dict[str, dict[str, int]]:
    """Run the playbook; what it did by host: ``ok``, ``changed``, ``failed`` and so on. Raises when it failed."""
    return recap(play(ground, "deploy").stdout.decode())


def play(
    ground: LabGround,
    playbook: str,
    variables: Mapping[str, object] | None = None,
    check: bool = True,
    collections: Path = COLLECTIONS,
) -> subprocess.CompletedProcess[bytes]:
    """Run a playbook of the collection on the front-end, as oneadmin, who may become root on all hosts.

    :param variables: those that go before the inventory's.
    :param check: raise when it failed.
    :param collections: where the collection was staged, as the front-end sees it.
    """
    folder = ground.path(ground.frontend, "/var/tmp/deploy")
    folder.mkdir(exist_ok=True)
    (folder / "inventory.json").write_text(json.dumps(inventory(ground)))
    ground.own(ground.frontend, "/var/tmp/deploy")
    # the user's environment stays out: what counts is what a newcomer has
    return ground.lab.run(
        ground.frontend,
        [
            str(repository() / ".venv" / "bin" / "ansible-playbook"),
            "-i",
            "/var/tmp/deploy/inventory.json",
            f"one_storage.drivers.{playbook}",
            "-e",
            json.dumps(variables or {}),
        ],
        env={
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": "/var/tmp/deploy/ansible",
            "ANSIBLE_PIPELINING": "1",
        },
        timeout=400,
        check=check,
    )


def recap(output: str) -> dict[str, dict[str, int]]:
    """The figures of ansible-playbook's last lines."""
    found = {}
    for host, figures in re.findall(r"^(\S+)\s+: ((?:\w+=\d+\s*)+)$", output.partition("PLAY RECAP")[2], re.MULTILINE):
        found[host] = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", figures)}
    return found
