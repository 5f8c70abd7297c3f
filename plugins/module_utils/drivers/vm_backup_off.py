# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""prebackup and postbackup: backups of a VM that does not run (contract-tm 8.3).

A backup can fail after its files were made, and nobody may ever say so: then oned asks for the same increment again,
and stock or we have to find what changed since the one before. So nothing that tells it is given up before the
repository has the increment, and less is given up than could be:

* *CBT.* ``prebackup`` begins the bitmap of its own increment and keeps that of the one before. Both go on recording.
  ``postbackup`` removes older ones, and the new one when the backup failed. Whether it is heard or not, the next call
  finds the bitmap that oned's LAST_INCREMENT_ID names.
* *SNAPSHOT.* ``prebackup`` copies what the layers above the base have, and changes nothing. ``postbackup`` folds them
  into the base and begins the next layer, when the backup went well; the VM is off until then. Where it was not heard,
  the layer goes on: it has what changed since the increment before, and more, and that makes an increment as right as
  a smaller one. A layer's number, or a marker beside it, is that of the increment which it is for: one that is too
  high tells that what came before is folded in already.

What changed cannot be told of a disk that is new, whose guest was killed, or that was copied, reverted or restored.
Its increment has the whole disk then, zeros as zeros: on top of any other it shows what it should.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, Refused, StorageError
from ..steps.base import LEAD
from ..steps.files import Discard, LinkInPlace, MakeDirectory, MakeLink, Publish, Replace
from ..tools import bitmaps, chain
from .base import Answer, Plan, base, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply, Request
    from .vm_backup import Backup, BackupDisk
    from .vm_layers import Stack


def prebackup(request: Request, backup: Backup) -> Reply:
    """Put the disks into the backup directory."""
    if request.ran:
        return answer(request, backup)
    part = os.path.join(backup.shop(request, backup.root), "backup")
    stacks = [(disk, backup.stack(request, disk)) for disk in backup.disks]
    for disk, stack in stacks:
        check_disk(backup, disk, stack)
        if stack.host.in_use(stack.file):
            raise Refused(
                f"A virtual machine that runs writes to {disk.path}",
                stack.host.name,
                todo="back it up with prebackup_live, or power it off",
            )
    finds: list[Step] = []
    copies: list[Step] = []
    begun: list[Step] = []
    whole = 0
    told: dict[str, Any] = {}
    for disk, stack in stacks:
        layers = stack.check()
        name, size = backup.file_of(disk), layers[0].virtual_size
        told[name] = {"format": "qcow2", "virtual_size": size}
        found = _find_changes(request, backup, disk, stack, layers) if backup.parent >= 0 else None
        if found:
            finds.append(found)
            copies.append(copy_changes(request, layers[0].path, size, found, os.path.join(part, name)))
        else:
            held = held_by(request, layers)
            whole += held
            copies.append(copy_out(request, layers[0].path, disk.format, os.path.join(part, name), held))
        if backup.chain == "cbt":
            from ..steps.marks import BeginBitmap

            begun.append(BeginBitmap(LEAD, layers[0].path, backup.mark(backup.number)))
    room = look_for_room(request, backup, whole, [item["virtual_size"] for item in told.values()], finds)
    return Plan([*finds, room, *copies, *finished(request, backup, part, told, begun)])


# ---------------------------------------------------------------- what backups of running VMs do alike


def check_disk(backup: Backup, disk: BackupDisk, stack: Stack) -> None:
    """Refuse what cannot be a disk of a chain of increments; the core asks for full backups of those (8.1).

    :raises BadCall: it is raw. :raises Refused: its numbered files are not layers for backups.
    """
    if not backup.chain:
        return
    if disk.format != "qcow2":
        raise BadCall(f"Disk {disk.id} is {disk.format}, and increments need qcow2", todo="ask for a full backup")
    if backup.chain == "snapshot" and not stack.layered and chain.numbers(stack.host, stack.snap):
        raise Refused(
            f"{stack.snap} has snapshots of {disk.path}, and the layers of increments would lie there",
            stack.host.name,
            todo="delete the snapshots, or ask for a full backup",
        )


def pace(request: Request) -> dict[str, int]:
    """How commands that copy are held back, for :func:`..steps.backup.held_back`.

    :raises BadCall: the limits are none that nice, ionice and systemd take.
    """
    from ..tools.confinement import limits_of

    limits = limits_of(request.options)
    return {**limits, "store": request["backup_datastore_id"]} if limits else {}


def held_by(request: Request, layers: list[chain.Layer]) -> int:
    """Bytes that a copy of a disk may take at most: what its layers have, and no more than it shows."""
    found = [request.look(layer.path) for layer in layers]
    return min(sum(int(info["allocated"]) for info in found if info), layers[0].virtual_size)


def copy_out(request: Request, path: str, image_format: str, part: str, size: int) -> Step:
    """The step that writes a whole disk."""
    from ..steps.backup import CopyOut

    return CopyOut(LEAD, path, image_format, part, pace(request), size)


def copy_changes(request: Request, path: str, size: int, found: Step, part: str) -> Step:
    """The step that writes what a :class:`.FindChanges` found."""
    from ..steps.backup import CopyChanges

    return CopyChanges(LEAD, path, size, vars(found)["part"], part, pace(request))


def look_for_room(request: Request, backup: Backup, whole: int, sizes: list[int], finds: list[Step]) -> Step:
    """The step that fails when the backup has no room.

    :param whole: bytes of disks that are copied whole; :param finds: the steps that find out about the others.
    """
    from ..steps.backup import LookForRoom

    shop = backup.shop(request, backup.root)
    return LookForRoom(LEAD, shop, whole, sizes, [vars(step)["part"] for step in finds])


def finished(request: Request, backup: Backup, part: str, told: dict[str, Any], marks: list[Step]) -> list[Step]:
    """Steps that complete the backup directory and put it in place.

    :param part: the directory in the workshop; :param told: format and virtual size of each disk by its file.
    :param marks: steps on the disks, which come when all else is known to be good.
    """
    from ..steps.backup import KeepDocument, KeepTpm, WriteManifest
    from ..tools.manifest import TPM, VM_XML

    steps: list[Step] = [KeepDocument(LEAD, os.path.join(part, VM_XML))]
    if request["tpm"]:
        steps.append(KeepTpm(LEAD, backup.directory, request["tpm"], request["vtpm_setup"], os.path.join(part, TPM)))
    steps.append(WriteManifest(LEAD, part, backup.vm, told, backup.number, backup.chain))
    steps += marks
    aside = part + ".old" if request.look(backup.folder) else ""
    steps.append(MakeDirectory(LEAD, parent(backup.folder), backup.root))
    steps.append(Publish(LEAD, part, backup.folder, backup.root, aside, "backup"))
    return steps


def answer(request: Request, backup: Backup) -> Answer:
    """What lies in the backup directory."""
    from ..tools import manifest

    told = manifest.read(backup.folder)
    if told is None or told["increment"] != backup.number:
        raise Missing(f"The backup {backup.folder} is not there although it was made", request.site.lead.name)
    return Answer(
        path=backup.folder,
        increment=backup.number,
        files=sorted([*told["files"], manifest.NAME]),
        size=manifest.bytes_in(told),
        consistency=told["consistency"],
    )


def cleared(request: Request, backup: Backup) -> list[Step]:
    """Steps that remove the backup directory, and the VM's folder of BACKUP_BASE_PATH when it has nothing else."""
    above = parent(backup.folder)
    gone = backup.folder
    if above != backup.directory and request.site.lead.entries(above) in ([], [base(backup.folder)]):
        gone = above
    if not request.look(gone):
        return []
    shop = backup.shop(request, backup.root)
    return [Discard(LEAD, gone, os.path.join(shop, base(gone) + ".gone"), backup.root, "backup")]


# ---------------------------------------------------------------- what changed


def _find_changes(request: Request, backup: Backup, disk: BackupDisk, stack: Stack, layers: list[chain.Layer]) -> Step:
    """The step that finds out what goes into an increment."""
    from ..steps.backup import FindChanges

    if backup.chain == "cbt":
        mark, depth = backup.mark(backup.parent), 0
        bitmap = bitmaps.find(layers[0].path, mark)
        why = "is not there" if bitmap is None else "" if bitmap.sound else "cannot be believed: the guest was killed"
        why = why and f"the bitmap {mark} {why}"
    else:
        mark, depth = "", depth_of_base(stack, layers)
        why = "" if are_for(stack, layers[:depth], backup.number) else "its layers are not those of this chain"
    if why:
        request.site.warn(f"Increment {backup.number} has all of disk {disk.id}, as {why}")
        mark, depth = "", 0
    noted = os.path.join(backup.shop(request, backup.root), f"changes.{disk.id}")
    return FindChanges(LEAD, layers[0].path, mark, depth, layers[0].virtual_size, noted)


def depth_of_base(stack: Stack, layers: list[chain.Layer]) -> int:
    """How deep in a disk's chain the base of a chain of increments lies, ``.snap/0``; -1 when it is not in it."""
    path = stack.host.real(os.path.join(stack.snap, "0"))
    return next((depth for depth, layer in enumerate(layers) if stack.layered and layer.path == path), -1)


def are_for(stack: Stack, above: list[chain.Layer], number: int) -> bool:
    """Whether the layers above the base have all that changed since the increment before: the lowest one was begun
    after that one, or earlier."""
    lowest = chain.begun(stack.host, stack.snap, above[-1].path) if above else -1
    return 0 <= lowest <= number


# ---------------------------------------------------------------- postbackup


def postbackup(request: Request, backup: Backup) -> Reply:
    """Clear up, and prepare the next increment when the backup went well.

    What a disk does not allow any more keeps nobody from removing the files: it is a warning.
    """
    if request.ran:
        return Answer(path=backup.folder)
    steps = cleared(request, backup)
    prepared: list[Step] = []
    for disk in backup.disks if backup.chain else []:
        try:
            stack = backup.stack(request, disk)
            if backup.chain == "cbt":
                prepared += _fewer_bitmaps(backup, stack.check()[0].path, request["failed"])
            elif steps and not request["failed"]:
                # without a directory nobody made this increment, and a disk must not lose what tells its changes
                prepared += _next_layer(request, backup, stack)
        except StorageError as error:
            request.site.warn(f"Disk {disk.id} is left as it is: {error}")
    if not steps + prepared:
        return Answer(path=backup.folder)
    return Plan(steps + prepared)


def _fewer_bitmaps(backup: Backup, layer: str, failed: bool) -> list[Step]:
    """The step that leaves the bitmaps of this increment and the one before; without this one when it failed."""
    from ..steps.marks import DropBitmaps

    ours = [bitmap.name for bitmap in bitmaps.read(layer) if backup.is_mark(bitmap.name)]
    last = backup.mark(backup.number)
    keep = {last, backup.mark(backup.parent)}
    gone = [name for name in ours if name == last] if failed else [name for name in ours if name not in keep]
    return [DropBitmaps(LEAD, layer, gone)] if gone else []


def _next_layer(request: Request, backup: Backup, stack: Stack) -> list[Step]:
    """Steps that fold the layers above the base into it and begin a new one, as stock lays them out (8.3).

    The layers that are folded go last: until the disk's link leads to the new one they have all that they had.
    """
    from ..steps.layers import NewLayer
    from ..steps.marks import FoldDown

    layers = stack.check()
    depth = depth_of_base(stack, layers)
    top = str(backup.number + 1)
    new = os.path.join(stack.snap, top)
    if not stack.layered:
        first = first_base(stack)
    elif depth < 0:
        raise Refused(f"{stack.disk.path} does not stand on {stack.snap}/0", stack.host.name)
    else:
        first = [FoldDown(LEAD, layers[0].path, layers[depth].path, depth == 1)] if depth else []
    if depth == 1 and base(stack.active) == top and chain.is_empty(stack.host, stack.file):
        return []
    shop = backup.shop(request, stack.root)
    part = os.path.join(shop, f"{stack.disk.name}.{top}")
    steps: list[Step] = [*first, _own_link(stack), NewLayer(LEAD, part, stack.name_of("0"), layers[0].virtual_size)]
    taken = request.look(new) is not None
    steps.append(Replace(LEAD, part, new, stack.root, what="layer") if taken else Publish(
        LEAD, part, new, stack.root, what="layer"))  # fmt: skip
    steps.append(relinked(stack, top))
    steps += stack.followed(top)
    for layer in _folded(stack, layers, depth):
        name = base(layer.path)
        for old, what in ((name, "layer"), (name + chain.BEGUN, "marker")):
            if old != top and request.look(os.path.join(stack.snap, old)):
                aside = os.path.join(shop, f"{stack.disk.name}.{old}.folded")
                steps.append(Discard(LEAD, os.path.join(stack.snap, old), aside, stack.root, what))
    return steps


def _folded(stack: Stack, layers: list[chain.Layer], depth: int) -> list[chain.Layer]:
    """The layers that are of no use once the base has what they have, and what a run left of them that died."""
    if depth <= 0:
        return []
    chained = {layer.path for layer in layers}
    beside = chain.standing_on(stack.host, stack.snap, layers[depth].path)
    return [*layers[:depth], *(layer for layer in beside if layer.path not in chained)]


def first_base(stack: Stack) -> list[Step]:
    """Steps that let a disk which is one file be the base, layer 0."""
    from ..steps.marks import OneMoreName

    snap, bottom = stack.snap, os.path.join(stack.snap, "0")
    named = (
        MakeLink(LEAD, bottom, stack.active, stack.root)
        if stack.target
        else OneMoreName(LEAD, stack.disk.path, bottom, stack.root)
    )
    return [MakeDirectory(LEAD, snap, stack.root), _own_link(stack), named]


def _own_link(stack: Stack) -> Step:
    """The step that links a directory of layers to itself, which their names lead through (6.1). Stock does not do so
    for the driver ssh."""
    return MakeLink(LEAD, os.path.join(stack.snap, base(stack.snap)), ".", stack.root)


def relinked(stack: Stack, top: str) -> Step:
    """The step that lets the disk's name lead to a layer, for good: the guest may have written to it by the time that
    somebody finds out that we died."""
    return LinkInPlace(LEAD, stack.disk.path, stack.name_of(top), stack.disk.datastore, stack.target)
