# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned knows to lie in each datastore, on each host: asked once, and believed only when its answers agree.

An answer that lacks something makes orphans of what is in use. So each image that a datastore counts has to be among
the images, and each VM that a host counts among the VMs; who may see a part only is refused by that as well.
"""

from __future__ import annotations

import os

from ...module_utils._errors import Refused, StorageError, Unsupported
from ...module_utils.drivers import registry
from ..bridges import choose
from ..documents import number, text
from ..settings import prefix_of
from ..site import pool_of, site
from .hosts import placed
from .volumes import is_pool, known_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from ..oned import Oned
    from ..settings import Settings

#: oned changes while it is asked: an image may come between two answers.
_TRIES = 3
#: VM/STATE: suspended, and others in which nothing moves (contract-tm, states of VMs).
_STOPPED, _SUSPENDED, _POWEROFF, _UNDEPLOYED, _ACTIVE = 4, 5, 8, 9, 3
#: VM/LCM_STATE of an active VM in which no disk moves: running, unknown.
_AT_REST = (3, 16)
#: IMAGE/STATE of one that is being made, or goes: init, locked, delete, locked for a VM.
_MOVING = (0, 4, 7, 9, 10)


class Look:
    """One datastore on one host.

    :ivar host: empty for the front-end.
    :ivar since: when the oldest image that is being made was registered, in seconds since the epoch; 0 for none.
    """

    def __init__(self, host: str, store: dict[str, Any], kind: str, driver: str, known: list[str], since: int) -> None:
        self.host = host
        self.store = store
        self.kind = kind
        self.driver = driver
        self.known = known
        self.since = since


class Pools:
    """oned's answers, which agree with each other.

    :raises StorageError: oned does not answer, or not with everything.
    """

    def __init__(self, oned: Oned) -> None:
        for left in reversed(range(_TRIES)):
            self.images = oned.images().findall("IMAGE")
            self.vms = oned.vms().findall("VM")
            self.site = site(oned)
            missing = self._missing()
            if not missing:
                break
            if not left:
                raise Refused(
                    f"oned's answers do not agree: {missing}; so nothing can be said to be unknown",
                    todo="ask as oneadmin, who sees everything",
                )

    def _missing(self) -> str:
        counted: dict[int, int] = {}
        for image in self.images:
            store = number(image, "DATASTORE_ID", -1)
            counted[store] = counted.get(store, 0) + 1
        for store in self.site["datastores"]:
            # one that is being made may be told before it is counted
            if store["images"] > counted.pop(store["id"], 0):
                return f"datastore {store['id']} has {store['images']} images, and not all are told"
        if counted:
            return f"images are told of datastore {min(counted)}, which is not"
        there = {number(vm, "ID") for vm in self.vms}
        for host in self.site["hosts"]:
            if set(host["vms"]) - there:
                return f"host {host['name']} has VM {min(set(host['vms']) - there)}, which is not told"
        return ""


def looks(oned: Oned, settings: Settings, pools: Pools, only: list[int]) -> tuple[list[Look], list[str]]:
    """Where to look, and a sentence for each datastore that cannot be looked at.

    :param only: ids of datastores; all when there are none.
    """
    stores = {store["id"]: store for store in pools.site["datastores"]}
    unknown = sorted(set(only) - set(stores))
    if unknown:
        raise Refused(f"oned knows no datastore {unknown[0]}")
    prefix = prefix_of(settings.root)
    found: list[Look] = []
    notes: list[str] = []
    pools_seen: set[tuple[str, ...]] = set()
    files = _files(pools.images, stores)
    for ident, store in sorted(stores.items()):
        if only and ident not in only:
            continue
        kind = "tm" if store["type"] == "system" else "ds"
        driver = str(store["tm_mad" if kind == "tm" else "ds_mad"]).removeprefix(prefix)
        try:
            registry.load(kind, driver).method("orphans")
            if is_pool(store):
                # datastores that share a pool have one report, of the first that is asked for
                if pool_of(store) not in pools_seen:
                    pools_seen.add(pool_of(store))
                    found.append(_pool(oned, pools, store, driver))
                if kind == "ds":
                    continue
                # directories of VMs are each host's own, whatever oned says of the volumes
                store = {**store, "shared": False, "bridges": []}
            found += list(_of(oned, settings, pools, store, kind, driver, files.get(ident, [])))
        except (Unsupported, StorageError) as error:
            notes.append(f"datastore {ident} is not looked at: {error}")
    return found, notes


def _pool(oned: Oned, pools: Pools, store: dict[str, Any], driver: str) -> Look:
    """The look at a datastore's pool: its images, and the disks of VMs in it."""
    pool = store["settings"]["pool"]
    resting = {text(vm, "ID") for vm in pools.vms if _rests(vm)}
    known = known_in(pool, pools.images, pools.vms, resting)
    host = choose(store["bridges"], store["id"], oned) if store["bridges"] else ""
    # a new image may be in any datastore, and so may what a clone of one becomes
    since = _since(pools.images)
    return Look(host, store, "ds", driver, known, since)


def _since(images: list[_Element]) -> int:
    """When the oldest image that is being made, or goes, was registered; 0 for none."""
    moving = [image for image in images if number(image, "STATE", 0) in _MOVING]
    return min((number(image, "REGTIME", 0) for image in moving), default=0)


def _of(
    oned: Oned, settings: Settings, pools: Pools, store: dict[str, Any], kind: str, driver: str, files: list[str]
) -> list[Look]:
    if kind == "ds":
        since = _since([image for image in pools.images if number(image, "DATASTORE_ID", -1) == store["id"]])
        host = choose(store["bridges"], store["id"], oned) if store["bridges"] else ""
        return [Look(host, store, kind, driver, files, since)]
    if store["shared"]:
        host = choose(store["bridges"], store["id"], oned) if store["bridges"] else ""
        return [Look(host, store, kind, driver, _vms(pools.vms, store["id"], None), 0)]
    names = [host["name"] for host in pools.site["hosts"] if _may_have(host, store)]
    # a front-end that is a host as well has what belongs to either
    ours = ["", *(name for name in names if placed(name, settings).here)]
    found = [Look("", store, kind, driver, _vms(pools.vms, store["id"], ours), 0)]
    for name in names:
        if name not in ours:
            found.append(Look(name, store, kind, driver, _vms(pools.vms, store["id"], [name]), 0))
    return found


def _may_have(host: dict[str, Any], store: dict[str, Any]) -> bool:
    return not store["clusters"] or host["cluster_id"] in store["clusters"]


def _files(images: list[_Element], stores: dict[int, dict[str, Any]]) -> dict[int, list[str]]:
    """Names of images' files by the datastore they belong to, and by the one whose folder they say they lie in."""
    paths = {store["path"]: ident for ident, store in stores.items()}
    found: dict[int, set[str]] = {}
    for image in images:
        folder, _slash, name = text(image, "SOURCE").rstrip("/").rpartition("/")
        if not name:
            continue
        clean = "/" + "/".join(part for part in folder.split("/") if part)
        for ident in (number(image, "DATASTORE_ID", -1), paths.get(clean, -1)):
            found.setdefault(ident, set()).add(name)
    return {ident: sorted(names) for ident, names in found.items()}


def _vms(vms: list[_Element], store: int, hosts: list[str] | None) -> list[str]:
    """VMs whose files may lie in a datastore: of these hosts (empty: the front-end), or of storage that all share.

    Of one that is at rest its place is known, and its disks; one that moves may be anywhere, in any datastore. A VM
    that belongs elsewhere is told with an ``@``: what lies here of it may be a copy that was left, or the VM itself,
    where storage is shared and nobody told oned.
    """
    found = []
    for vm in vms:
        ident, state = text(vm, "ID"), number(vm, "STATE", -1)
        last = vm.findall("HISTORY_RECORDS/HISTORY")[-1:]
        if not last or not _rests(vm):
            found.append(ident)
            continue
        place = "" if state in (_STOPPED, _UNDEPLOYED) else text(last[0], "HOSTNAME")
        here = number(last[0], "DS_ID", -1) == store and (hosts is None or place in hosts)
        found.append(f"{ident}:{','.join(_disks(vm))}" if here else f"{ident}@")
    return found


def _rests(vm: _Element) -> bool:
    """Whether no disk of a VM moves, comes or goes."""
    state, step = number(vm, "STATE", -1), number(vm, "LCM_STATE", -1)
    return state in (_STOPPED, _SUSPENDED, _POWEROFF, _UNDEPLOYED) or (state == _ACTIVE and step in _AT_REST)


def _disks(vm: _Element) -> list[str]:
    return [text(disk, ".").strip() for disk in vm.iterfind("TEMPLATE/DISK/DISK_ID")] + [
        text(disk, ".").strip() for disk in vm.iterfind("TEMPLATE/CONTEXT/DISK_ID")
    ]


def where(look: Look) -> str:
    """The host of a look, for people."""
    return look.host or os.uname().nodename
