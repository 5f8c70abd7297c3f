# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates of images and of a VM out of a backup (contract-ds 10.5). What is left out is a table.

They are written as XML, which oned takes as well as its own syntax: then no quote and no line break in a name, or in
somebody's start script, means anything.
"""

from __future__ import annotations

import re

from ..module_utils._errors import BadCall, one_line
from .documents import find_lxml, parse, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lxml.etree import _Element

#: Types of disks that have no image; a backup may have them all the same.
VOLATILE = ("FS", "SWAP")
#: Types of disks whose image is never in a backup.
_KEEP_IMAGE = ("CDROM", "RBD_CDROM")

_NIC = (
    "AR_ID BRIDGE BRIDGE_TYPE CLUSTER_ID NAME NETWORK_ID NIC_ID TARGET VLAN_ID VN_MAD VLAN_TAGGED_ID PHYDEV"
).split()
_ADDRESSES = "IP IP6 IP6_ULA IP6_GLOBAL MAC".split()
#: What oned, or the host that the VM ran on, has put in: by attribute, the empty one for those of the VM itself.
DROPPED: dict[str, list[str]] = {
    "": (
        "AUTOMATIC_DS_REQUIREMENTS AUTOMATIC_NIC_REQUIREMENTS AUTOMATIC_REQUIREMENTS VMID TEMPLATE_ID TM_MAD_SYSTEM "
        "SECURITY_GROUP_RULE ERROR"
    ).split(),
    "DISK": (
        "DISK_ID ALLOW_ORPHANS CLONE CLONE_TARGET CLUSTER_ID DATASTORE DATASTORE_ID DISK_SNAPSHOT_TOTAL_SIZE DISK_TYPE "
        "DRIVER IMAGE IMAGE_STATE IMAGE_UID IMAGE_UNAME LN_TARGET OPENNEBULA_MANAGED ORIGINAL_SIZE PERSISTENT READONLY "
        "SAVE SOURCE TARGET TM_MAD FORMAT"
    ).split(),
    "NIC": _NIC,
    "NIC_ALIAS": _NIC,
    "CONTEXT": ["DISK_ID"],
    "GRAPHICS": ["PORT"],
    "NUMA_NODE": "CPUS MEMORY_NODE_ID NODE_ID".split(),
    "OS": ["UUID"],
    "PCI": [
        *_NIC,
        *"ADDRESS BUS DOMAIN FUNCTION NUMA_NODE PCI_ID SLOT VM_ADDRESS VM_BUS VM_DOMAIN VM_FUNCTION VM_SLOT".split(),
        "SHORT_ADDRESS",
    ],
}
#: Names that oned numbers: ``ETH0_IP``.
_NUMBERED = {"CONTEXT": re.compile(r"(ETH|PCI)[0-9]+_")}


class Wishes:
    """What the user asked for (the TEMPLATE of the request).

    :ivar name: of the VM template, and the beginning of the images' names; empty for ``<vm>-<reference>``.
    :ivar disk: the only disk that is restored; -1 for all, and a VM template.
    :ivar increment: -1 for the last one.
    """

    def __init__(self, name: str = "", no_ip: bool = False, no_nic: bool = False, increment: int = -1, disk: int = -1):
        self.name = name
        self.no_ip = no_ip
        self.no_nic = no_nic
        self.increment = increment
        self.disk = disk


def image_template(name: str, disk: int, url: str, datastore: int, job: int) -> str:
    """The template of an image that is restored.

    :param datastore: id of the backup datastore; :param job: of the backup job, -1 for none.
    """
    values = {"NAME": name, "TYPE": "OS" if disk == 0 else "DATABLOCK", "PATH": url, "FROM_BACKUP_DS": str(datastore)}
    if job >= 0:
        values["BACKUP_JOB_ID"] = str(job)
    find_lxml()
    from lxml import etree

    root = etree.Element("TEMPLATE")
    for key, value in values.items():
        _add(root, key, value)
    return etree.tostring(root, encoding="unicode")


def vm_of(document: bytes) -> _Element:
    """The VM out of a backup's ``vm.xml``, decoded."""
    vm = parse(document, "The backup's vm.xml")
    if vm.tag != "VM":
        vm_below = vm.find("VM")
        if vm_below is None:
            raise BadCall(f"The backup's vm.xml describes a {one_line(str(vm.tag), 40)}, not a VM")
        vm = vm_below
    return vm


def vm_template(vm: _Element, wishes: Wishes, name: str, images: dict[int, int], tpm: str) -> tuple[str, list[str]]:
    """The template of a VM like the one in a backup, with the new images; and what a user should know of it.

    :param images: ids of the new images by disk.
    :param tpm: state of the TPM in base64; empty for none.
    """
    find_lxml()
    from lxml import etree

    root = etree.Element("TEMPLATE")
    notes: list[str] = []
    own = {str(node.tag) for node in vm.findall("USER_TEMPLATE/*")}
    for node in [*[node for node in vm.findall("TEMPLATE/*") if node.tag not in own], *vm.findall("USER_TEMPLATE/*")]:
        key = str(node.tag)
        if key in DROPPED[""] or key in ("NAME", "TPM_STATE") or (wishes.no_nic and key in ("NIC", "NIC_ALIAS")):
            continue
        values = {str(child.tag): child.text or "" for child in node}
        if not values:
            _add(root, key, node.text or "")
            continue
        kept = _kept(key, values, wishes.no_ip)
        if key == "DISK":
            _give_image(kept, values, images, notes)
        _add_vector(root, key, kept)
    _add(root, "NAME", name)
    if tpm:
        _add(root, "TPM_STATE", tpm)
    return etree.tostring(root, encoding="unicode"), notes


def _kept(key: str, values: dict[str, str], no_ip: bool) -> dict[str, str]:
    """What stays of an attribute with several values."""
    dropped = set(DROPPED.get(key, ()))
    network = key in ("NIC", "NIC_ALIAS", "PCI")
    if network and no_ip:
        dropped.update(_ADDRESSES)
    numbered = _NUMBERED.get(key)
    kept = {
        name: value for name, value in values.items() if name not in dropped and not (numbered and numbered.match(name))
    }
    if network and kept.get("IP"):
        # oned takes one of them
        kept = {name: value for name, value in kept.items() if name == "IP" or name not in _ADDRESSES}
    elif network and kept.get("IP6"):
        kept.pop("MAC", None)
    return kept


def _give_image(kept: dict[str, str], values: dict[str, str], images: dict[int, int], notes: list[str]) -> None:
    """A disk gets its new image; one that is not in the backup stays what it was."""
    number = values.get("DISK_ID", "")
    kind = values.get("TYPE", "").upper()
    image = images.get(int(number)) if number.isascii() and number.isdigit() else None
    if kind in VOLATILE and image is None:
        kept.pop("IMAGE_ID", None)
        return
    for name in ("TYPE", "SIZE"):
        kept.pop(name, None)
    if kind in _KEEP_IMAGE:
        return
    if image is not None:
        kept["IMAGE_ID"] = str(image)
    elif kept.get("IMAGE_ID"):
        notes.append(f"Disk {number} is not in the backup: the VM template has its old image {kept['IMAGE_ID']}")


def _add_vector(root: _Element, key: str, values: dict[str, str]) -> None:
    from lxml import etree

    values = {name: value for name, value in values.items() if value}
    if values:
        node = etree.SubElement(root, key)
        for name, value in values.items():
            _add(node, name, value)


def _add(root: _Element, name: str, value: str) -> None:
    """An attribute, unless it is empty."""
    from lxml import etree

    if value:
        node = etree.SubElement(root, name)
        # a CDATA section cannot hold its own end
        node.text = value if "]]>" in value else etree.CDATA(value)


def base_name(vm: _Element, wishes: Wishes, reference: str) -> str:
    """What the new objects are called."""
    return wishes.name or f"{text(vm, 'ID', '?').strip()}-{reference}"
