# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Molecule knows the scenarios; the full run plays them on the lab's hosts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.lab.hosts import can_make_hosts, repository

SCENARIOS = sorted(path.parent.name for path in (repository() / "molecule").glob("*/molecule.yml"))


def molecule(*arguments: str, folder: Path, seconds: float = 60) -> str:
    """What molecule says; raises when it fails. Its own files lie in a folder of the test."""
    tools = repository() / ".venv" / "bin"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    env |= {"PATH": f"{tools}:{os.environ['PATH']}", "NO_COLOR": "1", "ANSIBLE_HOME": str(folder)}
    done = subprocess.run(
        [str(tools / "molecule"), *arguments],
        cwd=repository(),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def test_molecule_runs_and_knows_every_scenario(tmp_path: Path) -> None:
    known = yaml.safe_load(molecule("list", "--format", "yaml", folder=tmp_path))
    assert {one["Scenario Name"] for one in known} == set(SCENARIOS) >= {"default", "mixed_builds"}
    assert {one["Driver Name"] for one in known} == {"default"}


@pytest.mark.full
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario(scenario: str, tmp_path: Path) -> None:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    molecule("test", "--scenario-name", scenario, folder=tmp_path, seconds=1200)
