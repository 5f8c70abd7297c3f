# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a pool and nobody knows: volumes of images and of VMs' disks, snapshots, what dead runs left.

The quarantine is the pool's trash: what is set aside lies there under its name, and so does what CEPH_TRASH kept. What
is known is given as an option: nothing here asks oned.
"""

from __future__ import annotations

import time

from .._errors import BadCall, Missing, Refused
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..tools.hidden import HIDDEN
from ..tools.rbd import unfinished_of
from .base import Answer, Plan, Request, clean_path
from .ceph_images import claim_of
from .ceph_leftovers import JOURNAL, LOCK, STAGING, TRASH, Leftovers, owner_of
from .ceph_names import named
from .orphans import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


def claims(options: dict[str, Any]) -> list[Claim]:
    """Nothing for a report, else the volumes that the names belong to, which actions on them would lock."""
    if options["state"] == "report":
        return []
    staging = clean_path(options["staging_dir"], "staging directory")
    keys = sorted({_key_of(name, options["state"]) for name in names_of(options)})
    return [Claim(LEAD, staging, key) if staged else claim_of(options["pool"], key) for key, staged in keys]


def reply(request: Request) -> Reply:
    """Report what nobody knows, or do with some of it what ``state`` says."""
    state = request["state"]
    if state == "report":
        looked = Leftovers(request)
        return Answer(orphans=list(looked.orphans()), quarantined=looked.trash(), known=looked.there)
    names = names_of(request.options)
    steps: list[Step] = []
    if not request.ran:
        steps = list({"quarantined": _aside, "restored": _back, "purged": _purge}[state](request, names))
    return Plan(steps) if steps else Answer(orphans=[], quarantined=[], known=0)


def _aside(request: Request, names: list[str]) -> Iterator[Step]:
    from ..steps.volume_names import TrashVolume

    ours = {key for key, staged in (_key_of(name, "quarantined") for name in names) if staged}
    looked = Leftovers(request, frozenset(ours))
    rows = {row["name"]: row for row in looked.orphans()}
    for name in names:
        row = rows.get(name)
        if row is None and (name.startswith(HIDDEN + "/") or name not in looked.volumes):
            if name.startswith(HIDDEN + "/") or looked.was_discarded(name):
                # it was settled when its lock became ours, or set aside by an earlier run
                continue
            raise Missing(f"The volume {looked.pool}/{name} is not there", request.site.lead.name)
        if row is None:
            raise Refused(f"{looked.pool}/{name} is no orphan: it is known", request.site.lead.name)
        if row["protected"]:
            raise Refused(f"{looked.pool}/{name} stays: {row['protected']}", request.site.lead.name)
        if name in looked.volumes:
            yield TrashVolume(looked.pool, name)
        elif not request.site.check:
            raise Refused(f"{name} is still there, although nobody holds it", request.site.lead.name)


def _back(request: Request, names: list[str]) -> Iterator[Step]:
    from ..steps.volume_trash import RestoreVolume

    looked = Leftovers(request)
    for place in names:
        number, name = _placed(place)
        there, row = looked.volumes.get(name), looked.discarded.get(number)
        if there and there["id"] == number:
            continue
        if row is None or row["name"] != name:
            raise Missing(f"{place} is not in the trash of {looked.pool}", request.site.lead.name)
        if there:
            raise Refused(f"{looked.pool}/{name} is there again, so {place} stays in the trash", request.site.lead.name)
        yield RestoreVolume(looked.pool, number, name)


def _purge(request: Request, names: list[str]) -> Iterator[Step]:
    from ..steps.volume_trash import PurgeVolume

    looked = Leftovers(request)
    rows = {row["place"]: row for row in looked.trash()}
    for place in names:
        number, name = _placed(place)
        if number not in looked.discarded:
            # purged before: what is gone is a success
            continue
        row = rows.get(place)
        if row is None:
            raise Refused(f"{place} is not what a driver of OpenNebula put into the trash", request.site.lead.name)
        if row["protected"]:
            raise Refused(f"{place} stays: {row['protected']}", request.site.lead.name)
        age = time.time() - row["quarantined"]
        if age < request["keep"]:
            raise Refused(
                f"{place} has been in the trash of {looked.pool} for {age:.0f} of {request['keep']} seconds",
                request.site.lead.name,
            )
        yield PurgeVolume(looked.pool, number, name)


def _placed(place: str) -> tuple[str, str]:
    """The id and the name of what has a place in the trash."""
    parts = place.split("/")
    if len(parts) != 3 or parts[0] != TRASH:
        raise BadCall(f"'{place}' is not a place in a trash: it is written trash/<id>/<name>")
    return parts[1], parts[2]


def _key_of(name: str, state: str) -> tuple[str, bool]:
    """The volume under whose lock actions work on what has this name, and whether that lies in the staging area."""
    if state != "quarantined":
        return named(unfinished_of(_placed(name)[1])).owner, False
    if name.startswith(STAGING):
        from ..tools.leftovers import key_of

        return key_of("ds", f"{HIDDEN}/{name[len(STAGING) :]}"), True
    if name.startswith(HIDDEN + "/"):
        key = name[len(HIDDEN) + 1 :]
        return next((key[: -len(ending)] for ending in (JOURNAL, LOCK) if key.endswith(ending)), key), False
    return owner_of(name), False
