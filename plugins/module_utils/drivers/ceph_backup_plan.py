# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: how disks that are volumes are backed up (contract-tm 8.4).

The backup directory has what it has of disks in files: qcow2 images, the VM's document, a manifest. A snapshot tells
the disk of one moment, and the snapshot of the increment before, ``one_backup_<increment>`` as stock calls it, what
changed since. As everywhere nothing that tells it is given up before the repository has the increment: ``prebackup``
takes the new snapshot and keeps the old one, ``postbackup`` hears how it went and leaves one of the two. Whether it is
heard or not, the next call finds the one that oned's LAST_INCREMENT_ID names.

What changed cannot be told of a disk that is new, or that was reverted or restored. Its increment has the whole disk
then, zeros as zeros.

A chain that stock began in its old form (FORMAT=rbd) goes on in it: its files are differences as rbd exports them, so
that stock's drivers can restore the whole chain as well.
"""

from __future__ import annotations

import os

from ..steps.volume_backup import BringExport, BringVolume, LiveSnapshots, NoteChanges
from ..steps.volume_snapshots import ForgetSnapshot, ReleaseBase, SnapshotVolume
from ..tools.exports import CHAIN
from .base import Answer, Plan
from .ceph_backup import FULL
from .ceph_disks import closed
from .ceph_images import family, needed, needs_format_2
from .vm_backup_off import answer, cleared, finished, look_for_room, pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.rbd.cluster import Cluster
    from .base import Reply, Request
    from .ceph_backup import CephBackup


def prebackup(request: Request, backup: CephBackup) -> Reply:
    """Put the disks of a VM that does not run into the backup directory."""
    if request.ran:
        return answer(request, backup)
    for disk in backup.disks:
        pool, name = backup.volume(disk)
        needed(request.site.volumes(), pool, name)
        closed(request, pool, [name])
    taken: list[Step] = [
        SnapshotVolume(*backup.volume(disk), backup.snapshot, bool(backup.chain)) for disk in backup.disks
    ]
    return planned(request, backup, taken)


def prebackup_live(request: Request, backup: CephBackup) -> Reply:
    """Put the disks of a VM that runs into the backup directory, as they were at one moment."""
    from .vm_backup_live import guest_of

    if request.ran:
        return answer(request, backup)
    guest = guest_of(request, backup, request["freeze_timeout"])
    volumes = [backup.volume(disk) for disk in backup.disks]
    freeze, require = request["freeze"], request["require_quiesce"]
    taken = LiveSnapshots(volumes, backup.snapshot, guest, freeze, require, bool(backup.chain))
    return planned(request, backup, [taken])


def postbackup(request: Request, backup: CephBackup) -> Reply:
    """Clear up, and leave of the snapshots the one that the next increment begins with."""
    if request.ran:
        return Answer(path=backup.folder)
    steps: list[Step] = [*released(request, backup), *cleared(request, backup)]
    return Plan(steps) if steps else Answer(path=backup.folder)


def planned(request: Request, backup: CephBackup, taken: list[Step]) -> Plan:
    """The plan of a backup.

    :param taken: steps that take the snapshots of all disks.
    """
    cluster, shop = request.site.volumes(), backup.shop(request, backup.root)
    part = os.path.join(shop, "backup")
    stale: list[Step] = []
    notes: list[Step] = []
    copies: list[Step] = []
    ends: list[Step] = []
    told: dict[str, Any] = {}
    for disk in backup.disks:
        pool, name = backup.volume(disk)
        volume = needed(cluster, pool, name)
        there = [snapshot["name"] for snapshot in volume["snapshots"]]
        if backup.chain:
            needs_format_2(volume, pool, name)
        else:
            ends.append(ReleaseBase(pool, name, FULL))
        if backup.snapshot in there:
            # of a run that failed, and its backup is nowhere
            stale.append(ForgetSnapshot(pool, name, backup.snapshot))
        before = backup.before
        why = _not_told(cluster, backup, (pool, name), there) if before else ""
        if why:
            request.site.warn(f"Increment {backup.number} has all of disk {disk.id}, as {why}")
            before = ""
        file, size, noted = backup.file_of(disk), int(volume["size"]), os.path.join(shop, f"changes.{disk.id}")
        told[file] = {"format": "rbd" if backup.exported else "qcow2", "virtual_size": size}
        alone = backup.parent < 0
        owner = backup.vm if backup.chain else -1
        notes.append(NoteChanges(pool, name, backup.snapshot, before, not (before or alone), noted, owner))
        made = os.path.join(part, file)
        if backup.exported:
            copies.append(BringExport(pool, name, backup.snapshot, backup.goes_on_from(disk), noted, made))
        else:
            copies.append(BringVolume(pool, name, backup.snapshot, size, noted, made, alone, pace(request)))
    # what is brought lies there twice for a while, as a raw file and in the backup
    room = look_for_room(request, backup, 0, [item["virtual_size"] for item in told.values()], [*notes, *notes])
    return Plan([*stale, *taken, *notes, room, *copies, *finished(request, backup, part, told, []), *ends])


def _not_told(cluster: Cluster, backup: CephBackup, volume: tuple[str, str], there: list[str]) -> str:
    """Why it cannot be told what of a volume changed since the increment before; empty when it can.

    Names of snapshots say nothing of the VM: an image that belonged to another one has that one's (contract-tm 6.6).
    """
    pool, name = volume
    shown = f"the snapshot {pool}/{name}@{backup.before}"
    if backup.before not in there:
        return f"{shown} is not there"
    owner = cluster.ask("owner", pool=pool, name=name, snapshot=backup.before)
    return f"{shown} belongs to the backups of VM {owner}" if owner not in (-1, backup.vm) else ""


def released(request: Request, backup: CephBackup) -> list[Step]:
    """Steps that remove the snapshots which no increment will begin with any more, of retired volumes too.

    Without the new snapshot nobody made this backup, and the old one stays. What somebody cloned stays, too.
    """
    cluster = request.site.volumes()
    steps: list[Step] = []
    for disk in backup.disks:
        pool, name = backup.volume(disk)
        for member in family(cluster, pool, name):
            there = member.snapshots()
            ours = [snapshot for snapshot in there if snapshot == FULL or _is_of_chain(snapshot)]
            if request["failed"]:
                gone = [backup.snapshot] if backup.snapshot in ours else []
            elif backup.chain and not member.retired and backup.snapshot not in there:
                gone = []
            else:
                gone = [snapshot for snapshot in ours if snapshot != backup.snapshot or not backup.chain]
            steps += [ReleaseBase(pool, member.name, snapshot) for snapshot in gone]
    return steps


def _is_of_chain(snapshot: str) -> bool:
    number = snapshot[len(CHAIN) :]
    return snapshot.startswith(CHAIN) and number.isascii() and number.isdigit()
