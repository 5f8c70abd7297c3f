# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each action has a module, and what a module's documentation says of its options is what the core takes.

The documentation is read as text, fragments included, as Ansible puts it together.
"""

from __future__ import annotations

import ast
import importlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils._actions import ACTIONS
from plugins.module_utils._errors import FAMILY
from plugins.module_utils._info import LOOKS
from plugins.module_utils._info import MODULES as INFO
from plugins.module_utils.drivers.base import Driver
from plugins.module_utils.drivers.registry import DRIVERS

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "plugins" / "modules"
COLLECTION = "one_storage.drivers."
# What a rule may say; whoever needs more has to teach it to the core's checker, and to this test.
KEYS = {"type", "required", "default", "choices", "elements", "no_log"}


@cache
def text(path: Path, name: str) -> Any:
    """The YAML that a plugin has in a variable, without importing the plugin."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no {name}")


def fragment(reference: str) -> dict[str, Any]:
    """The documentation of a fragment: ``one_storage.drivers.name`` or ``one_storage.drivers.name.variant``."""
    name, _dot, variant = reference.removeprefix(COLLECTION).partition(".")
    found: dict[str, Any] = text(ROOT / "plugins" / "doc_fragments" / f"{name}.py", variant.upper() or "DOCUMENTATION")
    return found


def documentation(action: str) -> dict[str, Any]:
    """A module's documentation with its fragments; what the module says itself wins, as with Ansible."""
    own: dict[str, Any] = text(MODULES / f"{action}.py", "DOCUMENTATION")
    options: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for reference in own["extends_documentation_fragment"]:
        options.update(fragment(reference).get("options", {}))
        attributes.update(fragment(reference).get("attributes", {}))
    return {
        **own,
        "options": {**options, **own.get("options", {})},
        "attributes": {**attributes, **own.get("attributes", {})},
    }


def sentences(option: dict[str, Any]) -> list[str]:
    """An option's description as a list."""
    found = option["description"]
    return [found] if isinstance(found, str) else list(found)


def test_every_action_has_a_module_and_every_module_an_action() -> None:
    assert {path.stem for path in MODULES.glob("*.py")} == set(ACTIONS) | set(INFO)


#: What the files of the backup drivers share.
_OF_BACKUPS = ("chain_of", "check_space", "needs_vm", "repository", "selected", "urls")


def test_every_action_of_a_driver_is_one_that_can_be_called() -> None:
    """A driver's public method that no action names could never run."""
    named = {(action.kind, action.name) for action in ACTIONS.values()}
    named |= {(kind, look) for kind in ("ds", "tm") for look in LOOKS}
    helpers = ("claims", "idle", "method", "first_layer", "marker", "final", "as_given", *_OF_BACKUPS)
    for (kind, _name, _system), make in DRIVERS.items():
        driver = make()
        methods = {name for name in dir(driver) if not name.startswith("_") and callable(getattr(driver, name))}
        actions = {name for name in methods if not name.startswith(helpers) and name not in vars(Driver)}
        assert {(kind, name) for name in actions} <= named


@pytest.mark.parametrize("name", sorted(INFO))
def test_info_modules_are_documented_as_they_are(name: str) -> None:
    told = {
        option: {key: value for key, value in rule.items() if key != "description"}
        for option, rule in documentation(name)["options"].items()
    }
    assert told == INFO[name].options
    assert documentation(name)["attributes"]["diff_mode"]["support"] == "N/A"
    for option, rule in documentation(name)["options"].items():
        for sentence in sentences(rule):
            assert sentence[0].isupper() or sentence.startswith(("C(", "V(", "O(")), f"{option}: {sentence}"
            assert sentence.endswith("."), f"{option}: {sentence}"


@pytest.mark.parametrize("name", sorted(INFO))
def test_an_info_module_is_thin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = ast.parse((MODULES / f"{name}.py").read_text(encoding="utf-8"))
    kinds = [type(node).__name__ for node in code.body]
    assert kinds == ["Expr", "ImportFrom", "Assign", "Assign", "Assign", "ImportFrom", "FunctionDef", "If"]
    called: list[str] = []
    monkeypatch.setattr("plugins.module_utils._module.info", called.append)
    monkeypatch.delitem(sys.modules, f"plugins.modules.{name}", raising=False)
    importlib.import_module(f"plugins.modules.{name}").main()
    assert called == [name]


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_action_goes_by_its_kind_and_name(action: str) -> None:
    assert action == f"{ACTIONS[action].kind}_{ACTIONS[action].name}"


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_options_are_documented_as_they_are(action: str) -> None:
    told = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in documentation(action)["options"].items()
    }
    # that a value is kept out of logs is nothing that an option's documentation can say
    rules = ACTIONS[action].options.items()
    assert told == {name: {key: rule[key] for key in rule if key != "no_log"} for name, rule in rules}


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_rules_say_only_what_the_checker_knows(action: str) -> None:
    for name, rule in ACTIONS[action].options.items():
        assert set(rule) <= KEYS, name
        assert rule["type"] in ("str", "int", "bool", "list"), name
        assert (rule["type"] == "list") == (rule.get("elements") == "str"), name
        assert not (rule.get("required") and "default" in rule), name
        # a VM's document has what its template has, passwords among it
        secret = any(word in name for word in ("secret", "key", "password")) or name == "document"
        # the path of a file
        secret = secret and name != "ceph_key"
        assert rule.get("no_log", False) == secret, name


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_each_option_is_described_in_whole_sentences(action: str) -> None:
    for name, option in documentation(action)["options"].items():
        for sentence in sentences(option):
            assert sentence[0].isupper() or sentence.startswith(("C(", "V(", "O(")), f"{name}: {sentence}"
            assert sentence.endswith("."), f"{name}: {sentence}"


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_fragment_stands_in_full(action: str) -> None:
    """Fragments match the groups of options: a module never takes a part of one."""
    own = text(MODULES / f"{action}.py", "DOCUMENTATION")
    for reference in own["extends_documentation_fragment"]:
        assert set(fragment(reference).get("options", {})) <= set(ACTIONS[action].options), reference


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_the_lead_is_told(action: str) -> None:
    told = " ".join(documentation(action)["description"])
    assert "The lead is" in told
    assert ("peer" in ACTIONS[action].options) == ("There is no peer" not in told)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_attributes(action: str) -> None:
    attributes = documentation(action)["attributes"]
    looking = ACTIONS[action].name in ("stat", "monitor", "monitor_ds", "ls", "backup_verify", "digest")
    assert attributes["check_mode"]["support"] == "full"
    assert attributes["diff_mode"]["support"] == ("N/A" if looking else "full")
    assert attributes["idempotent"]["support"] in ("full", "partial")
    assert attributes["platform"]["platforms"] == "linux"


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_code_of_an_error_is_told(action: str) -> None:
    returned = text(MODULES / f"{action}.py", "RETURN")
    told = " ".join(sentences(returned["error"]["contains"]["code"]))
    assert {code for code in FAMILY if f"V({code})" in told} == set(FAMILY)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_examples_use_options_that_are_there(action: str) -> None:
    tasks = text(MODULES / f"{action}.py", "EXAMPLES")
    uses = [task[COLLECTION + action] for task in tasks if COLLECTION + action in task]
    assert uses
    for options in uses:
        rules = ACTIONS[action].options
        assert set(options) <= set(rules)
        assert {name for name, rule in rules.items() if rule.get("required")} <= set(options)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_module_is_thin(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documentation and one call, with its own name."""
    code = ast.parse((MODULES / f"{action}.py").read_text(encoding="utf-8"))
    kinds = [type(node).__name__ for node in code.body]
    assert kinds == ["Expr", "ImportFrom", "Assign", "Assign", "Assign", "ImportFrom", "FunctionDef", "If"]
    called: list[str] = []
    monkeypatch.setattr("plugins.module_utils._module.main", called.append)
    monkeypatch.delitem(sys.modules, f"plugins.modules.{action}", raising=False)
    importlib.import_module(f"plugins.modules.{action}").main()
    assert called == [action]
