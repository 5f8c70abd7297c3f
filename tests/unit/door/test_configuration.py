# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/configuration.md lists what the code reads, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.plugin_utils.settings import STOCK, Settings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "configuration.md"
SOURCES = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "remotes" / "one_storage").glob("*.py")]
SHELL = (ROOT / "remotes" / "one_storage" / "common.sh").read_text()
#: Variables that ssh, and the standard library, read themselves.
NOT_OURS = {"SSH_AUTH_SOCK", "http_proxy"}
#: Of the image, of a request and of the marketplace: they stand in the text below the table.
OF_OTHERS = {"MD5", "SHA1", "SHA256", "BACKUP_JOB_ID", "FROM_BACKUP_DS", "USERNAME", "INCREMENT_ID"}

#: Who reads, of a whole site, what oned itself writes into templates.
OF_SITES = [ROOT / "plugins" / "plugin_utils" / "site.py", *(ROOT / "plugins" / "plugin_utils" / "fleet").glob("*.py")]


def rows(title: str) -> list[list[str]]:
    """Cells of the table of a section."""
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in table]


def names(title: str) -> set[str]:
    found = [row[0] for row in rows(title)]
    assert len(found) == len(set(found)), "a name stands twice"
    return set(found)


def calls() -> Iterator[tuple[str, list[object], ast.Call]]:
    """Every call in the code: name of the function or method, its constant arguments."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                yield name, [getattr(argument, "value", None) for argument in node.args], node


def is_settings(node: ast.Call) -> bool:
    """Whether it is a method of an object called settings, or of Settings itself."""
    owner = ast.unparse(node.func)
    return "ettings" in owner.rpartition(".")[0] or owner.startswith(("self.text", "self.number"))


def settings_read() -> dict[str, set[str]]:
    """Our settings, with the defaults that the code gives them."""
    found: dict[str, set[str]] = {}
    for name, given, node in calls():
        if name in ("text", "number") and given and isinstance(given[0], str) and is_settings(node):
            defaults = found.setdefault(given[0], set())
            if len(given) == 1:
                defaults.add("empty")
            elif isinstance(given[1], (str, int)):
                defaults.add(str(given[1]))
    return found


def test_our_settings_stand_on_the_page() -> None:
    assert set(settings_read()) == names("Our settings")


def test_with_their_defaults() -> None:
    told = {row[0]: row[1] for row in rows("Our settings")}
    for name, defaults in settings_read().items():
        assert defaults <= {told[name]}, name


def test_the_configuration_file_shows_the_same() -> None:
    text = (ROOT / "remotes" / "etc" / "one_storage" / "one_storage.conf").read_text()
    shown = dict(re.findall(r'^#([A-Z_]+)="(.*)"$', text, re.MULTILINE))
    told = {row[0]: row[1].replace("empty", "") for row in rows("Our settings")}
    told["ANSIBLE_BECOME"] = "no"
    assert shown == told


def test_stocks_files() -> None:
    told = {(row[0], row[1]): row[2].replace("empty", "") for row in rows("Stock's files")}
    assert told.pop(("datastore/datastore.conf", "FS_OPTS_<FS>")) == ""
    assert told == {(file, name): value for file, values in STOCK.items() for name, value in values.items()}


def test_stocks_variables_that_have_readers() -> None:
    read = {given[0] for name, given, _node in calls() if name == "datastore" and given and isinstance(given[0], str)}
    read |= {given[1] for name, given, _node in calls() if name == "stock" and isinstance(given[1], str)}
    told = {row[1] for row in rows("Stock's files") if row[3] != "–"} - {"FS_OPTS_<FS>"}
    assert read == told
    assert any('"FS_OPTS_"' in path.read_text() for path in SOURCES)


def test_the_attributes_of_monitord_stand_on_the_page() -> None:
    text = (ROOT / "plugins" / "plugin_utils" / "monitord.py").read_text()
    read = dict(re.findall(r'values\.get\("([A-Z_]+)", "(.*?)"\)', text))
    assert read == {row[0]: row[1].replace("empty", "") for row in rows("monitord's file")}


def attributes_read() -> set[str]:
    found: set[str] = set()
    for name, given, node in calls():
        if name == "setting" and given and isinstance(given[0], str):
            found.add(given[0])
        if name == "refuse" and isinstance(node.args[-1], ast.Tuple):
            found |= {ast.literal_eval(item) for item in node.args[-1].elts}
    for path in set(SOURCES).difference(OF_SITES):
        text = path.read_text()
        found |= set(re.findall(r"""["'](?:DATASTORE/)?TEMPLATE/([A-Z0-9_]+)["']""", text)) - {"DISK", "NIC"}
        for line in ast.parse(text).body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]).startswith("_NOT_DONE"):
                found |= set(ast.literal_eval(line.value))
    return found


def test_attributes_stand_on_the_page() -> None:
    told = {row[0] for row in rows("Attributes of a datastore") if row[2] != "–"}
    of_ceph = names("Attributes of a Ceph datastore")
    assert attributes_read() - OF_OTHERS - of_ceph == told <= names("Attributes of a datastore")
    below = PAGE.read_text().split("Of the image:")[1].split("##")[0]
    assert set(re.findall(r"`([A-Z0-9_]+)`", below)) > OF_OTHERS


def test_the_attributes_of_backup_datastores_stand_on_the_page() -> None:
    """With the defaults that the code has; what it has none for must be given."""
    from plugins.plugin_utils import calls_backup, repositories

    read: dict[str, str] = {"RSYNC_ARGS": "-aS"}
    for texts in (repositories._RSYNC, repositories._RESTIC, repositories._LOWER):
        read.update(texts.values())
    read.update({name: str(default) for name, default in repositories._NUMBERS.values()})
    read.update(dict.fromkeys(repositories._FLAGS.values(), "no"))
    told: dict[str, str] = {}
    for row in rows("Attributes of a backup datastore"):
        told.update({name.strip("` "): row[1].replace("empty", "").replace("–", "") for name in row[0].split(",")})
    assert {**read, **dict.fromkeys(calls_backup._LIMITS, "-1")} == told


def test_the_attributes_of_ceph_datastores_stand_on_the_page() -> None:
    """With the defaults of stock's file, where that has one."""
    from plugins.plugin_utils import calls_ceph

    read = {name: value for name, value in STOCK["datastore/ceph/ceph.conf"].items() if name != "DD_BLOCK_SIZE"}
    told = {row[0]: row[1].replace("empty", "") for row in rows("Attributes of a Ceph datastore")}
    assert {**read, **dict.fromkeys(calls_ceph._ATTRIBUTES.values(), "")} == told


def test_the_environment_stands_on_the_page() -> None:
    found = set()
    for path in SOURCES:
        found |= set(re.findall(r"""environ(?:\.get\(|\[)\s*["']([A-Za-z_0-9]+)["']""", path.read_text()))
    found |= set(re.findall(r"\$\{(ONE_STORAGE_[A-Z_]+)", SHELL)) | set(re.findall(r'"\$\{(ONE_STORAGE_\w+):=', SHELL))
    found -= {"ONE_STORAGE_", *(f"ONE_STORAGE_{name}" for name in settings_read())}
    assert found | NOT_OURS | {"ONE_STORAGE_<NAME>"} == names("Environment")


@pytest.mark.parametrize("file", sorted(STOCK))
def test_stocks_files_are_read_where_they_lie(file: str, tmp_path: Path) -> None:
    settings = Settings(str(tmp_path))
    for name, value in STOCK[file].items():
        assert settings.stock(file, name) == value
    path = tmp_path / "etc" / file
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"export {name}='other {name}' # told\n" for name in STOCK[file]))
    settings = Settings(str(tmp_path))
    for name in STOCK[file]:
        assert settings.stock(file, name) == f"other {name}"
    assert settings.stock(file, "UNKNOWN", "x") == "x"
