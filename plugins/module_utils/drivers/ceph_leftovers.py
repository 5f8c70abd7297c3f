# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pool against what is known: the volumes, snapshots, journals and staging files that nobody knows, and the trash."""

from __future__ import annotations

import time

from ..tools.hidden import HIDDEN
from ..tools.rbd import unfinished_of
from .base import Request, clean_path
from .ceph_names import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: What ends the names of entries of a pool, after the volume that they are about.
JOURNAL, LOCK = ".journal", ".lock"
#: What begins the names of things of the staging area, which lie in its own hidden folder.
STAGING = f"{HIDDEN}/staging/"
#: What begins places in the trash; the volume's id and its name follow.
TRASH = "trash"


def owner_of(name: str) -> str:
    """The volume that a volume, a snapshot of one, or what a run made for it, belongs to."""
    name = unfinished_of(name.partition("@")[0])
    return named(name[: -len(".old")] if name.endswith(".old") else name).owner


class _Known:
    """What lies in a pool by right.

    :param names: of volumes; ``<volume>@<snapshot>`` for snapshots, of which ``<volume>@`` says that all are told;
        ``@<id>`` of a VM whose volumes are all to stay, whatever disks it has.
    """

    def __init__(self, names: list[str]) -> None:
        self.volumes: set[str] = set()
        self.vms: set[int] = set()
        self.snapshots: dict[str, set[str]] = {}
        self.whole: set[str] = set()
        for one in names:
            name, at, snapshot = one.partition("@")
            if not at:
                self.volumes.add(name)
            elif not name and snapshot.isdigit():
                self.vms.add(int(snapshot))
            elif snapshot:
                self.snapshots.setdefault(name, set()).add(snapshot)
            else:
                self.whole.add(name)


class Leftovers:
    """A pool as it is now, against what is known.

    :param ours: keys in the staging area whose locks the action holds itself.

    :ivar there: how many of the known volumes are there; :ivar discarded: what is in the trash, by id.
    """

    def __init__(self, request: Request, ours: frozenset[str] = frozenset()) -> None:
        self._request = request
        self._ours = ours
        self._cluster = request.site.volumes()
        self.pool = str(request["pool"])
        self._known = _Known(request["known"])
        self.volumes: dict[str, dict[str, Any]] = self._cluster.ask("survey", pool=self.pool)
        self.discarded = {one["id"]: one for one in self._cluster.ask("discarded", pool=self.pool)}
        self._journals = set(self._cluster.ask("entries", pool=self.pool, prefix="journal/"))
        self._locks = set(self._cluster.ask("entries", pool=self.pool, prefix="lock/"))
        self._now = time.time()
        self.there = len(self._known.volumes & set(self.volumes))

    def was_discarded(self, name: str) -> bool:
        """Whether a volume of this name is in the trash."""
        return any(one["name"] == name for one in self.discarded.values())

    def orphans(self) -> Iterator[dict[str, Any]]:
        """A row for each orphan, as :func:`..tools.leftovers.find` has them of files."""
        for name, volume in sorted(self.volumes.items()):
            told = named(name, self._known.volumes)
            if told.owner in self._known.volumes or told.vm in self._known.vms:
                yield from self._snapshots(name, told.owner, volume)
                continue
            what = {"image": "image", "disk": "disk", "memory": "memory", "unfinished": "workshop"}.get(told.what)
            row = self._row(name, "snapshots" if told.retired else what or "other", bool(what), volume)
            yield {**row, "protected": row["protected"] or self._needed(name, volume)}
        yield from self._entries()
        yield from self._staged()

    def trash(self) -> list[dict[str, Any]]:
        """What is in the trash under names that OpenNebula, or these drivers, give."""
        rows = []
        for number, one in self.discarded.items():
            told = named(one["name"], self._known.volumes)
            if told.what == "other":
                continue
            protected = f"{one['clones']} volumes stand on its snapshots" if one["clones"] else ""
            if one["until"] > self._now:
                protected = protected or "it was put there for longer"
            rows.append(
                {
                    "place": f"{TRASH}/{number}/{one['name']}",
                    "name": one["name"],
                    "what": "workshop" if told.what == "unfinished" else told.what,
                    "size": one["size"],
                    "allocated": one["used"],
                    "quarantined": one["since"],
                    "protected": protected,
                }
            )
        return rows

    def _row(self, name: str, what: str, ours: bool, volume: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "what": what,
            "ours": ours,
            "size": volume["size"],
            "allocated": volume["used"],
            "changed": volume["changed"],
            "protected": self._protected(owner_of(name), volume["changed"]),
        }

    def _protected(self, key: str, changed: int, settled: bool = True) -> str:
        """Why something stays.

        :param settled: whether a journal that speaks of it has to be settled first.
        """
        if not self._cluster.holds(f"rbd:{self.pool}", key):
            if key in self._locks and self._cluster.is_held(self.pool, key):
                return "an action works on it"
            if settled and key in self._journals:
                return "a journal speaks of it"
        if self._now - changed < max(self._request["min_age"], 0):
            return "it changed a short while ago"
        if self._request["since"] and changed >= self._request["since"]:
            return "it may belong to what is being made"
        return ""

    def _needed(self, name: str, volume: dict[str, Any]) -> str:
        """What else would suffer."""
        if volume["watchers"]:
            return f"it is open at {', '.join(volume['watchers'])}"
        for snapshot in volume["snapshots"]:
            found = self._stands_on(name, snapshot["name"])
            if found:
                return f"{found} stands on its snapshot {snapshot['name']}"
        return "a volume of format 1 has no trash: delete it by hand" if volume["format"] == 1 else ""

    def _stands_on(self, name: str, snapshot: str) -> str:
        for child in self._cluster.ask("children", pool=self.pool, name=name, snapshot=snapshot):
            return f"the volume {child['pool']}/{child['name']}{' in the trash' if child['trash'] else ''}"
        return ""

    def _snapshots(self, name: str, owner: str, volume: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Snapshots that a known volume should not have. Those of backups, and bases of clones, are not oned's."""
        if owner not in self._known.whole:
            return
        for snapshot in volume["snapshots"]:
            number = snapshot["name"]
            if not number.isdigit() or number in self._known.snapshots.get(owner, ()):
                continue
            child = self._stands_on(name, number)
            row = self._row(f"{name}@{number}", "snapshot", True, {**volume, "size": snapshot["size"], "used": 0})
            kept = (
                f"{child} stands on it" if child else f"a pool has no trash for snapshots: rbd snap rm {name}@{number}"
            )
            yield {**row, "protected": row["protected"] or kept}

    def _entries(self) -> Iterator[dict[str, Any]]:
        """Journals and locks of dead runs. They go with their lock, as soon as anybody takes it."""
        for key in sorted(self._journals):
            written, _line, text = self._cluster.journal(f"rbd:{self.pool}", key).partition("\n")
            # a journal that is removed meanwhile is empty
            if text:
                changed = int(float(written))
                yield self._entry(key + JOURNAL, "journal", len(text), changed, self._protected(key, changed, False))
        for key in sorted(self._locks - self._journals):
            if not self._cluster.holds(f"rbd:{self.pool}", key) and not self._cluster.is_held(self.pool, key):
                yield self._entry(key + LOCK, "lock", 0, 0, "")

    @staticmethod
    def _entry(name: str, what: str, size: int, changed: int, protected: str) -> dict[str, Any]:
        told = {"size": size, "allocated": size, "changed": changed, "protected": protected}
        return {"name": f"{HIDDEN}/{name}", "what": what, "ours": True, **told}

    def _staged(self) -> Iterator[dict[str, Any]]:
        """What imports left in the staging area of this host."""
        from ..tools.leftovers import Limits, staged
        from .space import look

        staging = clean_path(self._request["staging_dir"], "staging directory")
        limits = Limits(max(self._request["min_age"], 0), self._request["since"], self._ours)
        for row in look(self._request, staging, "orphans", lambda: staged(staging, limits)):
            yield {**row, "name": STAGING + row["name"].partition("/")[2] if row["ours"] else row["name"]}
