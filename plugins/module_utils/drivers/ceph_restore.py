# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: restoring the volumes of a VM that is off, in place (contract-tm 8.6).

As with files every disk is fetched and proven before anything of the VM is touched. Each becomes a new volume; when
all of them are whole, the old ones get other names, the new ones get theirs, and the old ones go when the last new one
stands. After a failure, or a kill, the VM has all of its old disks, or all of the new ones.
"""

from __future__ import annotations

import os

from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.volumes import FillVolume, ResizeVolume
from ..tools.rbd import unfinished
from .base import Request
from .ceph_backup import VOLUMES, volume_at
from .ceph_disks import closed, published
from .ceph_images import claim_of, family, refuse_foreign
from .vm_backup import disks_of
from .vm_restore import TPM, Restored, RestoredDisk, Restoring, proven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .vm_backup import BackupDisk


class RestoredVolumes(Restored):
    """What an action's options say of a restore of volumes, checked."""

    def disks_of(self, options: dict[str, Any], in_place: bool) -> list[BackupDisk]:
        return disks_of(options, self.directory, in_place, VOLUMES)

    def shop(self, request: Request, number: str) -> tuple[str, str]:
        return request.shop(Claim(LEAD, self.datastore, self.key)), self.datastore


class CephRestores(Restoring):
    """Restores of the disks of a VM."""

    def _restored(self, options: dict[str, Any]) -> Restored:
        return RestoredVolumes(options, True)

    def claims_restore(self, options: dict[str, Any]) -> list[Claim]:
        """The volumes, in whose pool the journal lies, and the VM's files, where a TPM's old state is set aside."""
        found = self._restored(options)
        claims = [claim_of(*volume_at(options, disk)) for disk in found.disks]
        return [*claims, Claim(LEAD, found.datastore, found.key, aside=TPM in found.sources and bool(claims))]

    def _item(self, request: Request, asked: Restored, disk: BackupDisk) -> RestoredDisk:
        return _Volume(request, asked, disk)


class _Volume(RestoredDisk):
    """A disk that is a volume."""

    def __init__(self, request: Request, asked: Restored, disk: BackupDisk) -> None:
        super().__init__(request, asked, disk)
        self.pool, self.name = volume_at(request.options, disk)
        self.new = unfinished(self.name, request.site.run)

    def look(self) -> None:
        """Nobody may have the volume open, and nothing that stays may stand on it. It need not be there."""
        super().look()
        members = family(self.request.site.volumes(), self.pool, self.name)
        refuse_foreign(members, self.pool, self.name, "replaced")
        closed(self.request, self.pool, [member.name for member in members])

    def prepare(self) -> list[Step]:
        """What was fetched becomes a volume, in the size that oned counts, where the old one has its data."""
        from ..steps.images import Convert
        from ..steps.restoring import Arrange

        virtual, _bitmaps = proven(self)
        old = self.request.site.volumes().seen(self.pool, self.name)
        image_format = int(old["format"]) if old else self.request["rbd_format"]
        data_pool = old["data_pool"] if old else self.request["data_pool"]
        size = max(virtual, os.stat(self.fetched).st_size)
        steps: list[Step] = [
            Convert(LEAD, self.fetched, "qcow2", self.part, "raw", untrusted=True, size=size),
            FillVolume(self.part, self.pool, self.new, image_format, data_pool),
        ]
        wanted = self.asked.sizes.get(self.disk.id, 0)
        if virtual < wanted << 20:
            # it was grown since, and oned goes on counting that
            steps.append(ResizeVolume(self.pool, self.new, wanted << 20))
        return [*steps, Arrange(LEAD, self.fetched, self.fetched + ".used", self.root)]

    def publish(self) -> list[Step]:
        """The volume takes the old one's place, which goes with its snapshots, and with what reverts retired."""
        return published(self.request, self.pool, self.new, self.name)
