# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``orphans``: what lies in the datastores of a site that no image and no VM knows.

It reports. With ``--quarantine`` it sets orphans aside, with ``--restore`` it puts them back, with ``--purge`` it
deletes what has been set aside for long enough. oned is asked once; hosts are looked at some at a time.
"""

from __future__ import annotations

import argparse
import time

from ...module_utils._errors import StorageError
from ...module_utils.tools.hidden import HIDDEN
from ..answer import Voice
from ..oned import Oned
from ..settings import Settings, remotes
from .common import MOST_AT_ONCE, lived, numbers, size, whole
from .hosts import Hosts, Job
from .known import Look, Pools, looks, where
from .volumes import is_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: So many of a datastore's objects may be orphans for no other reason than that oned knows another site than this one.
_FEW = 10
_BATCH = 100
_DAY = 86400


def main(arguments: list[str]) -> int:
    """Do it; exit code 1 with one sentence when nothing can be said, 2 when a host could not be looked at."""
    given = _parser().parse_args(arguments)
    return lived("orphans", lambda: _run(given), lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orphans", description="Find what no image and no VM knows.")
    parser.add_argument("--datastores", type=numbers, default=[], metavar="IDS", help="as 1,100-105 (all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quarantine", action="store_true", help="set orphans aside")
    what.add_argument("--restore", action="store_true", help="put back what --names names")
    what.add_argument("--purge", action="store_true", help="delete what has been set aside for --keep-days")
    parser.add_argument("--names", default="", help="only these, separated by commas: names, or places in quarantines")
    parser.add_argument("--min-age", type=whole(0, 3650 * _DAY), default=_DAY, help="seconds since the last change")
    parser.add_argument("--keep-days", type=whole(0, 3650), default=7, help="days in the quarantine before a purge")
    parser.add_argument("--throttle", type=whole(1, MOST_AT_ONCE), default=10, help="hosts at a time (10)")
    parser.add_argument("--many", action="store_true", help="also where most of what lies there is unknown")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    settings = Settings(remotes())
    oned = Oned(deadline=settings.number("ONED_TIMEOUT", 30))
    found, notes = looks(oned, settings, Pools(oned), given.datastores)
    work = _Work(given, Hosts(settings, Voice("orphans"), given.throttle))
    for look in found:
        work.jobs.append(Job(look.host, f"{look.kind}_orphans", _options(look, given), look))
    report = work.look()
    report["notes"] = notes
    if given.restore or given.purge or given.quarantine:
        work.change()
    well = not report["failed"] and not any(row.get("failure") for row in report["orphans"] + report["quarantined"])
    return report, well


def _options(look: Look, given: argparse.Namespace) -> dict[str, Any]:
    return {
        "driver": look.driver,
        "datastore": look.store["path"],
        **(look.store.get("settings", {}) if look.kind == "ds" else {}),
        "known": look.known,
        "min_age": given.min_age,
        "since": look.since,
        "keep": given.keep_days * _DAY,
        "stamp": time.strftime("%Y-%m-%d_%H%M%S"),
    }


class _Work:
    """The looks of one run, and what is done after them."""

    def __init__(self, given: argparse.Namespace, hosts: Hosts) -> None:
        self._given = given
        self._hosts = hosts
        self.jobs: list[Job] = []
        self.report: dict[str, Any] = {}
        self._rows: list[tuple[Job, dict[str, Any]]] = []

    def look(self) -> dict[str, Any]:
        """The report, sorted."""
        names = set(filter(None, self._given.names.split(",")))
        failed: list[dict[str, Any]] = []
        looked = 0
        for job, result in self._hosts.run(self.jobs):
            place = {"host": where(job.about), "datastore": job.about.store["id"]}
            if isinstance(result, StorageError):
                # not every host has a VM in each datastore that is its own
                if result.code != "missing" or job.about.store["shared"]:
                    failed.append({**place, "failure": str(result)})
                continue
            looked += 1
            crowd = self._is_crowd(job.about, result) and not self._given.many
            for row in result["orphans"]:
                if crowd and not row["protected"]:
                    row["protected"] = "most of what lies in this datastore is unknown, so this may be another site's"
                self._rows.append((job, {**place, "state": "orphan", **row}))
            for row in result["quarantined"]:
                self._rows.append((job, {**place, "state": "quarantined", **row}))
        if names:
            self._rows = [(job, row) for job, row in self._rows if {row["name"], row.get("place")} & names]
        self._rows.sort(key=lambda item: (item[1]["host"], item[1]["datastore"], item[1]["name"]))
        self.report = {
            "json": self._given.json,
            "looked_at": looked,
            "orphans": [row for _job, row in self._rows if row["state"] == "orphan"],
            "quarantined": [row for _job, row in self._rows if row["state"] == "quarantined"],
            "failed": failed,
            "done": [],
        }
        return self.report

    @staticmethod
    def _is_crowd(look: Look, result: dict[str, Any]) -> bool:
        # a pool has images and disks side by side, a directory the disks of VMs that are known
        whole = ("image", "disk") if is_pool(look.store) else ("image", "vm")
        there = sum(1 for row in result["orphans"] if row["what"] in whole)
        return there > _FEW and there > result["known"]

    def change(self) -> None:
        """Do what is asked for with what may be touched, in batches; each row tells what became of it."""
        state, key = "quarantined", "name"
        if self._given.restore or self._given.purge:
            state, key = ("restored" if self._given.restore else "purged"), "place"
        chosen: dict[int, list[dict[str, Any]]] = {}
        for job, row in self._rows:
            if self._is_meant(row, state):
                chosen.setdefault(id(job), []).append(row)
        jobs = [
            Job(job.host, job.action, {**job.options, "state": state, "names": [row[key] for row in batch]}, batch)
            for job in self.jobs
            for batch in _batches(chosen.get(id(job), []))
        ]
        for job, result in self._hosts.run(jobs):
            for row in job.about:
                if isinstance(result, StorageError):
                    row["failure"] = str(result)
                else:
                    row["state"] = state
                    self.report["done"].append(f"{row['host']}: {row['datastore']}: {row[key]}: {state}")

    def _is_meant(self, row: dict[str, Any], state: str) -> bool:
        if state == "quarantined":
            # what has no name of OpenNebula's may be somebody's: it has to be named
            return row["state"] == "orphan" and not row["protected"] and (row["ours"] or bool(self._given.names))
        if row["state"] != "quarantined" or (state == "restored" and not self._given.names):
            return False
        if state == "purged" and row.get("protected"):
            return False
        return state == "restored" or time.time() - row["quarantined"] >= self._given.keep_days * _DAY


def _batches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What is one action's. A journal is settled when its lock is taken, which may fail: each is one of its own."""
    alone = [[row] for row in rows if row["name"].startswith(HIDDEN + "/")]
    others = [row for row in rows if not row["name"].startswith(HIDDEN + "/")]
    return [others[start : start + _BATCH] for start in range(0, len(others), _BATCH)] + alone


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people, its sum last."""
    found = []
    for row in report["orphans"] + report["quarantined"]:
        place = row.get("place") or row["name"]
        why = row.get("failure") or row.get("protected") or ("" if row.get("ours", True) else "not OpenNebula's name")
        told = f"{row['host']}: datastore {row['datastore']}: {row['what']} {place}, {size(row['allocated'])}"
        found.append(f"{told}: {row['state']}" + (f" ({why})" if why else ""))
    found += [f"{row['host']}: datastore {row['datastore']}: {row['failure']}" for row in report["failed"]]
    found += report["notes"]
    room = size(sum(row["allocated"] for row in report["orphans"]))
    return [
        *found,
        f"{report['looked_at']} datastores looked at: {len(report['orphans'])} orphans, {room}; "
        f"{len(report['quarantined'])} in quarantine; {len(report['done'])} changed; {len(report['failed'])} not seen",
    ]
