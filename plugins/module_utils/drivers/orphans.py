# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a datastore and nobody knows: reported, put into the quarantine, put back, purged.

The same for drivers whose images are files and for those whose disks are. What oned knows is given as an option:
nothing here asks oned. See :mod:`..tools.leftovers` for what counts.
"""

from __future__ import annotations

import os
import time

from .._errors import BadCall, Missing, Refused, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..tools.hidden import HIDDEN, QUARANTINE
from .base import Answer, Plan, Request, clean_path
from .space import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply

#: Locks are open files, of which a process may have some hundred.
MOST = 200


def claims(kind: str, options: dict[str, Any]) -> list[Claim]:
    """Nothing for a report, else what the names belong to, whose locks actions on them would take."""
    if options["state"] == "report":
        return []
    root, names = clean_path(options["datastore"], "datastore"), names_of(options)
    return [Claim(LEAD, root, key) for key in sorted(_keys(kind, options["state"], names))]


def reply(kind: str, request: Request) -> Reply:
    """Report what nobody knows, or do with some of it what ``state`` says.

    :param kind: ``ds``, a datastore of images; ``tm``, one of VMs' disks.
    """
    root, state = clean_path(request["datastore"], "datastore"), request["state"]
    if state == "report":
        rows = _found(kind, request, root, frozenset())
        known = rows.pop()["known"]
        return Answer(orphans=rows, quarantined=_quarantined(request, root), known=known)
    names = names_of(request.options)
    steps: list[Step] = []
    if not request.ran:
        if state == "quarantined":
            steps = _aside(kind, request, root, names)
        else:
            steps = (_back if state == "restored" else _purge)(request, root, names)
    return Plan(steps) if steps else Answer(orphans=[], quarantined=[], known=0)


def _aside(kind: str, request: Request, root: str, names: list[str]) -> list[Step]:
    from ..steps.quarantine import Quarantine
    from ..tools.codec import dumps

    ours = frozenset(_keys(kind, "quarantined", names))
    rows = {row["name"]: row for row in _found(kind, request, root, ours) if "name" in row}
    folder = os.path.join(root, HIDDEN, QUARANTINE, _stamp(request["stamp"]))
    steps: list[Step] = []
    for name in names:
        path, aside = os.path.join(root, name), os.path.join(folder, name)
        there, set_aside = request.look(path), request.look(aside)
        if there is None and set_aside is None and not name.startswith(HIDDEN + "/"):
            raise Missing(f"{path} is not there", request.site.lead.name)
        if there is None:
            # done by an earlier run; of a dead run's files also settled, when our lock was taken
            continue
        if set_aside:
            raise Refused(f"{aside} is in the quarantine already", request.site.lead.name, todo="use another stamp")
        if name not in rows:
            raise Refused(f"{path} is no orphan: it is known", request.site.lead.name)
        if rows[name]["protected"]:
            raise Refused(f"{path} stays: {rows[name]['protected']}", request.site.lead.name)
        row = {key: rows[name][key] for key in ("name", "what", "ours", "size", "allocated", "changed")}
        told = dumps({**row, "quarantined": int(time.time()), "host": request.site.lead.name}).decode()
        steps.append(Quarantine(LEAD, path, aside, root, told + "\n"))
    return steps


def _back(request: Request, root: str, names: list[str]) -> list[Step]:
    from ..steps.quarantine import MANIFEST, PutBack

    rows = {row["place"]: row for row in _quarantined(request, root)}
    steps: list[Step] = []
    for place in names:
        row = rows.get(place)
        name = place.partition("/")[2]
        path = os.path.join(root, name)
        if row is None and request.look(path):
            continue
        if row is None:
            raise Missing(f"{place} is not in the quarantine of {root}", request.site.lead.name)
        if request.look(path):
            raise Refused(f"{path} stands there again, so {place} stays in the quarantine", request.site.lead.name)
        if not request.look(os.path.dirname(path)):
            raise Refused(f"{os.path.dirname(path)}, where {place} belongs, is not there", request.site.lead.name)
        aside = os.path.join(root, HIDDEN, QUARANTINE, place)
        told = request.site.lead.read(aside + MANIFEST) or ""
        steps.append(PutBack(LEAD, aside, path, root, told))
    return steps


def _purge(request: Request, root: str, names: list[str]) -> list[Step]:
    from ..steps.quarantine import Purge

    rows = {row["place"]: row for row in _quarantined(request, root)}
    steps: list[Step] = []
    for place in names:
        row = rows.get(place)
        if row is None:
            # purged before: what is gone is a success
            continue
        age = time.time() - row["quarantined"]
        if age < request["keep"]:
            raise Refused(
                f"{place} has been in the quarantine of {root} for {age:.0f} of {request['keep']} seconds",
                request.site.lead.name,
            )
        steps.append(Purge(LEAD, os.path.join(root, HIDDEN, QUARANTINE, place), root))
    return steps


def _found(kind: str, request: Request, root: str, ours: frozenset[str]) -> list[dict[str, Any]]:
    """The orphans of a datastore; the last row has how much of what is known is there."""
    from ..tools.leftovers import Known, Limits, find

    limits = Limits(max(request["min_age"], 0), request["since"], ours)
    known = Known(kind, request["known"])
    return list(look(request, root, "orphans", lambda: find(root, known, limits)))


def _quarantined(request: Request, root: str) -> list[dict[str, Any]]:
    """What lies in the quarantine, by its manifests."""
    return list(look(request, root, "quarantine", lambda: _manifests(os.path.join(root, HIDDEN, QUARANTINE))))


def _manifests(folder: str) -> list[dict[str, Any]]:
    """In the child process."""
    from ..steps.quarantine import MANIFEST
    from ..tools.codec import loads

    rows = []
    for place, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not name.endswith(MANIFEST) or os.path.islink(path):
                continue
            with open(path, "rb") as file:
                try:
                    told = loads(file.read(1 << 16))
                    row = {key: told[key] for key in ("name", "what", "size", "allocated", "quarantined")}
                except (ValueError, KeyError, TypeError):
                    # a file of an orphan that only has such a name
                    continue
            where = os.path.relpath(path[: -len(MANIFEST)], folder)
            if where.partition("/")[2] == row["name"]:
                rows.append({"place": where, **row})
    return sorted(rows, key=lambda row: str(row["place"]))


def names_of(options: dict[str, Any]) -> list[str]:
    """The names that something is to be done with."""
    names = list(dict.fromkeys(options["names"]))
    if not names:
        raise BadCall(f"No names are given, so nothing can be {options['state']}")
    if len(names) > MOST:
        raise BadCall(f"{len(names)} names are given: no more than {MOST} at once")
    for name in names:
        parts = name.split("/")
        if not all(parts) or "." in parts or ".." in parts or not name.isprintable() or len(parts) > 4:
            raise BadCall(f"'{one_line(name, 120)}' is not the name of something in a datastore")
        if options["state"] == "quarantined" and name.startswith(f"{HIDDEN}/{QUARANTINE}"):
            raise BadCall(f"'{one_line(name, 120)}' is in the quarantine")
        if options["state"] != "quarantined" and len(parts) < 2:
            raise BadCall(f"'{one_line(name, 120)}' is not a place in a quarantine: it begins with its day")
    return names


def _keys(kind: str, state: str, names: list[str]) -> set[str]:
    from ..tools.leftovers import key_of

    found = names if state == "quarantined" else [name.partition("/")[2] for name in names]
    return {key_of(kind, name) for name in found}


def _stamp(text: str) -> str:
    """The folder of the quarantine: what is given, else today."""
    stamp = text or time.strftime("%Y-%m-%d")
    if not all(char.isalnum() or char in "-_" for char in stamp) or not stamp.isascii() or len(stamp) > 60:
        raise BadCall(f"'{one_line(stamp, 80)}' cannot be the name of a folder: letters, digits, - and _")
    return stamp
