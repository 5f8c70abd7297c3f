# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: the VM's directory, and what is measured (contract-tm 7.7, 9.1).

Disks are volumes that every host reaches. The directory has the context image and what oned writes; it is each host's
own, and goes over SSH where the VM goes.
"""

from __future__ import annotations

import re

from .base import Answer, Request
from .ceph_backup import CephBackups
from .ceph_contents import CephContents
from .ceph_disk_snapshots import CephDiskSnapshots
from .ceph_images import pool_totals
from .ceph_restore import CephRestores
from .space import Files
from .ssh import Ssh
from .vm_files import is_disk
from .vm_migrate import HOOKS, MigratingOver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply

#: What a VM's disk is called, and nothing that a revert retired: VM, disk.
_DISK = re.compile(r"one-(?:\d+|sys)-(\d+)-(\d+)", re.ASCII)


class CephVms(CephContents, CephBackups, CephRestores, MigratingOver, CephDiskSnapshots):
    """The driver."""

    leads = {**CephDiskSnapshots.leads, **MigratingOver.hook_leads, "mv": "pair"}
    peer_actions: tuple[str, ...] = ("mv", "context", *HOOKS)

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """A disk is reached from everywhere; a host that is lost has nothing to move."""
        if action in HOOKS:
            return self.idle_hook(action, options)
        if action == "mv":
            return is_disk(options["source"]) or bool(options["source_lost"])
        return super().idle(action, options)

    claims_mv = Ssh.claims_mv
    mv = Ssh.mv

    # of VMs' directories; volumes that nobody knows are looked for in the pool
    claims_orphans = Files.claims_orphans
    orphans = Files.orphans

    @staticmethod
    def marker_at(request: Request, datastore: str, where: str) -> list[Step]:
        """Nothing: volumes are measured by oned's own call."""
        return []

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of the pool, and the disks in it when they are wanted.

        A disk's size is that of the objects that it has of its own.
        """
        totals = pool_totals(request, request["pool"])
        if not request["vm_disks"]:
            return Answer(**totals, vms=[], missed=[])
        cluster, pool = request.site.volumes(), request["pool"]
        disks = {name: match for name in cluster.ask("names", pool=pool) if (match := _DISK.fullmatch(name))}
        used = cluster.ask("used", pool=pool, names=sorted(disks)) if disks else {}
        vms: dict[int, list[dict[str, Any]]] = {}
        for name, size in used.items():
            vm, disk = (int(number) for number in disks[name].groups())
            vms.setdefault(vm, []).append({"id": disk, "size_mb": -(-size >> 20), "snapshots": []})
        found = [{"id": vm, "disks": sorted(vms[vm], key=lambda disk: int(disk["id"]))} for vm in sorted(vms)]
        return Answer(**totals, vms=found, missed=[])
