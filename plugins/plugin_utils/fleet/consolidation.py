# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``consolidate``: chains of snapshots that are too deep, by depth, and made shorter through oned.

It reports. With ``--apply`` it asks oned to delete the oldest snapshots, all but some of each; drivers merge what they
held into what stands on them, so that disks and the other snapshots hold what they held. oned decides which snapshots
may go, and what it keeps is told. Nothing is done behind its back.
"""

from __future__ import annotations

import argparse
import time

from ...module_utils._errors import DeadlineOver, Missing, Refused, StorageError
from ..documents import number, text
from ..settings import Settings, remotes
from .api import READY, Api
from .common import lived, numbers, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: LCM_STATE while a snapshot of a disk is being deleted: off, suspended, running.
_DELETING = (53, 56, 59)


def main(arguments: list[str]) -> int:
    """Do it; exit code 1 with one sentence when nothing was done, 2 when some snapshots could not be deleted."""
    given = _parser().parse_args(arguments)
    return lived("consolidate", lambda: _run(given), lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="consolidate", description="Make chains of snapshots shorter.")
    parser.add_argument("--depth", type=whole(1, 10_000), default=5, help="snapshots from which a chain is told (5)")
    parser.add_argument("--keep", type=whole(0, 10_000), default=3, help="the newest snapshots that stay (3)")
    parser.add_argument("--vms", type=numbers, default=None, metavar="IDS", help="only these VMs, as 5,7-9")
    parser.add_argument("--images", type=numbers, default=None, metavar="IDS", help="only these images")
    parser.add_argument("--flatten", default="", metavar="IMAGE:SNAPSHOT", help="let an image become that snapshot")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--patience", type=whole(1, 2_000_000), default=86400, help="seconds for one snapshot (a day)")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _run(given: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    api = Api(deadline=Settings(remotes()).number("ONED_TIMEOUT", 30))
    rows = _flattened(api, given) if given.flatten else _found(api, given)
    if given.apply:
        for row in rows:
            _shorten(api, row, given)
    report = {
        "json": given.json,
        "chains": rows,
        "done": [f"{row['what']}: {ident}" for row in rows for ident in row["deleted"]],
    }
    return report, not any(row["state"] == "failed" for row in rows)


def _found(api: Api, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The chains, the deepest first. Of a persistent image that a VM uses the VM has the snapshots."""
    rows: list[dict[str, Any]] = []
    only = given.vms is not None or given.images is not None
    for vm in api.vms().iterfind("VM"):
        if not only or number(vm, "ID") in (given.vms or []):
            for chain in vm.iterfind("SNAPSHOTS"):
                rows.append(_row(vm, chain, given, number(chain, "DISK_ID", -1)))
    for image in api.images().iterfind("IMAGE"):
        if not only or number(image, "ID") in (given.images or []):
            for chain in image.iterfind("SNAPSHOTS"):
                row = _row(image, chain, given, None)
                if row["delete"] and (number(image, "STATE", 0) != READY or image.find("VMS/ID") is not None):
                    row.update(state="stays", reason="it is in use", delete=[])
                rows.append(row)
    return sorted((row for row in rows if row["depth"] >= given.depth), key=lambda row: (-row["depth"], row["what"]))


def _row(owner: _Element, chain: _Element, given: argparse.Namespace, disk: int | None) -> dict[str, Any]:
    ids = sorted(number(one, "ID") for one in chain.iterfind("SNAPSHOT"))
    ident = number(owner, "ID")
    old = ids[: max(len(ids) - given.keep, 0)]
    return {
        "what": f"image {ident}" if disk is None else f"disk {disk} of VM {ident}",
        "name": text(owner, "NAME"),
        "id": ident,
        "disk": disk,
        "depth": len(ids),
        "delete": old,
        "flatten": None,
        "deleted": [],
        "state": "to do" if old else "stays",
        "reason": "" if old else "it has no more than are to be kept",
    }


def _flattened(api: Api, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The one image that is to become one of its snapshots."""
    image, colon, snapshot = given.flatten.partition(":")
    if not (colon and image.isascii() and image.isdigit() and snapshot.isascii() and snapshot.isdigit()):
        raise Refused("To flatten an image, it and its snapshot are named, as 7:2")
    found = api.image(int(image))
    chain = found.find("SNAPSHOTS")
    ids = [number(one, "ID") for one in found.iterfind("SNAPSHOTS/SNAPSHOT")]
    if chain is None or int(snapshot) not in ids:
        raise Missing(f"Image {image} has no snapshot {snapshot}")
    row = _row(found, chain, given, None)
    return [{**row, "delete": [], "flatten": int(snapshot), "state": "to do", "reason": ""}]


def _shorten(api: Api, row: dict[str, Any], given: argparse.Namespace) -> None:
    """Delete what may go, the oldest first; the row tells what oned kept, and why."""
    kept: list[str] = []
    try:
        if row["flatten"] is not None:
            api.flatten_image(row["id"], row["flatten"])
            _wait(api, row, None, given.patience)
            row["deleted"] = ["all"]
        for ident in row["delete"]:
            try:
                if row["disk"] is None:
                    api.drop_image_snapshot(row["id"], ident)
                else:
                    api.drop_vm_snapshot(row["id"], row["disk"], ident)
            except Refused as refusal:
                kept.append(f"{ident}: {refusal.sentence}")
                continue
            _wait(api, row, ident, given.patience)
            row["deleted"].append(ident)
    except StorageError as error:
        row["state"], row["reason"] = "failed", str(error)
        return
    if row["state"] == "to do":
        row["state"] = "shorter" if row["deleted"] else "stays"
        row["reason"] = "; ".join(kept)


def _wait(api: Api, row: dict[str, Any], ident: int | None, patience: int) -> None:
    """Return when a snapshot, or with None each, has gone; ``Refused`` when oned has ended and it is there still."""
    until, pause, quiet = time.monotonic() + patience, 0.05, 0
    what = f"Snapshot {'any' if ident is None else ident} of {row['what']}"
    while True:
        owner = api.image(row["id"]) if row["disk"] is None else api.vm(row["id"])
        there = [
            number(one, "ID")
            for chain in owner.iterfind("SNAPSHOTS")
            if row["disk"] is None or number(chain, "DISK_ID", -1) == row["disk"]
            for one in chain.iterfind("SNAPSHOT")
        ]
        busy = number(owner, "STATE", 0) != READY if row["disk"] is None else number(owner, "LCM_STATE", 0) in _DELETING
        if not busy and (not there if ident is None else ident not in there):
            return
        # oned answers before it has begun, so that it may be quiet for a moment
        quiet = 0 if busy else quiet + 1
        if quiet > 30:
            error = text(owner, "TEMPLATE/ERROR") or text(owner, "USER_TEMPLATE/ERROR") or "oned does not say why"
            raise Refused(f"{what} could not be deleted: {error}")
        if time.monotonic() >= until:
            raise DeadlineOver(f"{what} has not been deleted", todo="oned goes on with it")
        time.sleep(pause)
        pause = min(pause * 1.3, 1)


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people, its sum last."""
    found = []
    for row in report["chains"]:
        told = f"{row['what']} {row['name']}: {row['depth']} snapshots: {row['state']}"
        if row["state"] == "to do":
            told += ", without " + ", ".join(map(str, row["delete"])) if row["delete"] else f" is {row['flatten']}"
        if row["deleted"]:
            told += f", without {', '.join(map(str, row['deleted']))}"
        found.append(told + (f": {row['reason']}" if row["reason"] else ""))
    return [*found, f"{len(report['chains'])} chains, {len(report['done'])} snapshots deleted"]
