# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site has, as oned tells it: hosts, with their clusters, and datastores, as plain data for people's tools."""

from __future__ import annotations

from .datastores import TYPES
from .documents import number, text, yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .oned import Oned

#: HOST/STATE as a word; what a host is being monitored from counts as that (oned's Host.h).
STATES = ("init", "monitored", "monitored", "error", "disabled", "error", "init", "disabled", "offline")
_WORDS = {number: word for word, (_type, number) in TYPES.items()}


def site(oned: Oned) -> dict[str, Any]:
    """Hosts and datastores of a site, in two requests.

    :raises StorageError: one sentence, when oned does not answer or does not let us see them.
    """
    hosts, stores = oned.hosts(), oned.datastores()
    return {
        "hosts": [_host(one) for one in hosts.iterfind("HOST")],
        "datastores": [_datastore(one) for one in stores.iterfind("DATASTORE")],
    }


def _host(one: _Element) -> dict[str, Any]:
    state = number(one, "STATE", -1)
    return {
        "id": number(one, "ID", what="oned's document of a host"),
        "name": text(one, "NAME"),
        "state": STATES[state] if 0 <= state < len(STATES) else "unknown",
        "cluster_id": number(one, "CLUSTER_ID", -1),
        "cluster": text(one, "CLUSTER"),
        "im_mad": text(one, "IM_MAD"),
        "vm_mad": text(one, "VM_MAD"),
        "vms": [int(vm.text or -1) for vm in one.iterfind("VMS/ID")],
        "attributes": _attributes(one),
    }


def _datastore(one: _Element) -> dict[str, Any]:
    """Sizes are in MB, as oned last heard them; those of a datastore that each host has for itself are 0."""
    kind = _WORDS.get(text(one, "TYPE"), "unknown")
    mads = {
        key: "" if text(one, tag) == "-" else text(one, tag)
        for key, tag in (("ds_mad", "DS_MAD"), ("tm_mad", "TM_MAD"))
    }
    # an image datastore lies where the front-end is; whether hosts have a system datastore in common is its SHARED
    shared = kind != "system" or yes(text(one, "TEMPLATE/SHARED", "YES"))
    pool = _settings(one, mads["tm_mad" if kind == "system" else "ds_mad"])
    return {
        "id": number(one, "ID", what="oned's document of a datastore"),
        "name": text(one, "NAME"),
        "type": kind,
        **mads,
        # oned writes double slashes (contract-tm 2)
        "path": "/" + "/".join(part for part in text(one, "BASE_PATH").split("/") if part),
        "clusters": [int(cluster.text or -1) for cluster in one.iterfind("CLUSTERS/ID")],
        "enabled": text(one, "STATE", "0") == "0",
        "shared": shared,
        # images whose files a host uses where they are, without a copy (contract-tm 4)
        "in_place": kind == "image" and text(one, "TEMPLATE/LN_TARGET") == "NONE" and not pool,
        "bridges": text(one, "TEMPLATE/BRIDGE_LIST").split(),
        "total_mb": number(one, "TOTAL_MB", 0),
        "used_mb": number(one, "USED_MB", 0),
        "free_mb": number(one, "FREE_MB", 0),
        "images": len(one.findall("IMAGES/ID")),
        **pool,
    }


def _settings(one: _Element, driver: str) -> dict[str, Any]:
    """``settings``, the options by which a driver is told where its storage is, and ``ceph_secret``, the name under
    which libvirt keeps the key; nothing for those of directories.

    The driver may have a name of its own, with a beginning that only the front-end knows.
    """
    template = one.find("TEMPLATE")
    if not driver.endswith("ceph") or template is None:
        return {}
    from .calls_ceph import reached
    from .settings import Settings, remotes

    return {"settings": reached(Settings(remotes()), [template]), "ceph_secret": text(template, "CEPH_SECRET").strip()}


def pool_of(store: dict[str, Any]) -> tuple[str, ...]:
    """By what the pool of a datastore is told from others: two datastores that have the same share it."""
    return tuple(str(store["settings"][key]) for key in ("pool", "ceph_conf", "ceph_host"))


def _attributes(one: _Element) -> dict[str, str]:
    """The plain attributes of an object's template."""
    return {child.tag: child.text or "" for child in one.iterfind("TEMPLATE/*") if not len(child)}
