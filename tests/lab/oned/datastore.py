# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastores: their document, and the template oned completes when one is made."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from .common import Owned, Permissions
from .states import DatastoreType, DiskType
from .stock import DS_MAD_CONF, TM_MAD_CONF
from .xmldoc import Element, cdata, ids, node, template, text

#: Attributes that oned keeps encrypted (contract-ds 7.2).
ENCRYPTED = ("RESTIC_PASSWORD", "NETAPP_PASS", "PUREFA_API_TOKEN")
_PERMISSIONS = Permissions(owner=6, group=4)


@dataclass
class Datastore(Owned):
    """One datastore. Sizes are in MB."""

    ds_mad: str = "-"
    tm_mad: str = "-"
    base_path: str = ""
    type: DatastoreType = DatastoreType.IMAGE
    disk_type: DiskType = DiskType.FILE
    state: int = 0
    clusters: set[int] = field(default_factory=lambda: {0})
    total_mb: int = 0
    free_mb: int = 0
    used_mb: int = 0
    images: set[int] = field(default_factory=set)
    template: dict[str, str] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether it is one storage for all hosts: only such system datastores are monitored from the front-end."""
        return self.template.get("SHARED", "YES").upper() == "YES"

    def element(self, plain: bool = True) -> Element:
        """The DATASTORE document; passwords are as drivers see them, or encrypted as others do."""
        return node(
            "DATASTORE",
            [
                *self.identity(),
                _PERMISSIONS.element(),
                cdata("DS_MAD", self.ds_mad),
                cdata("TM_MAD", self.tm_mad),
                cdata("BASE_PATH", self.base_path),
                text("TYPE", int(self.type)),
                text("DISK_TYPE", int(self.disk_type)),
                text("STATE", self.state),
                ids("CLUSTERS", self.clusters),
                text("TOTAL_MB", self.total_mb),
                text("FREE_MB", self.free_mb),
                text("USED_MB", self.used_mb),
                ids("IMAGES", self.images),
                template("TEMPLATE", self.template if plain else hidden(self.template)),
            ],
        )


def hidden(values: Mapping[str, str]) -> dict[str, str]:
    """A template with its passwords encrypted; with what does not matter to anybody who cannot decrypt it."""
    return {
        name: b64encode(sha256(value.encode()).digest()).decode() if name in ENCRYPTED else value
        for name, value in values.items()
    }


def complete_template(
    ds_type: DatastoreType, ds_mad: str, tm_mad: str, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The template oned keeps for a new datastore: what was given, plus what the driver's configuration adds.

    Raises ValueError when an attribute that the datastore driver requires is missing, or a driver is unknown.
    """
    values: dict[str, str] = dict(given or {})
    if "SAFE_DIRS" not in values and "RESTRICTED_DIRS" not in values:
        values.update(SAFE_DIRS="/var/tmp", RESTRICTED_DIRS="/")
    values.update(TYPE=ds_type.word, TM_MAD=tm_mad)
    if ds_type is not DatastoreType.SYSTEM:
        values["DS_MAD"] = ds_mad
        conf = DS_MAD_CONF.get(ds_mad)
        if conf is None:
            raise ValueError(f"there is no datastore driver {ds_mad}")
        missing = [name for name in conf.required if not values.get(name)]
        if missing:
            raise ValueError(f"datastore driver {ds_mad} needs {', '.join(missing)}")
    if ds_type is not DatastoreType.BACKUP:
        _add_transfer_attributes(ds_type, tm_mad, values)
    return values


def _add_transfer_attributes(ds_type: DatastoreType, tm_mad: str, values: dict[str, str]) -> None:
    conf = TM_MAD_CONF.get(tm_mad)
    if conf is None:
        raise ValueError(f"there is no transfer driver {tm_mad}")
    values["DISK_TYPE"] = conf.disk_type or values.get("DISK_TYPE", "FILE")
    values["ALLOW_ORPHANS"] = conf.allow_orphans
    values["PERSISTENT_SNAPSHOTS"] = conf.persistent_snapshots
    if ds_type is DatastoreType.SYSTEM:
        values.update(
            SHARED=conf.shared,
            DS_MIGRATE=conf.ds_migrate,
            DS_LIVE_MIGRATE=conf.ds_live_migrate,
            DS_MIGRATE_SNAP=conf.ds_migrate_snap,
        )
        return
    values.update(LN_TARGET=conf.ln_target, CLONE_TARGET=conf.clone_target)
    if conf.driver:
        values["DRIVER"] = conf.driver
    if conf.mixed:
        values["TM_MAD_SYSTEM"] = ",".join(conf.mixed)
    for name, mode in conf.mixed.items():
        values[f"LN_TARGET_{name.upper()}"] = mode.ln_target
        values[f"CLONE_TARGET_{name.upper()}"] = mode.clone_target
        values[f"DISK_TYPE_{name.upper()}"] = mode.disk_type
