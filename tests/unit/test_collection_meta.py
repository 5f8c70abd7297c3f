# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says of itself: groups of modules for ``module_defaults``, and what Galaxy wants to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}


def read(name: str) -> dict[str, Any]:
    """A YAML file of the collection."""
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


def test_every_module_is_in_the_group_of_its_kind() -> None:
    groups = dict(read("meta/runtime.yml")["action_groups"])
    assert groups.pop("all") == [{"metadata": {"extend_group": list(groups)}}]
    kinds = {
        "ds": {name for name in MODULES if name.startswith("ds_")},
        "tm": {name for name in MODULES if name.startswith("tm_")},
        "info": {name for name in MODULES if name.endswith("_info")},
        "check": {name for name in MODULES if name.endswith("_check")},
    }
    assert {name: set(modules) for name, modules in groups.items()} == kinds
    assert set().union(*kinds.values()) == MODULES
    for modules in groups.values():
        assert modules == sorted(set(modules))


def test_galaxy_is_told_what_it_asks_for() -> None:
    galaxy = read("galaxy.yml")
    for key in ("namespace", "name", "version", "readme", "authors", "description", "license", "tags"):
        assert galaxy[key], key
    # Galaxy takes these tags only, at most 20, and at least one of its own list
    assert (
        all(tag.isascii() and tag.islower() and tag.isalnum() for tag in galaxy["tags"]) and len(galaxy["tags"]) <= 20
    )
    assert {"cloud", "infrastructure", "storage"} & set(galaxy["tags"])
    for key in ("repository", "documentation", "homepage", "issues"):
        # whoever publishes the collection says these, nobody else knows them
        assert galaxy.get(key, "https://").startswith("https://"), key
    assert (ROOT / galaxy["readme"]).is_file()
    assert (ROOT / "meta" / "runtime.yml").is_file() and (ROOT / "LICENSES").is_dir()
