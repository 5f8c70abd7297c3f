# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a VM: the attributes oned gives them, from the image, its datastore or the system datastore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .datastore import Datastore
from .image import Image
from .states import ImageType
from .stock import INHERIT_DATASTORE_ATTR, INHERIT_IMAGE_ATTR, TM_MAD_CONF

_VOLATILE = ("swap", "fs")


@dataclass
class Disk:
    """One DISK of a VM: a view on its attributes."""

    attributes: dict[str, str]

    @property
    def id(self) -> int:
        """DISK_ID."""
        return int(self.attributes["DISK_ID"])

    @property
    def is_volatile(self) -> bool:
        """Made with the VM and gone with it."""
        return self.attributes.get("TYPE", "").lower() in _VOLATILE

    @property
    def is_swap(self) -> bool:
        """A volatile swap disk."""
        return self.attributes.get("TYPE", "").lower() == "swap"

    @property
    def is_clone(self) -> bool:
        """A copy of its image (as opposed to the image itself)."""
        return self.attributes.get("CLONE", "NO") == "YES"

    @property
    def is_saved(self) -> bool:
        """Goes back to its image when the VM ends."""
        return self.attributes.get("SAVE", "NO") == "YES"

    @property
    def image_id(self) -> int | None:
        """IMAGE_ID, None for a volatile disk."""
        value = self.attributes.get("IMAGE_ID")
        return None if value is None else int(value)

    @property
    def datastore_id(self) -> int:
        """DATASTORE_ID: of the image, or the system datastore for a volatile disk."""
        return int(self.attributes["DATASTORE_ID"])

    @property
    def tm_mad(self) -> str:
        """TM_MAD: of the image datastore, or of the system datastore for a volatile disk."""
        return self.attributes["TM_MAD"]

    @property
    def tm_mad_system(self) -> str:
        """TM_MAD_SYSTEM, empty unless the VM mixes drivers or the disk came later."""
        return self.attributes.get("TM_MAD_SYSTEM", "")

    @property
    def size(self) -> int:
        """SIZE in MB."""
        return int(self.attributes["SIZE"])

    @property
    def format(self) -> str:
        """FORMAT."""
        return self.attributes.get("FORMAT", "raw")


def image_disk(disk_id: int, target: str, image: Image, datastore: Datastore, given: Mapping[str, str]) -> Disk:
    """The disk that stands for an image. `given` is what the VM's template says about it (SIZE, TARGET, ...)."""
    values: dict[str, str] = {
        name: datastore.template[name] for name in INHERIT_DATASTORE_ATTR if name in datastore.template
    }
    values.update({name: image.template[name] for name in INHERIT_IMAGE_ATTR if name in image.template})
    values.update(
        DISK_ID=str(disk_id),
        TARGET=target,
        CLUSTER_ID=",".join(str(cluster) for cluster in sorted(datastore.clusters)),
        DATASTORE=datastore.name,
        DATASTORE_ID=str(datastore.id),
        DISK_SNAPSHOT_TOTAL_SIZE="0",
        DRIVER=image.format.lower(),
        FORMAT=image.format.lower(),
        IMAGE=image.name,
        IMAGE_ID=str(image.id),
        IMAGE_STATE=str(int(image.state)),
        ORIGINAL_SIZE=str(image.size),
        SIZE=str(image.size),
        SOURCE=image.source,
        TM_MAD=datastore.tm_mad,
        TYPE="CDROM" if image.type is ImageType.CDROM else datastore.template.get("DISK_TYPE", "FILE"),
    )
    values.setdefault("DEV_PREFIX", "hd")
    values.update(given)
    if image.type is ImageType.CDROM:
        values.update(CLONE="NO", SAVE="NO", READONLY="YES")
    elif image.persistent:
        values.update(CLONE="NO", SAVE="YES", PERSISTENT="YES", READONLY="NO")
    else:
        values.update(CLONE="YES", SAVE="NO", READONLY="NO")
    return Disk(values)


def volatile_disk(disk_id: int, target: str, given: Mapping[str, str]) -> Disk:
    """A disk without image. `given` needs TYPE (fs or swap) and SIZE in MB; FORMAT and FS may be there."""
    values = {"DISK_ID": str(disk_id), "TARGET": target, "DEV_PREFIX": "hd", **given}
    return Disk(values)


def place_volatile(disk: Disk, system: Datastore) -> None:
    """Completes a volatile disk once the system datastore is known: driver, datastore, format."""
    values = disk.attributes
    conf = TM_MAD_CONF.get(system.tm_mad)
    wanted = values.get("FORMAT", "raw")
    chosen = (conf.driver if conf is not None else None) or system.template.get("DRIVER") or wanted
    chosen = "raw" if disk.is_swap else chosen
    values.update(
        ALLOW_ORPHANS=system.template.get("ALLOW_ORPHANS", "NO"),
        CLUSTER_ID=",".join(str(cluster) for cluster in sorted(system.clusters)),
        DATASTORE=system.name,
        DATASTORE_ID=str(system.id),
        DISK_TYPE=system.template.get("DISK_TYPE", "FILE"),
        DRIVER=chosen,
        FORMAT=chosen,
        PERSISTENT_SNAPSHOTS=system.template.get("PERSISTENT_SNAPSHOTS", "YES"),
        TM_MAD=system.tm_mad,
    )


def place_image_disk(disk: Disk, datastore: Datastore, system: Datastore) -> None:
    """Settles how an image disk works on a system datastore: mixed mode when the two drivers differ.

    Raises ValueError when the image datastore does not support the system datastore's driver.
    """
    if disk.tm_mad == system.tm_mad:
        return
    name = system.tm_mad.upper()
    values = disk.attributes
    for attribute in ("CLONE_TARGET", "LN_TARGET", "DISK_TYPE"):
        override = datastore.template.get(f"{attribute}_{name}")
        if override is None:
            raise ValueError(f"image datastore {datastore.id} does not support transfer mode {system.tm_mad}")
        values[attribute] = override
    values["TM_MAD_SYSTEM"] = system.tm_mad
