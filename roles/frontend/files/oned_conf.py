# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enter drivers in OpenNebula's configuration, or take them out again.

    oned_conf.py '{"conf": "/etc/one/oned.conf", "execrc": "/etc/one/vmm_exec/vmm_execrc", "prefix": "os_",
                   "tm": ["os_qcow2", "os_ssh"], "ds": ["os_fs"], "system": ["os_qcow2", "os_ssh"],
                   "tm_conf": {}, "ds_conf": {}, "state": "present", "check": false}'

What is missing is added: names to the lists -d and -s of TM_MAD and DATASTORE_MAD, blocks TM_MAD_CONF and DS_MAD_CONF
with stock's values (contract-tm 4.1, 4.2), pairs to LIVE_DISK_SNAPSHOTS. What is there already, comments and the
entries of others stay as they are. A part between two marks at the end of each file has what was added and a list of
it, so that state absent gives back the very bytes; the copy FILE.one_storage is the file before the first change.

It prints "changed FILE" and then the changed lines, without any around them, which may hold passwords. Errors: one
sentence on stderr, exit code 1, and no file is changed. Standard library only, Python 3.9+.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
from typing import Any, NamedTuple

BEGIN = "# BEGIN one_storage.drivers"
END = "# END one_storage.drivers"
NEWLINE = "# the file ended without a newline"
ADDED = re.compile(r"^# added to (\S+) (\S+): (\S+)$", re.MULTILINE)
BACKUP = ".one_storage"

#: What -s means where it is not given.
SYSTEM = "shared,ssh,ceph"
#: Hypervisors whose running guests' disks our drivers snapshot, with the drivers that can.
LIVE = {
    "kvm": ("qcow2", "shared", "ceph", "ssh", "local", "lvm_thin", "lvm"),
    "qemu": ("qcow2", "shared", "ceph", "ssh", "local"),
}
_ALL = {"DS_MIGRATE": "YES", "DS_LIVE_MIGRATE": "YES", "DS_MIGRATE_SNAP": "YES"}
_NONE = {"DS_MIGRATE": "NO"}


def _tm(link: str, clone: str, shared: str, more: dict[str, str]) -> dict[str, str]:
    return {"LN_TARGET": link, "CLONE_TARGET": clone, "SHARED": shared, **more}


_BLOCK = {"DRIVER": "raw", "DISK_TYPE": "BLOCK"}
_TO_SSH = {
    "TM_MAD_SYSTEM": "ssh",
    "LN_TARGET_SSH": "SYSTEM",
    "CLONE_TARGET_SSH": "SYSTEM",
    "DISK_TYPE_SSH": "FILE",
}
TM_CONF: dict[str, dict[str, str]] = {
    "dummy": _tm("NONE", "SYSTEM", "YES", _ALL),
    "shared": _tm("NONE", "SYSTEM", "YES", {**_ALL, "ALLOW_ORPHANS": "FORMAT", **_TO_SSH}),
    "qcow2": _tm("NONE", "SYSTEM", "YES", {**_ALL, "DRIVER": "qcow2", "ALLOW_ORPHANS": "FORMAT", **_TO_SSH}),
    "ssh": _tm("SYSTEM", "SYSTEM", "NO", {**_ALL, "ALLOW_ORPHANS": "YES"}),
    "local": _tm("SYSTEM", "SYSTEM", "NO", {**_ALL, "ALLOW_ORPHANS": "FORMAT"}),
    "ceph": _tm("NONE", "SELF", "YES", {**_NONE, "DRIVER": "raw", "ALLOW_ORPHANS": "mixed", **_TO_SSH}),
    "lvm": _tm("NONE", "SELF", "YES", {**_BLOCK, "ALLOW_ORPHANS": "YES", "DS_MIGRATE": "YES"}),
    "fs_lvm": _tm("SYSTEM", "SYSTEM", "YES", {**_BLOCK, "DS_MIGRATE": "YES"}),
    "fs_lvm_ssh": _tm(
        "SYSTEM",
        "SYSTEM",
        "YES",
        {
            **_BLOCK,
            "ALLOW_ORPHANS": "YES",
            "PERSISTENT_SNAPSHOTS": "NO",
            "DS_MIGRATE": "YES",
            "DS_LIVE_MIGRATE": "YES",
        },
    ),
    "iscsi_libvirt": _tm("NONE", "SELF", "YES", {**_NONE, "DRIVER": "raw"}),
    "dev": _tm("NONE", "NONE", "YES", {**_NONE, "DRIVER": "raw"}),
    "netapp": _tm("NONE", "SELF", "YES", {**_NONE, **_BLOCK, "ALLOW_ORPHANS": "LINEAR"}),
    "purefa": _tm("NONE", "SELF", "YES", {**_NONE, **_BLOCK, "ALLOW_ORPHANS": "YES"}),
    "virtiofs": _tm("NONE", "NONE", "YES", {**_NONE, "DRIVER": "virtiofs", "DISK_TYPE": "filesystem"}),
}
_ONCE = {"PERSISTENT_ONLY": "YES"}
_MANY = {"PERSISTENT_ONLY": "NO"}
_EXPORT = {"MARKETPLACE_ACTIONS": "export"}
DS_CONF: dict[str, dict[str, str]] = {
    "ceph": {"REQUIRED_ATTRS": "DISK_TYPE,BRIDGE_LIST", **_MANY, **_EXPORT},
    "dev": {"REQUIRED_ATTRS": "DISK_TYPE", **_ONCE},
    "iscsi_libvirt": {"REQUIRED_ATTRS": "DISK_TYPE,ISCSI_HOST", **_ONCE},
    "dummy": {"REQUIRED_ATTRS": "", **_MANY},
    "fs": {"REQUIRED_ATTRS": "", **_MANY, **_EXPORT},
    "lvm": {"REQUIRED_ATTRS": "", **_MANY},
    "restic": {"REQUIRED_ATTRS": "RESTIC_PASSWORD", **_ONCE},
    "rsync": {"REQUIRED_ATTRS": "RSYNC_HOST,RSYNC_USER", **_ONCE},
    "netapp": {
        "REQUIRED_ATTRS": ",".join(f"NETAPP_{what}" for what in "HOST USER PASS AGGREGATES SVM IGROUP TARGET".split()),
        **_MANY,
    },
    "purefa": {"REQUIRED_ATTRS": "PUREFA_HOST,PUREFA_API_TOKEN,PUREFA_TARGET", **_MANY},
    "virtiofs": {"REQUIRED_ATTRS": "", **_MANY, "DATASTORE_CAPACITY_CHECK": "NO"},
    "interactive": {"REQUIRED_ATTRS": "", **_MANY, "DATASTORE_CAPACITY_CHECK": "NO"},
}


class ConfError(Exception):
    """The configuration cannot be changed; the message is one plain sentence."""


class Value(NamedTuple):
    """A value and where it stands in the text, without its quotes."""

    text: str
    start: int
    end: int


class Section(NamedTuple):
    """NAME = [ KEY = "value", … ] with its values by key."""

    name: str
    values: dict[str, Value]


# ------------------------------------------------------------ reading

_TOKEN = re.compile(
    r'(?P<comment>#[^\n]*)|"(?P<string>(?:\\.|[^"\\])*)"|(?P<mark>[\[\]=,])|(?P<word>[^\s"\[\]=,#]+)|(?P<space>\s+)|.',
    re.DOTALL,
)


def sections(text: str, path: str) -> list[Section]:
    """The sections of oned.conf, in their order; ConfError for what oned could not read either."""
    found: list[Section] = []
    inside: Section | None = None
    before: list[str] = []
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind in ("comment", "space"):
            continue
        line = text.count("\n", 0, token.start()) + 1
        if kind is None:
            raise ConfError(f"{path} cannot be read: an open quote in line {line}")
        word = token[0]
        if word == "[" and kind == "mark":
            if inside is not None or len(before) < 2 or before[-1] != "=":
                raise ConfError(f"{path} cannot be read: a bracket too many in line {line}")
            inside = Section(before[-2].upper(), {})
        elif word == "]" and kind == "mark":
            if inside is None:
                raise ConfError(f"{path} cannot be read: a bracket too many in line {line}")
            found.append(inside)
            inside = None
        elif inside is not None and kind in ("string", "word") and len(before) > 1 and before[-1] == "=":
            start, end = token.span(kind)
            inside.values[before[-2].upper()] = Value(text[start:end], start, end)
        before = [*before[-1:], word]
    if inside is not None:
        raise ConfError(f"{path} cannot be read: {inside.name} has no closing bracket")
    return found


def names_of(found: list[Section], kind: str) -> set[str]:
    """The drivers that have a block of a kind."""
    return {one.values["NAME"].text for one in found if one.name == kind and "NAME" in one.values}


# ------------------------------------------------------------ our part


def without_ours(text: str, path: str) -> str:
    """The text as it was before we came: our part goes, and the names that it lists."""
    start = text.find(BEGIN + "\n")
    if start < 0:
        return text
    end = text.find(END + "\n", start)
    if end < 0:
        raise ConfError(f"{path} has '{BEGIN}' without '{END}': put that line back where our part ends")
    ours = text[start:end]
    text = text[:start] + text[end + len(END) + 1 :]
    if NEWLINE in ours and text[:start].endswith("\n"):
        text = text[: start - 1] + text[start:]
    for section, option, names in ADDED.findall(ours):
        text = _changed(text, path, section, option, [], set(names.split(",")))
    return text


def with_ours(text: str, path: str, blocks: list[str], lists: list[tuple[str, str, list[str]]]) -> str:
    """The text with what is missing, and our part at its end; the same text where nothing is missing."""
    notes = []
    for section, option, names in lists:
        there = _listed(text, path, section, option)
        changed = _changed(text, path, section, option, [name for name in names if name not in there], set())
        if changed != text:
            fresh = [name for name in _listed(changed, path, section, option) if name not in there]
            notes.append(f"# added to {section} {option}: {','.join(fresh)}")
            text = changed
    if not notes and not blocks:
        return text
    if text and not text.endswith("\n"):
        text += "\n"
        notes.insert(0, NEWLINE)
    said = "# Made by the role one_storage.drivers.frontend, which also takes it out again; changes in here are lost."
    return text + "\n".join([BEGIN, said, *notes, *blocks, END]) + "\n"


def _place(text: str, path: str, section: str) -> Value | None:
    """Where the words of a driver's arguments, or the pairs of LIVE_DISK_SNAPSHOTS, stand."""
    if section == "LIVE_DISK_SNAPSHOTS":
        found = list(re.finditer(r'^[ \t]*(?:export[ \t]+)?LIVE_DISK_SNAPSHOTS="([^"]*)"', text, re.MULTILINE))
        return Value(found[-1][1], found[-1].start(1), found[-1].end(1)) if found else None
    for one in sections(text, path):
        if one.name == section and "ARGUMENTS" in one.values:
            return one.values["ARGUMENTS"]
    return None


def _option(arguments: str, option: str) -> re.Match[str] | None:
    long = {"-d": "--tm-types|--ds-types", "-s": "--system-ds-types"}[option]
    return re.search(rf"(?:^|\s)(?:{option}|{long})(?:\s+|=)([^\s\"]+)", arguments)


def _listed(text: str, path: str, section: str, option: str) -> list[str]:
    place = _place(text, path, section)
    if place is None:
        return []
    if option == "pairs":
        return place.text.split()
    match = _option(place.text, option)
    return match[1].split(",") if match else []


def _changed(text: str, path: str, section: str, option: str, add: list[str], drop: set[str]) -> str:
    """The text with names added to a list, or taken out of it."""
    place = _place(text, path, section)
    if place is None or not (add or drop):
        return text
    old = place.text
    if option == "pairs":
        new = "".join([old, *(f" {name}" for name in add)])
        for name in drop:
            new = re.sub(rf" {re.escape(name)}(?= |$)", "", new)
    else:
        match = _option(old, option)
        if match is not None:
            kept = [name for name in match[1].split(",") if name not in drop]
            new = old[: match.start(1)] + ",".join([*kept, *add]) + old[match.end(1) :]
            if drop and drop.issuperset(match[1].split(",")):
                new = old[: match.start()] + old[match.end() :]
        elif option == "-s" and add:
            new = f"{old} -s {','.join([*(name for name in SYSTEM.split(',') if name not in add), *add])}"
        else:
            # no list means that every driver is allowed
            new = old
    return text[: place.start] + new + text[place.end :]


# ------------------------------------------------------------ what is wanted


def block(kind: str, name: str, values: dict[str, str]) -> str:
    """A section as oned reads it; ConfError for values that it could not."""
    for key, value in {"NAME": name, **values}.items():
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key) or re.search(r'["\\\n\r]', value):
            raise ConfError(f"{kind} of {name}: {key} is no name of an attribute, or its value has a quote in it")
    lines = ",\n".join(f'    {key} = "{value}"' for key, value in {"NAME": name, **values}.items())
    return f"{kind} = [\n{lines}\n]"


def stock_values(table: dict[str, dict[str, str]], name: str, prefix: str) -> dict[str, str] | None:
    """Stock's values for a driver of ours, the names of other drivers in them as they are here."""
    values = table.get(name[len(prefix) :] if name.startswith(prefix) else name)
    if values is None or not prefix or "TM_MAD_SYSTEM" not in values:
        return values
    system = prefix + values["TM_MAD_SYSTEM"]
    renamed = {re.sub(r"_SSH$", f"_{system.upper()}", key): value for key, value in values.items()}
    return {**renamed, "TM_MAD_SYSTEM": system}


def entered(text: str, wish: dict[str, Any]) -> str:
    """oned.conf with our drivers."""
    path, prefix = wish["conf"], wish["prefix"]
    found = sections(text, path)
    for name in ("TM_MAD", "DATASTORE_MAD"):
        if not any(one.name == name and "ARGUMENTS" in one.values for one in found):
            raise ConfError(f"{path} has no {name} with ARGUMENTS: is it the configuration of oned")
    blocks = []
    for kind, names, table, given in (
        ("TM_MAD_CONF", wish["tm"], TM_CONF, wish["tm_conf"]),
        ("DS_MAD_CONF", wish["ds"], DS_CONF, wish["ds_conf"]),
    ):
        for name in names:
            values = given.get(name) or stock_values(table, name, prefix)
            if values is not None and name not in names_of(found, kind):
                blocks.append(block(kind, name, {key: str(value) for key, value in values.items()}))
    lists = [("TM_MAD", "-d", wish["tm"]), ("DATASTORE_MAD", "-d", wish["ds"]), ("DATASTORE_MAD", "-s", wish["system"])]
    return with_ours(text, path, blocks, lists)


def live(text: str, wish: dict[str, Any]) -> str:
    """vmm_execrc with the pairs of hypervisor and driver whose running guests' disks can be snapshot."""
    prefix = wish["prefix"]
    plain = {name[len(prefix) :] if name.startswith(prefix) else name: name for name in wish["tm"]}
    pairs = [f"{vmm}-{plain[name]}" for vmm, names in LIVE.items() for name in names if name in plain]
    if _place(text, wish["execrc"], "LIVE_DISK_SNAPSHOTS") is None:
        return with_ours(text, wish["execrc"], [f'LIVE_DISK_SNAPSHOTS="{" ".join(pairs)}"'] if pairs else [], [])
    return with_ours(text, wish["execrc"], [], [("LIVE_DISK_SNAPSHOTS", "pairs", pairs)])


# ------------------------------------------------------------ files


def read(path: str) -> str:
    """A file's bytes as text of which each byte comes back."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("latin-1")
    except OSError as error:
        raise ConfError(f"Cannot read {path}: {error.strerror}") from None


def write(path: str, before: str, after: str) -> None:
    """Replace a file in one step, with mode and owner; the copy beside it is the file before our first change."""
    path = os.path.realpath(path)
    backup, beside = path + BACKUP, path + BACKUP + ".new"
    try:
        if BEGIN not in before and not os.path.exists(backup):
            shutil.copy2(path, backup)
            shutil.chown(backup, os.stat(path).st_uid, os.stat(path).st_gid)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(after.encode("latin-1"))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, beside)
        shutil.chown(beside, os.stat(path).st_uid, os.stat(path).st_gid)
        os.replace(beside, path)
        if BEGIN not in after and os.path.exists(backup) and read(backup) == after:
            os.unlink(backup)
    except OSError as error:
        raise ConfError(f"Cannot write {path}: {error.strerror}") from None


def main(argument: str) -> None:
    """Bring both files up to date."""
    wish = json.loads(argument)
    absent = wish["state"] == "absent"
    plan = []
    for path, change in ((wish["conf"], entered), (wish["execrc"], live)):
        # a front-end without virtual machines has no such file
        if not path or (path == wish["execrc"] and not os.path.exists(path)):
            continue
        before = read(path)
        stripped = without_ours(before, path)
        after = stripped if absent else change(stripped, wish)
        if path == wish["conf"]:
            sections(after, path)
        if after != before:
            plan.append((path, before, after))
    for path, before, after in plan:
        if not wish["check"]:
            write(path, before, after)
        print(f"changed {path}")
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0):
            print(f"  {line}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ConfError as error:
        print(f"oned_conf.py: {error}", file=sys.stderr)
        sys.exit(1)
