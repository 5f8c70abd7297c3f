# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: the VM's directory, and what is measured (contract-tm 7.7, 9.1).

Disks are volumes that every host reaches. The directory has the context image and what oned writes; it is each host's
own, and goes over SSH where the VM goes.
"""

from __future__ import annotations

from .base import Answer, Request
from .ceph_backup import CephBackups
from .ceph_contents import CephContents
from .ceph_disk_snapshots import CephDiskSnapshots
from .ceph_images import pool_totals
from .ceph_restore import CephRestores
from .space import Files, megabytes
from .ssh import Ssh
from .vm_files import is_disk
from .vm_migrate import HOOKS, MigratingOver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


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

        A snapshot has what was written until it was taken, the disk what was written since, and what is kept for
        snapshots that oned does not know, such as those of backups. Volumes that reverts retired are the disk's, too.
        """
        from .ceph_names import named

        totals = pool_totals(request, request["pool"])
        if not request["vm_disks"]:
            return Answer(**totals, vms=[], missed=[])
        cluster, pool = request.site.volumes(), request["pool"]
        disks = {name: owner for name in cluster.ask("names", pool=pool) if (owner := named(name)).what == "disk"}
        used = cluster.ask("used", pool=pool, names=sorted(disks)) if disks else {}
        sizes: dict[int, dict[int, dict[str, int]]] = {}
        for name, shares in used.items():
            own = sizes.setdefault(disks[name].vm, {}).setdefault(disks[name].disk, {"": 0})
            for snapshot, size in shares:
                number = snapshot if snapshot.isdigit() else ""
                own[number] = own.get(number, 0) + size
        found = [
            {"id": vm, "disks": [_disk(number, sizes[vm][number]) for number in sorted(sizes[vm])]}
            for vm in sorted(sizes)
        ]
        return Answer(**totals, vms=found, missed=[])


def _disk(number: int, sizes: dict[str, int]) -> dict[str, Any]:
    """A disk as it is told to oned.

    :param sizes: bytes by snapshot; under no name, of the disk.
    """
    own = sizes.pop("")
    snapshots = [{"id": int(snapshot), "size_mb": megabytes(sizes[snapshot])} for snapshot in sorted(sizes, key=int)]
    return {"id": number, "size_mb": megabytes(own), "snapshots": snapshots}
