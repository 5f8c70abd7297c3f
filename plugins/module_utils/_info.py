# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The info modules: what lies in datastores, and what runs there. They only look.

A driver answers two questions, ``usage`` and ``contents`` (see :class:`.drivers.space.Files`, and
:class:`.drivers.ceph_contents.CephContents`, which has more to tell); all modules are made of
the answers. A datastore that cannot be looked at is told in its place and keeps no other back.
"""

from __future__ import annotations

import os

from ._actions import ACTIONS
from ._errors import BadCall, StorageError, Unsupported, from_os, one_line
from ._options import check
from .drivers.base import Answer, Request
from .drivers.registry import load
from .steps.base import Site, Timeouts
from .tools.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Rows = list[dict[str, Any]]

#: What a driver may be asked besides its actions.
LOOKS = ("usage", "contents")

_TIMES: dict[str, Any] = {
    "command_timeout": {"type": "int", "default": 600},
    "stall_timeout": {"type": "int", "default": 20},
}
_DATASTORES: dict[str, Any] = {
    "datastores": {"type": "list", "elements": "dict", "required": True},
    "prefix": {"type": "str", "default": ""},
    **_TIMES,
}
#: Keys of a datastore that are looked at; the others that the inventory plugin gives are let through.
_USED = ("id", "name", "type", "path", "ds_mad", "tm_mad", "formats", "settings", "elsewhere")
_PASSED = (
    *("clusters", "enabled", "shared", "in_place", "bridges", "total_mb", "used_mb", "free_mb", "images"),
    "ceph_secret",
)
_DRIVER = {"image": "ds_mad", "file": "ds_mad", "backup": "ds_mad", "system": "tm_mad"}


class Store:
    """One datastore that is to be looked at.

    :raises BadCall: one that the caller did not describe.
    """

    def __init__(self, given: dict[str, Any], prefix: str) -> None:
        what = f"The datastore '{one_line(str(given.get('name') or given.get('path') or given.get('id')), 80)}'"
        unknown = sorted(set(given) - set(_USED) - set(_PASSED))
        if unknown:
            raise BadCall(f"{what} has {one_line(unknown[0], 40)}, which is none of {', '.join(_USED)}")
        self.path = str(given.get("path") or "")
        self.type = str(given.get("type") or "")
        if not self.path:
            raise BadCall(f"{what} has no path")
        if self.type not in _DRIVER:
            raise BadCall(f"{what} is none of {', '.join(_DRIVER)}")
        self.kind = "tm" if self.type == "system" else "ds"
        self.driver = str(given.get(_DRIVER[self.type]) or "")
        if not self.driver:
            raise BadCall(f"{what} has no {_DRIVER[self.type]}")
        self.driver = self.driver[len(prefix) :] if self.driver.startswith(prefix) else self.driver
        for key in ("formats", "settings"):
            if not isinstance(given.get(key) or {}, dict):
                raise BadCall(f"{what} has {key} without names")
        self.formats = {str(name): str(value) for name, value in (given.get("formats") or {}).items()}
        self.elsewhere = [str(name) for name in given.get("elsewhere") or []]
        self.settings: dict[str, Any] = given.get("settings") or {}
        name = given.get("name")
        self.names = {"id": given.get("id"), "name": os.path.basename(self.path) if name is None else str(name)}

    def ask(self, question: str, params: dict[str, Any]) -> dict[str, Any]:
        """What the datastore's driver answers.

        :raises StorageError: it cannot be looked at; ``Unsupported`` when the driver has no answer to this question.
        """
        action = f"{self.kind}_monitor"
        timeouts = {name: params[name] for name in _TIMES}
        given = {**self.settings, "driver": self.driver, "datastore": self.path, **timeouts}
        options = check(f"one_storage.drivers.{action}", ACTIONS[action].options, given)
        driver = load(self.kind, self.driver)
        method = driver.method(question)
        lead = Host(os.uname().nodename)
        site = Site(lead, None, "", Timeouts(params["command_timeout"], params["stall_timeout"]), check=True)
        site.cluster = driver.cluster(options, site)
        try:
            told = {"kind": self.kind, "formats": self.formats, "elsewhere": self.elsewhere}
            reply = method(Request(question, {**options, **told}, site))
        except OSError as error:
            raise from_os(error, f"look at {error.filename or self.path}", lead.name) from error
        finally:
            if site.cluster:
                site.cluster.close()
        if not isinstance(reply, Answer):
            raise StorageError(f"The driver {self.driver} does more than look when it is asked for its {question}")
        return reply.values


def datastores_info(params: dict[str, Any]) -> dict[str, Any]:
    """How much room each datastore has, and what has been promised of it."""

    def told(store: Store) -> dict[str, Any]:
        room = {"warnings": [], **store.ask("usage", params)}
        try:
            found = store.ask("contents", params)
        except Unsupported:
            # backups, say: what lies there is no disk that a guest may fill
            return {**room, **dict.fromkeys((*_SUMS, "items", "overcommit", "largest", "trash_bytes")), "missed": []}
        items, trash = found["items"], found.get("trash") or []
        logical = sum(item["virtual_bytes"] for item in items)
        by_size = sorted(items, key=lambda item: (-item["allocated_bytes"], item["name"]))
        return {
            **room,
            "items": len(items),
            "logical_bytes": logical,
            "allocated_bytes": sum(item["allocated_bytes"] for item in items),
            "snapshots": sum(item["snapshots"] for item in items),
            "depth": max((len(item["layers"]) for item in items), default=0),
            "depths": _counted(len(item["layers"]) for item in items if item["layers"]),
            "broken": sum(bool(item["broken"]) for item in items),
            "overcommit": round(logical / room["total_bytes"], 3) if room["total_bytes"] else None,
            "largest": [_image(item) for item in by_size[: max(params["largest"], 0)]],
            "trash_bytes": sum(item["allocated_bytes"] for item in trash),
            "missed": found["missed"],
        }

    return {"datastores": _each(params, told)}


_SUMS = ("logical_bytes", "allocated_bytes", "snapshots", "depth", "depths", "broken")


def images_info(params: dict[str, Any]) -> dict[str, Any]:
    """Each image, or disk, of each datastore."""

    def told(store: Store) -> dict[str, Any]:
        found = store.ask("contents", params)
        images = [_image(item) for item in found["items"]]
        return {"images": images, "trash": found.get("trash") or [], "missed": found["missed"]}

    return {"datastores": _each(params, told)}


def chains_info(params: dict[str, Any]) -> dict[str, Any]:
    """The layers of each image, or disk, that has so many of them, or a broken one."""
    least, only = params["min_depth"], params["broken_only"]

    def told(store: Store) -> dict[str, Any]:
        found = store.ask("contents", params)
        chains = [
            {**_image(item), "layers": item["layers"], "broken": item["broken"]}
            for item in found["items"]
            if item["broken"] or (len(item["layers"]) >= least and not only)
        ]
        return {"chains": chains, "missed": found["missed"]}

    return {"datastores": _each(params, told)}


def operations_info(params: dict[str, Any]) -> dict[str, Any]:
    """What runs in datastores of this host, and what dead runs left."""
    from .tools import aside
    from .tools.operations import running

    name, folders = os.uname().nodename, [str(folder) for folder in params["folders"]]
    try:
        key = f"operations {' '.join(folders)}"
        [found] = aside.look(key, lambda: [running(folders)], params["stall_timeout"], params["command_timeout"])
    except BlockingIOError:
        raise StorageError("The datastores are not looked at again: an earlier look has not ended", name) from None
    except OSError as error:
        raise from_os(error, "look at what runs in the datastores", name) from error
    operations, missed = found
    return {"operations": operations, "missed": missed}


def _each(params: dict[str, Any], told: Callable[[Store], dict[str, Any]]) -> Rows:
    """A row for each datastore: what it is and what was found, or in ``error`` why nothing was."""
    stores = [Store(given, params["prefix"]) for given in params["datastores"]]
    rows = []
    for store in stores:
        row = {**store.names, "path": store.path, "type": store.type, "driver": store.driver, "error": ""}
        try:
            rows.append({**row, **told(store)})
        except StorageError as error:
            rows.append({**row, "error": str(error)})
    return rows


def _image(item: dict[str, Any]) -> dict[str, Any]:
    """An item without its layers."""
    keys = ("name", "path", "format", "virtual_bytes", "allocated_bytes", "snapshots", "linked")
    found = {key: item[key] for key in keys}
    return {**found, "vm": item.get("vm"), "disk": item.get("disk"), "depth": len(item["layers"])}


def _counted(numbers: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for number in numbers:
        found[str(number)] = found.get(str(number), 0) + 1
    return found


class Info:
    """A module: its options and what it does with them."""

    def __init__(self, look: Callable[[dict[str, Any]], dict[str, Any]], options: dict[str, Any]) -> None:
        self._look = look
        self.options = options

    def run(self, params: dict[str, Any]) -> dict[str, Any]:
        """What is returned, as text that Ansible takes: names of files may have any bytes."""
        found: dict[str, Any] = _as_text(self._look(params))
        return found


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    return value


def _host_check(params: dict[str, Any]) -> dict[str, Any]:
    from ._check_host import host_check

    return host_check(params)


def _mesh_check(params: dict[str, Any]) -> dict[str, Any]:
    from ._check_mesh import mesh_check

    return mesh_check(params)


MODULES: dict[str, Info] = {
    "datastores_info": Info(datastores_info, {**_DATASTORES, "largest": {"type": "int", "default": 10}}),
    "images_info": Info(images_info, _DATASTORES),
    "chains_info": Info(
        chains_info,
        {
            **_DATASTORES,
            "min_depth": {"type": "int", "default": 2},
            "broken_only": {"type": "bool", "default": False},
        },
    ),
    "operations_info": Info(
        operations_info,
        {"folders": {"type": "list", "elements": "str", "default": ["/var/lib/one/datastores"]}, **_TIMES},
    ),
    "host_check": Info(
        _host_check,
        {
            "name": {"type": "str", "required": True},
            "mark": {"type": "str", "default": ""},
            "finish": {"type": "bool", "default": False},
            "datastores": {"type": "list", "elements": "dict", "default": []},
            "pools": {"type": "list", "elements": "dict", "default": []},
            "folders": {"type": "list", "elements": "str", "default": ["/var/tmp"]},
            "needs": {"type": "list", "elements": "str", "default": ["qemu-img", "ssh"]},
            "sudo": {"type": "list", "elements": "str", "default": []},
            "min_free_percent": {"type": "int", "default": 5},
            "command_timeout": {"type": "int", "default": 120},
            "stall_timeout": {"type": "int", "default": 30},
        },
    ),
    "mesh_check": Info(
        _mesh_check,
        {
            "hosts": {"type": "list", "elements": "str", "required": True},
            "mesh": {"type": "str", "default": "ring", "choices": ["ring", "full", "none"]},
            "sample": {"type": "int", "default": 1},
            "agent": {"type": "str", "default": ""},
            "max_offset": {"type": "int", "default": 2},
            "connect_timeout": {"type": "int", "default": 10},
            "command_timeout": {"type": "int", "default": 300},
        },
    ),
}
