# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new layer under a running guest."""

from __future__ import annotations

from .domain import pause_for_tests
from .hold import hold, release
from .jobs import quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .domain import Guest
    from .guard import Guard


def snapshot(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let the guest write to a new layer from one moment on, at which it is held."""
    quiet(guest, orders["stall"])
    guest.check(orders["expected"])
    held = hold(guest, guard, orders["quiesce"])
    try:
        pause_for_tests(orders, "held")
        over(guest, {guest.target: orders["layer"]})
        whole = held == "paused" or guard.in_time()
    finally:
        release(guest, guard, held)
    pause_for_tests(orders, "taken")
    return {"consistency": held if whole else "none"}


def over(guest: Guest, layers: dict[str, str]) -> None:
    """Let the guest write to new layers, all at one moment; they are there, empty.

    :param layers: paths by target.
    """
    libvirt, etree = guest.libvirt, guest.etree
    wish = etree.Element("domainsnapshot")
    disks = etree.SubElement(wish, "disks")
    for target in guest.targets():
        disk = etree.SubElement(disks, "disk", name=target, snapshot="external" if target in layers else "no")
        if target in layers:
            etree.SubElement(disk, "driver", type="qcow2")
            etree.SubElement(disk, "source", file=layers[target])
    flags = (
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
    )
    text = etree.tostring(wish, encoding="unicode")
    guest.ask("take a snapshot", lambda: guest.domain.snapshotCreateXML(text, flags))
