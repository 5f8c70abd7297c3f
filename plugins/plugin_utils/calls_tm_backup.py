# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls around a backup, on the VM's host (contract-tm 8.1).

The VM's document comes on stdin, as plain XML. What it says of its backups is all that decides; oned is asked for the
datastore of the repository, which has the limits of a backup's copies.
"""

from __future__ import annotations

from ..module_utils._errors import BadCall, Refused, Unsupported, one_line
from .calls import Call, Context, arguments, is_number
from .calls_tm import Place, disk_of, image_format, image_path, rerooted
from .documents import decode, number, parse, read_stdin, text, yes
from .settings import STOCK, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element


#: Drivers whose disks are files in the VM's directory; a disk of another driver is that driver's to back up.
_FILES = ("", "local", "qcow2", "shared", "ssh")
_LAST = "BACKUPS/BACKUP_CONFIG/LAST_INCREMENT_ID"
#: Options that say how a cluster is reached.
_REACHED = ("ceph_user", "ceph_key", "ceph_conf", "ceph_host")
#: Attributes of the repository's datastore, behind the name of its driver (contract-ds 10.6).
_LIMITS = ("NICE", "IONICE", "MAX_RIOPS", "MAX_WIOPS", "CPU_QUOTA", "MEMORY_MAX_MB")


def backup(action: str, given: list[str], volumes: bool = False) -> Call:
    """The call of ``prebackup``, ``postbackup``, or of their live forms.

    Six arguments; the backup job, which says nothing to a driver, may be missing.

    :param volumes: whether the disks are volumes of a cluster. Then a bridge may lead, which oned has written down in
        LAST_BRIDGE, and the repository takes the files from there (contract-tm 8.4).
    """
    names = "DIRECTORY DISKS DEPLOY_ID BACKUP_JOB_ID VM_ID DATASTORE_ID"
    if len(given) == 5:
        given = [*given[:3], "-", *given[3:]]
    target, disks, deploy_id, _job, vm, store = arguments(action, given, names)
    place = Place(target, "directory")
    if place.is_disk:
        raise BadCall(f"{place.path} is not a VM's directory")
    place.check_ids(vm, store)
    wanted = _numbers(disks)
    early = read_stdin() if volumes else b""
    bridge = text(parse(decode(early)), "BACKUPS/BACKUP_CONFIG/LAST_BRIDGE").strip() if early else ""

    def complete(context: Context, here: bool) -> dict[str, Any]:
        document = decode(early or read_stdin())
        machine = parse(document)
        found = number(machine, "ID")
        if machine.tag != "VM" or found != place.vm:
            raise BadCall(f"The path {place.path} belongs to VM {place.vm}, the document on stdin to another one")
        options = {
            **context.settings.common(),
            "datastore": place.root,
            "path": place.path,
            **what_of(machine),
            **(
                volume_options(context, machine, place, wanted)
                if volumes
                else disk_options(context, machine, place, wanted, here)
            ),
        }
        base = context.settings.datastore("BACKUP_BASE_PATH").strip()
        if base:
            options["backup_path"] = base
        if action.endswith("_live"):
            options.update(guest_options(context, machine, deploy_id, wanted))
        if action.startswith("post"):
            options["failed"] = text(machine, "BACKUP_RESULT").strip().upper() == "FAILURE"
            return options
        if volumes:
            options.update(_form(context, machine))
        options.update(_beforehand(context, machine, document, action))
        from .running import note

        note(context.settings, place.vm, deploy_id, action)
        return options

    return Call(f"tm_{action}", complete, {"destination": bridge or place.host})


def _numbers(disks: str) -> list[int]:
    """Ids of disks, joined with colons."""
    words = [word for word in disks.split(":") if word]
    for word in words:
        if not is_number(word):
            raise BadCall(f"'{one_line(word, 40)}' is not the id of a disk")
    return [int(word) for word in words]


def config_of(machine: _Element, name: str) -> str:
    return text(machine, f"BACKUPS/BACKUP_CONFIG/{name}").strip().upper()


def what_of(machine: _Element) -> dict[str, Any]:
    """What kind of backup it is, and which increment."""
    mode, way = config_of(machine, "MODE") or "FULL", config_of(machine, "INCREMENT_MODE") or "CBT"
    if mode not in ("FULL", "INCREMENT"):
        raise Unsupported(f"The backup has MODE={one_line(mode, 40)}, and FULL and INCREMENT are supported")
    if way not in ("CBT", "SNAPSHOT"):
        raise Unsupported(f"The backup has INCREMENT_MODE={one_line(way, 40)}, and CBT and SNAPSHOT are supported")
    last = number(machine, _LAST, -1)
    return {"mode": mode.lower(), "increment_mode": way.lower(), "last_increment": last}


def disk_options(context: Context, machine: _Element, place: Place, wanted: list[int], here: bool) -> dict[str, Any]:
    """The disks, as options have them."""
    prefix = prefix_of(context.settings.root)
    formats, images, persistent = [], [], []
    for disk_id in wanted:
        disk = disk_of(machine, disk_id)
        driver = text(disk, "TM_MAD").strip()
        if not _is_file(machine, driver.removeprefix(prefix), prefix):
            raise Unsupported(
                f"Disk {disk_id} of VM {place.vm} is kept by the driver {one_line(driver, 40)}, and not in a file here"
            )
        formats.append(f"{disk_id}:{image_format(disk)}")
        source = text(disk, "SOURCE").strip()
        if source.startswith("/"):
            images.append(f"{disk_id}:{rerooted(image_path(source), place, here)}")
        if text(disk, "CLONE", "yes").strip().lower() == "no":
            persistent.append(str(disk_id))
        _refuse_snapshots(machine, place.vm, disk_id)
    return {"disks": formats, "images": images, "persistent": persistent}


def _is_file(machine: _Element, driver: str, prefix: str) -> bool:
    """Whether disks of this driver's images are files.

    Those of Ceph are in a system datastore of the driver ssh, as raw files of the node (contract-tm 7.8).
    """
    if driver in _FILES:
        return True
    records = machine.findall("HISTORY_RECORDS/HISTORY")
    system = text(records[-1], "TM_MAD").strip().removeprefix(prefix) if records else ""
    return driver == "ceph" and system == "ssh"


def volume_options(context: Context, machine: _Element, place: Place, wanted: list[int]) -> dict[str, Any]:
    """The disks, as options have them, and how their cluster is reached.

    :raises Unsupported: a disk is no volume, or one of another cluster.
    """
    from .calls_tm_ceph import reached_at

    prefix = prefix_of(context.settings.root)
    formats, images, persistent = [], [], []
    reached: dict[str, Any] = {}
    for disk_id in wanted:
        disk = disk_of(machine, disk_id)
        driver = text(disk, "TM_MAD").strip()
        if driver.removeprefix(prefix) not in ("", "ceph"):
            raise Unsupported(
                f"Disk {disk_id} of VM {place.vm} is kept by the driver {one_line(driver, 40)}, and is no volume"
            )
        formats.append(f"{disk_id}:{image_format(disk)}")
        source = text(disk, "SOURCE").strip()
        if source:
            images.append(f"{disk_id}:{source}")
        if source and text(disk, "CLONE", "yes").strip().lower() == "no":
            persistent.append(str(disk_id))
        found = reached_at(context, disk, place)
        if any(found[name] != reached.get(name, found[name]) for name in _REACHED):
            raise Unsupported(
                f"Disk {disk_id} of VM {place.vm} lies in another cluster, or belongs to another user of it, than the "
                "disks before it: they cannot be backed up together"
            )
        # the pool is that of volatile disks; others name their own
        if not reached or not source:
            reached = found
    return {**reached, "disks": formats, "images": images, "persistent": persistent}


def _form(context: Context, machine: _Element) -> dict[str, Any]:
    """The form of the chain that goes on, and the disks that it has: those that old drivers of stock began have files
    as rbd exports them (contract-tm 8.2)."""
    backups = [text(node, ".").strip() for node in machine.findall("BACKUPS/BACKUP_IDS/ID")]
    goes_on = config_of(machine, "MODE") == "INCREMENT" and number(machine, _LAST, -1) >= 0
    if not (goes_on and backups and is_number(backups[-1])):
        return {}
    image = context.oned.image(int(backups[-1]))
    if text(image, "FORMAT").strip().lower() != "rbd":
        return {}
    known = [text(node, ".").strip() for node in image.findall("BACKUP_DISK_IDS/ID")]
    return {"backup_format": "rbd", "chain_disks": known}


def _refuse_snapshots(machine: _Element, vm: int, disk: int) -> None:
    """Increments by layers fold layers, which would be snapshots; the core asks for full backups of such VMs (8.1)."""
    if config_of(machine, "MODE") != "INCREMENT" or config_of(machine, "INCREMENT_MODE") != "SNAPSHOT":
        return
    for found in machine.findall("SNAPSHOTS"):
        if text(found, "DISK_ID").strip() == str(disk) and found.find("SNAPSHOT") is not None:
            raise Refused(
                f"Disk {disk} of VM {vm} has snapshots, and increments by layers would destroy them",
                todo="delete the snapshots, or set the backup's MODE to FULL or its INCREMENT_MODE to CBT",
            )


def guest_options(context: Context, machine: _Element, deploy_id: str, wanted: list[int]) -> dict[str, Any]:
    """The guest, as libvirt knows it.

    :raises Unsupported: another hypervisor runs it.
    """
    records = machine.findall("HISTORY_RECORDS/HISTORY")
    hypervisor = text(records[-1], "VM_MAD").strip().lower() if records else ""
    if hypervisor not in ("", "kvm", "qemu"):
        raise Unsupported(f"Backups of a running virtual machine need kvm or qemu, and this one has {hypervisor}")
    found = {
        "domain": text(machine, "DEPLOY_ID").strip() or deploy_id,
        "targets": [f"{disk}:{text(disk_of(machine, disk), 'TARGET').strip()}" for disk in wanted],
    }
    uri = context.settings.stock("vmm/kvm/kvmrc", "LIBVIRT_URI")
    return {**found, "libvirt_uri": uri} if uri != STOCK["vmm/kvm/kvmrc"]["LIBVIRT_URI"] else found


def _beforehand(context: Context, machine: _Element, document: bytes, action: str) -> dict[str, Any]:
    """What a backup that begins needs besides."""
    if yes(config_of(machine, "INTERACTIVE")):
        raise Unsupported("Interactive backups (INTERACTIVE=YES) are not supported by these drivers")
    options: dict[str, Any] = {"document": document.decode("utf-8", "replace")}
    if text(machine, "TEMPLATE/TPM/MODEL").strip():
        uuid = text(machine, "TEMPLATE/OS/UUID").strip() or text(machine, "DEPLOY_ID").strip()
        remote = context.settings.text("REMOTE_DIRECTORY", "/var/tmp/one")
        options.update(tpm=uuid, vtpm_setup=f"{remote}/vmm/kvm/vtpm_setup")
    repository = _repository(context, machine)
    if repository is not None:
        mad = text(repository, "DS_MAD").strip().upper()
        for name in _LIMITS:
            limit = number(repository, f"TEMPLATE/{mad}_{name}", -1, "The datastore of the repository")
            if limit != -1:
                options[name.lower()] = limit
                options["backup_datastore_id"] = number(repository, "ID", -1)
    if action.endswith("_live"):
        options.update(_held(machine, repository))
    return options


def _repository(context: Context, machine: _Element) -> _Element | None:
    """The datastore that the backup goes to."""
    store = number(machine, "BACKUPS/BACKUP_CONFIG/LAST_DATASTORE_ID", -1)
    return context.datastore(store) if store >= 0 else None


def _held(machine: _Element, repository: _Element | None) -> dict[str, Any]:
    """How the guest is held for the moment of a backup."""
    freeze = config_of(machine, "FS_FREEZE") or "NONE"
    if freeze not in ("NONE", "AGENT", "SUSPEND"):
        raise Unsupported(f"The backup has FS_FREEZE={one_line(freeze, 40)}, and NONE, AGENT and SUSPEND are supported")
    needed = repository is not None and yes(text(repository, "TEMPLATE/REQUIRE_QUIESCE"))
    return {"freeze": freeze.lower(), "require_quiesce": needed}
