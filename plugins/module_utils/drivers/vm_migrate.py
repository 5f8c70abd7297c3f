# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done around a live migration: premigrate, postmigrate, failmigrate (contract-tm 1.2, 7.2, 7.4, Q12, Q35).

``premigrate`` builds the VM's directory at the destination and leaves a receipt that names it, durable before the
directory stands. ``failmigrate`` takes away the directory that the receipt names, and no other. ``postmigrate`` removes
the source when the destination has everything. Nothing is ever removed that a QEMU writes to, that is the only one, or
that is in fact the other end.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, Refused, one_line
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from .base import Answer, Plan, Request, base
from .vm_files import moved, vm_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply

HOOKS = ("premigrate", "postmigrate", "failmigrate")


class Way:
    """From where to where a VM goes.

    :ivar to: the host that it goes to: lead or peer; ``origin`` is the other one.
    :ivar receipt: path of the receipt, at the destination.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.source, self.destination, self.old, self.new = moved(options)
        pulls = options["peer_role"] == "source" or not options["peer"]
        self.to = LEAD if pulls else PEER
        self.origin = PEER if pulls and options["peer"] else LEAD
        self.formats = formats(options["disks"])
        self.key = vm_key(self.destination)
        self.stays = not options["peer"] and self.source == self.destination

    @property
    def receipt(self) -> str:
        """Where the receipt lies."""
        from ..steps.migrate import receipt_path

        return receipt_path(self.new, self.key)

    def claims(self) -> list[Claim]:
        """The VM's files at both ends; the lead's first."""
        there = Claim(self.to, self.new, self.key)
        here = Claim(self.origin, self.old, vm_key(self.source))
        return [there] if self.stays else [there, here]


def formats(disks: list[str]) -> dict[int, str]:
    """Formats by disk id, out of ``<id>:<format>``."""
    from ..tools.chain import is_number

    found = {}
    for item in disks:
        number, _colon, image_format = item.partition(":")
        if not is_number(number) or image_format not in ("raw", "qcow2"):
            raise BadCall(f"'{one_line(item, 40)}' is not a disk's id and format, such as 0:qcow2")
        found[int(number)] = image_format
    return found


class Migrating:
    """Hooks for storage that every host sees: only a change of the datastore moves anything."""

    hook_leads = dict.fromkeys(HOOKS, "destination")

    @staticmethod
    def idle_hook(action: str, options: dict[str, Any]) -> bool:
        """Nothing is done for another driver, whose VM's directory is not ours (contract-tm 1.5)."""
        if options.get("caller"):
            return True
        return action != "premigrate" and options["source"] == options["destination"] and not options.get("peer")

    def claims_premigrate(self, options: dict[str, Any]) -> list[Claim]:
        way = Way(options)
        # one directory, which stays where it is: looked at, not touched
        return [] if way.stays else way.claims()

    claims_postmigrate = claims_failmigrate = claims_premigrate

    def premigrate(self, request: Request) -> Reply:
        """Make sure that the destination has the VM's directory; on another datastore, build it."""
        way = Way(request.options)
        if not way.stays:
            return premigrate(request, way)
        if request.look(way.destination) is None:
            raise Missing(
                f"The directory {way.destination} is not there",
                request.site.lead.name,
                todo="is the system datastore mounted on this host",
            )
        return Answer(path=way.destination)

    def postmigrate(self, request: Request) -> Reply:
        """Remove the directory in the datastore that the VM has left."""
        return postmigrate(request, Way(request.options))

    def failmigrate(self, request: Request) -> Reply:
        """Take back what premigrate built in the other datastore."""
        return failmigrate(request, Way(request.options))


class MigratingOver:
    """Hooks for storage that each host has for itself."""

    hook_leads = dict.fromkeys(HOOKS, "pair")

    @staticmethod
    def idle_hook(action: str, options: dict[str, Any]) -> bool:
        """Nothing is done for another driver, nor on one host in one datastore."""
        if options.get("caller"):
            return True
        return options["source"] == options["destination"] and not options.get("peer")

    def claims_premigrate(self, options: dict[str, Any]) -> list[Claim]:
        return Way(options).claims()

    claims_postmigrate = claims_failmigrate = claims_premigrate

    def premigrate(self, request: Request) -> Reply:
        """Build the VM's directory at the destination."""
        return premigrate(request, Way(request.options), self.marker_there(request))

    def postmigrate(self, request: Request) -> Reply:
        """Remove the directory that the VM has left."""
        return postmigrate(request, Way(request.options))

    def failmigrate(self, request: Request) -> Reply:
        """Take back what premigrate built."""
        return failmigrate(request, Way(request.options))

    def marker_there(self, request: Request) -> list[Step]:
        """Steps that say who monitors the datastore that gets the VM."""
        return []


# ---------------------------------------------------------------- what both do


def premigrate(request: Request, way: Way, arrived: list[Step] | None = None) -> Reply:
    """Build the directory, leave the receipt, put the directory in place.

    It is built anew whenever it is asked for: what an earlier run copied may have been written to since.

    :raises Refused: both ends are one storage, so that the disks would be copied onto themselves, or the VM is there.
    """
    from ..steps.files import Publish
    from ..steps.migrate import WriteReceipt
    from .vm_move import same_place, written_to
    from .vm_twin import Twin

    here, there = request.site.host(way.origin), request.site.host(way.to)
    if request.ran:
        return Answer(path=way.destination)
    if here.stat(way.source) is None:
        raise Missing(f"The directory {way.source} is not there", here.name)
    if same_place(request, way.to, way.new, way.old):
        raise Refused(
            f"{way.new} on {there.name} and {way.old} on {here.name} are the same storage: "
            "a live migration would copy the disks onto themselves",
            todo="migrate it powered off, or give that datastore the driver qcow2 or shared",
        )
    standing = request.look(way.destination, way.to) is not None
    busy = written_to(there, way.destination) if standing else ""
    if busy:
        raise Refused(f"{busy} is in use, so that nothing can take its place", there.name)
    shop = request.shop(way.claims()[0])
    twin = Twin(request, way.source, way.destination, way.origin, way.to, way.formats)
    part = os.path.join(shop, base(way.destination))
    steps: list[Step] = twin.steps(shop, way.new)
    aside = part + ".old" if standing else ""
    old = there.read(way.receipt)
    origin = [here.name, way.source]
    steps += [
        WriteReceipt(way.to, way.receipt, part, way.new, way.destination, origin, twin.rooms, old),
        Publish(way.to, part, way.destination, way.new, aside, "directory"),
        *(arrived or []),
    ]
    return Plan(steps)


def failmigrate(request: Request, way: Way) -> Reply:
    """Remove the directory that the receipt names, unless the VM lives in it, and then the receipt.

    :raises Refused: the VM has arrived after all, or there is no other copy of its files.
    """
    from ..steps.files import Discard
    from ..steps.migrate import Receipt
    from .vm_move import same_place, written_to

    here, there = request.site.host(way.origin), request.site.host(way.to)
    text = there.read(way.receipt)
    if text is None:
        return Answer(path=way.source)
    made = Receipt(text).inode
    standing = request.look(way.destination, way.to)
    steps: list[Step] = []
    shop = request.shop(way.claims()[0])
    if standing and made and standing["inode"] == made:
        busy = written_to(there, way.destination)
        if busy:
            raise Refused(
                f"{way.destination} stays: {busy} is in use",
                there.name,
                todo="the virtual machine may run there: look for it before it is started anywhere else",
            )
        if here.stat(way.source) is None or same_place(request, way.to, way.new, way.old):
            raise Refused(f"{way.destination} stays: there is no other copy of it", there.name)
        steps.append(Discard(way.to, way.destination, os.path.join(shop, base(way.destination)), way.new, "directory"))
    steps.append(Discard(way.to, way.receipt, os.path.join(shop, base(way.receipt)), way.new, "receipt"))
    return Plan(steps)


def postmigrate(request: Request, way: Way) -> Reply:
    """Remove the source once it is proven that the destination is another place and has all that the source has.

    :raises Refused: it is not, or the VM still runs at the source.
    """
    from ..steps.files import Discard
    from ..steps.migrate import Receipt
    from .vm_move import forget_arrival, same_place, written_to
    from .vm_twin import Twin

    here, there = request.site.host(way.origin), request.site.host(way.to)
    claims = way.claims()
    steps: list[Step] = []
    receipt = there.read(way.receipt)
    if here.stat(way.source) is not None and not same_place(request, way.to, way.new, way.old):
        twin = Twin(request, way.source, way.destination, way.origin, way.to, way.formats)
        lacks = twin.lacks(Receipt(receipt or "").rooms)
        if not lacks and request.look(way.destination, way.to) is None:
            lacks = f"{way.destination} is not there"
        if lacks:
            raise Refused(
                f"{way.source} stays on {here.name}: {lacks}",
                there.name,
                todo="see where the virtual machine runs, then delete the other directory",
            )
        busy = written_to(here, way.source)
        if busy:
            raise Refused(
                f"{way.source} stays: {busy} is in use",
                here.name,
                todo="see where the virtual machine runs, then delete the other directory",
            )
        steps += forget_arrival(request, way.origin, way.source, request.shop(claims[-1]))
        away = os.path.join(request.shop(claims[-1]), base(way.source) + ".left")
        steps.append(Discard(way.origin, way.source, away, way.old, "directory"))
    if receipt is not None:
        aside = os.path.join(request.shop(claims[0]), base(way.receipt))
        steps.append(Discard(way.to, way.receipt, aside, way.new, "receipt"))
    return Plan(steps) if steps else Answer(path=way.destination)
