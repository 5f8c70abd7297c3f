# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints of a running domain, and the bitmaps in its disks that they are made of (contract-tm 8.3).

A bitmap lies in the disk and goes wherever that goes. The checkpoint of its name is what libvirt knows of it, and is
gone when the domain was started anew or came from another host: then it is defined again, if the bitmap is whole.
"""

from __future__ import annotations

import json
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .domain import Guest

#: Names that backups give: of this VM, or of one that had the image before.
_OURS = re.compile(r"one-[0-9]+-[0-9]+\Z")


def monitor(guest: Guest, command: str, **arguments: Any) -> Any:
    """What QEMU's monitor returns for a command."""
    import libvirt_qemu

    text = json.dumps({"execute": command, "arguments": arguments})
    said = guest.ask(command, lambda: libvirt_qemu.qemuMonitorCommand(guest.domain, text, 0))
    return json.loads(said).get("return")


def node_of(layer: Any) -> str:
    """The name in QEMU of a layer of the domain's document: an element that has a source."""
    return f"libvirt-{layer.find('source').get('index') or layer.get('index')}-format"


def bitmaps(guests: list[Guest]) -> dict[str, dict[str, dict[str, Any]]]:
    """The bitmaps in the files that are written to, by target and name."""
    nodes = {node["node-name"]: node for node in monitor(guests[0], "query-named-block-nodes", flat=True) or []}
    found = {}
    for guest in guests:
        node = nodes.get(node_of(guest.disk()), {})
        found[guest.target] = {bitmap["name"]: bitmap for bitmap in node.get("dirty-bitmaps", []) if "name" in bitmap}
    return found


def whole(bitmap: dict[str, Any] | None) -> bool:
    """Whether a bitmap can be believed: it is there, was kept to the end, and still notes what is written."""
    return bool(bitmap and not bitmap.get("inconsistent") and bitmap.get("recording") and bitmap.get("persistent"))


def known(guest: Guest) -> list[str]:
    """Names of the checkpoints that libvirt has, in order."""
    found = guest.ask("list the checkpoints", guest.domain.listAllCheckpoints)
    return sorted(checkpoint.getName() for checkpoint in found)


def ours(guests: list[Guest]) -> list[str]:
    """Every name of backups that libvirt or a disk has."""
    there = {name for marks in bitmaps(guests).values() for name in marks}
    return sorted(name for name in {*there, *known(guests[0])} if _OURS.match(name))


def wish(guests: list[Guest], name: str, targets: list[str], defined: bool = False) -> str:
    """The document of a checkpoint for some of the domain's disks.

    :param defined: it describes one whose bitmaps are there.
    """
    etree = guests[0].etree
    root = etree.Element("domaincheckpoint")
    etree.SubElement(root, "name").text = name
    if defined:
        etree.SubElement(root, "creationTime").text = str(int(time.time()))
    disks = etree.SubElement(root, "disks")
    for target in guests[0].targets():
        etree.SubElement(disks, "disk", name=target, checkpoint="bitmap" if target in targets else "no")
    return str(etree.tostring(root, encoding="unicode"))


def define(guests: list[Guest], name: str, holders: list[str]) -> None:
    """Let libvirt know a checkpoint again whose bitmaps are in the disks of these targets."""
    guest = guests[0]
    if name in known(guest):
        return
    text = wish(guests, name, holders, True)
    flags = guest.libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE
    guest.ask(f"define the checkpoint {name}", lambda: guest.domain.checkpointCreateXML(text, flags))


def remove(guests: list[Guest], names: list[str]) -> None:
    """Remove checkpoints with their bitmaps; what is gone is a success.

    :raises Trouble: a bitmap is still there afterwards.
    """
    guest = guests[0]
    for name in names:
        holders = [target for target, marks in bitmaps(guests).items() if name in marks]
        if holders:
            define(guests, name, holders)
        if name in known(guest):
            _delete(guest, name)
        for other in guests:
            if name in bitmaps([other])[other.target]:
                monitor(other, "block-dirty-bitmap-remove", node=node_of(other.disk()), name=name)


def _delete(guest: Guest, name: str) -> None:
    checkpoint = guest.ask(f"find the checkpoint {name}", lambda: guest.domain.checkpointLookupByName(name))
    try:
        checkpoint.delete()
    except guest.libvirt.libvirtError:
        # its bitmaps are not what it says; they go one by one
        _forget(guest, name)


def changed_since(guests: list[Guest], parent: str) -> dict[str, str]:
    """Which targets have no bitmap that tells what changed since a checkpoint, and why.

    libvirt knows the checkpoint afterwards, for the others.
    """
    found = bitmaps(guests)
    wrong = {}
    for target, marks in found.items():
        if not whole(marks.get(parent)):
            wrong[target] = "cannot be believed: the guest was killed" if parent in marks else "is not there"
    if wrong:
        # one that libvirt takes for another set of disks is in the way
        _forget(guests[0], parent)
    if len(wrong) < len(found):
        define(guests, parent, [target for target in found if target not in wrong])
    return wrong


def _forget(guest: Guest, name: str) -> None:
    if name in known(guest):
        checkpoint = guest.ask(f"find the checkpoint {name}", lambda: guest.domain.checkpointLookupByName(name))
        flags = guest.libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY
        guest.ask(f"forget the checkpoint {name}", lambda: checkpoint.delete(flags))
