# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents oned sends to drivers of datastores, and to the VM manager for live actions."""

from __future__ import annotations

import base64
from collections.abc import Callable

from .datastore import Datastore
from .image import Image
from .states import DatastoreType, ImageType
from .store import Settings
from .vm import Vm
from .xmldoc import Element, Template, node, template, text

Maker = Callable[[], str]

_SIZED = (ImageType.OS, ImageType.DATABLOCK)


def image_action(image: Image, datastore: Datastore) -> str:
    """cp, mkfs, rm, snap_delete, snap_revert, snap_flatten, export: the image, then its datastore."""
    return _document(image.element(), datastore.element())


def clone_action(image: Image, datastore: Datastore, source_bridge_list: str = "") -> str:
    """clone: the new image in its datastore; the bridges of the old one only when it is in another datastore."""
    extra = [text("SOURCE_BRIDGE_LIST", source_bridge_list)] if source_bridge_list else []
    return _document(image.element(), datastore.element(), *extra)


def stat_action(path: str, datastore: Datastore, image_type: ImageType = ImageType.OS, size: str = "") -> str:
    """stat: hardly anything of the image is known yet."""
    mini = [text("PATH", path)]
    if image_type in _SIZED:
        mini.append(text("SIZE", size))
    return _document(node("IMAGE", mini), datastore.element())


def backup_stat_action(path: str, datastore: Datastore, job: str = "") -> str:
    """stat of an image that is to come out of a backup: the backup datastore's driver is asked."""
    mini = [text("PATH", path), text("SIZE", "")]
    if job:
        mini.append(text("BACKUP_JOB_ID", job))
    return _document(node("IMAGE", mini), datastore.element(plain=True))


def restore_action(image: Image, datastore: Datastore, destination: int, wishes: Template) -> str:
    """restore: the backup, its datastore with passwords, where images go, and what the user wishes."""
    extra = [text("DESTINATION_DS_ID", destination), template("TEMPLATE", wishes)]
    return _document(image.element(), datastore.element(plain=True), *extra)


def backup_action(datastore: Datastore, vm: str) -> str:
    """backup: plain, the datastore with passwords and the VM as its hooks get it, with blanks between them."""
    return f"<DS_DRIVER_ACTION_DATA>\n{datastore.element(plain=True).render()}\n{vm}\n</DS_DRIVER_ACTION_DATA>"


def flatten_action(image: Image, datastore: Datastore, keep: int) -> str:
    """increment_flatten: the backup, its datastore with passwords, how many increments are to be left."""
    extra = node("EXTRA_DATA", [text("KEEP_LAST", keep)])
    return _document(image.element(), datastore.element(plain=True), extra)


def monitor_action(settings: Settings, datastore: Datastore) -> str:
    """monitor: the datastore; for a shared system datastore also where VMs are."""
    extra: list[Element] = []
    if datastore.type is DatastoreType.SYSTEM:
        extra = [
            text("DATASTORE_LOCATION", settings.datastore_location),
            text("MONITOR_VM_DISKS", settings.monitor_vm_disks),
        ]
    return _document(datastore.element(), *extra)


def vm_document(vm: Vm) -> str:
    """The VM as the hooks of a live migration get it: the last history record only."""
    return vm.element(all_records=False).render()


def encode(document: str) -> bytes:
    """Base64 in one line without line break: how documents come on a driver's stdin."""
    return base64.b64encode(document.encode("utf-8"))


def _document(*parts: Element) -> str:
    return node("DS_DRIVER_ACTION_DATA", parts).render()
