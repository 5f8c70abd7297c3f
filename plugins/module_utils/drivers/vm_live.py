# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a running VM: snap_create_live, and snap_delete and cpds while a guest writes (contract-tm 7.2, 7.4).

libvirt moves the guest, the files are handled as at rest. A snapshot of a stack of layers is a new layer on top; how
one is deleted that the guest reads from says :mod:`.vm_live_delete`. Of any other disk a snapshot, like an image saved
of any disk, is a copy of one moment.

At that moment the guest is held: its file systems frozen by its agent, else all of it suspended, else the action fails
(Q4, Q28). The result says which it was.
"""

from __future__ import annotations

import os

from .._errors import BadCall, DeadlineOver, Refused
from ..steps.base import LEAD, PEER
from ..steps.files import MakeDirectory, MakeLink, Publish
from ..steps.live import LiveCopy, LiveLayer, ask
from ..steps.transfer import Send
from .base import Answer, Plan, Request, base, parent
from .vm_files import Disk
from .vm_layers import Stack, image_of
from .vm_live_delete import taken_out
from .vm_save import Saving, SavingOver, _published, _saved, saved_image
from .vm_snapshots import Snapshots, _is_link, _taken, snapshot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply

#: Seconds for which a guest may be asked to be held.
_MOST_SECONDS = 3600


class LiveSnapshots(Snapshots):
    """Snapshots of disks that a guest writes to."""

    claims_snap_create_live = Snapshots.claims_snap_create

    # ------------------------------------------------------------ create

    def snap_create_live(self, request: Request) -> Reply:
        """Take a snapshot of a disk of a running VM."""
        guest = guest_of(request, "path")
        stack = self._stack(request)
        number = snapshot_id(request)
        if request.ran:
            return self._taken(request, stack, number, guest)
        if not stack.layered:
            return self._live_copy(request, stack, number, guest)
        reply = self._freeze(request, stack, number)
        if isinstance(reply, Plan):
            reply.steps = [self._goes_over(step, stack, guest) for step in reply.steps]
        return reply

    @staticmethod
    def _goes_over(step: Step, stack: Stack, guest: dict[str, Any]) -> Step:
        """In place of the step that points the disk's link at the new layer: guest and link go over together."""
        if not isinstance(step, MakeLink) or step.path != stack.disk.path:
            return step
        layer = os.path.join(stack.snap, base(step.target))
        expected = [found.path for found in stack.check()]
        return LiveLayer(LEAD, guest, layer, expected, step.path, step.target, step.old, step.inside)

    def _taken(self, request: Request, stack: Stack, number: int, guest: dict[str, Any]) -> Reply:
        layers = stack.check()
        ask(request.site, LEAD, "look", guest, expected=[layer.path for layer in layers])
        return Answer(path=stack.disk.path, snapshot=stack.needed_snapshot(number), consistency=reached(request))

    def _live_copy(self, request: Request, stack: Stack, number: int, guest: dict[str, Any]) -> Reply:
        """The snapshot is a copy, which was made whole before it got its name."""
        final = os.path.join(stack.snap, str(number))
        there = request.look(final)
        if there and not request["force"]:
            raise _taken(request, stack, number, final)
        part = os.path.join(self._shop(request, stack), str(number))
        return Plan(
            [
                copied(LEAD, stack, part, stack.root, guest),
                MakeDirectory(LEAD, stack.snap, stack.root),
                Publish(LEAD, part, final, stack.root, part + ".old" if there else "", "snapshot"),
            ]
        )

    # ------------------------------------------------------------ delete

    def snap_delete(self, request: Request) -> Reply:
        """Delete a snapshot, of a running VM too."""
        if not request["running"]:
            return super().snap_delete(request)
        guest = guest_of(request, "path")
        stack = self._stack(request)
        number = snapshot_id(request)
        path = stack.deletable(number)
        layers = stack.check() if stack.layered else []
        needed = [layer.path for layer in layers]
        if path and stack.layered and not _is_link(request, path) and stack.host.real(path) in needed:
            return taken_out(request, stack, number, path, layers, guest, lambda gone: self._gone(request, stack, gone))
        reply = super().snap_delete(at_rest(request))
        if isinstance(reply, Answer) and request.ran and stack.layered:
            ask(request.site, LEAD, "look", guest, expected=needed)
        return reply


class LiveSaving(LiveSnapshots, Saving):
    """Disks that are saved while a guest writes to them, by their host."""

    def cpds(self, request: Request) -> Reply:
        """Write a disk as an image of its own; a snapshot is at rest also while the VM runs."""
        if not request["running"] or request["snapshot_id"] != -1:
            return super().cpds(at_rest(request))
        image = saved_image(request.options)
        if _saved(request, image):
            return Answer(path=image, consistency=reached(request))
        disk = Disk(request["source"], request["datastore"])
        stack = Stack(request, disk, image_of(request.options), self._persistent(request.options))
        if stack.check()[0].path == request.site.lead.real(image):
            raise Refused(f"The disk {disk.path} is the image {image} itself", request.site.lead.name)
        part = os.path.join(request.shop(self.claims_cpds(request.options)[0]), base(image))
        copy = copied(LEAD, stack, part, parent(image), guest_of(request, "source"))
        return Plan([copy, *_published(request, part, image)])


class LiveSavingOver(LiveSnapshots, SavingOver):
    """Disks that are saved on the front-end while a guest on a node writes to them."""

    def cpds(self, request: Request) -> Reply:
        """Copy a disk on its node, and bring the copy to the front-end as an image of its own."""
        if not request["running"] or request["snapshot_id"] != -1:
            return super().cpds(at_rest(request))
        image = saved_image(request.options)
        if _saved(request, image):
            return Answer(path=image, consistency=reached(request))
        disk = Disk(request["source"], request["datastore"])
        stack = Stack(request, disk, "", False, PEER)
        claims = self.claims_cpds(request.options)
        part = os.path.join(request.shop(claims[0]), base(image))
        guest = guest_of(request, "source")
        if request.site.peer is None:
            return Plan([copied(LEAD, stack, part, parent(image), guest), *_published(request, part, image)])
        whole = os.path.join(request.shop(claims[1]), "whole")
        copy = copied(PEER, stack, whole, disk.datastore, guest)
        send = Send(LEAD, [[whole, base(image)]], request.shop(claims[0]), parent(image))
        return Plan([copy, send, *_published(request, part, image)])


# ---------------------------------------------------------------- what all do


def guest_of(request: Request, disk: str) -> dict[str, Any]:
    """What :mod:`..tools.guest` has to know of the guest, for the disk that an option names.

    :raises BadCall: the domain or the disk's target is not told, or the time is no time.
    """
    options = request.options
    for name, what in (("domain", "the domain's name in libvirt"), ("target", "the disk's target")):
        if not options[name]:
            raise BadCall(f"The virtual machine runs, and {what} ({name}) is not given")
    if not 1 <= options["freeze_timeout"] <= _MOST_SECONDS:
        raise BadCall(
            f"A guest cannot be held for {options['freeze_timeout']} seconds: it must be 1 to {_MOST_SECONDS}"
        )
    return {
        "uri": options["libvirt_uri"],
        "domain": options["domain"],
        "target": options["target"],
        "quiesce": options["quiesce"],
        "freeze_timeout": options["freeze_timeout"],
        "link": Disk(options[disk], options["datastore"]).path,
    }


def at_rest(request: Request) -> Request:
    """The same request, for the part of it that touches nothing which the guest uses."""
    calm = Request(request.action, {**request.options, "running": False}, request.site)
    calm.ran = request.ran
    return calm


def reached(request: Request) -> str:
    """How consistent the copy is that this run made; empty when an earlier run made it.

    :raises DeadlineOver: the guest went on before the snapshot was taken.
    """
    consistency = str(request.site.figures.get("consistency", ""))
    if consistency == "none":
        raise DeadlineOver(
            f"The snapshot is taken, but the guest could not be held for it within {request['freeze_timeout']} seconds",
            request.site.lead.name,
            todo="delete it, or raise freeze_timeout",
        )
    return consistency


def copied(where: str, stack: Stack, part: str, inside: str, guest: dict[str, Any]) -> Step:
    """The step that copies the disk as the guest sees it."""
    layers = stack.check()
    expected = [layer.path for layer in layers]
    return LiveCopy(where, guest, stack.disk.path, expected, part, inside, stack.format, layers[0].virtual_size)
