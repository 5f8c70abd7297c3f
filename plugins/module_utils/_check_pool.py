# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not in order between one host and a pool of a Ceph cluster: found by doing what the drivers do there."""

from __future__ import annotations

import hashlib
import os
import time

from ._errors import BadCall, Corrupt, StorageError, from_os, one_line
from .tools.command import run
from .tools.rbd import Access, unfinished
from .tools.rbd.cluster import Cluster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE = 4 << 20
_BLOCK = 1 << 16
_SECONDS = 20
#: Says whether libvirt has a secret, and a value of it, and nothing of that value.
_SECRET = """
import sys, libvirt
libvirt.registerErrorHandler(lambda *_: None, None)
try:
    connection = libvirt.open(sys.argv[1])
except libvirt.libvirtError as error:
    sys.exit("!" + str(error))
try:
    secret = connection.secretLookupByUUIDString(sys.argv[2])
except libvirt.libvirtError:
    sys.exit("libvirt has no secret " + sys.argv[2])
try:
    full = bool(secret.value(0))
except libvirt.libvirtError:
    full = False
if not full:
    sys.exit("libvirt's secret " + sys.argv[2] + " has no value")
"""
#: The settings of a pool that are looked at.
_SETTINGS = ("pool", "data_pool", "ceph_user", "ceph_key", "ceph_conf", "ceph_host")


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """A pool that is to be checked, as the caller described it.

    :raises BadCall: he did not.
    """
    settings, number = given.get("settings"), given.get("id")
    if not isinstance(settings, dict) or not settings.get("pool"):
        raise BadCall(f"The pool of datastore '{one_line(str(number), 40)}' has no settings that name it")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise BadCall(f"The pool '{one_line(str(settings['pool']), 80)}' has no id of a datastore")
    found: dict[str, Any] = {name: str(settings.get(name) or "") for name in _SETTINGS}
    return {**found, "id": number, "secret": str(given.get("secret") or ""), "libvirt": str(given.get("libvirt") or "")}


def check_pool(store: dict[str, Any], params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A row about a pool, and a sentence for each thing that is wrong with it on this host.

    * Its row has ``id``, ``pool``, ``ms`` (what the trial took; None when there was none) and ``error``, the first
      sentence.

    :param store: as :func:`checked` gives it.
    """
    row: dict[str, Any] = {"id": store["id"], "pool": store["pool"], "ms": None, "error": ""}
    cluster = Cluster(
        Access(store["ceph_user"], store["ceph_key"], store["ceph_conf"], store["ceph_host"]),
        params["stall_timeout"],
        params["command_timeout"],
    )
    found = []
    try:
        told = cluster.ask("standing", pool=store["pool"], data_pool=store["data_pool"])
        found = _said(store, told)
        if not found and not params["check"]:
            row["ms"] = _tried(cluster, store)
    except OSError as error:
        found.append(f"{from_os(error, _doing(error, store)).sentence}; {_advice(error, store)}")
    except StorageError as error:
        found.append(error.sentence)
    finally:
        cluster.close()
    found += _secret(store)
    row["error"] = found[0] if found else ""
    return row, [f"datastore {store['id']}: {sentence}" for sentence in found]


def _said(store: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """What the monitors' answer shows to be wrong."""
    pool, data = store["pool"], store["data_pool"]
    if told["kind"] is None:
        return [f"there is no pool '{pool}'; make it, or correct POOL_NAME"]
    if told["kind"] == "erasure":
        return [f"the pool {pool} is erasure coded, which cannot have the names of volumes; name it in EC_POOL_NAME"]
    if data and told["data_kind"] is None:
        return [f"there is no pool '{data}'; make it, or correct EC_POOL_NAME"]
    if data and told["data_kind"] == "erasure" and not told["overwrites"]:
        return [f"the pool {data} takes no overwrites; ceph osd pool set {data} allow_ec_overwrites true"]
    if {"full", "full_quota"} & set(told["flags"]):
        return [f"the pool {pool} is full, or its quota is used up; add storage, raise the quota, or delete something"]
    return []


def _tried(cluster: Cluster, store: dict[str, Any]) -> int:
    """Take a lock; write to a volume, clone it, read the clone; remove both. The milliseconds that it took."""
    begun, pool = time.monotonic(), store["pool"]
    run_id = os.urandom(6).hex()
    name, clone = unfinished("check", run_id), unfinished("check-clone", run_id)
    data = os.urandom(_BLOCK)
    wanted = hashlib.md5(data.ljust(_SIZE, b"\0"), usedforsecurity=False).hexdigest()
    cluster.lock(f"rbd:{pool}", f"check-{run_id}", False, 5)
    try:
        cluster.ask("create", pool=pool, name=name, size=_SIZE, image_format=2, data_pool=store["data_pool"])
        cluster.ask("begin", pool=pool, name=name)
        cluster.write(data, 0)
        cluster.ask("finish", size=_SIZE)
        cluster.ask("snapshot", pool=pool, name=name, snapshot="check")
        cluster.ask("protect", pool=pool, name=name, snapshot="check")
        told = {"to_pool": pool, "to_name": clone, "data_pool": store["data_pool"]}
        cluster.ask("clone", pool=pool, name=name, snapshot="check", **told)
        read, _size = cluster.ask("digest", pool=pool, name=clone, snapshot="", kind="md5")
    finally:
        _removed(cluster, pool, name, clone)
        cluster.unlock(f"rbd:{pool}", f"check-{run_id}")
    if read != wanted:
        raise Corrupt(f"a clone in the pool {pool} does not hold what was written to its image")
    return int(1000 * (time.monotonic() - begun))


def _removed(cluster: Cluster, pool: str, name: str, clone: str) -> None:
    """Remove what a trial made, as far as it came."""
    try:
        cluster.ask("remove", pool=pool, name=clone)
        if cluster.look(pool, name):
            cluster.ask("forget", pool=pool, name=name, snapshot="check")
            cluster.ask("remove", pool=pool, name=name)
    except OSError:
        # what went wrong before is told; what is left is an orphan by its name
        pass


def _doing(error: OSError, store: dict[str, Any]) -> str:
    return f"use {error.filename or 'the Ceph cluster'} of the pool {store['pool']}"


def _advice(error: OSError, store: dict[str, Any]) -> str:
    """What can be done about what the cluster, or this host, said."""
    said, user = str(error.strerror), store["ceph_user"] or "admin"
    if "install python3" in said:
        return "without them no action on volumes works here"
    if "cannot be read" in said:
        return "bring the file, and let the user of the drivers read it"
    if "does not let" in said:
        return f"bring the keyring of client.{user}, readable for the user of the drivers, or correct CEPH_USER"
    if isinstance(error, TimeoutError):
        return "are the monitors up, and reached from this host"
    if isinstance(error, PermissionError):
        return f"ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd pool={store['pool']}'"
    return "see the cluster's health"


def _secret(store: dict[str, Any]) -> list[str]:
    """What is wrong with the secret by which libvirt opens volumes for guests, on hosts that have guests."""
    if not store["libvirt"]:
        return []
    if not store["secret"]:
        return ["it has no CEPH_SECRET, by which libvirt finds the key for guests; set it"]
    try:
        told = run(["/usr/bin/python3", "-I", "-c", _SECRET, store["libvirt"], store["secret"]], _SECONDS)
    except OSError as error:
        return [f"libvirt cannot be asked for its secrets: {error.strerror}"]
    if told["rc"] == 0:
        return []
    said = one_line((str(told["err"]).strip().splitlines() or ["no word why"])[-1], 200)
    if said.startswith("libvirt"):
        user = store["ceph_user"] or "admin"
        return [f"{said}; virsh secret-define and secret-set-value it, with the key of client.{user}"]
    return [f"libvirt cannot be asked for its secrets: {said.lstrip('!')}"]
