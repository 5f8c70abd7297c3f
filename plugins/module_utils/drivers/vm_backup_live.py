# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""prebackup_live and postbackup_live: backups of a VM that runs (contract-tm 8.3).

All disks are those of one moment, at which the guest is held as it was asked for. As with a VM that is off, nothing
that tells what changed is given up before the repository has the increment: see :mod:`.vm_backup_off`.

* *Full, and CBT.* A backup job shows the disks as they were when it began, and notes what is written from then on: the
  bitmap, and checkpoint, of this increment. The guest goes on with the files that it has, so a full backup needs no
  overlay that would have to come home afterwards (Q8). ``postbackup_live`` leaves the checkpoint of this increment and
  that of the one before; without this one when the backup failed.
* *SNAPSHOT.* The guest goes over to a new layer, which has the number after the increment's; what lies between it and
  the base is copied. ``postbackup_live`` commits that into the base when the backup went well. When it failed it stays,
  and is in the next increment; layers of several failures become one.

A layer whose number is taken gets the next free one, and a marker that says for which increment it was begun.
"""

from __future__ import annotations

import os

from .._errors import BadCall, DeadlineOver, Missing, Refused, StorageError
from ..steps.base import LEAD
from ..steps.files import Discard, Publish
from ..tools import chain
from .base import Answer, Plan, base
from .vm_backup_off import (
    answer,
    are_for,
    check_disk,
    cleared,
    copy_changes,
    copy_out,
    depth_of_base,
    finished,
    first_base,
    held_by,
    look_for_room,
    pace,
    relinked,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply, Request
    from .vm_backup import Backup, BackupDisk
    from .vm_layers import Stack

#: Longest name of a socket that Linux takes, in bytes.
_SOCKET_BYTES = 107
#: Seconds for which a guest may be asked to be held.
_MOST_SECONDS = 3600


def prebackup_live(request: Request, backup: Backup) -> Reply:
    """Put the disks of a running guest into the backup directory."""
    from ..tools import manifest

    told = manifest.read(backup.folder) if request.ran else None
    if told and told["run"] == request.site.run:
        return answer(request, backup)
    guest = guest_of(request, backup, request["freeze_timeout"])
    request.site.secrets = {"document": request["document"]}
    stacks = [(disk, backup.stack(request, disk)) for disk in backup.disks]
    for disk, stack in stacks:
        check_disk(backup, disk, stack)
    overlays = home(request, backup, guest, stacks)
    if overlays:
        return Plan(overlays)
    if backup.chain == "snapshot":
        return _by_layers(request, backup, guest, stacks)
    return _by_job(request, backup, guest, stacks)


def guest_of(request: Request, backup: Backup, seconds: int) -> dict[str, Any]:
    """What :mod:`..tools.guest` has to know of the guest; its own disk is the first one.

    :raises BadCall: a disk's target is not told, or the time is no time.
    """
    for disk in backup.disks:
        if not disk.target:
            raise BadCall(f"The virtual machine runs, and the target of disk {disk.id} is not given")
    if not 1 <= seconds <= _MOST_SECONDS:
        raise BadCall(f"A guest cannot be held for {seconds} seconds: it must be 1 to {_MOST_SECONDS}")
    first = backup.disks[0]
    return {
        "uri": request["libvirt_uri"],
        "domain": request["domain"],
        "target": first.target,
        "link": first.path,
        "freeze_timeout": seconds,
    }


def _of(guest: dict[str, Any], disk: BackupDisk) -> dict[str, Any]:
    """The same guest with another disk."""
    return {**guest, "target": disk.target, "link": disk.path}


def named(backup: Backup) -> list[dict[str, Any]]:
    """The disks as libvirt finds them."""
    return [{"target": disk.target, "link": disk.path} for disk in backup.disks]


def socket_of(backup: Backup) -> str:
    """Where a backup job shows the disks; stock has it there too (8.3).

    :raises Refused: Linux takes no name that is so long.
    """
    path = os.path.join(backup.directory, "backup.socket")
    if len(os.fsencode(path)) > _SOCKET_BYTES:
        raise Refused(f"The path {path} is too long for a socket: {_SOCKET_BYTES} bytes are the most")
    return path


def home(request: Request, backup: Backup, guest: dict[str, Any], stacks: list[tuple[BackupDisk, Stack]]) -> list[Step]:
    """Steps that bring home what the guest writes to overlays of stock's backups."""
    from ..steps.backup_live import BringHome
    from ..steps.live import ask

    tops = ask(request.site, LEAD, "tops", guest, disks=named(backup))["tops"]
    steps: list[Step] = []
    for disk, stack in stacks:
        if os.path.normpath("/" + tops[disk.target].lstrip("/")).startswith(backup.tmp + "/"):
            expected = [layer.path for layer in stack.check()]
            steps.append(BringHome(LEAD, _of(guest, disk), expected, os.path.dirname(tops[disk.target])))
    return steps


# ---------------------------------------------------------------- full, CBT


def _by_job(request: Request, backup: Backup, guest: dict[str, Any], stacks: list[tuple[BackupDisk, Stack]]) -> Reply:
    """The plan of a backup that a job of libvirt shows."""
    from ..steps.backup import CopyChanges
    from ..steps.backup_live import BeginJob, EndJob, FindDirty, shown_at

    shop = backup.shop(request, backup.root)
    own = backup.shop(request, backup.datastore)
    part, socket = os.path.join(shop, "backup"), socket_of(backup)
    finds: list[Step] = []
    copies: list[Step] = []
    disks: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    whole = 0
    for disk, stack in stacks:
        layers = stack.check()
        name, size = backup.file_of(disk), layers[0].virtual_size
        told[name] = {"format": "qcow2", "virtual_size": size}
        scratch = os.path.join(own, f"scratch.{disk.id}")
        disks.append({"target": disk.target, "link": disk.path, "scratch": scratch, "size": size})
        shown = shown_at(socket, disk.target)
        if backup.parent >= 0:
            noted = os.path.join(shop, f"changes.{disk.id}")
            finds.append(FindDirty(LEAD, socket, disk.target, disk.id, size, noted))
            copies.append(CopyChanges(LEAD, shown, size, noted, os.path.join(part, name), pace(request), "raw"))
        else:
            held = held_by(request, layers)
            whole += held
            copies.append(copy_out(request, shown, "raw", os.path.join(part, name), held))
    sizes = [item["virtual_size"] for item in told.values()]
    parent = backup.mark(backup.parent) if backup.parent >= 0 else ""
    new = backup.mark(backup.number) if backup.chain else ""
    begin = BeginJob(LEAD, guest, disks, socket, backup.datastore, new, parent, request["freeze"],
                     request["require_quiesce"])  # fmt: skip
    room = look_for_room(request, backup, whole, sizes, finds)
    # what is to be copied whole is known before the job begins
    ordered = [begin, *finds, room] if finds else [room, begin]
    return Plan([*ordered, *copies, EndJob(LEAD, guest), *finished(request, backup, part, told, [])])


# ---------------------------------------------------------------- SNAPSHOT


def _by_layers(
    request: Request, backup: Backup, guest: dict[str, Any], stacks: list[tuple[BackupDisk, Stack]]
) -> Reply:
    """The plan of a backup by layers: the guest goes over first; once it did, what it left is copied."""
    reached = request.site.figures.get("consistency")
    if not reached:
        first = [
            step for _disk, stack in stacks if not stack.layered for step in [*first_base(stack), relinked(stack, "0")]
        ]
        return Plan(first or _go_over(request, backup, guest, stacks))
    if reached == "crash" and request["freeze"] != "none" and request["require_quiesce"]:
        raise DeadlineOver(
            f"{request['domain']} could not be held within {request['freeze_timeout']} seconds, and it has to be",
            request.site.lead.name,
            todo="raise freeze_timeout",
        )
    return _copy_left(request, backup, stacks)


def _go_over(
    request: Request, backup: Backup, guest: dict[str, Any], stacks: list[tuple[BackupDisk, Stack]]
) -> list[Step]:
    """Steps that make new layers and let the guest write to them, all at one moment."""
    from ..steps.backup_live import LiveLayers, SettleMarks
    from ..steps.layers import NewLayer

    steps: list[Step] = []
    rows: list[dict[str, Any]] = []
    if backup.parent < 0:
        # bitmaps of chains before this one would go over with the guest
        steps.append(SettleMarks(LEAD, guest, named(backup), socket_of(backup), [], ""))
    for disk, stack in stacks:
        layers = stack.check()
        if depth_of_base(stack, layers) < 0:
            raise Refused(f"{disk.path} does not stand on {stack.snap}/0", stack.host.name)
        top = str(max([backup.number, *chain.numbers(stack.host, stack.snap)]) + 1)
        final = os.path.join(stack.snap, top)
        part = os.path.join(backup.shop(request, stack.root), f"{stack.disk.name}.{top}")
        steps.append(NewLayer(LEAD, part, stack.name_of(stack.active), layers[0].virtual_size))
        steps.append(Publish(LEAD, part, final, stack.root, what="layer"))
        rows.append(
            {
                "target": disk.target,
                "layer": final,
                "expected": [layer.path for layer in layers],
                "link": disk.path,
                "leads": stack.name_of(top),
                "old": stack.target,
                "inside": stack.disk.datastore,
            }
        )
    return [*steps, LiveLayers(LEAD, guest, rows, request["freeze"], request["require_quiesce"])]


def _copy_left(request: Request, backup: Backup, stacks: list[tuple[BackupDisk, Stack]]) -> Reply:
    """The plan that copies what the guest has left behind, which nobody writes to any more."""
    from ..steps.backup import FindChanges

    shop = backup.shop(request, backup.root)
    part = os.path.join(shop, "backup")
    follow: list[Step] = []
    finds: list[Step] = []
    copies: list[Step] = []
    told: dict[str, Any] = {}
    whole = 0
    for disk, stack in stacks:
        layers = stack.check()[1:]
        depth = depth_of_base(stack, layers)
        name, size = backup.file_of(disk), layers[0].virtual_size
        told[name] = {"format": "qcow2", "virtual_size": size}
        follow += [*stack.followed(), *_marker(stack, backup.number + 1)]
        if backup.parent < 0:
            held = held_by(request, layers)
            whole += held
            copies.append(copy_out(request, layers[0].path, "qcow2", os.path.join(part, name), held))
            continue
        if not are_for(stack, layers[:depth], backup.number):
            request.site.warn(f"Increment {backup.number} has all of disk {disk.id}, "
                              "as its layers are not those of this chain")  # fmt: skip
            depth = 0
        noted = os.path.join(shop, f"changes.{disk.id}")
        found = FindChanges(LEAD, layers[0].path, "", depth, size, noted)
        finds.append(found)
        copies.append(copy_changes(request, layers[0].path, size, found, os.path.join(part, name)))
    room = look_for_room(request, backup, whole, [item["virtual_size"] for item in told.values()], finds)
    return Plan([*follow, *finds, room, *copies, *finished(request, backup, part, told, [])])


def _marker(stack: Stack, number: int) -> list[Step]:
    """The step that notes for which increment the top was begun, when its number is another."""
    from ..steps.layers import Mark

    top = base(stack.active)
    if top == str(number):
        return []
    path = os.path.join(stack.snap, top + chain.BEGUN)
    info = stack.host.stat(stack.file)
    text = f"{number} {info['inode'] if info else 0}\n"
    return [Mark(LEAD, path, text, stack.root, stack.host.read(path))]


# ---------------------------------------------------------------- postbackup


def postbackup_live(request: Request, backup: Backup) -> Reply:
    """Clear up; give up what tells the changes before this increment when the repository has it.

    What a guest does not allow any more keeps nobody from removing the files: it is a warning. But as long as it may
    write to an overlay in the VM's folder, that folder stays.
    """
    from ..steps.backup_live import SettleMarks

    guest = guest_of(request, backup, 60)
    steps = cleared(request, backup)
    try:
        stacks = [(disk, backup.stack(request, disk)) for disk in backup.disks]
        settled = home(request, backup, guest, stacks)
        if settled:
            return Plan(settled)
        if request.look(backup.tmp):
            aside = os.path.join(backup.shop(request, backup.datastore), "tmp.gone")
            steps.append(Discard(LEAD, backup.tmp, aside, backup.datastore, "folder"))
        if request.site.figures.get("settled"):
            return Plan(steps) if steps else Answer(path=backup.folder)
        if backup.chain == "snapshot":
            for disk, stack in stacks:
                settled += _fewer_layers(request, backup, stack, _of(guest, disk), bool(steps))
        last, parent = backup.mark(backup.number), backup.mark(max(backup.parent, 0))
        if backup.chain == "cbt" or not backup.chain:
            drop = last if request["failed"] and backup.chain else ""
            keep = [last, parent] if backup.chain else None
            if drop or keep:
                settled.append(SettleMarks(LEAD, guest, named(backup), socket_of(backup), keep or [], drop))
    except Missing as error:
        # the guest has ended meanwhile: what it left the next backup finds
        request.site.warn(str(error))
        settled = []
    except StorageError as error:
        request.site.warn(f"The disks are left as they are: {error}")
        settled = []
    request.site.figures["settled"] = True
    if not steps + settled:
        return Answer(path=backup.folder)
    return Plan(settled + steps)


def _fewer_layers(request: Request, backup: Backup, stack: Stack, guest: dict[str, Any], made: bool) -> list[Step]:
    """Steps that commit what lies between the top and the base: into the base when the repository has it, else into the
    lowest of them, which they are told from.

    :param made: whether there is a backup at all: without one nobody made this increment.
    """
    from ..steps.backup_live import MergeDown

    layers = stack.check()
    depth = depth_of_base(stack, layers)
    if request["failed"] or not made:
        depth -= 1
    if depth < 2:
        return []
    expected = [layer.path for layer in layers]
    into = layers[depth].path
    name = stack.name_of("0" if into == stack.host.real(os.path.join(stack.snap, "0")) else base(into))
    steps: list[Step] = [MergeDown(LEAD, guest, expected, depth, name)]
    shop = backup.shop(request, stack.root)
    for layer in layers[1:depth]:
        for gone in (base(layer.path), base(layer.path) + chain.BEGUN):
            path = os.path.join(stack.snap, gone)
            if request.look(path):
                aside = os.path.join(shop, f"{stack.disk.name}.{gone}.gone")
                steps.append(Discard(LEAD, path, aside, stack.root, "layer"))
    return steps
