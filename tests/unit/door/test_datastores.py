# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``datastore`` against the stand-in's API: registers, updates, says what it would do, keeps secrets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.plugin_utils import datastores
from tests.lab.oned import ApiServer, Oned

Run = Callable[..., tuple[int, list[str], str]]
IMAGES = {"name": "images", "type": "image", "ds_mad": "fs", "tm_mad": "qcow2", "attributes": {"SAFE_DIRS": "/srv"}}
BACKUPS = {
    "name": "backups",
    "type": "backup",
    "ds_mad": "restic",
    "attributes": {"RESTIC_PASSWORD": "s3<cr>\"et&'", "RESTIC_SFTP_SERVER": "b1"},
}


@pytest.fixture
def oned() -> Oned:
    return Oned()


@pytest.fixture
def run(
    oned: Oned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs the command: exit code, lines, and its sentence."""
    (tmp_path / "auth").write_text(oned.settings.session)
    monkeypatch.setenv("ONE_AUTH", str(tmp_path / "auth"))
    with ApiServer(oned) as server:
        monkeypatch.setenv("ONE_XMLRPC", server.url)

        def runs(
            *wishes: dict[str, Any], arguments: tuple[str, ...] = (), text: str = ""
        ) -> tuple[int, list[str], str]:
            monkeypatch.setattr("sys.stdin", io.StringIO(text or json.dumps(wishes)))
            code = datastores.main(list(arguments))
            said = capsys.readouterr()
            return code, said.out.splitlines(), said.err

        yield runs


def test_registers_and_then_changes_nothing(run: Run, oned: Oned) -> None:
    assert run(IMAGES, arguments=("--check",)) == (0, ["new datastore images", "datastore - images"], "")
    assert not oned.datastores
    assert run(IMAGES) == (0, ["new datastore images", "datastore 100 images"], "")
    store = oned.datastore(100)
    assert (store.ds_mad, store.tm_mad, store.template["SAFE_DIRS"]) == ("fs", "qcow2", "/srv")
    assert store.template["CLONE_TARGET"] == "SYSTEM"
    assert run(IMAGES) == (0, ["datastore 100 images"], "")


def test_updates_what_differs_and_keeps_the_rest(run: Run, oned: Oned) -> None:
    run(IMAGES)
    oned.datastore(100).template["MINE"] = "stays"
    wish = {
        **IMAGES,
        "id": 100,
        "name": "disks",
        "tm_mad": "shared",
        "attributes": {"SAFE_DIRS": None, "SPARSE": False},
    }
    promised = run(wish, arguments=("--check",))
    assert oned.datastore(100).name == "images" and "SPARSE" not in oned.datastore(100).template
    assert run(wish) == promised
    assert promised[1] == [
        "changed datastore 100: NAME",
        "changed datastore 100: SPARSE NO",
        "changed datastore 100: TM_MAD qcow2 -> shared",
        "changed datastore 100: SAFE_DIRS goes",
        "datastore 100 disks",
    ]
    store = oned.datastore(100)
    assert (store.name, store.tm_mad, store.template["MINE"], store.template["SPARSE"]) == (
        "disks",
        "shared",
        "stays",
        "NO",
    )
    assert store.template.get("SAFE_DIRS") != "/srv"
    assert run({**wish, "attributes": {"SPARSE": False}})[1] == ["datastore 100 disks"]


def test_passwords_arrive_are_not_told_and_do_not_change_each_time(run: Run, oned: Oned) -> None:
    run(BACKUPS)
    assert oned.datastore(100).template["RESTIC_PASSWORD"] == BACKUPS["attributes"]["RESTIC_PASSWORD"]  # type: ignore[index]
    assert run(BACKUPS)[1] == ["datastore 100 backups"]
    fresh = {**BACKUPS, "attributes": {**BACKUPS["attributes"], "RESTIC_PASSWORD": "0ther"}}  # type: ignore[dict-item]
    code, lines, said = run(fresh)
    assert code == 0 and lines[0] == "changed datastore 100: RESTIC_PASSWORD" and "0ther" not in "".join(lines) + said
    assert oned.datastore(100).template["RESTIC_PASSWORD"] == "0ther"


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({**IMAGES, "type": "images"}, "is none of image, system, file, backup"),
        ({**IMAGES, "name": ""}, "a name that OpenNebula does not take"),
        ({**IMAGES, "tm_mad": ""}, "has no tm_mad"),
        ({**IMAGES, "ds_mad": ""}, "has no ds_mad"),
        ({**IMAGES, "atributes": {}}, "has atributes, which is none of"),
        ({**IMAGES, "attributes": {"TM_MAD": "ssh"}}, "cannot have an attribute 'TM_MAD'"),
        ({**IMAGES, "attributes": {"A B": "x"}}, "cannot have an attribute 'A B'"),
        ({**IMAGES, "id": "7"}, "has an id that is no number"),
        ({**IMAGES, "attributes": ["A"]}, "has attributes without names"),
        ({**IMAGES, "id": 7}, "There is no datastore 7"),
        ({**IMAGES, "tm_mad": "nosuch"}, "there is no transfer driver nosuch"),
        ({**BACKUPS, "attributes": {}}, "needs RESTIC_PASSWORD and RESTIC_SFTP_SERVER"),
        ({"name": "kept", "type": "system", "tm_mad": "ssh"}, "is no system datastore"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(run: Run, oned: Oned, wish: dict[str, Any], sentence: str) -> None:
    run({**IMAGES, "name": "kept"})
    before = oned.pool("X", [store.element() for store in oned.datastores.values()])
    code, lines, said = run(wish)
    assert code == 1 and not lines and sentence in said and said.count("\n") == 1
    assert oned.pool("X", [store.element() for store in oned.datastores.values()]) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense"])
def test_stdin_that_is_no_list(run: Run, text: str) -> None:
    code, lines, said = run(text=text or " ")
    assert code == 1 and not lines and said.count("\n") == 1


def test_without_oned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_XMLRPC", "http://127.0.0.1:1/RPC2")
    code, _lines, said = run(IMAGES)
    assert code == 1 and "oned does not answer" in said
