# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's door: one document of JSON in, one out."""

from __future__ import annotations

import json
import sys

from .backup import backup, layers, marks, survey, tops
from .domain import Guest, Trouble
from .guard import Guard
from .hold import held
from .jobs import commit, copy, pull
from .merge import home, merge, merged
from .snapshot import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def look(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Whether libvirt's chain is the one of the headers, and which layers it knows by the disk's link."""
    guest.check(orders["expected"])
    return {"linked": guest.linked()}


_OPERATIONS: dict[str, Callable[[Guest, dict[str, Any], Guard], dict[str, Any]]] = {
    "look": look,
    "snapshot": snapshot,
    "hold": held,
    "pull": pull,
    "commit": commit,
    "copy": copy,
    "tops": tops,
    "survey": survey,
    "backup": backup,
    "layers": layers,
    "marks": marks,
    "merge": merge,
    "home": home,
}


def main(document: str) -> None:
    """Do what the document of JSON asks for, and print the answer as one."""
    orders: dict[str, Any] = json.loads(document)
    limit = float(orders["freeze_timeout"])
    guard = Guard(orders["uri"], orders["domain"], orders["target"], limit, lambda: merged(Guest(orders), orders))
    try:
        answer = _OPERATIONS[orders["operation"]](Guest(orders), orders, guard)
        answer["ok"] = True
    except Trouble as trouble:
        answer = {"ok": False, **trouble.record}
    finally:
        guard.end()
    sys.stdout.write(json.dumps(answer) + "\n")
