# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not in order on one host: programs, rights, room, datastores. All of it in one call."""

from __future__ import annotations

import os

from . import _run
from ._check_pool import check_pool, checked
from ._errors import BadCall, NoSpace, StorageError, from_os, one_line
from ._probe import KINDS, probe
from .tools import aside, mounted, programs
from .tools.command import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SECONDS = 20


def host_check(params: dict[str, Any]) -> dict[str, Any]:
    """Look at this host, and try what cannot be seen; what a problem is, is told in sentences.

    :param params: the options of the module ``host_check``; ``check`` leaves out whatever writes.
    :raises BadCall: a datastore that the caller did not describe.
    """
    token = params["mark"]
    if token and not (token.isascii() and token.isalnum() and 8 <= len(token) <= 40):
        raise BadCall("The mark is not made of 8 to 40 letters and digits")
    stores = [_checked(one) for one in params["datastores"]]
    pools = [checked(one) for one in params["pools"]]
    if params["finish"]:
        return _finish(stores, params)
    found = _Found()
    return {
        "programs": _programs(params, found),
        "sudo": _sudo(params["sudo"], found),
        "folders": _folders(params, found),
        "datastores": [_datastore(one, params, found) for one in stores],
        "pools": [_pool(one, params, found) for one in pools],
        "problems": found.problems,
    }


class _Found:
    """What is not in order."""

    def __init__(self) -> None:
        self.problems: list[dict[str, str]] = []

    def add(self, check: str, thing: str, sentence: str) -> None:
        self.problems.append({"check": check, "thing": thing, "sentence": one_line(sentence)})


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    name = one_line(str(given.get("id", given.get("path", ""))), 80)
    path = str(given.get("path") or "").rstrip("/")
    if not path.startswith("/"):
        raise BadCall(f"The datastore '{name}' has no path that begins with /")
    if given.get("kind") not in (*KINDS, "folder"):
        raise BadCall(f"The datastore '{name}' is none of {', '.join(KINDS)} and folder")
    try:
        number = int(given.get("id", "")) if not isinstance(given.get("id"), bool) else -1
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise BadCall(f"The datastore '{name}' has no id")
    return {"id": number, "path": path, "kind": str(given["kind"])}


def _programs(params: dict[str, Any], found: _Found) -> list[dict[str, Any]]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="one_storage-check-") as scratch:
        rows = programs.look(params["needs"], scratch)
    for row in rows:
        if row["problem"]:
            found.add("tools", row["name"], row["problem"])
    return rows


def _sudo(commands: list[str], found: _Found) -> list[dict[str, Any]]:
    rows = []
    for command in commands:
        words = command.split()
        try:
            allowed = bool(words) and run(["sudo", "-n", "-l", "--", *words], _SECONDS)["rc"] == 0
        except OSError:
            allowed = False
        rows.append({"command": command, "allowed": allowed})
        if not allowed:
            found.add("sudo", command, f"{_user()} may not run {command} by sudo; allow it without a password")
    return rows


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _folders(params: dict[str, Any], found: _Found) -> list[dict[str, Any]]:
    """Room where no datastore is: a full disk for logs or scripts stops actions, too."""
    rows: list[dict[str, Any]] = []
    for folder in params["folders"]:
        row: dict[str, Any] = {"path": folder, "error": ""}
        try:
            [told] = _aside(f"folder {folder}", lambda folder=folder: [mounted.described(folder)], params)
            row.update(told)
            _room(row, folder, params, found)
        except OSError as error:
            row["error"] = str(from_os(error, f"look at {folder}"))
            found.add("space", folder, row["error"])
        rows.append(row)
    return rows


def _room(row: dict[str, Any], what: str, params: dict[str, Any], found: _Found) -> bool:
    """Whether there is room; a sentence where there is not."""
    least, before = params["min_free_percent"], len(found.problems)
    if row["free_percent"] < least:
        free = f"{row['free_mb']} of {row['total_mb']} MB are free on {row['mount']}, less than {least} %"
        found.add("space", what, f"{what} is full: {free}; free some space")
    if row["free_inodes_percent"] < least:
        free = f"{row['free_inodes_percent']} % of the inodes of {row['mount']} are free, less than {least} %"
        found.add("space", what, f"{what} has no room for files: {free}; remove files, or make a larger file system")
    return len(found.problems) == before


def _aside(key: str, task: Any, params: dict[str, Any]) -> Iterator[Any]:
    """What a look at storage yields; it may hang and then is left behind."""
    return aside.look(f"check {key}", task, params["stall_timeout"], params["command_timeout"])


def _datastore(store: dict[str, Any], params: dict[str, Any], found: _Found) -> dict[str, Any]:
    """A row about one datastore; what is told after the first thing that is broken would be told twice."""
    row: dict[str, Any] = {**store, "seen": [], "ms": None}
    what, check = f"datastore {store['id']}", "mounts"
    try:
        for told in _aside(store["path"], lambda: _tried(store, params), params):
            row.update(told)
            check = row.pop("next", check)
    except BlockingIOError:
        row["problem"] = f"{store['path']} is not looked at again: an earlier check hangs there; mount it anew"
    except TimeoutError as error:
        row["problem"] = f"{store['path']} does not answer: {error.strerror}; see to the storage, or mount it anew"
    except OSError as error:
        row["problem"] = str(from_os(error, f"look at {store['path']}"))
    roomy = "free_mb" not in row or row.get("read_only") or _room(row, what, params, found)
    problem, full = row.pop("problem", ""), row.pop("full", False)
    row["error"] = problem
    # a full one has been told already
    if problem and (roomy or not full):
        found.add("space" if full else check, what, f"{what}: {problem}")
    return row


def _pool(store: dict[str, Any], params: dict[str, Any], found: _Found) -> dict[str, Any]:
    """A row about the pool of a datastore."""
    row, said = check_pool(store, params)
    for sentence in said:
        found.add("probe", f"datastore {store['id']}", sentence)
    return row


def _tried(store: dict[str, Any], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """In a child process: what is known so far, part by part, and the first problem."""
    path = store["path"]
    if not os.path.lexists(path):
        yield {"problem": f"{path} is not there; mount it"}
        return
    if not os.path.isdir(path):
        yield {"problem": f"{path} is no folder; mount it"}
        return
    told = mounted.described(path)
    yield told
    if told["read_only"]:
        yield {"problem": f"{path} is mounted read-only, on {told['mount']}; mount it for writing"}
        return
    if params["check"]:
        return
    try:
        if params["mark"] and store["kind"] in ("image", "shared"):
            yield {"seen": mounted.leave_mark(path, params["mark"], params["name"])}
        if store["kind"] == "folder":
            return
        yield {"next": "probe"}
        # the drivers mark a datastore of the host's own, which is not to be marked by a check
        says = _marker(path) if store["kind"] == "local" else ""
        kind = "shared" if store["kind"] == "local" and not says else store["kind"]
        yield {"ms": probe(kind, store["id"], path, says, _act)}
    except OSError as error:
        raised = from_os(error, f"write to {path}")
        yield {"problem": str(raised), "full": isinstance(raised, NoSpace)}
    except StorageError as error:
        yield {"problem": str(error), "full": isinstance(error, NoSpace)}


def _marker(path: str) -> str:
    """What the file ``.monitor`` of a datastore says; nothing when there is none."""
    try:
        with open(os.path.join(path, ".monitor"), encoding="utf-8", errors="replace") as file:
            return file.read(256).strip()
    except FileNotFoundError:
        return ""


def _act(name: str, options: dict[str, Any]) -> dict[str, Any]:
    outcome = _run.run(name, options, _run.Mode())
    outcome.close()
    return outcome.result


def _finish(stores: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """Whose marks are seen at the end; they go, whoever left them."""
    rows, found = [], _Found()

    def last(path: str) -> Iterator[list[str]]:
        yield mounted.seen(path, params["mark"])
        mounted.remove_marks(path, params["mark"])

    for store in stores:
        row: dict[str, Any] = {**store, "seen": []}
        if params["mark"] and not params["check"] and os.path.isdir(store["path"]):
            try:
                for told in _aside(store["path"], lambda path=store["path"]: last(path), params):
                    row["seen"] = told
            except OSError as error:
                found.add("mounts", f"datastore {store['id']}", str(from_os(error, f"remove marks in {store['path']}")))
        rows.append(row)
    return {"programs": [], "sudo": [], "folders": [], "datastores": rows, "pools": [], "problems": found.problems}
