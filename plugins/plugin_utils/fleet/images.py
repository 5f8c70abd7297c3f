# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``images``: many images go to another datastore, or into another format, through oned's API.

It reports. With ``--apply`` it moves what can be moved. Run again it goes on where a run was cut off. Images that are
in use or have snapshots stay where they are, and are told.
"""

from __future__ import annotations

import argparse

from ...module_utils._errors import Refused, StorageError
from ...module_utils.drivers import registry
from ...module_utils.tools.pace import Pace
from ..answer import Voice
from ..documents import number, text
from ..settings import Settings, prefix_of, remotes
from ..site import site
from . import crossing
from .api import DISABLED, READY, Api
from .common import MOST_AT_ONCE, lived, numbers, rate, whole
from .hosts import Hosts
from .migration import Migration, begun
from .records import Records
from .templates import Templates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: IMAGE/TYPE of what oned clones: OS, CDROM, DATABLOCK.
_CLONED = ("0", "1", "2")
_KINDS = ("OS", "CDROM", "DATABLOCK", "KERNEL", "RAMDISK", "CONTEXT", "BACKUP", "FILESYSTEM")
_STATES = ("init", "ready", "used", "disabled", "locked", "error", "clone", "delete", "used", "locked", "locked")


def main(arguments: list[str]) -> int:
    """Do it; exit code 1 with one sentence when nothing was done, 2 when some images could not be moved."""
    given = _parser().parse_args(arguments)
    return lived("images", lambda: _run(given), lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="images", description="Move many images through OpenNebula's API.")
    parser.add_argument("what", choices=["migrate", "convert"], help="to another datastore, or into another format")
    parser.add_argument("--from", dest="source", type=whole(0, 1 << 31), required=True, help="id of their datastore")
    parser.add_argument("--to", type=whole(0, 1 << 31), help="id of the datastore that they come to (the same)")
    parser.add_argument("--format", choices=["raw", "qcow2"], default="", help="the format to convert to")
    parser.add_argument("--images", type=numbers, default=[], metavar="IDS", help="only these, as 5,7-9 (all)")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--throttle", type=whole(1, MOST_AT_ONCE), default=2, help="images at a time (2)")
    parser.add_argument("--limit-rate", type=rate, default=0, help="bytes of data per second on the average, as 50M")
    parser.add_argument("--patience", type=whole(1, 2_000_000), default=86400, help="seconds for one image (a day)")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    settings = Settings(remotes())
    deadline = settings.number("ONED_TIMEOUT", 30)
    api = Api(deadline=deadline)
    prefix = prefix_of(settings.root)
    stores = _stores(api, given, prefix)
    drivers = _drivers(stores, prefix)
    records = Records(f"{given.what}-{stores[0]['id']}-{stores[1]['id']}", given.apply)
    work = _Work(api, given, stores, records)
    if given.apply:
        hosts = Hosts(settings, Voice("images"), given.throttle)
        pace = Pace(given.limit_rate)
        work.apply(Migration(hosts, records, stores, drivers, pace, given.patience, deadline))
    report = work.report()
    return report, not any(row["state"] == "failed" for row in report["images"])


def _stores(api: Api, given: argparse.Namespace, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two datastores; ``Refused`` where images cannot come from one to the other."""
    if given.what == "convert" and not given.format:
        raise Refused("To convert images, their new format has to be given")
    known = {store["id"]: store for store in site(api)["datastores"]}
    target = given.source if given.to is None else given.to
    for ident in (given.source, target):
        if ident not in known:
            raise Refused(f"oned knows no datastore {ident}")
        if known[ident]["type"] != "image":
            raise Refused(f"Datastore {ident} is a {known[ident]['type']} datastore: OpenNebula clones no images there")
    origin, place = known[given.source], known[target]
    if given.what == "migrate" and origin is place:
        raise Refused(f"The images are in datastore {target} already")
    told = api.datastore(target)
    if origin["ds_mad"] != place["ds_mad"]:
        crossing.check((origin, place), _drivers((origin, place), prefix), told)
    wanted = text(told, "TEMPLATE/DRIVER").strip().lower()
    if given.format and wanted != given.format:
        raise Refused(
            f"New images of datastore {target} become {wanted or 'what they were'}, not {given.format}",
            todo=f"set DRIVER={given.format} in a datastore, or name another one",
        )
    return origin, place


def _drivers(stores: tuple[dict[str, Any], dict[str, Any]], prefix: str) -> tuple[str, str]:
    """Our names of the drivers; ``Unsupported`` for one that cannot tell digests, so that nothing could be proven."""
    names = [str(store["ds_mad"]).removeprefix(prefix) for store in stores]
    for name in names:
        registry.load("ds", name).method("digest")
    return names[0], names[1]


class _Work:
    """The images of one run."""

    def __init__(
        self,
        api: Api,
        given: argparse.Namespace,
        stores: tuple[dict[str, Any], dict[str, Any]],
        records: Records,
    ) -> None:
        self._given = given
        self._stores = stores
        self._records = records
        pool = api.images().findall("IMAGE")
        self._copies = begun(pool, stores[1]["id"])
        templates = Templates(api.templates())
        self.rows: list[dict[str, Any]] = []
        there = {number(image, "ID") for image in pool}
        for image in pool:
            if self._is_meant(image):
                self.rows.append(self._row(image, templates))
        for ident, copy in self._copies.items():
            if ident not in there and (not given.images or ident in given.images):
                # the source has gone, and the copy was not told so
                self.rows.append({**_empty(ident), "new": copy, "state": "to do"})
        self._moved_before()
        self.rows.sort(key=lambda row: row["id"])

    def _is_meant(self, image: _Element) -> bool:
        if self._given.images and number(image, "ID") not in self._given.images:
            return False
        if number(image, "DATASTORE_ID", -1) != self._stores[0]["id"]:
            return False
        if number(image, "ID") in self._copies.values():
            return False
        # what is in this format already, or became it in this datastore
        return not self._given.format or text(image, "FORMAT").strip().lower() != self._given.format

    def _row(self, image: _Element, templates: Templates) -> dict[str, Any]:
        ident = number(image, "ID")
        why = self._reason(image)
        return {
            **_empty(ident),
            "name": text(image, "NAME"),
            "size_mb": number(image, "SIZE", 0),
            "new": self._copies.get(ident),
            "state": "stays" if why else "to do",
            "reason": why,
            "templates": templates.naming(image),
        }

    def _reason(self, image: _Element) -> str:
        """Why an image cannot be moved; empty when it can."""
        ident, state = number(image, "ID"), number(image, "STATE", 0)
        vms = [vm.text or "" for vm in image.iterfind("VMS/ID")]
        snapshots = len(image.findall("SNAPSHOTS/SNAPSHOT"))
        kind = text(image, "TYPE", "0")
        if kind not in _CLONED:
            word = _KINDS[int(kind)] if kind.isdigit() and int(kind) < len(_KINDS) else kind
            return f"OpenNebula does not clone {word} images"
        if vms:
            return f"it is used by VM {', '.join(vms[:10])}"
        if snapshots:
            return f"it has {snapshots} snapshots"
        if text(image, "LOCK/LOCKED"):
            return "its owner has locked it"
        if state == READY or (state == DISABLED and ident in self._copies):
            return ""
        return f"its state is {_STATES[state] if state < len(_STATES) else state}"

    def _moved_before(self) -> None:
        """Rows of earlier runs, so that one report says what became what."""
        shown = {row["id"] for row in self.rows}
        for record in self._records.read():
            ident = record.get("old")
            if record.get("what") == "moved" and isinstance(ident, int) and ident not in shown:
                if not self._given.images or ident in self._given.images:
                    shown.add(ident)
                    name = str(record.get("name", ""))
                    self.rows.append({**_empty(ident), "name": name, "new": record.get("new"), "state": "moved before"})

    def apply(self, migration: Migration) -> None:
        """Move what can be moved, some at a time; each row tells what became of it."""
        from concurrent.futures import ThreadPoolExecutor

        def one(row: dict[str, Any]) -> None:
            try:
                row["new"] = migration.move(row["id"], -1 if row["new"] is None else row["new"])
                row["state"] = "moved"
            except StorageError as error:
                row["state"], row["reason"] = "failed", str(error)

        pool = ThreadPoolExecutor(self._given.throttle)
        try:
            list(pool.map(one, [row for row in self.rows if row["state"] == "to do"]))
        finally:
            # when we are interrupted, what has begun ends, and nothing more begins
            pool.shutdown(cancel_futures=True)

    def report(self) -> dict[str, Any]:
        """What there is, what was done, and what is left."""
        return {
            "json": self._given.json,
            "images": self.rows,
            "movable": [row["id"] for row in self.rows if row["state"] == "to do"],
            "done": [f"{row['id']} -> {row['new']}" for row in self.rows if row["state"] == "moved"],
            "records": self._records.path,
        }


def _empty(ident: int) -> dict[str, Any]:
    return {"id": ident, "name": "", "size_mb": 0, "new": None, "state": "", "reason": "", "templates": []}


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people, its sum last."""
    found = []
    for row in report["images"]:
        told = f"image {row['id']} {row['name']}: {row['state']}"
        told += f" as {row['new']}" if row["new"] is not None and row["state"].startswith("moved") else ""
        found.append(told + (f": {row['reason']}" if row["reason"] else ""))
        by_id = [f"{template['id']} {template['name']}" for template in row["templates"] if template["by"] == "id"]
        if by_id:
            found.append(f"  by its id, templates name it: {', '.join(by_id)}")
    states = [row["state"] for row in report["images"]]
    counted = {state: states.count(state) for state in ("moved", "moved before", "to do", "stays", "failed")}
    return [*found, ", ".join(f"{count} {state}" for state, count in counted.items()) + f"; {report['records']}"]
