# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``site``: as JSON, hosts and datastores as oned knows them, who can look at which, what lies there."""

from __future__ import annotations

import argparse
import json
import sys

from ..module_utils._errors import StorageError, one_line
from .documents import number, text
from .oned import Oned
from .site import pool_of, site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    Rows = list[dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Print it; exit code 1 with one sentence when oned does not answer."""
    parser = argparse.ArgumentParser(
        prog="site",
        description="Print as JSON what OpenNebula knows of hosts and datastores.",
        epilog="oned is asked as the user of ONE_AUTH, at ONE_XMLRPC.",
    )
    parser.add_argument(
        "--looks", action="store_true", help="also who can look at which datastore, and names of images and VMs"
    )
    parser.add_argument(
        "--leads", action="store_true", help="only whether the oned of this machine leads its HA set: yes or no"
    )
    given = parser.parse_args(arguments)
    try:
        oned = Oned()
        if given.leads:
            print("yes" if oned.leads() else "no")
            return 0
        found = site(oned)
        if given.looks:
            found.update(looks(found, oned.images().findall("IMAGE"), oned.vms().findall("VM")))
    except StorageError as error:
        print(f"site: {one_line(str(error), 600)}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


def looks(found: dict[str, Any], images: list[_Element], vms: list[_Element]) -> dict[str, Any]:
    """Who looks at what, and what it is called.

    * ``looks``: for each host, under an empty name for the front-end, the datastores that it sees, as the info modules
      take them. Those of backups are nobody's: their data lies on servers that are no hosts.
    * ``names``: ``name``, ``id`` and ``owner`` by ``<datastore>/<file>`` of an image and by ``vm/<id>``.
    """
    formats: dict[int, dict[str, str]] = {}
    names: dict[str, dict[str, Any]] = {}
    for image in images:
        store, file = number(image, "DATASTORE_ID", -1), text(image, "SOURCE").rstrip("/").rpartition("/")[2]
        if file:
            names[f"{store}/{file}"] = _named(image)
            formats.setdefault(store, {})[file] = text(image, "FORMAT")
    for vm in vms:
        names[f"vm/{text(vm, 'ID')}"] = _named(vm)
        last = vm.findall("HISTORY_RECORDS/HISTORY")[-1:]
        for disk in vm.iterfind("TEMPLATE/DISK") if last else []:
            where = f"{text(vm, 'ID')}/disk.{text(disk, 'DISK_ID')}"
            formats.setdefault(number(last[0], "DS_ID", -1), {})[where] = text(disk, "FORMAT")
    asked: dict[str, Rows] = {"": []}
    for store in found["datastores"]:
        keys = ("id", "name", "type", "path", "ds_mad", "tm_mad", "settings")
        given = {key: store[key] for key in keys if key in store}
        # what oned calls raw is that, and all else is what its first bytes say: swap, iso, the empty format of a copy
        known = {name: value for name, value in formats.get(store["id"], {}).items() if value in ("raw", "qcow2")}
        for host in _who(store, found["hosts"]):
            asked.setdefault(host, []).append(
                {**given, "formats": known, **_others(store, found["datastores"], formats)}
            )
    return {"looks": asked, "names": names}


def _others(store: dict[str, Any], stores: Rows, formats: dict[int, dict[str, str]]) -> dict[str, list[str]]:
    """``elsewhere``, the images of other datastores that share a pool; nothing where none does."""
    if store["type"] == "system" or "settings" not in store:
        return {}
    sharing = [
        one for one in stores if "settings" in one and one["id"] != store["id"] and pool_of(one) == pool_of(store)
    ]
    return {"elsewhere": sorted({name for one in sharing for name in formats.get(one["id"], {})})}


def _who(store: dict[str, Any], hosts: Rows) -> list[str]:
    if store["type"] == "backup":
        return []
    if store["bridges"]:
        return [str(store["bridges"][0]).partition(":")[0]]
    if store["shared"]:
        return [""]
    return [host["name"] for host in hosts if host["cluster_id"] in store["clusters"] and host["state"] != "offline"]


def _named(one: _Element) -> dict[str, Any]:
    return {"id": number(one, "ID", -1), "name": text(one, "NAME"), "owner": text(one, "UNAME")}
