# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: backups of disks that are volumes, what is asked for, and the names that stock's drivers know
(contract-tm 6.6, 8.4)."""

from __future__ import annotations

from ..steps.base import LEAD
from ..steps.claim import Claim
from ..tools.exports import CHAIN, CHANGES
from ..tools.exports import FULL as WHOLE
from ..tools.rbd import volume_of
from .ceph_disks import disk_volume
from .ceph_images import claim_of
from .vm_backup import Backup, BackupDisk, DiskRules, disk_id, disks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .base import Reply, Request

#: The snapshot of a backup that no increment follows (contract-tm 6.6).
FULL = "one_backup"


class CephBackup(Backup):
    """What an action's options say of a backup of volumes, checked.

    :ivar exported: whether its files are those of ``rbd export``, as in the chain that it goes on with.
    """

    forms = ("raw", "rbd")

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options, True)
        self._options = options
        known = options.get("chain_disks") or []
        #: Disks that the chain has already; None where that is not known.
        self._known = {disk_id(number, "chain_disks") for number in known} if known else None
        # a chain that begins never has such files
        self.exported = self.parent >= 0 and options.get("backup_format") == "rbd"

    def goes_on_from(self, disk: BackupDisk) -> str:
        """The snapshot that a file in the old form names as the one before; empty for the first file of its disk."""
        return self.before if self._known is None or disk.id in self._known else ""

    def file_of(self, disk: BackupDisk) -> str:
        if not self.exported:
            return super().file_of(disk)
        return f"disk.{disk.id}.{self.number}{CHANGES}" if self.goes_on_from(disk) else f"disk.{disk.id}{WHOLE}"

    def disks_of(self, options: dict[str, Any], in_place: bool) -> list[BackupDisk]:
        return disks_of(options, self.directory, in_place, VOLUMES)

    def volume(self, disk: BackupDisk) -> tuple[str, str]:
        """Pool and name of the volume that a disk is."""
        return volume_at(self._options, disk)

    @property
    def snapshot(self) -> str:
        """The snapshot that this backup is made of."""
        return f"{CHAIN}{self.number}" if self.chain else FULL

    @property
    def before(self) -> str:
        """The snapshot of the increment before; empty without one."""
        return f"{CHAIN}{self.parent}" if self.parent >= 0 else ""


#: Disks that are volumes; the image of each is ``<pool>/<name>``.
VOLUMES = DiskRules(("raw",), "a volume is raw", "volume", lambda name: "/".join(volume_of(name)))


def volume_at(options: dict[str, Any], disk: BackupDisk) -> tuple[str, str]:
    """Pool and name of the volume that a disk is."""
    return disk_volume({**options, "image": disk.image, "persistent": disk.persistent}, disk.path)


class CephBackups:
    """Backups of the disks of a VM."""

    def claims_prebackup(self, options: dict[str, Any]) -> list[Claim]:
        """The volumes, in whose pool the journal lies, and the folders that the backup is built in."""
        backup = CephBackup(options)
        claims = [claim_of(*backup.volume(disk)) for disk in backup.disks]
        claims.append(Claim(LEAD, backup.datastore, backup.key))
        if backup.root != backup.datastore:
            claims.append(Claim(LEAD, backup.root, backup.key))
        return claims

    claims_prebackup_live = claims_postbackup = claims_postbackup_live = claims_prebackup

    def prebackup(self, request: Request) -> Reply:
        """Put the disks of a VM that does not run into the backup directory."""
        from .ceph_backup_plan import prebackup

        return prebackup(request, CephBackup(request.options))

    def prebackup_live(self, request: Request) -> Reply:
        """Put the disks of a VM that runs into the backup directory, as they were at one moment."""
        from .ceph_backup_plan import prebackup_live

        return prebackup_live(request, CephBackup(request.options))

    def postbackup(self, request: Request) -> Reply:
        """Clear up, and leave of the snapshots the one that the next increment begins with."""
        from .ceph_backup_plan import postbackup

        return postbackup(request, CephBackup(request.options))

    postbackup_live = postbackup
