# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a host and of the mesh: what is told of broken things, and that nothing of a check stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _check_mesh
from plugins.module_utils._errors import BadCall, Missing
from plugins.module_utils._info import MODULES
from plugins.module_utils.tools import mounted, programs
from plugins.plugin_utils.check_report import report

TOKEN = "abcdefgh12345678"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of one's own for the file of locks."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def check(name: str = "host01", **options: Any) -> dict[str, Any]:
    """What host_check answers; its defaults look at no program."""
    defaults = {key: rule.get("default") for key, rule in MODULES["host_check"].options.items()}
    given = {**defaults, "name": name, "needs": [], "min_free_percent": 0, "check": False, **options}
    return MODULES["host_check"].run(given)


def stores(root: Path, *kinds: str) -> list[dict[str, Any]]:
    """Datastores 100, 101 and so on, of these kinds, which are there."""
    found: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds, 100):
        (root / str(number)).mkdir(exist_ok=True)
        found.append({"id": number, "path": str(root / str(number)), "kind": kind})
    return found


def files(root: Path) -> list[str]:
    """What lies in datastores, files of locks aside."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "locks")


def test_datastores_in_order(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    root.mkdir()
    given = stores(root, "image", "shared", "local", "local", "folder")
    (root / "103" / ".monitor").write_text("os_ssh\n")
    found = check(mark=TOKEN, datastores=given)
    assert found["problems"] == []
    assert [row["seen"] for row in found["datastores"]] == [["host01"], ["host01"], [], [], []]
    assert [row["ms"] is not None for row in found["datastores"]] == [True, True, True, True, False]
    assert check("host02", mark=TOKEN, datastores=given)["datastores"][0]["seen"] == ["host01", "host02"]
    assert len([name for name in files(root) if ".one_storage-check-" in name]) == 4
    last = check(mark=TOKEN, datastores=given, finish=True)
    assert last["datastores"][1]["seen"] == ["host01", "host02"]
    # a datastore that nobody has marked is not marked by a check, and another's mark stays
    assert files(root) == ["103/.monitor"]
    assert (root / "103" / ".monitor").read_text() == "os_ssh\n"


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "stores"
    root.mkdir()
    found = check(mark=TOKEN, datastores=stores(root, "image", "local"), check=True)
    assert found["problems"] == [] and found["datastores"][0]["ms"] is None
    assert [list(folder.iterdir()) for folder in root.iterdir()] == [[], []]


def test_what_is_missing_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "102").write_text("no folder")
    given = [{"id": number, "path": f"{tmp_path}/{number}", "kind": "shared"} for number in (101, 102)]
    found = check(mark=TOKEN, datastores=given, sudo=["/nowhere/tool"], folders=[f"{tmp_path}/gone"])
    assert [(one["check"], one["thing"]) for one in found["problems"]] == [
        ("sudo", "/nowhere/tool"),
        ("space", f"{tmp_path}/gone"),
        ("mounts", "datastore 101"),
        ("mounts", "datastore 102"),
    ]
    assert found["problems"][2]["sentence"] == f"datastore 101: {tmp_path}/101 is not there; mount it"


def test_a_full_one_is_told_once(tmp_path: Path) -> None:
    found = check(datastores=stores(tmp_path, "folder"), folders=[], min_free_percent=101)
    assert [one["check"] for one in found["problems"]] == ["space", "space"]
    assert "is full" in found["problems"][0]["sentence"] and "inodes" in found["problems"][1]["sentence"]


def test_marks_of_a_check_that_died_go_with_the_next(tmp_path: Path) -> None:
    store = tmp_path / "100"
    store.mkdir()
    mounted.leave_mark(str(store), "dead0dead0", "host09")
    [mark] = store.iterdir()
    mounted.leave_mark(str(store), "other0other0", "host09")
    os.utime(mark, (1, 1))
    assert mounted.leave_mark(str(store), TOKEN, "host01") == ["host01"]
    assert not mark.exists() and len(list(store.iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mark": "../../etc"}, "The mark is not made of 8 to 40 letters and digits"),
        ({"datastores": [{"id": 1, "kind": "image"}]}, "The datastore '1' has no path that begins with /"),
        ({"datastores": [{"id": 1, "path": "/d", "kind": "x"}]}, "'1' is none of image, shared, local and folder"),
        ({"datastores": [{"path": "/d", "kind": "image"}]}, "The datastore '/d' has no id"),
    ],
)
def test_what_cannot_be_checked_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadCall) as refused:
        check(**options)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("echo 'qemu-img version 2.12.0 (Debian)'", "is version 2.12.0; install 5.1 or newer"),
        ("echo hello", "is not the right qemu-img: asked for its version it says 'hello'"),
        ("exit 3", "is not the right qemu-img: asked for its version it says 'nothing'"),
        (
            "case $1 in --version) echo 'qemu-img version 7.2';; *) exit 1;; esac",
            "cannot make a qcow2 file and read it",
        ),
    ],
)
def test_a_wrong_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str) -> None:
    tool = tmp_path / "qemu-img"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [row] = [row for row in programs.look(["qemu-img"], str(tmp_path)) if row["name"] == "qemu-img"]
    assert row["problem"].startswith(str(tool)) and problem in row["problem"]


def test_programs_that_are_there_and_not(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in programs.look(["qemu-img", "no-such-tool", "python:nosuch"], str(tmp_path))}
    assert rows["qemu-img"]["problem"] == "" and rows["qemu-img"]["version"]
    assert rows["no-such-tool"]["problem"] == "no-such-tool is not installed; install it"
    assert rows["python:nosuch"]["problem"].startswith("Python has no module nosuch")
    assert [programs.older(*pair) for pair in (("5.0.9", "5.1"), ("5.1", "5.1"), ("10.0", "5.1"), ("", "5"))] == [
        True, False, False, False
    ]  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 2, 3, 200])
def test_a_ring_tries_each_host_at_both_ends(number: int) -> None:
    hosts = [f"host{index:03}" for index in range(number)]
    hops = _check_mesh.pairs(hosts, "ring", 1)
    assert all(
        len(to) == min(2, number - 1) and host not in to and len(set(to)) == len(to) for host, to in hops.items()
    )
    if number > 1:
        assert {to[0] for to in hops.values()} == set(hosts)
    assert all(sorted([host, *to]) == hosts for host, to in _check_mesh.pairs(hosts, "full", 0).items())
    assert not any(_check_mesh.pairs(hosts, "none", 1).values())


def test_the_mesh_needs_an_agent_and_names_of_hosts() -> None:
    defaults = {key: rule.get("default") for key, rule in MODULES["mesh_check"].options.items()}
    with pytest.raises(Missing, match="no SSH agent at /no/such/agent"):
        MODULES["mesh_check"].run({**defaults, "hosts": ["a", "b"], "agent": "/no/such/agent"})
    with pytest.raises(BadCall, match="'-oProxyCommand=x' is not the name of a host"):
        MODULES["mesh_check"].run({**defaults, "hosts": ["-oProxyCommand=x"]})


def login(host: str, offset: float | None = 0.01, error: str = "") -> dict[str, Any]:
    return {"host": host, "ms": 100, "offset": offset, "unsure": 0.05, "error": error}


@pytest.mark.parametrize(
    ("offsets", "told"),
    [
        ([0.1, -0.2], []),
        ([3600.0, 0.0], [("a", "60 min ahead of that of the front-end")]),
        ([0.0, 0.0, -5.0], [("c", "5.0 s behind that of the front-end")]),
        ([900.1, 900.0, 899.9], [("", "15 min behind those of the nodes")]),
        ([900.0, 900.0, 0.0], [("", "behind those of the nodes"), ("c", "behind that")]),
    ],
)
def test_whose_clock_is_off(offsets: list[float], told: list[tuple[str, str]]) -> None:
    found = _check_mesh._clocks(
        [login(host, offset) for host, offset in zip("abc", offsets, strict=False)], {"max_offset": 2}
    )
    assert len(found) == len(told)
    for one, (host, words) in zip(found, told, strict=True):
        assert one["host"] == host and words in one["sentence"]


def host(
    *seen: str, version: str = "7.2", ms: int = 50, problems: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """What host_check found: one datastore, one program."""
    store = {"id": 100, "path": "/d/100", "mount": "/", "seen": list(seen), "ms": ms}
    tool = {"name": "qemu-img", "version": version, "problem": ""}
    return {"datastores": [store], "programs": [tool], "sudo": [], "folders": [], "problems": problems or []}


def test_one_host_with_another_storage_is_named() -> None:
    """Who was last saw all others; the first one saw nobody."""
    hosts = {"fe": host("fe"), "a": host("a", "fe"), "b": host("b"), "c": host("a", "c", "fe")}
    found = report(hosts, {}, {})
    assert [(one["host"], one["check"]) for one in found["problems"]] == [("b", "mounts")]
    assert found["lines"][-2:] == [
        "b: datastore 100: it is not the storage of 3 other hosts, a among them (/d/100 lies on / there); mount that",
        "1 thing is broken.",
    ]
    assert found["finish"] == ["a", "b"]
    # seen at the end after all
    assert report(hosts, {}, {"a": host("a", "b", "c", "fe")})["ok"]


def test_of_two_the_front_end_is_right() -> None:
    found = report({"fe": host("fe"), "a": host("a")}, {"fe": {"logins": [], "hops": [], "problems": []}}, {})
    assert [one["host"] for one in found["problems"]] == ["a"]


def test_a_host_that_nobody_reaches_is_told_once() -> None:
    gone = {"host": "", "about": "a", "check": "mesh", "thing": "a", "sentence": "Cannot log in to a: timed out"}
    mesh = {"logins": [login("a", None, "timed out")], "hops": [], "problems": [gone]}
    hosts = {"fe": host("fe"), "inventory-a": {"unreachable": True, "msg": "no route"}}
    found = report(hosts, {"fe": mesh, "fe2": mesh}, {}, {"inventory-a": "a"})
    assert [one["sentence"] for one in found["problems"] if one["host"] == "fe"] == ["Cannot log in to a: timed out"]
    assert not [one for one in found["problems"] if one["host"] == "inventory-a"]
    assert {row["host"]: row["mesh"] for row in found["rows"]} == {"fe": "1 BROKEN", "inventory-a": "BROKEN"}
    alone = report(hosts, {}, {})
    assert [one["sentence"] for one in alone["problems"]] == ["Ansible does not reach it: no route"]
    broken = report({"a": {"failed": True, "msg": "MODULE FAILURE"}}, {"fe": {"failed": True, "msg": "no agent"}}, {})
    assert [one["sentence"] for one in broken["problems"]] == [
        "It could not be checked: MODULE FAILURE",
        "It could not be checked: no agent",
    ]


def test_odd_versions_and_slow_storage_are_notes() -> None:
    hosts = {"a": host(), "b": host(version="6.2"), "c": host(ms=4000)}
    found = report(hosts, {}, {})
    assert found["ok"] and [(one["host"], one["sentence"]) for one in found["notes"]] == [
        ("b", "qemu-img is 6.2, and 7.2 on 2 other hosts"),
        ("c", "datastore 100: the probe took 4000 ms, and 50 on other hosts"),
    ]


def test_neither_way_is_one_sentence() -> None:
    hops = [
        {"from": one, "to": two, "ms": 1, "error": f"Cannot log in to {two}: no route"} for one, two in ("ab", "ba")
    ]
    [told] = _check_mesh._broken(hops)
    assert (told["host"], told["sentence"]) == ("a", "Cannot log in to b: no route, nor can b to a")
