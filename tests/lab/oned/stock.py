# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned's stock configuration says about transfer and datastore drivers, as data.

Values that the stock file leaves out carry the defaults of oned's core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MixedMode:
    """The targets that hold when an image is used on a system datastore of another driver."""

    ln_target: str
    clone_target: str
    disk_type: str


@dataclass(frozen=True)
class TmMadConf:
    """One TM_MAD_CONF block."""

    name: str
    ln_target: str
    clone_target: str
    shared: str
    driver: str | None = None
    disk_type: str | None = None
    allow_orphans: str = "NO"
    persistent_snapshots: str = "YES"
    ds_migrate: str = "YES"
    ds_live_migrate: str = "NO"
    ds_migrate_snap: str = "NO"
    mixed: Mapping[str, MixedMode] = field(default_factory=dict)


_TO_SSH = {"ssh": MixedMode("SYSTEM", "SYSTEM", "FILE")}


def _conf(
    name: str,
    targets: tuple[str, str],
    shared: str,
    migrate: tuple[str, str, str],
    *,
    driver: str | None = None,
    disk_type: str | None = None,
    allow_orphans: str = "NO",
    persistent_snapshots: str = "YES",
    mixed: Mapping[str, MixedMode] | None = None,
) -> TmMadConf:
    return TmMadConf(
        name,
        targets[0],
        targets[1],
        shared,
        driver,
        disk_type,
        allow_orphans,
        persistent_snapshots,
        *migrate,
        mixed or {},
    )


_ALL = ("YES", "YES", "YES")
_NONE = ("NO", "NO", "NO")
_COLD = ("YES", "NO", "NO")

TM_MAD_CONF: Mapping[str, TmMadConf] = {
    conf.name: conf
    for conf in (
        _conf("dummy", ("NONE", "SYSTEM"), "YES", _ALL),
        _conf("shared", ("NONE", "SYSTEM"), "YES", _ALL, allow_orphans="FORMAT", mixed=_TO_SSH),
        _conf("qcow2", ("NONE", "SYSTEM"), "YES", _ALL, driver="qcow2", allow_orphans="FORMAT", mixed=_TO_SSH),
        _conf("ssh", ("SYSTEM", "SYSTEM"), "NO", _ALL, allow_orphans="YES"),
        _conf("local", ("SYSTEM", "SYSTEM"), "NO", _ALL, allow_orphans="FORMAT"),
        _conf("ceph", ("NONE", "SELF"), "YES", _NONE, driver="raw", allow_orphans="mixed", mixed=_TO_SSH),
        _conf("lvm", ("NONE", "SELF"), "YES", _COLD, driver="raw", disk_type="BLOCK", allow_orphans="YES"),
        _conf("fs_lvm", ("SYSTEM", "SYSTEM"), "YES", _COLD, driver="raw", disk_type="BLOCK"),
        _conf(
            "fs_lvm_ssh",
            ("SYSTEM", "SYSTEM"),
            "YES",
            ("YES", "YES", "NO"),
            driver="raw",
            disk_type="BLOCK",
            allow_orphans="YES",
            persistent_snapshots="NO",
        ),
        _conf("iscsi_libvirt", ("NONE", "SELF"), "YES", _NONE, driver="raw"),
        _conf("dev", ("NONE", "NONE"), "YES", _NONE, driver="raw"),
        _conf("netapp", ("NONE", "SELF"), "YES", _NONE, driver="raw", disk_type="BLOCK", allow_orphans="LINEAR"),
        _conf("purefa", ("NONE", "SELF"), "YES", _NONE, driver="raw", disk_type="BLOCK", allow_orphans="YES"),
        _conf("virtiofs", ("NONE", "NONE"), "YES", _NONE, driver="virtiofs", disk_type="filesystem"),
    )
}


@dataclass(frozen=True)
class DsMadConf:
    """One DS_MAD_CONF block."""

    name: str
    required: tuple[str, ...] = ()
    persistent_only: bool = False
    marketplace_actions: tuple[str, ...] = ()


DS_MAD_CONF: Mapping[str, DsMadConf] = {
    conf.name: conf
    for conf in (
        DsMadConf("ceph", ("DISK_TYPE", "BRIDGE_LIST"), False, ("export",)),
        DsMadConf("dev", ("DISK_TYPE",), True),
        DsMadConf("iscsi_libvirt", ("DISK_TYPE", "ISCSI_HOST"), True),
        DsMadConf("dummy"),
        DsMadConf("fs", (), False, ("export",)),
        DsMadConf("lvm"),
        DsMadConf("restic", ("RESTIC_PASSWORD",), True),
        DsMadConf("rsync", ("RSYNC_HOST", "RSYNC_USER"), True),
        DsMadConf(
            "netapp",
            (
                "NETAPP_HOST",
                "NETAPP_USER",
                "NETAPP_PASS",
                "NETAPP_AGGREGATES",
                "NETAPP_SVM",
                "NETAPP_IGROUP",
                "NETAPP_TARGET",
            ),
        ),
        DsMadConf("purefa", ("PUREFA_HOST", "PUREFA_API_TOKEN", "PUREFA_TARGET")),
        DsMadConf("virtiofs"),
        DsMadConf("interactive"),
    )
}

# The names the two driver daemons are started with: a driver that is not listed here is "not available".
TM_NAMES: frozenset[str] = frozenset(
    "dummy,lvm,shared,fs_lvm,fs_lvm_ssh,qcow2,ssh,local,ceph,dev,iscsi_libvirt,netapp,purefa".split(",")
)
DS_NAMES: frozenset[str] = frozenset(
    "dummy,fs,lvm,ceph,dev,iscsi_libvirt,restic,rsync,netapp,purefa,virtiofs,interactive".split(",")
)
SYSTEM_DS_NAMES: frozenset[str] = frozenset(
    "dummy,lvm,shared,ssh,local,ceph,fs_lvm,fs_lvm_ssh,qcow2,netapp,purefa".split(",")
)

# Pairs of hypervisor and transfer driver whose disks may be snapshot while the VM runs.
LIVE_DISK_SNAPSHOTS: Mapping[str, frozenset[str]] = {
    "kvm": frozenset("qcow2,shared,ceph,ssh,local,lvm_thin,lvm,netapp,purefa".split(",")),
    "qemu": frozenset("qcow2,shared,ceph,ssh,local,netapp".split(",")),
    "lxc": frozenset("qcow2,shared,ceph,ssh,local,lvm_thin,lvm".split(",")),
}

# Attributes a disk takes over from the datastore of its image.
INHERIT_DATASTORE_ATTR: tuple[str, ...] = (
    "ALLOW_ORPHANS",
    "CEPH_CONF",
    "CEPH_HOST",
    "CEPH_KEY",
    "CEPH_SECRET",
    "CEPH_TRASH",
    "CEPH_USER",
    "CLONE_TARGET",
    "DISK_TYPE",
    "GLUSTER_HOST",
    "GLUSTER_VOLUME",
    "ISCSI_HOST",
    "ISCSI_IQN",
    "ISCSI_USAGE",
    "ISCSI_USER",
    "LN_TARGET",
    "LVM_THIN_ENABLE",
    "PERSISTENT_SNAPSHOTS",
    "POOL_NAME",
    "QCOW2_STANDALONE",
    "SPARSE",
)

# Attributes a disk takes over from its image's template.
INHERIT_IMAGE_ATTR: tuple[str, ...] = (
    "DEV_PREFIX",
    "DISK_TYPE",
    "ISCSI_HOST",
    "ISCSI_IQN",
    "ISCSI_USAGE",
    "ISCSI_USER",
    "LUKS_SECRET",
    "MOUNT_POINT",
    "MOUNT_TAG",
    "SERIAL",
)
