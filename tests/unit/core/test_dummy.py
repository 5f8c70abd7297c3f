# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers ``dummy``: constants, and nothing is touched or called."""

from __future__ import annotations

import os
from typing import Any

import pytest

from plugins.module_utils._actions import ACTIONS
from plugins.module_utils._errors import Unsupported
from plugins.module_utils.drivers.dummy import DsDummy, TmDummy
from plugins.module_utils.drivers.fs import Fs
from plugins.module_utils.drivers.registry import load
from tests.unit.core.support import act, explained

#: What contract-ds 13 and contract-tm 7.10 say, and what a module gives of it.
DS: dict[str, dict[str, Any]] = {
    "cp": {"source": "dummy_path", "format": "dummy_format"},
    "mkfs": {"source": "dummy_path"},
    "clone": {"source": "dummy_path"},
    "rm": {},
    "stat": {"size": 1024},
    "monitor": {"used_mb": 9720, "free_mb": 20480, "total_mb": 20480},
    "export": {"import_source": "dummy_path", "dispose": False},
    "snap_delete": {},
    "snap_revert": {},
    "snap_flatten": {},
}
NOTHING: dict[str, Any] = {"changed": False, "actions": [], "changes": []}


def given(action: str) -> dict[str, Any]:
    """Options that the module insists on, with values that no other driver would take."""
    values: dict[str, Any] = {"driver": "dummy"}
    for name, rule in ACTIONS[action].options.items():
        if rule.get("required") and name != "driver":
            values[name] = {"int": -5, "list": ["x"]}.get(rule["type"], "/no such place/../here")
            values[name] = rule["choices"][0] if rule.get("choices") else values[name]
    return values


@pytest.fixture(autouse=True)
def nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes a file, a process or a connection fails."""
    for name in ("mkdir", "makedirs", "open", "rename", "unlink", "posix_spawn"):
        monkeypatch.setattr(os, name, lambda *_arguments, **_named: pytest.fail("something was touched"))


@pytest.mark.parametrize("action", DS)
@pytest.mark.parametrize("run", [act, explained])
def test_images(action: str, run: Any) -> None:
    if f"ds_{action}" not in ACTIONS:
        pytest.skip("there is no module for it yet")
    result = run(f"ds_{action}", **given(f"ds_{action}"))
    assert {**NOTHING, **DS[action]}.items() <= result.items()


@pytest.mark.parametrize("action", sorted(name for name in ACTIONS if name.startswith("tm_")))
def test_disks(action: str) -> None:
    """With a second host, too, that would be called."""
    options = given(action)
    if "peer" in ACTIONS[action].options:
        options["peer"] = "host.invalid"
    if ACTIONS[action].name in TmDummy.answers:
        result = act(action, **options)
        assert NOTHING.items() <= result.items()
    else:
        with pytest.raises(Unsupported, match=f"tm/dummy {ACTIONS[action].name}: Operation not supported"):
            act(action, **options)


def test_every_image_action_has_an_answer() -> None:
    """That oned asks for; digest and orphans are for people."""
    images = {action.name for action in ACTIONS.values() if action.kind == "ds" and hasattr(Fs, action.name)}
    assert images - {"digest", "orphans"} <= set(DsDummy.answers)


@pytest.mark.parametrize(
    ("kind", "action"),
    [("ds", "backup"), ("ds", "ls"), ("ds", "increment_flatten"), ("tm", "snap_create_live"), ("tm", "prebackup")],
)
def test_what_is_not_supported(kind: str, action: str) -> None:
    with pytest.raises(Unsupported, match=f"{kind}/dummy {action}: Operation not supported"):
        load(kind, "dummy").method(action)


def test_an_answer_is_not_shared() -> None:
    """Who changes a result does not change the next one."""
    first = load("ds", "dummy").constant("stat")
    assert first is not None
    first["size"] = 7
    assert load("ds", "dummy").constant("stat") == {"size": 1024}


def test_others_have_to_look() -> None:
    assert load("ds", "fs").constant("monitor") is None
    assert load("tm", "qcow2").constant("mvds") is None
