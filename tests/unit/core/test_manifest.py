# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what they say, and that none is believed that cannot be right."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Corrupt, Missing
from plugins.module_utils.tools import manifest as manifests
from tests.unit.core.support import tool


@pytest.fixture
def backup(folder: Path) -> Path:
    tool("qemu-img", "create", "-q", "-f", "qcow2", folder / "disk.3.1", "5M")
    (folder / "vm.xml").write_bytes(b"PFZNLz4=\n")
    (folder / "disk.tpm.0").write_bytes(b"tpm")
    (folder / "disk.3.1.part").write_bytes(b"not a part of it")
    return folder


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("disk.0.0", (0, 0)),
        ("disk.10.12", (10, 12)),
        ("disk.2.rbd2", (2, 0)),
        ("disk.2.7.rbdiff", (2, 7)),
        ("disk.tpm.0", None),
        ("vm.xml", None),
        ("disk.0", None),
        ("disk.0.0.x", None),
        ("disk..0", None),
        ("disk.0.rbdiff", None),
        ("disk.１.0", None),
    ],
)
def test_names(name: str, place: tuple[int, int] | None) -> None:
    assert manifests.disk_of(name) == place


def test_it_says_what_is_there(backup: Path) -> None:
    told = manifests.build(str(backup), "abc", 22, disks={}, increment=1, increment_mode="cbt", consistency="agent")
    assert (told["mode"], told["parent"], told["consistency"]) == ("increment", 0, "agent")
    assert sorted(told["files"]) == ["disk.3.1", "disk.tpm.0", "vm.xml"]
    disk = told["files"]["disk.3.1"]
    assert (disk["disk"], disk["format"], disk["virtual_size"]) == (3, "qcow2", 5 << 20)
    assert disk["sha256"] == hashlib.sha256((backup / "disk.3.1").read_bytes()).hexdigest()
    manifests.write(str(backup), told)
    assert manifests.read(str(backup)) == told
    manifests.check(str(backup), told)
    full = manifests.build_full(str(backup), "def", 22, told, 1)
    assert (full["mode"], full["parent"], full["increment"], full["consistency"]) == ("full", -1, 1, "agent")
    assert manifests.outdated(told, True) and not manifests.outdated(told, False) and not manifests.outdated(full, True)


def test_there_may_be_none(folder: Path) -> None:
    assert manifests.read(str(folder)) is None


def test_what_differs_is_named(backup: Path) -> None:
    told = manifests.build(str(backup), "abc", 22, disks={})
    (backup / "disk.9.0").write_bytes(b"x")
    with pytest.raises(Corrupt, match=r"disk\.9\.0 is not in its manifest"):
        manifests.check(str(backup), told)
    (backup / "disk.9.0").unlink()
    (backup / "vm.xml").write_bytes(b"PFZNLz4+\n")
    manifests.check(str(backup), told, contents=False)
    with pytest.raises(Corrupt, match=r"vm\.xml is not what was backed up"):
        manifests.check(str(backup), told)
    (backup / "vm.xml").unlink()
    with pytest.raises(Missing, match=r"vm\.xml is not there"):
        manifests.check(str(backup), told)


GOOD: dict[str, Any] = {
    "version": 1, "run": "x", "vm": 1, "created": 5, "mode": "full", "increment_mode": "", "increment": 0,
    "parent": -1, "consistency": "off", "warnings": [],
    "files": {"disk.0.0": {"disk": 0, "bytes": 1, "virtual_size": 2, "format": "qcow2", "sha256": "a" * 64}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["version"], 2, "version 2"),
        (["vm"], "1", "'vm' is not a whole number"),
        (["created"], True, "'created'"),
        (["mode"], "half", "'mode' is none of"),
        (["consistency"], None, "'consistency'"),
        (["parent"], 0, "do not go together"),
        (["warnings"], [1], "is not text"),
        (["files"], [], "'files' is not an object"),
        (["files", "disk.0.0"], 5, "nothing is told"),
        (["files", "../../etc/passwd"], {}, "none of a backup's"),
        (["files", "disk.0.0", "sha256"], "A" * 64, "no SHA-256"),
        (["files", "disk.0.0", "bytes"], -1, "'bytes'"),
        (["files", "disk.0.0", "disk"], 1, "does not fit"),
        (["files", "disk.0.0", "format"], None, "does not fit"),
    ],
)
def test_what_cannot_be_right_is_not_read(path: list[str], value: Any, said: str) -> None:
    wrong = copy.deepcopy(GOOD)
    place = wrong
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(Corrupt) as caught:
        manifests.parse(json.dumps(wrong).encode(), "/x/manifest.json")
    assert said in str(caught.value) and "/x/manifest.json" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff", b"x" * (2 << 20)])
def test_what_is_no_manifest_at_all(data: bytes) -> None:
    with pytest.raises(Corrupt, match="The manifest here"):
        manifests.parse(data, "here")


def test_a_good_one_is_read() -> None:
    assert manifests.parse(json.dumps(GOOD).encode(), "here") == GOOD
