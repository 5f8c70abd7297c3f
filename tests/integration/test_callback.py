# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback ``result`` in real ad hoc runs: the file it writes, for each end that a task can come to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import COLLECTION, Ansible

MONITOR = ["-m", f"{COLLECTION}.ds_monitor"]


@pytest.fixture
def datastore(tmp_path: Path) -> Path:
    folder = tmp_path / "datastore"
    folder.mkdir()
    return folder


def test_a_module_that_ends_well(ansible: Ansible, datastore: Path) -> None:
    told = ansible.ad_hoc("ds_monitor", {"driver": "fs", "datastore": str(datastore)})
    assert (told["host"], told["state"]) == ("localhost", "ok")
    result = told["result"]
    info = os.statvfs(datastore)
    assert result["total_mb"] == -(-info.f_blocks * info.f_frsize >> 20)
    assert result["changed"] is False
    # nothing of what Ansible keeps for itself, and not the options once more
    assert not [name for name in result if name.startswith(("_", "invocation"))]
    file = ansible.folder / "answer.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in ansible.folder.glob("answer.json*")] == ["answer.json"]


def test_a_module_that_fails(ansible: Ansible, datastore: Path) -> None:
    told = ansible.ad_hoc("ds_rm", {"driver": "fs", "datastore": str(datastore), "source": "/etc/passwd"})
    assert told["state"] == "failed"
    assert told["result"]["msg"] == f"The image /etc/passwd is not inside {datastore}"
    assert told["result"]["error"]["code"] == "refused"


def test_options_that_are_wrong(ansible: Ansible) -> None:
    told = ansible.ad_hoc("ds_monitor", {"driver": "fs"})
    assert told["state"] == "failed"
    assert told["result"]["msg"] == "missing required arguments: datastore"
    assert "error" not in told["result"]


def test_values_are_not_templates(ansible: Ansible, datastore: Path, tmp_path: Path) -> None:
    """Options that come from a vars file, tagged unsafe, stay what they are on the way there and back."""
    proof = tmp_path / "proof"
    value = f"{datastore}/{{{{ lookup('pipe', 'touch {proof}') }}}}"
    variables = ansible.folder / "variables.yml"
    variables.write_text(f'---\nsource: !unsafe "{value}"\n', encoding="utf-8")
    options = {"driver": "fs", "datastore": str(datastore), "source": "{{ source }}"}
    told = ansible.ad_hoc("ds_rm", options, "-e", f"@{variables}")
    # it is the name of a file in a directory of the datastore, hence no image
    assert told["result"]["msg"] == f"{value} is not an image of {datastore}"
    assert not proof.exists()


def test_a_host_that_is_not_reached(ansible: Ansible, datastore: Path) -> None:
    file = ansible.folder / "answer.json"
    options = f"driver=fs datastore={datastore}"
    said = ansible.command(
        "ansible",
        *("127.0.0.1", "-i", "127.0.0.1,", "-e", "ansible_port=1", *MONITOR, "-a", options),
        ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
        ANSIBLE_STDOUT_CALLBACK=f"{COLLECTION}.result",
        ONE_STORAGE_RESULT_FILE=str(file),
    )
    assert said.code == 4
    told = read(file)
    assert (told["host"], told["state"]) == ("127.0.0.1", "unreachable")
    assert "Connection refused" in told["result"]["msg"]


def test_what_was_in_the_file_is_replaced_and_no_link_is_followed(ansible: Ansible, datastore: Path) -> None:
    victim = ansible.folder / "victim"
    victim.write_text("precious", encoding="utf-8")
    file = ansible.folder / "other.json"
    file.symlink_to(victim)
    options = f"driver=fs datastore={datastore}"
    said = ansible.command(
        "ansible",
        *("localhost", "-c", "local", *MONITOR, "-a", options),
        ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
        ANSIBLE_STDOUT_CALLBACK=f"{COLLECTION}.result",
        ONE_STORAGE_RESULT_FILE=str(file),
    )
    assert (said.code, said.out) == (0, "")
    assert read(file)["state"] == "ok"
    assert not file.is_symlink()
    assert victim.read_text(encoding="utf-8") == "precious"


def test_without_a_file_nothing_is_written(ansible: Ansible, datastore: Path) -> None:
    before = set(ansible.folder.glob("*.json*"))
    said = ansible.command(
        "ansible",
        *("localhost", "-c", "local", *MONITOR, "-a", f"driver=fs datastore={datastore}"),
        ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
        ANSIBLE_STDOUT_CALLBACK=f"{COLLECTION}.result",
    )
    assert (said.code, said.out) == (0, "")
    assert set(ansible.folder.glob("*.json*")) == before


def test_it_is_documented(ansible: Ansible) -> None:
    said = ansible.command("ansible-doc", "-t", "callback", f"{COLLECTION}.result")
    assert said.code == 0, said.err
    assert "ONE_STORAGE_RESULT_FILE" in said.out


def read(file: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return told
