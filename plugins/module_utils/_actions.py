# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action with its options: the data that modules, launchers and documentation share.

An option is a line of Ansible's argument_spec (the subset that :mod:`._options` knows). What the options mean stands in
each module's documentation; a sanity test holds the two together.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Spec = dict[str, dict[str, Any]]


class Action:
    """One action.

    :ivar kind: ``ds`` (images) or ``tm`` (disks of VMs).
    :ivar name: oned's name of the action, which is also the driver's method.
    """

    def __init__(self, kind: str, name: str, *groups: Spec) -> None:
        self.kind = kind
        self.name = name
        self.options: Spec = {}
        for group in groups:
            self.options.update(group)


def _text(default: str | None = None, required: bool = False, choices: list[str] | None = None) -> dict[str, Any]:
    return _option("str", default, required, choices)


def _number(default: int | None = None, required: bool = False) -> dict[str, Any]:
    return _option("int", default, required)


def _flag(default: bool) -> dict[str, Any]:
    return _option("bool", default)


def _list() -> dict[str, Any]:
    return {**_option("list", []), "elements": "str"}


def _option(kind: str, default: Any = None, required: bool = False, choices: list[str] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"type": kind}
    if required:
        rule["required"] = True
    elif default is not None:
        rule["default"] = default
    if choices:
        rule["choices"] = choices
    return rule


def _secret(required: bool = False) -> dict[str, Any]:
    return {**_text(None if required else "", required), "no_log": True}


_FORMATS = ["raw", "qcow2"]
#: Those that an image keeps when its datastore does not convert it.
_ALL_FORMATS = [*_FORMATS, "vmdk", "vpc", "vhdx", "vdi"]

_COMMON: Spec = {
    "driver": _text(required=True),
    "command_timeout": _number(3600),
    "stall_timeout": _number(60),
    "lock_timeout": _number(120),
}
#: Preferred for data: the cipher, not Python, is what limits a copy.
CIPHERS = "aes128-gcm@openssh.com"
_PEER: Spec = {
    "peer": _text(),
    "peer_python": _text("/usr/bin/python3"),
    "ciphers": _text(CIPHERS),
    "connect_timeout": _number(30),
    "limit_rate": _text(""),
}
_SYSTEM: Spec = {"system_driver": _text("")}
_FORCE: Spec = {"force": _flag(False)}
#: Who monitors a system datastore that is its host's own.
_MONITOR: Spec = {"monitor": _text("ssh")}
_DATASTORE: Spec = {"datastore": _text(required=True)}
_NEW_IMAGE: Spec = {
    **_DATASTORE,
    "datastore_id": _number(required=True),
    "image_id": _number(required=True),
    "regtime": _number(required=True),
}
_SOURCE: Spec = {
    "limit_rate": _text(""),
    "tls_verify": _flag(True),
    "helpers": _text(""),
    "s3_access_key_id": _secret(),
    "s3_secret_access_key": _secret(),
    "s3_region": _text(""),
    "s3_endpoint": _text(""),
    "s3_aws": _text(""),
}
_SNAPSHOT: Spec = {
    **_DATASTORE,
    "source": _text(required=True),
    "format": _text("raw", choices=_FORMATS),
    "snapshot": _number(required=True),
}
_DIRECTORIES: Spec = {"safe_dirs": _list(), "restricted_dirs": _list()}
_FILESYSTEM: Spec = {"fs": _text(""), "fs_options": _list(), "supported_fs": _list()}
_WAY: Spec = {
    "source": _text(required=True),
    "destination": _text(required=True),
    "source_datastore": _text(required=True),
    "peer_role": _text("destination", choices=["source", "destination"]),
    "disks": _list(),
}
_DISK: Spec = {
    **_DATASTORE,
    "source": _text(required=True),
    "destination": _text(required=True),
    "format": _text("raw", choices=_FORMATS),
    "size": _number(0),
    "original_size": _number(0),
    "sparse": _flag(True),
    "standalone": _flag(False),
    "qcow2_options": _list(),
}
#: A disk that is there.
_OLD_DISK: Spec = {
    **_DATASTORE,
    "image": _text(""),
    "persistent": _flag(False),
    "format": _text("raw", choices=_FORMATS),
    "running": _flag(False),
}
#: The guest that writes to it.
_GUEST: Spec = {
    "domain": _text(""),
    "target": _text(""),
    "libvirt_uri": _text("qemu:///system"),
    "quiesce": _text("auto", choices=["auto", "agent", "suspend"]),
    "freeze_timeout": _number(60),
}
_OF_DISK: Spec = {"path": _text(required=True), "snapshot_id": _number(required=True)}
#: Of which VM, which disks and which increment a backup is.
_BACKUP: Spec = {
    **_DATASTORE,
    "path": _text(required=True),
    "disks": {"type": "list", "elements": "str", "required": True},
    "images": _list(),
    "persistent": _list(),
    "mode": _text("full", choices=["full", "increment"]),
    "increment_mode": _text("cbt", choices=["cbt", "snapshot"]),
    "last_increment": _number(-1),
    "backup_path": _text(""),
}
#: What is written beside the disks, and at which pace.
_BACKUP_FILES: Spec = {
    "document": _secret(required=True),
    "tpm": _text(""),
    "vtpm_setup": _text("/var/tmp/one/vmm/kvm/vtpm_setup"),
    "backup_datastore_id": _number(-1),
    "backup_format": _text("raw", choices=["raw", "rbd"]),
    "chain_disks": _list(),
}
#: The guest that writes to these disks.
_BACKUP_GUEST: Spec = {
    "domain": _text(required=True),
    "targets": _list(),
    "libvirt_uri": _text("qemu:///system"),
}
_BACKUP_FREEZE: Spec = {
    "freeze": _text("none", choices=["none", "agent", "suspend"]),
    "require_quiesce": _flag(False),
    "freeze_timeout": _number(60),
}
_BACKUP_END: Spec = {"failed": _flag(False)}
#: Where backups are kept, and how: of the drivers rsync and restic.
_REPOSITORY: Spec = {
    "repository_host": _text(""),
    "repository_user": _text(""),
    "repository_args": _list(),
    "repository_backend": _text("sftp", choices=["sftp", "local", "s3"]),
    "repository_program": _text("restic"),
    "repository_password": _secret(),
    "repository_bandwidth": _number(-1),
    "repository_connections": _number(5),
    "repository_processors": _number(-1),
    "repository_compression": _text("auto", choices=["auto", "off", "max"]),
    "repository_tmp_dir": _text("/var/tmp"),
    "repository_sparsify": _flag(False),
    "repository_prune_max_repack": _text(""),
    "repository_prune_max_unused": _text("0"),
    "repository_s3_access_key_id": _secret(),
    "repository_s3_secret_access_key": _secret(),
    "repository_s3_bucket": _text(""),
    "repository_s3_region": _text("us-east-1"),
    "repository_s3_endpoint": _text("s3.amazonaws.com"),
    "repository_s3_path_style": _flag(False),
    "repository_s3_cacert": _text(""),
    "repository_s3_insecure_tls": _flag(False),
}
#: Whose backups, and which of them: increments as ``<number>:<reference>``, the oldest first.
_KEPT: Spec = {"vm_id": _number(-1), "backup_job_id": _number(-1), "increments": _list()}
#: How far the copying of a backup is held back, -1 for not at all.
_CONFINED: Spec = {
    "nice": _number(-1),
    "ionice": _number(-1),
    "max_riops": _number(-1),
    "max_wiops": _number(-1),
    "cpu_quota": _number(-1),
    "memory_max_mb": _number(-1),
}

#: What nobody knows in a datastore, and what is done with it. Times in seconds.
_ORPHANS: Spec = {
    **_DATASTORE,
    "known": _list(),
    "state": _text("report", choices=["report", "quarantined", "restored", "purged"]),
    "names": _list(),
    "min_age": _number(86400),
    "since": _number(0),
    "stamp": _text(""),
    "keep": _number(604800),
}

#: How a Ceph cluster is reached, and how volumes are made in it: of the driver ceph.
_CEPH: Spec = {
    "pool": _text("one"),
    "data_pool": _text(""),
    "ceph_user": _text(""),
    # the path of a file, which is no secret
    "ceph_key": {**_text(""), "no_log": False},
    "ceph_conf": _text(""),
    "ceph_host": _text(""),
    "rbd_format": {**_number(2), "choices": [1, 2]},
    "ceph_trash": _flag(False),
    "staging_dir": _text("/var/tmp"),
}

ACTIONS: dict[str, Action] = {
    "ds_cp": Action(
        "ds",
        "cp",
        _COMMON,
        _CEPH,
        _NEW_IMAGE,
        _DIRECTORIES,
        _SOURCE,
        {
            "source": _text(required=True),
            "size": _number(0),
            "convert_to": _text("", choices=["", *_FORMATS]),
            "md5": _text(""),
            "sha1": _text(""),
            "sha256": _text(""),
            "feed": _text(""),
            "decompress": _flag(True),
            "plain": _flag(False),
            "sparse": _flag(True),
        },
    ),
    "ds_mkfs": Action(
        "ds",
        "mkfs",
        _COMMON,
        _CEPH,
        _NEW_IMAGE,
        _FILESYSTEM,
        {"format": _text("raw", choices=[*_FORMATS, "swap", "save_as"]), "size": _number(required=True)},
    ),
    "ds_rm": Action("ds", "rm", _COMMON, _CEPH, _DATASTORE, _REPOSITORY, _KEPT, {"source": _text(required=True)}),
    "ds_stat": Action(
        "ds",
        "stat",
        _COMMON,
        _DIRECTORIES,
        _SOURCE,
        _REPOSITORY,
        {
            "source": _text(required=True),
            "decompress": _flag(True),
            "plain": _flag(False),
            "datastore": _text(""),
            "backup_job_id": _number(-1),
        },
    ),
    "ds_backup": Action(
        "ds",
        "backup",
        _COMMON,
        _DATASTORE,
        _REPOSITORY,
        _CONFINED,
        _PEER,
        {
            "datastore_id": _number(required=True),
            "source": _text(required=True),
            "vm_id": _number(required=True),
            "backup_job_id": _number(-1),
        },
    ),
    "ds_backup_cancel": Action(
        "ds", "backup_cancel", _COMMON, {"source": _text(required=True), "patience": _number(60)}
    ),
    "ds_ls": Action(
        "ds",
        "ls",
        _COMMON,
        _DATASTORE,
        _REPOSITORY,
        _KEPT,
        {"datastore_id": _number(required=True), "increment_id": _number(-1), "format": _text("raw")},
    ),
    "ds_restore": Action(
        "ds",
        "restore",
        _COMMON,
        _DATASTORE,
        _REPOSITORY,
        _KEPT,
        {"datastore_id": _number(required=True), "increment_id": _number(-1), "format": _text("raw")},
    ),
    "ds_increment_flatten": Action(
        "ds",
        "increment_flatten",
        _COMMON,
        _DATASTORE,
        _REPOSITORY,
        _KEPT,
        _CONFINED,
        {"datastore_id": _number(required=True), "keep_last": _number(required=True), "format": _text("raw")},
    ),
    "ds_backup_verify": Action(
        "ds",
        "backup_verify",
        _COMMON,
        _DATASTORE,
        _REPOSITORY,
        _KEPT,
        {"contents": _flag(True), "restore": _text("none", choices=["none", "last", "all"])},
    ),
    "ds_clone": Action(
        "ds",
        "clone",
        _COMMON,
        _CEPH,
        _NEW_IMAGE,
        _PEER,
        {
            "source": _text(required=True),
            "format": _text("raw", choices=_ALL_FORMATS),
            "convert_to": _text("", choices=["", *_FORMATS]),
        },
    ),
    "ds_snap_delete": Action("ds", "snap_delete", _COMMON, _CEPH, _SNAPSHOT, {"allow_orphans": _flag(False)}),
    "ds_snap_revert": Action("ds", "snap_revert", _COMMON, _CEPH, _SNAPSHOT),
    "ds_snap_flatten": Action("ds", "snap_flatten", _COMMON, _CEPH, _SNAPSHOT),
    "ds_digest": Action(
        "ds",
        "digest",
        _COMMON,
        _CEPH,
        _DATASTORE,
        {"source": _text(required=True), "format": _text("raw", choices=_ALL_FORMATS)},
    ),
    "ds_orphans": Action("ds", "orphans", _COMMON, _CEPH, _ORPHANS),
    "tm_orphans": Action("tm", "orphans", _COMMON, _ORPHANS),
    "ds_monitor": Action("ds", "monitor", _COMMON, _CEPH, _DATASTORE, _REPOSITORY),
    "ds_export": Action(
        "ds",
        "export",
        _COMMON,
        _CEPH,
        _DATASTORE,
        {
            "source": _text(required=True),
            "format": _text("raw", choices=_ALL_FORMATS),
            "size": _number(0),
            "target_snapshot": _number(-1),
            "url_host": _text(""),
        },
    ),
    "tm_clone": Action("tm", "clone", _COMMON, _SYSTEM, _CEPH, _PEER, _DISK, _FORCE, _MONITOR),
    "tm_ln": Action("tm", "ln", _COMMON, _SYSTEM, _CEPH, _PEER, _DISK, _FORCE, _MONITOR),
    "tm_mv": Action(
        "tm",
        "mv",
        _COMMON,
        _SYSTEM,
        _PEER,
        _DATASTORE,
        _MONITOR,
        {
            "source": _text(required=True),
            "destination": _text(required=True),
            "source_datastore": _text(required=True),
            "peer_role": _text("destination", choices=["source", "destination"]),
            "source_lost": _flag(False),
        },
    ),
    "tm_premigrate": Action("tm", "premigrate", _COMMON, _PEER, _DATASTORE, _WAY, _MONITOR),
    "tm_postmigrate": Action("tm", "postmigrate", _COMMON, _PEER, _DATASTORE, _WAY),
    "tm_failmigrate": Action("tm", "failmigrate", _COMMON, _PEER, _DATASTORE, _WAY),
    "tm_mvds": Action(
        "tm",
        "mvds",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _PEER,
        _DATASTORE,
        {
            "source": _text(required=True),
            "destination": _text(required=True),
            "format": _text("raw", choices=_FORMATS),
        },
    ),
    "tm_delete": Action(
        "tm",
        "delete",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _DATASTORE,
        {"path": _text(required=True), "image": _text(""), "persistent": _flag(False)},
    ),
    "tm_context": Action(
        "tm",
        "context",
        _COMMON,
        _SYSTEM,
        _PEER,
        _DATASTORE,
        _FORCE,
        {"destination": _text(required=True), "files": {"type": "list", "elements": "str", "required": True}},
    ),
    "tm_mkimage": Action(
        "tm",
        "mkimage",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _DATASTORE,
        _FORCE,
        _MONITOR,
        _FILESYSTEM,
        {
            "destination": _text(required=True),
            "size": _number(required=True),
            "format": _text("raw", choices=[*_FORMATS, "swap"]),
        },
    ),
    "tm_resize": Action(
        "tm",
        "resize",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _OLD_DISK,
        {"path": _text(required=True), "size": _number(required=True), "sparse": _flag(True)},
    ),
    "tm_snap_create": Action("tm", "snap_create", _COMMON, _SYSTEM, _CEPH, _OLD_DISK, _OF_DISK, _FORCE),
    "tm_snap_create_live": Action(
        "tm", "snap_create_live", _COMMON, _SYSTEM, _CEPH, _OLD_DISK, _OF_DISK, _GUEST, _FORCE
    ),
    "tm_snap_delete": Action("tm", "snap_delete", _COMMON, _SYSTEM, _CEPH, _OLD_DISK, _OF_DISK, _GUEST),
    "tm_snap_revert": Action(
        "tm", "snap_revert", _COMMON, _SYSTEM, _CEPH, _OLD_DISK, _OF_DISK, {"linear": _flag(False)}
    ),
    "tm_cpds": Action(
        "tm",
        "cpds",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _PEER,
        _OLD_DISK,
        _GUEST,
        _FORCE,
        {"source": _text(required=True), "destination": _text(required=True), "snapshot_id": _number(-1)},
    ),
    "tm_mkswap": Action(
        "tm",
        "mkswap",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _DATASTORE,
        _FORCE,
        _MONITOR,
        {"destination": _text(required=True), "size": _number(required=True)},
    ),
    "tm_prebackup": Action("tm", "prebackup", _COMMON, _CEPH, _BACKUP, _BACKUP_FILES, _CONFINED),
    "tm_prebackup_live": Action(
        "tm", "prebackup_live", _COMMON, _CEPH, _BACKUP, _BACKUP_FILES, _CONFINED, _BACKUP_GUEST, _BACKUP_FREEZE
    ),
    "tm_postbackup": Action("tm", "postbackup", _COMMON, _CEPH, _BACKUP, _BACKUP_END),
    "tm_postbackup_live": Action("tm", "postbackup_live", _COMMON, _CEPH, _BACKUP, _BACKUP_END, _BACKUP_GUEST),
    "tm_backup_doctor": Action(
        "tm",
        "backup_doctor",
        _COMMON,
        _BACKUP,
        {
            "domain": _text(""),
            "targets": _list(),
            "libvirt_uri": _text("qemu:///system"),
            "repair": _flag(False),
        },
    ),
    "tm_restore": Action(
        "tm",
        "restore",
        _COMMON,
        _SYSTEM,
        _CEPH,
        _DATASTORE,
        _REPOSITORY,
        {
            "path": _text(required=True),
            "disks": _list(),
            "images": _list(),
            "persistent": _list(),
            "sizes": _list(),
            "sources": {"type": "list", "elements": "str", "required": True},
            "feed": _text(""),
            "running": _flag(False),
            "repository_path": _text(""),
        },
    ),
    "tm_monitor": Action("tm", "monitor", _COMMON, _CEPH, _DATASTORE, {"vm_disks": _flag(True)}),
    "tm_monitor_ds": Action("tm", "monitor_ds", _COMMON, _DATASTORE),
}
