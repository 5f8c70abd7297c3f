# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer-manager calls for disks that are there: snapshots, saving, resizing (contract-tm 2).

Their last argument is the datastore of the disk's image, or the system's for a volatile disk; the path alone tells
where the disk lies.
"""

from __future__ import annotations

from ..module_utils._errors import BadCall, Unsupported, one_line
from .calls import Call, arguments, is_number
from .calls_tm import Place, _disk_place, _megabytes, disk_of, image_format, image_path, refuse_replicas, rerooted
from .documents import number, text
from .settings import STOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from .calls import Context

#: LCM states in which the guest writes to its disks (contract-tm 3): running, disk-saveas, snapshot and its deletion,
#: resize.
RUNNING = (3, 26, 57, 59, 62)


def _disk(context: Context, place: Place, here: bool) -> tuple[dict[str, Any], _Element]:
    """The options that all these actions have, and the VM."""
    vm = context.vm(place.vm)
    disk = disk_of(vm, place.disk)
    refuse_replicas(disk, f"Disk {place.disk} of VM {place.vm}")
    source = text(disk, "SOURCE").strip()
    options = {
        **context.settings.common(),
        "datastore": place.root,
        "image": rerooted(image_path(source), place, here) if source.startswith("/") else "",
        "persistent": text(disk, "CLONE", "yes").strip().lower() == "no",
        "format": image_format(disk),
        "running": number(vm, "LCM_STATE", 0) in RUNNING,
    }
    return options, vm


def _snapshot(action: str, given: list[str]) -> Call:
    target, snapshot, vm, store = arguments(action, given, "DISK SNAPSHOT_ID VM_ID DATASTORE_ID", optional=2)
    place = _disk_place(target)
    place.check_ids(vm, store)
    wanted = _snapshot_id(snapshot)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        options, machine = _disk(context, place, here)
        options.update(path=place.path, snapshot_id=wanted)
        if action in ("snap_create_live", "snap_delete"):
            options.update(guest(context, machine, place.disk, action == "snap_create_live" or options["running"]))
        if action in ("snap_create", "snap_create_live"):
            # the id is new to oned, so what has it is what a failed attempt left
            options["force"] = True
        if action == "snap_revert":
            options["linear"] = _policy(machine, place.disk) == "LINEAR"
        return options

    return Call(f"tm_{action}", complete, {"destination": place.host}, asks=[("vm", place.vm)])


def guest(context: Context, vm: _Element, disk: int, runs: bool) -> dict[str, Any]:
    """The guest that writes to a disk, as libvirt knows it; nothing when it does not run.

    :raises Unsupported: another hypervisor runs it (contract-tm 7.2).
    """
    if not runs:
        return {}
    records = vm.findall("HISTORY_RECORDS/HISTORY")
    hypervisor = text(records[-1], "VM_MAD").strip().lower() if records else ""
    if hypervisor not in ("", "kvm", "qemu"):
        raise Unsupported(f"Disks of a running virtual machine need kvm or qemu, and this one has {hypervisor}")
    found = {"domain": text(vm, "DEPLOY_ID").strip(), "target": text(disk_of(vm, disk), "TARGET").strip()}
    uri = context.settings.stock("vmm/kvm/kvmrc", "LIBVIRT_URI")
    return {**found, "libvirt_uri": uri} if uri != STOCK["vmm/kvm/kvmrc"]["LIBVIRT_URI"] else found


def _policy(vm: _Element, disk: int) -> str:
    """ALLOW_ORPHANS of a disk's snapshots (contract-tm 4.3)."""
    for found in vm.findall("SNAPSHOTS"):
        if text(found, "DISK_ID").strip() == str(disk):
            return text(found, "ALLOW_ORPHANS").strip().upper()
    return ""


def _snapshot_id(argument: str) -> int:
    if not is_number(argument):
        raise BadCall(f"'{one_line(argument, 40)}' is not the id of a snapshot")
    return int(argument)


def _cpds(given: list[str]) -> Call:
    source, target, snapshot, vm, store = arguments(
        "cpds", given, "SOURCE DESTINATION SNAPSHOT_ID VM_ID DATASTORE_ID", optional=3
    )
    place = _disk_place(source)
    place.check_ids(vm, store)
    image = image_path(target)
    wanted = -1 if snapshot in ("", "-1") else _snapshot_id(snapshot)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        options, machine = _disk(context, place, here)
        destination = rerooted(image, place, here)
        return {
            **options,
            **guest(context, machine, place.disk, options["running"]),
            "source": place.path,
            "destination": destination,
            "snapshot_id": wanted,
            "force": True,
        }

    return Call("tm_cpds", complete, {"source": place.host}, asks=[("vm", place.vm)])


def _resize(given: list[str]) -> Call:
    target, size, vm, store = arguments("resize", given, "DISK SIZE VM_ID DATASTORE_ID", optional=2)
    place = _disk_place(target)
    place.check_ids(vm, store)
    megabytes = _megabytes(size)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        options, machine = _disk(context, place, here)
        sparse = text(disk_of(machine, place.disk), "SPARSE", "yes").strip().lower() != "no"
        return {**options, "path": place.path, "size": megabytes, "sparse": sparse}

    return Call("tm_resize", complete, {"destination": place.host}, asks=[("vm", place.vm)])


CALLS: dict[str, Callable[[list[str]], Call]] = {
    "resize": _resize,
    "cpds": _cpds,
    "snap_create": lambda given: _snapshot("snap_create", given),
    "snap_create_live": lambda given: _snapshot("snap_create_live", given),
    "snap_delete": lambda given: _snapshot("snap_delete", given),
    "snap_revert": lambda given: _snapshot("snap_revert", given),
}
