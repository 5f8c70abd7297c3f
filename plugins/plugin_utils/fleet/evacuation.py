# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``evacuate``: VMs that are off leave a host with their disks, by oned's cold migrations.

It reports. With ``--apply`` it migrates what can be, and retries what failed before. What has its disks at the
front-end, or on storage that all hosts share, has nothing on the host and stays.
"""

from __future__ import annotations

import argparse
import time

from ...module_utils._errors import DeadlineOver, Refused, StorageError, one_line
from ...module_utils.tools.pace import Pace
from ..documents import number, text
from ..settings import Settings, remotes
from ..site import site
from .api import Api
from .common import MOST_AT_ONCE, lived, numbers, rate, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

_STATES = {0: "init", 1: "pending", 2: "held", 3: "active", 4: "stopped", 5: "suspended", 8: "off", 9: "undeployed"}
_STOPPED, _SUSPENDED, _ACTIVE, _POWEROFF, _UNDEPLOYED = 4, 5, 3, 8, 9
#: LCM_STATE of an active VM: a cold migration that goes on, and one that failed; running.
_MOVING, _FAILED, _RUNNING = (43, 45), (44, 46), 3


def main(arguments: list[str]) -> int:
    """Do it; exit code 1 with one sentence when nothing was done, 2 when some VMs could not be migrated."""
    given = _parser().parse_args(arguments)
    return lived("evacuate", lambda: _run(given), lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evacuate", description="Bring VMs that are off to other hosts.")
    parser.add_argument("--host", required=True, help="the host that is left, by its name in OpenNebula")
    parser.add_argument("--to", default="", help="hosts to choose from, separated by commas (those of its cluster)")
    parser.add_argument("--vms", type=numbers, default=[], metavar="IDS", help="only these, as 5,7-9 (all)")
    parser.add_argument("--shared", action="store_true", help="also VMs whose disks all hosts share")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--throttle", type=whole(1, MOST_AT_ONCE), default=1, help="VMs at a time (1)")
    parser.add_argument("--limit-rate", type=rate, default=0, help="bytes of disks per second on the average, as 50M")
    parser.add_argument("--patience", type=whole(1, 2_000_000), default=86400, help="seconds for one VM (a day)")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    deadline = Settings(remotes()).number("ONED_TIMEOUT", 30)
    api = Api(deadline=deadline)
    work = _Work(api, given, deadline)
    if given.apply:
        work.apply()
    rows = work.rows
    report = {
        "json": given.json,
        "host": given.host,
        "vms": rows,
        "movable": [row["id"] for row in rows if row["state"] == "to do"],
        "done": [f"{row['id']} -> {row['target']}" for row in rows if row["state"] == "moved"],
    }
    return report, not any(row["state"] == "failed" for row in rows)


class _Room:
    """Hosts that VMs can go to, and how much memory each has left."""

    def __init__(self, pool: _Element, given: argparse.Namespace) -> None:
        known = {text(host, "NAME"): host for host in pool.iterfind("HOST")}
        if given.host not in known:
            raise Refused(f"oned knows no host {one_line(given.host, 80)}")
        cluster = text(known[given.host], "CLUSTER_ID")
        wanted = [name for name in given.to.split(",") if name]
        for name in wanted:
            if name not in known or name == given.host:
                raise Refused(f"{one_line(name, 80)} is no host that VMs of {given.host} can go to")
            if text(known[name], "CLUSTER_ID") != cluster:
                raise Refused(f"{name} is in another cluster than {given.host}")
        self.ids: dict[str, int] = {}
        self._free: dict[str, int] = {}
        for name, host in known.items():
            fits = name in wanted or (not wanted and text(host, "CLUSTER_ID") == cluster and name != given.host)
            # one that is being monitored counts as monitored
            if fits and number(host, "STATE", -1) in (1, 2):
                self.ids[name] = number(host, "ID")
                share = number(host, "HOST_SHARE/MAX_MEM", 0) - number(host, "HOST_SHARE/MEM_USAGE", 0)
                self._free[name] = share
        if not self.ids:
            raise Refused(f"There is no host that VMs of {given.host} can go to: none is monitored in its cluster")

    def take(self, megabytes: int) -> str:
        """The host with the most memory left, which has that much less from now on. oned checks it again."""
        name = max(self._free, key=lambda one: (self._free[one], one))
        self._free[name] -= megabytes << 10
        return name


class _Work:
    """The VMs of one run."""

    def __init__(self, api: Api, given: argparse.Namespace, deadline: float) -> None:
        self._given = given
        self._deadline = deadline
        self._room = _Room(api.hosts(), given)
        self._shared = {store["id"]: store["shared"] for store in site(api)["datastores"]}
        self._pace = Pace(given.limit_rate)
        self.rows: list[dict[str, Any]] = []
        for vm in api.vms().iterfind("VM"):
            if not given.vms or number(vm, "ID") in given.vms:
                row = self._row(api, vm)
                if row:
                    self.rows.append(row)
        self.rows.sort(key=lambda row: int(row["id"]))

    def _row(self, api: Api, vm: _Element) -> dict[str, Any] | None:
        """None for a VM that has nothing to do with the host."""
        state, step = number(vm, "STATE", -1), number(vm, "LCM_STATE", -1)
        again = state == _ACTIVE and step in (*_MOVING, *_FAILED)
        if again:
            # where it came from stands in its whole history alone
            vm = api.vm(number(vm, "ID"))
        records = vm.findall("HISTORY_RECORDS/HISTORY")
        last = records[-2:-1] if again else records[-1:]
        if not last or text(last[0], "HOSTNAME") != self._given.host:
            return None
        why = "" if again else self._reason(state, number(last[0], "DS_ID", -1), step)
        row = {
            "id": number(vm, "ID"),
            "name": text(vm, "NAME"),
            "size_mb": sum(number(disk, "SIZE", 0) for disk in vm.iterfind("TEMPLATE/DISK")),
            "state": "stays" if why else "to do",
            "reason": why,
            "target": "",
            "again": again,
        }
        if again:
            row["target"] = text(records[-1], "HOSTNAME")
        elif not why:
            row["target"] = self._room.take(number(vm, "TEMPLATE/MEMORY", 0))
        return row

    def _reason(self, state: int, store: int, step: int) -> str:
        if state in (_STOPPED, _UNDEPLOYED):
            return f"it is {_STATES[state]}: its disks are at the front-end"
        if state == _ACTIVE:
            return "it runs" if step == _RUNNING else "something is being done with it"
        if state not in (_POWEROFF, _SUSPENDED):
            return f"it is {_STATES.get(state, str(state))}"
        if self._shared.get(store, True) and not self._given.shared:
            return "its disks are on storage that all hosts share"
        return ""

    def apply(self) -> None:
        """Migrate what can be, some at a time; each row tells what became of it."""
        from concurrent.futures import ThreadPoolExecutor

        def one(row: dict[str, Any]) -> None:
            try:
                self._move(Api(deadline=self._deadline), row)
                row["state"] = "moved"
            except StorageError as error:
                row["state"], row["reason"] = "failed", str(error)
            self._pace.take(row["size_mb"] << 20)

        pool = ThreadPoolExecutor(self._given.throttle)
        try:
            list(pool.map(one, [row for row in self.rows if row["state"] == "to do"]))
        finally:
            # when we are interrupted, what has begun ends, and nothing more begins
            pool.shutdown(cancel_futures=True)

    def _move(self, api: Api, row: dict[str, Any]) -> None:
        """One migration, waited for: oned answers before it has begun."""
        until = time.monotonic() + self._given.patience
        failed = number(api.vm(row["id"]), "LCM_STATE", -1) in _FAILED
        if failed:
            api.retry_vm(row["id"])
        elif not row["again"]:
            api.migrate_vm(row["id"], self._room.ids[row["target"]])
        pause, tried = 0.1, time.monotonic()
        while True:
            vm = api.vm(row["id"])
            state, step = number(vm, "STATE", -1), number(vm, "LCM_STATE", -1)
            host = text(vm.findall("HISTORY_RECORDS/HISTORY")[-1], "HOSTNAME")
            if state in (_POWEROFF, _SUSPENDED) and host == row["target"]:
                return
            # what failed before shows that until oned has begun again
            if state == _ACTIVE and step in _FAILED and (not failed or time.monotonic() - tried > 5):
                why = one_line(text(vm, "USER_TEMPLATE/ERROR"), 300) or "oned does not say why"
                raise Refused(f"VM {row['id']} did not come to {row['target']}: {why}", todo="run it again to retry")
            if time.monotonic() >= until:
                raise DeadlineOver(f"VM {row['id']} has not come to {row['target']}", todo="oned goes on with it")
            time.sleep(pause)
            pause = min(pause * 1.5, 2)


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people, its sum last."""
    found = []
    for row in report["vms"]:
        told = f"VM {row['id']} {row['name']}: {row['state']}"
        told += f" to {row['target']}" if row["target"] and row["state"] in ("moved", "to do") else ""
        found.append(told + (f": {row['reason']}" if row["reason"] else ""))
    states = [row["state"] for row in report["vms"]]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("moved", "to do", "stays", "failed"))
    return [*found, f"{report['host']}: {counted}"]
