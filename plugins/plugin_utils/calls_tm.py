# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer-manager calls: the command line names hosts and paths, oned is asked for the rest (contract-tm 2)."""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, Missing, Unsupported, one_line
from ..module_utils.drivers.base import clean_path
from ..module_utils.tools.ssh import check_host
from .calls import Call, Context, arguments, filesystem, identifier, is_number, refuse, words
from .documents import number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

#: LCM states in which the source host is lost and must not be touched (fault tolerance, contract-tm 3).
SOURCE_LOST = (60, 61)

_NOT_DONE_BY_IMAGES = ("NFS_AUTO_ENABLE", "CACHE_ENABLE")
_NOT_DONE_BY_SYSTEM = ("NFS_AUTO_ENABLE", "REPLICA_HOST")


class Place:
    """``host:path`` as oned writes it, taken apart and checked.

    :ivar path: normalised path.
    :ivar vm: the VM's id, as its directory is named.
    :ivar root: directory of the system datastore.
    :ivar disk: disk id; -1 for a VM's directory, a kernel or an initrd.
    """

    def __init__(self, argument: str, what: str) -> None:
        host, colon, path = argument.partition(":")
        if not colon or not path.startswith("/"):
            raise BadCall(f"The {what} '{one_line(argument, 120)}' is not host:path")
        self.host = check_host(host)
        self.path = clean_path(path, what)
        name = os.path.basename(self.path)
        self.is_disk = name in ("kernel", "initrd") or (name.startswith("disk.") and is_number(name[5:]))
        self.disk = int(name[5:]) if self.is_disk and name.startswith("disk.") else -1
        self.directory = os.path.dirname(self.path) if self.is_disk else self.path
        self.root = os.path.dirname(self.directory)
        vm, datastore = os.path.basename(self.directory), os.path.basename(self.root)
        if not is_number(vm) or not is_number(datastore):
            raise BadCall(f"The {what} '{one_line(self.path, 120)}' is not in a VM's directory of a datastore")
        self.vm = int(vm)
        self.datastore = int(datastore)

    def check_ids(self, vm: str, datastore: str) -> None:
        """``BadCall`` when the VM's id in the arguments is not that of the path, or the datastore's is no id at all.

        The datastore is the image's or the system's, so that the path does not tell which it is.
        """
        if vm and identifier(vm, "VM") != self.vm:
            raise BadCall(f"The path {self.path} belongs to VM {self.vm}, the call to VM {vm}")
        if datastore:
            identifier(datastore, "datastore")


def image_path(argument: str) -> str:
    """The path of an image, or the name of a volume: bare, or with the front-end's name before it (contract-tm 11)."""
    host, colon, path = argument.partition(":")
    source = path if colon and "/" in path and "/" not in host else argument
    return source if _is_volume(source) else clean_path(source, "image")


def _is_volume(source: str) -> bool:
    """Whether an image's SOURCE is ``<pool>/<volume>``; what it may be in full its driver knows."""
    pool, slash, name = source.partition("/")
    return bool(pool and slash and name) and "/" not in name and ".." not in (pool, name) and source.isprintable()


def rerooted(image: str, disk: Place, here: bool) -> str:
    """The image as the lead sees it: on a node, datastores may lie elsewhere (contract-tm 7.2)."""
    if here or not image.startswith("/"):
        return image
    folder = os.path.basename(os.path.dirname(image))
    return os.path.join(os.path.dirname(disk.root), folder, os.path.basename(image))


def disk_of(vm: _Element, disk: int) -> _Element:
    """The DISK element of a VM."""
    for found in vm.findall("TEMPLATE/DISK"):
        if text(found, "DISK_ID").strip() == str(disk):
            return found
    raise Missing(f"VM {text(vm, 'ID', '?')} has no disk {disk}")


def image_format(disk: _Element) -> str:
    """The disk's format as oned declares it; it is never guessed from the bytes (rule 10)."""
    return "qcow2" if text(disk, "FORMAT", "raw").strip().lower() == "qcow2" else "raw"


# ---------------------------------------------------------------- disks that come and go


def _disk(action: str, given: list[str]) -> Call:
    source, target, vm, store = arguments(action, given, "SOURCE DESTINATION VM_ID DATASTORE_ID", optional=2)
    place = _disk_place(target, boot=True)
    place.check_ids(vm, store)
    image = image_path(source)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            **context.settings.common(),
            "datastore": place.root,
            "source": rerooted(image, place, here),
            "destination": place.path,
            "force": True,
        }
        if store:
            found = context.datastore(identifier(store, "datastore"))
            refuse(found, f"Datastore {store}", _NOT_DONE_BY_IMAGES)
        refuse(context.datastore(place.datastore), f"Datastore {place.datastore}", _NOT_DONE_BY_SYSTEM)
        if place.disk >= 0:
            options.update(_shape(context.vm(place.vm), place.disk))
        return options

    asks = [("datastore", place.datastore)]
    if store and identifier(store, "datastore") != place.datastore:
        asks.append(("datastore", identifier(store, "datastore")))
    if place.disk >= 0:
        asks.append(("vm", place.vm))
    return Call(f"tm_{action}", complete, {"destination": place.host}, asks=asks)


def _disk_place(argument: str, boot: bool = False) -> Place:
    """The place of a disk.

    :param boot: whether it may be the VM's kernel or initrd too.
    """
    place = Place(argument, "disk")
    if not place.is_disk or (place.disk < 0 and not boot):
        raise BadCall(f"{place.path} is not a disk")
    return place


def refuse_replicas(disk: _Element, where: str) -> None:
    """``Unsupported`` for a disk that a replica host is to keep snapshots of."""
    if text(disk, "RECOVERY_SNAPSHOT_FREQ").strip():
        raise Unsupported(f"{where} has RECOVERY_SNAPSHOT_FREQ, which these drivers do not support")


def _shape(vm: _Element, disk: int) -> dict[str, Any]:
    found = disk_of(vm, disk)
    where = f"Disk {disk} of VM {text(vm, 'ID', '?')}"
    refuse_replicas(found, where)
    return {
        "format": image_format(found),
        "size": number(found, "SIZE", 0, where),
        "original_size": number(found, "ORIGINAL_SIZE", 0, where),
        "sparse": text(found, "SPARSE", "yes").strip().lower() != "no",
        "standalone": text(found, "QCOW2_STANDALONE").strip().lower() in ("yes", "true"),
        "qcow2_options": words(os.environ.get("QCOW2_OPTIONS", ""), "QCOW2_OPTIONS"),
    }


def _clone(given: list[str]) -> Call:
    return _disk("clone", given)


def _ln(given: list[str]) -> Call:
    return _disk("ln", given)


def _mvds(given: list[str]) -> Call:
    source, target, vm, store = arguments("mvds", given, "SOURCE DESTINATION VM_ID DATASTORE_ID", optional=2)
    place = _disk_place(source)
    place.check_ids(vm, store)
    image = image_path(target)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        disk = disk_of(context.vm(place.vm), place.disk)
        return {
            **context.settings.common(),
            "datastore": place.root,
            "source": place.path,
            "destination": rerooted(image, place, here),
            "format": image_format(disk),
        }

    early = {"source": place.path, "destination": image}
    return Call("tm_mvds", complete, {"source": place.host}, early, asks=[("vm", place.vm)])


def _mv(given: list[str]) -> Call:
    old, new, vm, store = arguments("mv", given, "SOURCE DESTINATION VM_ID DATASTORE_ID", optional=2)
    source, destination = Place(old, "source"), Place(new, "destination")
    if os.path.basename(source.path) != os.path.basename(destination.path) or source.vm != destination.vm:
        raise BadCall(f"{source.path} and {destination.path} are not the same disk, or directory, of one VM")
    source.check_ids(vm, store)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        return {
            **context.settings.common(),
            **early,
            "datastore": destination.root,
            "source_datastore": source.root,
            "source_lost": number(context.vm(source.vm), "LCM_STATE", 0) in SOURCE_LOST,
        }

    early = {"source": source.path, "destination": destination.path, "source_lost": False}
    hosts = {"source": source.host, "destination": destination.host}
    # a lost source host must not even be called, and only oned knows that it is lost
    return Call("tm_mv", complete, hosts, early, hasty=False, asks=[("vm", source.vm)])


def _delete(given: list[str]) -> Call:
    target, vm, store = arguments("delete", given, "PATH VM_ID DATASTORE_ID", optional=2)
    place = Place(target, "path")
    place.check_ids(vm, store)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        return {**context.settings.common(), "datastore": place.root, "path": place.path}

    return Call("tm_delete", complete, {"destination": place.host})


# ---------------------------------------------------------------- disks that are made


def _context(given: list[str]) -> Call:
    rest = list(given)
    ids: list[str] = []
    while rest and is_number(rest[-1]) and len(ids) < 2:
        ids.insert(0, rest.pop())
    if len(rest) < 2:
        raise BadCall("context takes at least 2 arguments (FILE... DESTINATION VM_ID DATASTORE_ID)")
    place = _disk_place(rest.pop())
    place.check_ids(*[*ids, "", ""][:2])
    files = context_files(rest)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        return {
            **context.settings.common(),
            "datastore": place.root,
            "destination": place.path,
            "files": files,
            "force": True,
        }

    return Call("tm_context", complete, {"destination": place.host})


def context_files(words: list[str]) -> list[str]:
    """The files of a context image: names in quotes that oned's splitting tore apart are joined again (Q6)."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].count("'") % 2:
            joined[-1] += " " + word
        else:
            joined.append(word)
    if joined and joined[-1].count("'") % 2:
        raise BadCall(f"The quote in '{one_line(joined[-1], 120)}' is not closed")
    return [word.replace("'", "") for word in joined]


def _mkimage(given: list[str]) -> Call:
    size, kind, target, vm, store = arguments(
        "mkimage", given, "SIZE FORMAT DESTINATION VM_ID DATASTORE_ID", optional=2
    )
    place = _disk_place(target)
    place.check_ids(vm, store)
    megabytes = _megabytes(size)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        fs = text(disk_of(context.vm(place.vm), place.disk), "FS").strip().lower() if kind != "swap" else ""
        return {
            **context.settings.common(),
            **filesystem(context, fs),
            "datastore": place.root,
            "destination": place.path,
            "size": megabytes,
            "format": kind,
            "force": True,
        }

    asks = [("vm", place.vm)] if kind != "swap" else []
    return Call("tm_mkimage", complete, {"destination": place.host}, asks=asks)


def _mkswap(given: list[str]) -> Call:
    size, target, vm, store = arguments("mkswap", given, "SIZE DESTINATION VM_ID DATASTORE_ID", optional=2)
    place = _disk_place(target)
    place.check_ids(vm, store)
    megabytes = _megabytes(size)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        return {
            **context.settings.common(),
            "datastore": place.root,
            "destination": place.path,
            "size": megabytes,
            "force": True,
        }

    return Call("tm_mkswap", complete, {"destination": place.host})


def _megabytes(argument: str) -> int:
    if not is_number(argument):
        raise BadCall(f"'{one_line(argument, 40)}' is not a size in MB")
    return int(argument)


# ---------------------------------------------------------------- monitoring


def _monitor(given: list[str]) -> Call:
    from .calls_monitor import monitor

    return monitor(given)


def _monitor_ds(given: list[str]) -> Call:
    from .calls_monitor import monitor_ds

    return monitor_ds(given)


def _of_disk(action: str) -> Callable[[list[str]], Call]:
    """The call of an action on a disk that is there."""

    def make(given: list[str]) -> Call:
        from .calls_disks import CALLS

        return CALLS[action](given)

    return make


def _hook(action: str) -> Callable[[list[str]], Call]:
    """The call of a hook around a live migration."""

    def make(given: list[str]) -> Call:
        from .calls_tm_migrate import hook

        return hook(action, given)

    return make


def _backup(action: str) -> Callable[[list[str]], Call]:
    """The call of an action around a backup."""

    def make(given: list[str]) -> Call:
        from .calls_tm_backup import backup

        return backup(action, given)

    return make


def _restore(given: list[str]) -> Call:
    from .calls_tm_restore import restore

    return restore(given)


_CALLS: dict[str, Callable[[list[str]], Call]] = {
    "restore": _restore,
    "clone": _clone,
    "ln": _ln,
    "mv": _mv,
    "mvds": _mvds,
    "delete": _delete,
    "context": _context,
    "mkimage": _mkimage,
    "mkswap": _mkswap,
    **{
        name: _of_disk(name)
        for name in ("resize", "cpds", "snap_create", "snap_create_live", "snap_delete", "snap_revert")
    },
    **{name: _hook(name) for name in ("premigrate", "postmigrate", "failmigrate")},
    **{name: _backup(name) for name in ("prebackup", "prebackup_live", "postbackup", "postbackup_live")},
    "monitor": _monitor,
    "monitor_ds": _monitor_ds,
}


def call(action: str, given: list[str], mad: str = "", system: str = "") -> Call:
    """The call of ``tm/<mad>/<action>[.<system mad>] ARGUMENTS``."""
    found = _CALLS.get(action)
    if found is None:
        raise Unsupported(f"{action}: Operation not supported")
    if mad == "ceph":
        from .calls_tm_ceph import of_volumes

        return of_volumes(found, action, given, bool(system))
    return found(given)
