# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What transfer-manager calls of the driver ``ceph`` have beside those of files: volumes, and how they are reached.

The disk has the attributes that oned copied from its image's datastore. What a volatile disk does not have comes from
the system datastore (contract-tm 4, 7.7).
"""

from __future__ import annotations

from ..module_utils import _actions
from .calls import identifier
from .calls_ceph import ceph_options
from .calls_tm import Place, disk_of
from .documents import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from .calls import Call, Context

#: Which argument is the disk.
_DISK = {"clone": 1, "ln": 1, "mkswap": 1, "mkimage": 2}
#: Calls that bring their own word on what is backed up.
_BACKUPS = ("prebackup", "prebackup_live", "postbackup", "postbackup_live")
#: What makes volumes in the data pool of the system datastore.
_OF_SYSTEM = ("clone", "mkimage", "mkswap")


def of_volumes(make: Callable[[list[str]], Call], action: str, given: list[str], mixed: bool) -> Call:
    """The call that *make* makes, with what volumes need.

    :param mixed: whether the VM's disks are files of its host's own.
    """
    if action == "monitor":
        from .calls_monitor import monitor

        return monitor(given, volumes=True)
    if action in _BACKUPS and not mixed:
        from .calls_tm_backup import backup

        return backup(action, given, volumes=True)
    if action == "restore" and not mixed:
        from .calls_tm_restore import restore

        return restore(given, volumes=True)
    call = make(given)
    known = _actions.ACTIONS[call.action].options
    if "ceph_user" not in known:
        return call
    place = Place(given[_DISK.get(action, 0)], "disk")
    complete = call.complete

    def completed(context: Context, here: bool) -> dict[str, Any]:
        options = {**complete(context, here), **_reached(context, place)}
        if place.disk >= 0:
            disk = disk_of(context.vm(place.vm), place.disk)
            if "image" in known:
                options["image"] = text(disk, "SOURCE").strip()
                options["persistent"] = text(disk, "CLONE", "yes").strip().lower() == "no"
        store = place.datastore if action in _OF_SYSTEM else _argument(given, 4) if action == "cpds" else -1
        if store >= 0:
            options["data_pool"] = text(context.datastore(store), "TEMPLATE/EC_POOL_NAME").strip()
        return options

    call.complete = completed
    if place.disk >= 0 and not mixed:
        call.turn = place.vm
        call.away = lambda context: _bridges(context, place)
    if place.disk >= 0 and ("vm", place.vm) not in call.asks:
        call.asks = [*call.asks, ("vm", place.vm)]
    return call


def _argument(given: list[str], number: int) -> int:
    """The datastore in an argument that older callers leave out; -1 without it."""
    return identifier(given[number], "datastore") if len(given) > number and given[number] else -1


def _template(context: Context, store: int) -> list[_Element]:
    found = context.datastore(store).find("TEMPLATE")
    return [] if found is None else [found]


def _reached(context: Context, place: Place) -> dict[str, Any]:
    """How the volumes of a disk, or of a VM, are reached."""
    if place.disk < 0:
        return ceph_options(context.settings, _template(context, place.datastore), f"Datastore {place.datastore}")
    return reached_at(context, disk_of(context.vm(place.vm), place.disk), place)


def reached_at(context: Context, disk: _Element, place: Place) -> dict[str, Any]:
    """How the volume of a VM's disk is reached."""
    volatile = not text(disk, "SOURCE").strip()
    elements = [disk, *(_template(context, place.datastore) if volatile else [])]
    return ceph_options(context.settings, elements, f"Disk {text(disk, 'DISK_ID').strip()} of VM {place.vm}")


def _bridges(context: Context, place: Place) -> list[str]:
    """Hosts that reach the disk of a VM which was undeployed or stopped; none for one that lives on the front-end."""
    vm = context.vm(place.vm)
    records = vm.findall("HISTORY_RECORDS/HISTORY")
    if records and text(records[-1], "HOSTNAME").strip() == place.host:
        return []
    store = text(disk_of(vm, place.disk), "DATASTORE_ID").strip()
    number = identifier(store, "datastore") if store else place.datastore
    return text(context.datastore(number), "TEMPLATE/BRIDGE_LIST").split()
