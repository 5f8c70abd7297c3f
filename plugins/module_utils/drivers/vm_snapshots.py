# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of the disks of a VM that does not run: snap_create, snap_delete, snap_revert (contract-tm 6.4, 7.2, 7.4).

Taking snapshot N of a stack of layers freezes its active file, which from then on is snapshot N, and puts an empty
layer on top. Of any other disk a snapshot is a full copy. Which layer goes, and what stands on it, is read from the
layers themselves: what oned counts as parent or active, and so every value of ALLOW_ORPHANS, makes no difference here
(Q10).
"""

from __future__ import annotations

import os

from .._errors import BadCall, Refused, Unsupported
from ..steps.base import LEAD
from ..steps.files import Discard, LinkInPlace, MakeDirectory, MakeLink, Publish, PublishForGood
from ..steps.layers import Mark, NewLayer, TakeOver
from ..tools import chain
from .base import Answer, Plan, Request, base
from .vm_files import Disk, VmFiles
from .vm_layers import Stack, claims_of, image_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..steps.claim import Claim
    from .base import Reply


class Snapshots(VmFiles):
    """Snapshots of disks in files.

    :cvar in_place: whether a persistent disk is the image itself, and not a copy of it.
    """

    in_place = False

    def claims_snap_create(self, options: dict[str, Any]) -> list[Claim]:
        return claims_of(options, self._persistent(options))

    claims_snap_delete = claims_snap_create
    claims_snap_revert = claims_snap_create

    def _persistent(self, options: dict[str, Any]) -> bool:
        return self.in_place and bool(options["persistent"])

    def _stack(self, request: Request) -> Stack:
        """The disk as it stands, and as an action may find it that works on disks which nobody writes to."""
        disk = Disk(request["path"], request["datastore"])
        return Stack(request, disk, image_of(request.options), self._persistent(request.options))

    def _shop(self, request: Request, stack: Stack) -> str:
        """The workshop in the datastore that the layers or snapshots lie in."""
        claims = self.claims_snap_create(request.options)
        return next(request.shop(claim) for claim in reversed(claims) if claim.datastore == stack.root)

    # ------------------------------------------------------------ create

    def snap_create(self, request: Request) -> Reply:
        """Take a snapshot."""
        refuse_running(request)
        stack = self._stack(request)
        number = snapshot_id(request)
        if request.ran:
            stack.check()
            return Answer(path=stack.disk.path, snapshot=stack.needed_snapshot(number))
        return self._freeze(request, stack, number) if stack.layered else self._copy(request, stack, number)

    def _freeze(self, request: Request, stack: Stack, number: int) -> Reply:
        """The active file becomes the snapshot, a new one is laid on top.

        The new layer has the number N+1, or a higher one when that is taken: the highest is always the active one. A
        snapshot whose number is not that of its file gets a ``.current`` marker: an earlier snapshot that failed used
        its number up (Q11), or a backup left layers that count otherwise (Q11b).
        """
        layers = stack.check()
        host, snap = stack.host, stack.snap
        there = chain.current(host, snap, number)
        if there and host.real(there) != stack.file:
            if layers[0].below == host.real(there) and chain.is_empty(host, stack.file):
                # an earlier run's, and nothing was written since: it is the snapshot that is asked for
                return Answer(path=stack.disk.path, snapshot=there)
            if not request["force"]:
                raise _taken(request, stack, number, there)
        top = str(max([number, *chain.numbers(host, snap)]) + 1)
        part = os.path.join(self._shop(request, stack), top)
        steps: list[Step] = [
            NewLayer(LEAD, part, stack.name_of(stack.active), layers[0].virtual_size),
            MakeLink(LEAD, os.path.join(snap, base(snap)), ".", stack.root),
            Publish(LEAD, part, os.path.join(snap, top), stack.root, what="layer"),
        ]
        marker = os.path.join(snap, f"{number}{chain.REDIRECT}")
        if number != stack.number or request.look(marker):
            steps.append(Mark(LEAD, marker, stack.active + "\n", stack.root, host.read(marker)))
        steps += stack.followed(top)
        # last of all: once the disk leads to the new layer a guest may write to it, and a way back would lose that
        steps.append(LinkInPlace(LEAD, stack.disk.path, stack.name_of(top), stack.disk.datastore, stack.target))
        return Plan(steps)

    def _copy(self, request: Request, stack: Stack, number: int) -> Reply:
        """The snapshot is a copy of the disk, which was made whole before it got its name."""
        final = os.path.join(stack.snap, str(number))
        there, disk = request.look(final), request.look(stack.file)
        if there and disk and there["kind"] == "file":
            # a copy that is younger than the disk's last change is that of an earlier run; equal times prove nothing
            if there["changed"] > disk["changed"]:
                return Answer(path=stack.disk.path, snapshot=final)
            if not request["force"]:
                raise _taken(request, stack, number, final)
        part = os.path.join(self._shop(request, stack), str(number))
        steps = [_flat_copy(stack, stack.active, part), MakeDirectory(LEAD, stack.snap, stack.root)]
        steps.append(Publish(LEAD, part, final, stack.root, part + ".old" if there else "", "snapshot"))
        return Plan(steps)

    # ------------------------------------------------------------ revert

    def snap_revert(self, request: Request) -> Reply:
        """Take a disk back to a snapshot: what was written since is lost, all snapshots stay."""
        refuse_running(request)
        stack = self._stack(request)
        number = snapshot_id(request)
        source = stack.needed_snapshot(number)
        below = stack.check(source)
        younger = self._younger(request, stack, number) if request["linear"] else []
        part = os.path.join(self._shop(request, stack), base(stack.file))
        steps: list[Step] = []
        if not stack.layered:
            if not request.ran:
                # over the file that is the disk, which for a persistent one is the image (Q9)
                steps = [_flat_copy(stack, source, part), _in_place(part, stack, "disk")]
        elif stack.check()[0].below != below[0].path or not chain.is_empty(stack.host, stack.file):
            if _is_link(request, stack.active):
                raise Refused(f"The active layer {stack.active} is the image itself, and has no snapshots")
            steps = [
                NewLayer(LEAD, part, stack.name_of(source), below[0].virtual_size),
                _in_place(part, stack, "layer"),
            ]
        if not steps + younger:
            return Answer(path=stack.disk.path, snapshot=source)
        return Plan(steps + stack.followed() + younger)

    def _younger(self, request: Request, stack: Stack, number: int) -> list[Step]:
        """Steps that remove the snapshots which oned forgets when it goes back to an older one (LINEAR, 4.3)."""
        named = {*chain.numbers(stack.host, stack.snap), *chain.redirects(stack.host, stack.snap)}
        steps: list[Step] = []
        for other in sorted(named, reverse=True):
            path = chain.current(stack.host, stack.snap, other) if other > number else ""
            if path and stack.host.real(path) != stack.file and path != stack.snapshot(number):
                steps += self._gone(request, stack, path)
            marker = os.path.join(stack.snap, f"{other}{chain.REDIRECT}")
            if other > number and request.look(marker):
                steps += self._gone(request, stack, marker)
        return steps

    # ------------------------------------------------------------ delete

    def snap_delete(self, request: Request) -> Reply:
        """Delete a snapshot. What stands on its layer takes over what it would lose; what is gone is a success."""
        refuse_running(request)
        stack = self._stack(request)
        number = snapshot_id(request)
        path = stack.deletable(number)
        steps: list[Step] = []
        if path:
            if _is_link(request, path):
                raise Refused(f"Snapshot {number} of {stack.disk.path} is the image itself, which cannot go")
            steps += stack.followed()
            steps += _taken_over(stack, path) if stack.format == "qcow2" else []
            steps += self._gone(request, stack, path)
        marker = os.path.join(stack.snap, f"{number}{chain.REDIRECT}")
        if request.look(marker):
            steps += self._gone(request, stack, marker)
        if steps:
            return Plan(steps)
        stack.check()
        return Answer(path=stack.disk.path)

    def _gone(self, request: Request, stack: Stack, path: str) -> list[Step]:
        what = "marker" if path.endswith(chain.REDIRECT) else "layer" if stack.layered else "snapshot"
        return [Discard(LEAD, path, os.path.join(self._shop(request, stack), base(path)), stack.root, what)]


def _taken_over(stack: Stack, path: str) -> list[Step]:
    """Steps that let all layers which stand on a file stand on what is below it (Q1: by relative names)."""
    stack.check()
    layer = stack.check(path)[0]
    below, image_format = layer.backing, layer.backing_format
    if chain.neighbour(stack.host, stack.snap, layer):
        below = stack.name_of(below)
    elif below and not below.startswith("/"):
        below = layer.below
    children = chain.standing_on(stack.host, stack.snap, path)
    return [TakeOver(LEAD, child.path, below, image_format) for child in children]


def _in_place(part: str, stack: Stack, what: str) -> Step:
    """The step that puts a file over the one that was written to until now: there is no way back from it."""
    return PublishForGood(LEAD, part, stack.file, stack.root, what=what)


def _flat_copy(stack: Stack, source: str, part: str) -> Step:
    """The step that copies a disk or a snapshot; a qcow2 file that stands on another is written as one of its own."""
    from ..steps.images import Convert
    from ..steps.transfer import CopyFile

    layers = stack.check(source)
    if len(layers) > 1:
        return Convert(LEAD, layers[0].path, "qcow2", part, "qcow2")
    return CopyFile(LEAD, layers[0].path, part, stack.root)


def snapshot_id(request: Request) -> int:
    """The id of the snapshot that is asked for; ``BadCall`` when it is none."""
    number: int = request["snapshot_id"]
    if not 0 <= number < 1 << 31:
        raise BadCall(f"{number} is not the id of a snapshot")
    return number


def refuse_running(request: Request) -> None:
    """``Unsupported`` when a VM writes to the disk: these actions work on disks at rest."""
    if request["running"]:
        raise Unsupported(f"{request.action} of a disk of a running VM is not supported", todo="power the VM off first")


def _is_link(request: Request, path: str) -> bool:
    """Whether a layer is stock's ``0``, which stands for the image that the layers belong to (contract-tm 6.2)."""
    info = request.look(path)
    return bool(info and info["kind"] == "link")


def _taken(request: Request, stack: Stack, number: int, path: str) -> Refused:
    return Refused(
        f"There is a snapshot {number} of {stack.disk.path} already, {path}", stack.host.name, todo="force replaces it"
    )
