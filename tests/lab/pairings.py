# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image datastores go with which system datastores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pairing:
    """An image datastore's and a system datastore's drivers, with the datastores' ids in the lab."""

    name: str
    image_tm: str
    system_tm: str
    image_ds: int
    system_ds: int
    disk_format: str

    @property
    def local(self) -> bool:
        """Whether a VM's files are its host's own."""
        return self.system_tm in ("ssh", "local", "ceph")

    @property
    def shared_images(self) -> bool:
        """Whether all hosts see images as files."""
        return self.image_tm in ("qcow2", "shared")

    @property
    def image_mad(self) -> str:
        """The image datastore's own driver."""
        return "ceph" if self.images_in_pool else "fs"

    @property
    def images_in_pool(self) -> bool:
        """Whether images are volumes."""
        return self.image_tm == "ceph"

    @property
    def disks_in_pool(self) -> bool:
        """Whether disks are volumes; what else a VM has are files of its host's own."""
        return self.system_tm == "ceph"

    @property
    def own_disks(self) -> bool:
        """Whether a VM's disks are files of its host's own, which go with it wherever it goes."""
        return self.local and not self.disks_in_pool

    @property
    def snapshots(self) -> bool:
        """Whether disks may have snapshots."""
        return self.disks_in_pool or not self.images_in_pool


#: Those of files.
PAIRINGS = {
    pairing.name: pairing
    for pairing in (
        Pairing("qcow2", "qcow2", "qcow2", 100, 101, "qcow2"),
        Pairing("shared", "shared", "shared", 102, 103, "raw"),
        Pairing("ssh", "ssh", "ssh", 104, 105, "raw"),
        Pairing("local", "local", "local", 106, 107, "qcow2"),
        Pairing("qcow2+ssh", "qcow2", "ssh", 100, 105, "qcow2"),
        Pairing("shared+ssh", "shared", "ssh", 102, 105, "raw"),
    )
}

#: Those that take a Ceph cluster.
VOLUMES = {
    pairing.name: pairing
    for pairing in (
        Pairing("ceph", "ceph", "ceph", 114, 115, "raw"),
        Pairing("ceph+ssh", "ceph", "ssh", 114, 105, "raw"),
    )
}
ALL = {**PAIRINGS, **VOLUMES}
