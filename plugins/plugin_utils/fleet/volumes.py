# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned knows to lie in a pool of a Ceph cluster: by exact names, of whatever datastore (contract-tm 6.6).

A pool may be that of several image datastores, and has the disks that were made of their images; and one name of a pool
may mean pools of two clusters. What any of them knows is known.
"""

from __future__ import annotations

from ..documents import number, text, yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: IMAGE/STATE of one whose snapshots are those that it is told with: ready, disabled.
_SETTLED = (1, 3)


def is_pool(store: dict[str, Any]) -> bool:
    """Whether what a datastore has is in a pool."""
    return "settings" in store


def known_in(pool: str, images: list[_Element], vms: list[_Element], resting: set[str]) -> list[str]:
    """What lies in a pool by right, as the driver is told it.

    :param resting: ids of the VMs whose disks are those that they are told with; of others all volumes stay.
    """
    found: list[str] = []
    for image in images:
        name = _in(pool, text(image, "SOURCE"))
        if not name:
            continue
        found.append(name)
        if number(image, "STATE", 0) in _SETTLED and image.find("VMS/ID") is None:
            found.append(f"{name}@")
        found += [f"{name}@{text(one, '.').strip()}" for one in image.iterfind("SNAPSHOTS/SNAPSHOT/ID")]
    for vm in vms:
        ident = text(vm, "ID")
        if ident not in resting:
            found.append(f"@{ident}")
            continue
        found.append(f"one-sys-{ident}-checkpoint")
        for disk in vm.iterfind("TEMPLATE/DISK"):
            disk_id, source = text(disk, "DISK_ID").strip(), text(disk, "SOURCE")
            name = _in(pool, source)
            if name:
                found.append(f"{name}-{ident}-{disk_id}" if yes(text(disk, "CLONE", "YES")) else name)
            elif not source:
                found.append(f"one-sys-{ident}-{disk_id}")
    return sorted(set(found))


def _in(pool: str, source: str) -> str:
    """The volume of an image's SOURCE, when it is of this pool."""
    where, _slash, name = source.strip().partition("/")
    return name if where == pool else ""
