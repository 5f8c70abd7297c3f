# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``datastore``: register datastores with oned, or bring their attributes up to date.

It reads a JSON list of datastores on stdin, since attributes may be passwords, and asks oned as the user of ONE_AUTH. A
datastore is found by its id, else by its name. What is not named in it stays as it is in OpenNebula.
"""

from __future__ import annotations

import argparse
import json
import sys

from ..module_utils._errors import BadCall, Refused, StorageError, one_line
from .documents import text
from .oned import Oned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: Words for oned's types, as TYPE has them and as the document numbers them.
TYPES = {
    "image": ("IMAGE_DS", "0"),
    "system": ("SYSTEM_DS", "1"),
    "file": ("FILE_DS", "2"),
    "backup": ("BACKUP_DS", "3"),
}
_KEYS = ("id", "name", "type", "ds_mad", "tm_mad", "cluster", "attributes")
#: Attributes of which a driver needs another value than oned's default (contract-tm 4.1).
DEFAULTS = {"ceph": {"DISK_TYPE": "RBD"}}
#: Attributes without which a driver does nothing, oned's REQUIRED_ATTRS and what it does not ask for (contract-tm 4.2).
NEEDED = {
    "ceph": ("BRIDGE_LIST", "POOL_NAME"),
    "restic": ("RESTIC_PASSWORD", "RESTIC_SFTP_SERVER"),
    "rsync": ("RSYNC_HOST", "RSYNC_USER"),
}
_SECRET = ("PASS", "SECRET", "TOKEN", "KEY")
_MERGE, _REPLACE = 1, 0


def main(arguments: list[str]) -> int:
    """Do it; a line for each change and one with each datastore's id, exit code 1 with one sentence for a failure."""
    parser = argparse.ArgumentParser(prog="datastore", description="Register datastores; a JSON list on stdin.")
    parser.add_argument("--check", action="store_true", help="change nothing, say what would change")
    parser.add_argument("--prefix", default="", help="what the names of these drivers begin with, for what they need")
    given = parser.parse_args(arguments)
    try:
        wishes = [checked(wish, given.prefix) for wish in _read()]
        oned = Oned()
        for wish in wishes:
            for line in settle(oned, wish, given.check):
                print(line, flush=True)
    except StorageError as error:
        print(f"datastore: {one_line(str(error), 600)}", file=sys.stderr)
        return 1
    return 0


def _read() -> list[dict[str, Any]]:
    try:
        wishes = json.loads(sys.stdin.read(1 << 20))
    except ValueError:
        raise BadCall("There is no JSON list of datastores on stdin") from None
    if not isinstance(wishes, list) or not all(isinstance(wish, dict) for wish in wishes):
        raise BadCall("What is on stdin is no list of datastores")
    return wishes


def checked(wish: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A wish with all its keys; ``BadCall`` for one that no oned would take."""
    name = str(wish.get("name") or "")
    what = f"The datastore '{one_line(name, 60)}'"
    unknown = sorted(set(wish) - set(_KEYS))
    if unknown:
        raise BadCall(f"{what} has {one_line(unknown[0], 40)}, which is none of {', '.join(_KEYS)}")
    if not name or len(name) > 128 or any(char in name for char in "&|:\\\";/'#{}$<>\n"):
        raise BadCall(f"{what} has a name that OpenNebula does not take")
    for key in ("id", "cluster"):
        if wish.get(key) is not None and (isinstance(wish[key], bool) or not isinstance(wish[key], int)):
            raise BadCall(f"{what} has an {key} that is no number")
    if not isinstance(wish.get("attributes") or {}, dict):
        raise BadCall(f"{what} has attributes without names")
    if wish.get("type") not in TYPES:
        raise BadCall(f"{what} is none of {', '.join(TYPES)}")
    kind = wish["type"]
    ds_mad = "" if kind == "system" else str(wish.get("ds_mad") or "")
    tm_mad = "" if kind == "backup" else str(wish.get("tm_mad") or "")
    if kind != "system" and not ds_mad:
        raise BadCall(f"{what} has no ds_mad")
    if kind != "backup" and not tm_mad:
        raise BadCall(f"{what} has no tm_mad")
    driver = (ds_mad or tm_mad).removeprefix(prefix)
    attributes: dict[str, str | None] = dict(DEFAULTS.get(driver, {}))
    for key, value in (wish.get("attributes") or {}).items():
        if (
            not key.isascii()
            or not key.replace("_", "").isalnum()
            or key.upper() in ("NAME", "TYPE", "DS_MAD", "TM_MAD")
        ):
            raise BadCall(f"{what} cannot have an attribute '{one_line(key, 60)}'")
        attributes[key.upper()] = None if value is None else _word(value)
    missing = [key for key in NEEDED.get(driver, ()) if not attributes.get(key)]
    return {
        "id": wish.get("id"),
        "name": name,
        "type": kind,
        "mads": {key: value for key, value in (("DS_MAD", ds_mad), ("TM_MAD", tm_mad)) if value},
        "cluster": -1 if wish.get("cluster") is None else wish["cluster"],
        "attributes": attributes,
        "missing": missing,
    }


def _word(value: Any) -> str:
    return {True: "YES", False: "NO"}[value] if isinstance(value, bool) else str(value)


def settle(oned: Oned, wish: dict[str, Any], check: bool = False) -> list[str]:
    """Register or update one datastore; what changed, and its id, in words.

    :raises Refused: when oned has another type under this name, or does not take the attributes.
    """
    found = _find(oned, wish)
    if found is None:
        if wish["missing"]:
            raise BadCall(f"The datastore '{wish['name']}' needs {' and '.join(wish['missing'])}")
        ident = "-" if check else str(_allocate(oned, wish))
        return [f"new datastore {wish['name']}", f"datastore {ident} {wish['name']}"]
    number = int(text(found, "ID"))
    # its list of attributes has passwords encrypted, which never equal what is wished for
    store = oned.datastore(number, decrypt=True)
    if text(store, "TYPE") != TYPES[wish["type"]][1]:
        raise Refused(
            f"Datastore {number}, '{text(store, 'NAME')}', is no {wish['type']} datastore, and cannot become one"
        )
    lines = []
    if text(store, "NAME") != wish["name"]:
        lines.append(f"changed datastore {number}: NAME")
        if not check:
            oned.call("one.datastore.rename", [number, wish["name"]], f"datastore {number}", wanted="rename")
    lines += _update(oned, number, store, wish, check)
    return [*lines, f"datastore {number} {wish['name']}"]


def _find(oned: Oned, wish: dict[str, Any]) -> _Element | None:
    pool = oned.datastores().findall("DATASTORE")
    if wish["id"] is not None:
        named = [one for one in pool if text(one, "ID") == str(wish["id"])]
        if not named:
            raise BadCall(f"There is no datastore {wish['id']}: leave the id out to register a new one")
    else:
        named = [one for one in pool if text(one, "NAME") == wish["name"]]
    if len(named) > 1:
        raise Refused(f"{len(named)} datastores are named '{wish['name']}': say which by its id")
    return named[0] if named else None


def _allocate(oned: Oned, wish: dict[str, Any]) -> int:
    values = {"NAME": wish["name"], "TYPE": TYPES[wish["type"]][0], **wish["mads"], **wish["attributes"]}
    what = f"the datastore '{wish['name']}'"
    arguments: list[int | bool | str] = [_template(values), wish["cluster"]]
    return int(oned.call("one.datastore.allocate", arguments, what, wanted="register", otherwise=Refused))


def _update(oned: Oned, number: int, store: _Element, wish: dict[str, Any], check: bool) -> list[str]:
    wanted = {**wish["mads"], **wish["attributes"]}
    there = {child.tag: child.text or "" for child in store.iterfind("TEMPLATE/*") if not len(child)}
    # oned takes this one out of the template and has it beside
    there.setdefault("DISK_TYPE", _disk_type(store))
    changed = {key: value for key, value in wanted.items() if value is not None and there.get(key) != value}
    gone = [key for key, value in wanted.items() if value is None and key in there]
    lines = [
        f"changed datastore {number}: {_told(key, there.get(key), value)}" for key, value in sorted(changed.items())
    ]
    lines += [f"changed datastore {number}: {key} goes" for key in sorted(gone)]
    if lines and not check:
        template, mode = _template(changed), _MERGE
        if gone:
            template, mode = _without(store, gone, changed), _REPLACE
        arguments: list[int | bool | str] = [number, template, mode]
        oned.call("one.datastore.update", arguments, f"datastore {number}", wanted="update", otherwise=Refused)
    return lines


def _disk_type(store: _Element) -> str:
    names = ("FILE", "CD_ROM", "BLOCK", "RBD")
    number = text(store, "DISK_TYPE")
    return names[int(number)] if number.isdigit() and int(number) < len(names) else ""


def _told(key: str, old: str | None, new: str) -> str:
    if any(word in key for word in _SECRET):
        return key
    return f"{key} {one_line(old, 80) or 'nothing'} -> {one_line(new, 80)}" if old is not None else f"{key} {new}"


def _template(values: dict[str, str | None]) -> str:
    """A template as XML, in which a value may have any character."""
    from lxml import etree

    root = etree.Element("TEMPLATE")
    for key, value in values.items():
        if value is not None:
            etree.SubElement(root, key).text = value
    return etree.tostring(root, encoding="unicode")


def _without(store: _Element, gone: list[str], changed: dict[str, str | None]) -> str:
    """The datastore's own template, some attributes left out and others changed."""
    from copy import deepcopy

    from lxml import etree

    root = etree.Element("TEMPLATE")
    for child in store.iterfind("TEMPLATE/*"):
        if child.tag not in gone and child.tag not in changed:
            root.append(deepcopy(child))
    for key, value in changed.items():
        etree.SubElement(root, key).text = value
    return etree.tostring(root, encoding="unicode")
