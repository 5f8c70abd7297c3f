# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the core: tools, steps, drivers, doors. Nothing imports upwards, and nothing imports too much."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
CORE = PLUGINS / "module_utils"
FILES = sorted(CORE.rglob("*.py"))

#: Who stands above whom. Errors and options are below all.
LAYERS = {"_errors": 0, "_options": 0, "_actions": 0, "tools": 1, "steps": 2, "drivers": 3}
DOORS = 4

#: Sent to a peer, which has nothing of ours.
SENT = (
    *("codec", "wire", "command", "files", "copying", "hidden", "locks", "sweeping", "host"),
    *("digest", "peer_main", "relay", "operations"),
    *("pace", "flow", "landing", "stream"),
)


def layer_of(path: Path) -> int:
    """The layer of a file of the core; the entry and the doors are on top."""
    return LAYERS.get(path.relative_to(CORE).with_suffix("").parts[0], DOORS)


def imports(path: Path) -> list[tuple[str, int]]:
    """(dotted name, line) of everything a file imports at run time; what is ours begins with `core.`."""
    module = ast.parse(path.read_text())
    package = ["core", *path.relative_to(CORE).parent.parts]
    found = []
    for node in at_run_time(module):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def at_run_time(module: ast.Module) -> list[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING:`."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        found.append(node)
        waiting += list(ast.iter_child_nodes(node))
    return found


def ours(name: str) -> Path | None:
    """The file of the core that a dotted name means."""
    parts = name.split(".")
    if parts[0] != "core":
        return None
    for length in range(len(parts), 0, -1):
        path = CORE.joinpath(*parts[1:length])
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
    package = CORE.joinpath(*parts[1:-1], "__init__.py")
    if package.is_file() and re.search(rf"\b{parts[-1]}\b", package.read_text()):
        return package
    return CORE.joinpath(*parts[1:])


def test_there_is_a_core() -> None:
    assert {path.relative_to(CORE).parts[0] for path in FILES} >= {"tools", "steps", "drivers", "_run.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_nothing_imports_upwards(path: Path) -> None:
    for name, line in imports(path):
        other = ours(name)
        if other is None:
            continue
        assert other.is_relative_to(CORE), f"{path}:{line} imports {name}"
        assert other.exists(), f"{path}:{line} imports {name}, which is not there"
        if other.is_file():
            assert layer_of(other) <= layer_of(path), f"{path}:{line} imports {name} from a layer above"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_are_relative_or_of_the_standard_library(path: Path) -> None:
    optional = {"lxml", "libvirt", "libvirt_qemu", "rbd", "rados"}
    for name, line in imports(path):
        top = name.split(".")[0]
        if top == "ansible":
            assert path.name == "_module.py", f"{path}:{line} imports ansible"
        else:
            assert top in sys.stdlib_module_names | {"core", "__future__"} | optional, f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    heavy = {"lxml", "libvirt", "libvirt_qemu", "rbd", "rados", "ctypes", "asyncio", "xml", "http", "urllib", "logging"}
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        # loaded only for an image that comes from there
        if path.name not in ("http.py", "s3.py"):
            assert not heavy & {name.split(".")[0] for name in names}, f"{path}:{node.lineno} imports {names}"


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_to_a_peer_needs_nothing_else_of_ours(name: str) -> None:
    for imported, line in imports(CORE / "tools" / f"{name}.py"):
        other = ours(imported)
        if other is not None:
            assert other.parent == CORE / "tools" and other.stem in SENT, f"{name}.py:{line} imports {imported}"
        else:
            assert imported.split(".")[0] in sys.stdlib_module_names | {"__future__"}, f"{name}.py:{line}: {imported}"


def _siblings(path: Path) -> set[str]:
    """The files of the same folder that a driver takes from."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in found if node.level == 1 and node.module}


def test_the_registry_imports_literally_and_inside_functions() -> None:
    path = CORE / "drivers" / "registry.py"
    module = ast.parse(path.read_text())
    files = {file.stem for file in (CORE / "drivers").glob("*.py")} - {"__init__", "base", "registry"}
    parts = {name for file in (CORE / "drivers").glob("*.py") for name in _siblings(file) if file.stem != "registry"}
    drivers = files - parts
    literal = set()
    for function in [node for node in module.body if isinstance(node, ast.FunctionDef)]:
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                literal.add(node.module)
            assert not (isinstance(node, ast.Name) and node.id in ("__import__", "importlib")), "a computed import"
    assert drivers <= literal <= files
    top = [node.module for node in module.body if isinstance(node, ast.ImportFrom) and node.level]
    assert not set(top) & drivers


def test_no_computed_imports_in_drivers_and_steps() -> None:
    for path in FILES:
        if layer_of(path) in (2, 3):
            assert not [name for name, _line in imports(path) if name.split(".")[0] == "importlib"], path


def test_modules_hold_no_storage_logic() -> None:
    """A module is documentation and one call."""
    for path in sorted((PLUGINS / "modules").glob("*.py")):
        for name, line in [(alias, node.lineno) for node in ast.walk(ast.parse(path.read_text()))
                           if isinstance(node, ast.ImportFrom) for alias in [node.module or ""]]:  # fmt: skip
            if name.startswith("ansible_collections."):
                assert name.rpartition(".")[2].startswith("_"), f"{path}:{line} imports {name}"
