# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ssh``: every host has a system datastore of its own, images lie on the front-end.

Disks are copied to the node when a VM starts and persistent ones back when it ends (contract-tm 7.4). The front-end
leads wherever it is one of the two hosts, else the host that has the disks.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, one_line
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, MakeLink, PublishForGood, WriteFile
from ..steps.images import Rebase, Resize
from ..steps.transfer import Send
from ..tools import chain
from ..tools.image_header import HEAD_BYTES
from .base import Answer, Plan, Request, base, clean_path, parent
from .qcow2 import image_key
from .vm_backup import Backups
from .vm_files import Disk, is_disk, moved, publish, settled, vm_key
from .vm_live import LiveSavingOver
from .vm_migrate import HOOKS, MigratingOver, Way
from .vm_monitor import VmMonitor
from .vm_move import Arrival, backing_name, forget_arrival, own_names, same_place
from .vm_restore import Restoring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Ssh(Backups, Restoring, MigratingOver, LiveSavingOver, VmMonitor):
    """Copies over SSH."""

    name = "ssh"
    leads = {
        **LiveSavingOver.leads,
        **MigratingOver.hook_leads,
        "clone": "frontend",
        "ln": "frontend",
        "mv": "pair",
        "mvds": "frontend",
        "cpds": "frontend",
    }
    peer_actions = ("clone", "ln", "mv", "mvds", "cpds", "context", *HOOKS)
    stream_actions = ("clone", "ln", "mv", "mvds", "cpds")

    # ------------------------------------------------------------ clone, ln

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        image = clean_path(options["source"], "image")
        # the journal lies on the front-end, where the lead is; what is built lies on the node
        claims = [Claim(LEAD, disk.datastore, disk.key)]
        if options["peer"]:
            claims.append(Claim(PEER, disk.datastore, disk.key))
        return [*claims, Claim(LEAD, parent(image), image_key(image), shared=True)]

    claims_ln = claims_clone

    def clone(self, request: Request) -> Reply:
        """Copy an image, with its snapshots, to the node."""
        disk = Disk(request["destination"], request["datastore"])
        image = clean_path(request["source"], "image")
        if settled(request, disk, PEER):
            return Answer(path=disk.path)
        info = request.look(image)
        if info is None:
            raise Missing(f"The image {image} is not there", request.site.lead.name)
        shop = request.shop(Claim(PEER, disk.datastore, disk.key))
        snaps = request.look(image + ".snap") is not None
        steps: list[Step] = []
        entries = snap_files(request, image, disk.name, LEAD)
        layered = is_chain(request, image)
        layer = "" if layered else self.first_layer(request, disk, entries)
        if not layered:
            entries.insert(0, [request.site.lead.real(image), layer or disk.name])
        snaps = snaps or bool(layer)
        if snaps:
            steps.append(MakeDirectory(PEER, os.path.join(shop, disk.name + ".snap"), disk.datastore))
        steps.append(Send(PEER, entries, shop, disk.datastore))
        if layered:
            steps += relayer(request, image, os.path.join(shop, disk.name), PEER, disk.datastore, disk.path)
        elif layer:
            snap = disk.name + ".snap"
            steps.append(MakeLink(PEER, os.path.join(shop, snap, snap), ".", disk.datastore))
            steps.append(MakeLink(PEER, os.path.join(shop, disk.name), layer, disk.datastore))
        if request["original_size"] and request["size"] > request["original_size"]:
            part = os.path.join(shop, disk.name)
            steps.append(Resize(PEER, part, request["format"], request["size"], allocate=not request["sparse"]))
        steps += publish(request, disk, PEER, snap=snaps)
        # a kernel or an initrd says nothing of the system datastore: oned calls its own driver for it
        return Plan(steps + (marker(request, disk.datastore, PEER) if disk.name.startswith("disk.") else []))

    ln = clone

    def first_layer(self, request: Request, disk: Disk, entries: list[list[str]]) -> str:
        """Where, beside the disk, an image without layers goes; empty when it becomes the disk itself.

        :param entries: the image's snapshots, as (path, name on the node), which may be changed.
        """
        return ""

    # ------------------------------------------------------------ mkimage, mkswap

    def mkimage(self, request: Request) -> Reply:
        """As everywhere; a host that has nothing but volatile disks monitors them too."""
        return self._marked(request, super().mkimage(request))

    def mkswap(self, request: Request) -> Reply:
        """As everywhere, and like :meth:`mkimage`."""
        return self._marked(request, super().mkswap(request))

    @staticmethod
    def _marked(request: Request, reply: Reply) -> Reply:
        if isinstance(reply, Plan):
            reply.steps += marker(request, clean_path(request["datastore"], "datastore"), LEAD)
        return reply

    # ------------------------------------------------------------ mv

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """A disk travels with its directory; a host that is lost has nothing to move (contract-tm 7.4).

        What is each host's own is monitored there (9.1).
        """
        if action == "monitor":
            return True
        if action in HOOKS:
            return MigratingOver.idle_hook(action, options)
        if action != "mv":
            return LiveSavingOver.idle(self, action, options)
        return is_disk(clean_path(options["source"], "source")) or bool(options["source_lost"])

    def claims_mv(self, options: dict[str, Any]) -> list[Claim]:
        source, destination, old, new = moved(options)
        pulls = options["peer_role"] == "source" or not options["peer"]
        here, there = (LEAD, PEER) if pulls else (PEER, LEAD)
        claims = [Claim(here, new, vm_key(destination)), Claim(there if options["peer"] else LEAD, old, vm_key(source))]
        if not options["peer"] and old == new and source == destination:
            claims.pop()
        return claims

    def mv(self, request: Request) -> Reply:
        """Move a VM's directory to another host, or to another datastore of the same kind.

        The copy is proven and in place before the source goes. Storage that is in fact the same is told by a probe file
        and never wiped (contract-tm Q12).

        :raises Missing: the source is gone, and the destination is not what an earlier call made of it.
        """
        source, destination, old, new = moved(request.options)
        claims = self.claims_mv(request.options)
        to, origin = claims[0].where, claims[-1].where
        arrival = Arrival(request, to, origin)
        if request.look(source, origin) is None:
            arrival.check()
            return Answer(path=destination)
        if base(source) == base(destination) and same_place(request, to, new, old):
            return Answer(path=destination)
        shop = request.shop(claims[0])
        part = os.path.join(shop, base(destination))
        aside = part + ".old" if request.look(destination, to) else ""
        steps: list[Step] = [
            Send(to, [[source, base(destination)]], shop, new),
            *own_names(request, source, destination, part, origin, to),
            arrival.note(part),
            PublishForGood(to, part, destination, new, aside, "directory"),
            *self.marker_at(request, new, to),
        ]
        here = request.shop(claims[-1])
        steps += forget_arrival(request, origin, source, here)
        steps.append(Discard(origin, source, os.path.join(here, base(source) + ".moved"), old, "directory"))
        return Plan(steps)

    def marker_there(self, request: Request) -> list[Step]:
        """The host that gets a VM monitors it itself (contract-tm 5.4)."""
        way = Way(request.options)
        return self.marker_at(request, way.new, way.to)

    @staticmethod
    def marker_at(request: Request, datastore: str, where: str) -> list[Step]:
        """Steps that say who monitors a datastore that got a VM."""
        return marker(request, datastore, where)

    # ------------------------------------------------------------ mvds

    def claims_mvds(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["source"], options["datastore"])
        image = clean_path(options["destination"], "image")
        return [
            Claim(LEAD, parent(image), image_key(image)),
            Claim(PEER if options["peer"] else LEAD, disk.datastore, disk.key, shared=True),
        ]

    def mvds(self, request: Request) -> Reply:
        """Bring a persistent disk, with its snapshots, back to its image.

        The image keeps its old content until the new one is whole on disk and proven (contract-tm Q15). The disk
        stays on the node until the VM's directory goes, so that a repeated call finds it.
        """
        disk = Disk(request["source"], request["datastore"])
        image = clean_path(request["destination"], "image")
        root = parent(image)
        info = request.look(disk.path, PEER)
        if request.ran:
            return Answer(path=image)
        if info is None:
            raise Missing(f"The disk {disk.path} is not there", request.site.host(PEER).name)
        shop = request.shop(self.claims_mvds(request.options)[0])
        part = os.path.join(shop, base(image))
        snaps = request.look(disk.snap, PEER) is not None
        entries = snap_files(request, disk.path, base(image), PEER)
        layered = info["kind"] == "link" and snaps
        if not layered:
            entries.insert(0, [request.site.host(PEER).real(disk.path), base(image)])
        steps: list[Step] = [MakeDirectory(LEAD, part + ".snap", root)] if snaps else []
        steps.append(Send(LEAD, entries, shop, root))
        if layered:
            steps += relayer(request, disk.path, part, LEAD, root, image, seen_from=PEER)
        return Plan(steps + put_back(request, part, image, snaps))


def put_back(request: Request, part: str, image: str, snaps: bool) -> list[Step]:
    """Steps that put a copy of a disk, and its snapshots, in the place of its image.

    The digest that stock's replica code caches for the image goes: it is of the old content.
    """
    root = parent(image)
    steps: list[Step] = []
    if snaps:
        old = part + ".snap.old" if request.look(image + ".snap") else ""
        steps.append(PublishForGood(LEAD, part + ".snap", image + ".snap", root, old, "snapshots"))
    old = part + ".old" if request.look(image) else ""
    steps.append(PublishForGood(LEAD, part, image, root, old, "image"))
    digest = image + ".md5sum"
    if request.look(digest):
        steps.append(Discard(LEAD, digest, part + ".md5sum", root, "cached digest"))
    return steps


def marker(request: Request, datastore: str, where: str) -> list[Step]:
    """Steps that say that a host monitors this datastore itself, and by which driver's scripts (contract-tm 5.4, Q3).

    :raises BadCall: when that is no name of a driver's folder, where the host's probe looks for ``monitor_ds``.
    """
    name = request["monitor"]
    if not (name.isascii() and name.replace("_", "").replace("-", "").isalnum()):
        raise BadCall(f"'{one_line(name, 40)}' is not the name of a driver that monitors a datastore")
    path = os.path.join(datastore, ".monitor")
    old = request.site.host(where).read(path)
    return [] if old is not None and old.strip() == name else [WriteFile(where, path, name + "\n", datastore, old)]


def snap_files(request: Request, old: str, name: str, where: str) -> list[list[str]]:
    """(path, new name) of every file in the layer or snapshot directory of a disk or image.

    Links are left out, as they are made anew; a numbered one, stock's ``0``, stands for the file it points to.
    """
    host = request.site.host(where)
    found = []
    for entry in host.entries(old + ".snap"):
        path = os.path.join(old + ".snap", entry)
        info = host.stat(path)
        if info and info["kind"] == "link" and entry.isdigit():
            path = host.real(path)
            info = host.stat(path)
        if info and info["kind"] == "file":
            found.append([path, f"{name}.snap/{entry}"])
    return found


def is_chain(request: Request, image: str) -> bool:
    """Whether an image on the lead is a chain of layers: a link into them, or what they stand on (6.2).

    Numbered files beside an image that is one file may as well be full copies, which the driver ssh makes.
    """
    info, host = request.look(image), request.site.lead
    active = chain.active(host, image + ".snap")
    if not active or info is None or info["kind"] == "link":
        return bool(active and info)
    if request["format"] != "qcow2":
        return False
    return host.real(image) in [layer.path for layer in chain.layers(host, active, [parent(image)])]


def relayer(
    request: Request, old: str, part: str, where: str, root: str, final: str, seen_from: str = LEAD, folder: str = ""
) -> list[Step]:
    """Steps that make a copied chain of layers work under its new name (contract-tm 6.1, 6.2, 7.3, Q7).

    Every layer names its backing file in the new directory, ``.current`` markers get its path, which stock reads all
    of, the self link and the link to the active layer are made anew.

    :param old: the disk or image the chain was copied from.
    :param part: the new one in the workshop; its layers are in ``<part>.snap``.
    :param final: where it will stand.
    :param seen_from: the host that has *old*.
    :param folder: what layers call their directory; empty for its bare name, which needs the self link.
    """
    host = request.site.host(seen_from)
    name = base(part)
    snap = part + ".snap"
    steps: list[Step] = []
    numbers = sorted(int(entry) for entry in host.entries(old + ".snap") if entry.isdigit())
    for number in numbers:
        head = host.head(os.path.join(old + ".snap", str(number)), HEAD_BYTES)
        backing = base(backing_name(bytes.fromhex(head)))
        if backing:
            # what is no layer is the image itself, which layer 0 stands for
            layer = backing if backing.isdigit() and int(backing) in numbers else "0"
            steps.append(Rebase(where, os.path.join(snap, str(number)), f"{folder or name + '.snap'}/{layer}"))
    for entry in host.entries(old + ".snap"):
        if entry.endswith(chain.REDIRECT):
            text = host.read(os.path.join(old + ".snap", entry), 4096) or ""
            new = os.path.join(final + ".snap", base(text.strip())) + "\n"
            steps.append(WriteFile(where, os.path.join(snap, entry), new, root, text))
    steps.append(MakeLink(where, os.path.join(snap, name + ".snap"), ".", root))
    linked = (host.stat(old) or {}).get("kind") == "link"
    active = base(host.readlink(old)) if linked else str(max(numbers, default=0))
    steps.append(MakeLink(where, part, f"{name}.snap/{active}", root))
    return steps
