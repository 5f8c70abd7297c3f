# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which transfer lines each event of a VM's life makes oned write, and in which order.

A line is `ACTION[.suffix] driver argument ...`, split on blanks by the one who reads it: there is no quoting. The
suffix is the disk's TM_MAD_SYSTEM. Actions on a whole directory go to the system datastore's driver and never have one.
"""

from __future__ import annotations

from .disk import Disk
from .store import Settings
from .vm import History, Vm


def prolog(settings: Settings, vm: Vm) -> list[str]:
    """A new VM: every disk is made where the VM will run."""
    lines = [disk_prolog(settings, vm, disk) for disk in vm.disks]
    for name in ("KERNEL", "INITRD"):
        lines.extend(_boot_file(settings, vm, name))
    return lines


def disk_prolog(settings: Settings, vm: Vm, disk: Disk) -> str:
    """One disk comes to be: with the VM, or attached later."""
    record = vm.record
    target = f"{record.hostname}:{settings.record_dir(record)}/disk.{disk.id}"
    if disk.is_swap:
        return f"MKSWAP {record.tm_mad} {disk.size} {target} {vm.id} {record.ds_id}"
    if disk.is_volatile:
        return f"MKIMAGE {record.tm_mad} {disk.size} {disk.format} {target} {vm.id} {record.ds_id}"
    action = "CLONE" if disk.is_clone else "LN"
    source = _image_source(settings, disk)
    return f"{action}{_suffix(disk)} {disk.tm_mad} {source} {target} {vm.id} {disk.datastore_id}"


def stop(settings: Settings, vm: Vm) -> list[str]:
    """Stop and undeploy: everything moves to the front-end."""
    record = vm.record
    place = settings.record_dir(record)
    return _moves(vm, record, f"{record.hostname}:{place}", f"{settings.frontend}:{place}")


def resume(settings: Settings, vm: Vm) -> list[str]:
    """Resume from stop or undeploy: everything moves from the front-end to the (new) host."""
    record, before = vm.record, vm.previous
    source = f"{settings.frontend}:{settings.record_dir(before)}"
    return _moves(vm, record, source, f"{record.hostname}:{settings.record_dir(record)}")


def migrate(settings: Settings, vm: Vm) -> list[str]:
    """Cold migration, to another host, another system datastore, or both."""
    record, before = vm.record, vm.previous
    source = f"{before.hostname}:{settings.record_dir(before)}"
    return _moves(vm, record, source, f"{record.hostname}:{settings.record_dir(record)}")


def epilog(settings: Settings, vm: Vm, local: bool = False) -> list[str]:
    """The VM ends: what is to be saved goes home, the rest is deleted. `local`: its files are on the front-end."""
    record = vm.record
    host = settings.frontend if local else record.hostname
    lines = [disk_epilog(settings, vm, disk, host) for disk in vm.disks]
    lines.append(f"DELETE {record.tm_mad} {host}:{settings.record_dir(record)} {vm.id} {record.ds_id}")
    return lines


def disk_epilog(settings: Settings, vm: Vm, disk: Disk, host: str | None = None) -> str:
    """One disk goes: with the VM, or detached."""
    record = vm.record
    place = f"{host or record.hostname}:{settings.record_dir(record)}/disk.{disk.id}"
    if disk.is_saved:
        source = disk.attributes["SOURCE"]
        return f"MVDS{_suffix(disk)} {disk.tm_mad} {place} {source} {vm.id} {disk.datastore_id}"
    driver, ds_id = _driver(disk, record)
    return f"DELETE{_suffix(disk)} {driver} {place} {vm.id} {ds_id}"


def delete(settings: Settings, vm: Vm, record: History | None = None, local: bool = False) -> list[str]:
    """Everything of the VM is thrown away, disks of persistent images too. `record`: where; else where it is now."""
    where = record or vm.record
    host = settings.frontend if local else where.hostname
    place = f"{host}:{settings.record_dir(where)}"
    lines = []
    suffix = ""
    for disk in vm.disks:
        suffix = _suffix(disk) or suffix
        driver, ds_id = _driver(disk, where)
        lines.append(f"DELETE{suffix} {driver} {place}/disk.{disk.id} {vm.id} {ds_id}")
    lines.append(f"DELETE {where.tm_mad} {place} {vm.id} {where.ds_id}")
    return lines


def delete_both(settings: Settings, vm: Vm) -> list[str]:
    """Thrown away in the middle of a migration: at the new place, then at the old one."""
    return delete(settings, vm) + delete(settings, vm, vm.previous)


def save_as(settings: Settings, vm: Vm, disk: Disk, source: str, snapshot: int = -1, local: bool = False) -> str:
    """A disk is copied to a new image; snapshot -1 means as it is now."""
    place = _disk_place(settings, vm, disk, local)
    return f"CPDS{_suffix(disk)} {disk.tm_mad} {place} {source} {snapshot} {vm.id} {disk.datastore_id}"


def snapshot(settings: Settings, vm: Vm, disk: Disk, action: str, snapshot_id: int) -> str:
    """`action` is SNAP_CREATE, SNAP_REVERT or SNAP_DELETE."""
    place = _disk_place(settings, vm, disk, False)
    return f"{action}{_suffix(disk)} {disk.tm_mad} {place} {snapshot_id} {vm.id} {disk.datastore_id}"


def resize(settings: Settings, vm: Vm, disk: Disk, size: int, local: bool = False) -> str:
    """A disk grows to `size` MB."""
    driver, ds_id = _driver(disk, vm.record)
    return f"RESIZE{_suffix(disk)} {driver} {_disk_place(settings, vm, disk, local)} {size} {vm.id} {ds_id}"


def context(settings: Settings, vm: Vm) -> str | None:
    """The context ISO, made by the VM manager before each deploy and restore; None for a VM without context."""
    if vm.context_disk_id is None:
        return None
    record = vm.record
    files = " ".join([f"{settings.vm_home(vm.id)}/context.sh", *vm.context_files])
    target = f"{record.hostname}:{settings.record_dir(record)}/disk.{vm.context_disk_id}"
    return f"CONTEXT {record.tm_mad} {files} {target} {vm.id} {record.ds_id}"


def live_migrate(settings: Settings, vm: Vm) -> str:
    """Live migration; the VM manager puts PRE, POST or FAIL in front of the action."""
    record, before = vm.record, vm.previous
    place = settings.record_dir(record)
    return f"MIGRATE {record.tm_mad} {before.hostname} {record.hostname} {place} {vm.id} {record.ds_id}"


def file_text(vm: Vm, suffix: str, lines: list[str]) -> str:
    """The transfer file; its name counts the history records of the VM."""
    name = f"transfer.{vm.record.seq}.{suffix}"
    return "\n".join([f"# transfer file of VM {vm.id}: {name}", *lines]) + "\n"


def _moves(vm: Vm, record: History, source: str, target: str) -> list[str]:
    lines = []
    suffix = ""
    for disk in vm.disks:
        # Not forgotten from disk to disk: a volatile disk that comes after an image disk inherits its suffix.
        suffix = _suffix(disk) or suffix
        driver, ds_id = _driver(disk, record)
        lines.append(f"MV{suffix} {driver} {source}/disk.{disk.id} {target}/disk.{disk.id} {vm.id} {ds_id}")
    lines.append(f"MV {record.tm_mad} {source} {target} {vm.id} {record.ds_id}")
    return lines


def _boot_file(settings: Settings, vm: Vm, name: str) -> list[str]:
    """Kernel and initrd from a files datastore are cloned, never with a suffix."""
    given = vm.template.get("OS")
    values = given if isinstance(given, dict) else {}
    if not values.get(f"{name}_DS"):
        return []
    record = vm.record
    source = f"{settings.frontend}:{values[f'{name}_DS_SOURCE']}"
    target = f"{record.hostname}:{settings.record_dir(record)}/{name.lower()}"
    return [f"CLONE {values[f'{name}_DS_TM']} {source} {target} {vm.id} {values[f'{name}_DS_DSID']}"]


def _disk_place(settings: Settings, vm: Vm, disk: Disk, local: bool) -> str:
    record = vm.record
    host = settings.frontend if local else record.hostname
    return f"{host}:{settings.record_dir(record)}/disk.{disk.id}"


def _image_source(settings: Settings, disk: Disk) -> str:
    source = disk.attributes["SOURCE"]
    # A source that names a protocol keeps it; a plain path is on the front-end.
    return source if ":" in source else f"{settings.frontend}:{source}"


def _suffix(disk: Disk) -> str:
    return f".{disk.tm_mad_system}" if disk.tm_mad_system else ""


def _driver(disk: Disk, record: History) -> tuple[str, int]:
    if disk.is_volatile:
        return record.tm_mad, record.ds_id
    return disk.tm_mad, disk.datastore_id
