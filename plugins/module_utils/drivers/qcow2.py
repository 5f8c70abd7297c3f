# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM drivers ``qcow2`` and ``shared``: image and system datastore are one storage that every host sees.

They are one driver under two names, as in stock (contract-tm 7.2). All work is done on the node. Layout:
contract-tm 6.1 for clones, 6.2 for persistent images, 6.3 for raw ones.
"""

from __future__ import annotations

import os

from .._errors import Missing, Refused
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, MakeLink, Move, PublishForGood, SetAside
from ..steps.images import Convert, CreateOverlay, Rebase, Resize
from ..steps.transfer import CopyFile, CopyTree
from ..tools import chain
from .base import Answer, Plan, Request, base, clean_path, parent
from .vm_backup import Backups
from .vm_files import Disk, is_disk, moved, publish, settled, vm_key
from .vm_live import LiveSaving
from .vm_migrate import HOOKS, Migrating
from .vm_monitor import VmMonitor
from .vm_move import Arrival, forget_arrival, own_names, same_place
from .vm_restore import Restoring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Qcow2(Backups, Restoring, Migrating, LiveSaving, VmMonitor):
    """Overlays on shared images; persistent images are linked."""

    name = "qcow2"
    in_place = True
    layered = True
    leads = {**LiveSaving.leads, **Migrating.hook_leads, "mv": "destination"}

    # ------------------------------------------------------------ clone

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        image = clean_path(options["source"], "image")
        return [Claim(LEAD, disk.datastore, disk.key), Claim(LEAD, parent(image), image_key(image), shared=True)]

    def clone(self, request: Request) -> Reply:
        """Give a VM a disk of its own that starts as the image."""
        disk = Disk(request["destination"], request["datastore"])
        image = clean_path(request["source"], "image")
        if settled(request, disk):
            return self._is_right(request, disk, image) or Answer(path=disk.path)
        self._there(request, image)
        shop = request.shop(self.claims_clone(request.options)[0])
        # the marker comes last: a clone that failed has changed nothing
        steps: list[Step] = []
        if request["format"] != "qcow2" or not disk.name.startswith("disk."):
            part = os.path.join(shop, disk.name)
            steps.append(CopyFile(LEAD, image, part, disk.datastore))
            steps += self._grown(request, part, request["format"])
            return Plan(steps + publish(request, disk) + self.marker(request, disk))
        layer = os.path.join(shop, disk.name + ".snap", "0")
        steps += self.first_layer(request, image, layer)
        steps += layers(shop, disk) + publish(request, disk, snap=True)
        return Plan(steps + self.marker(request, disk))

    def first_layer(self, request: Request, image: str, layer: str) -> list[Step]:
        """Steps that make layer 0: an overlay on the image, or a copy that stands alone."""
        if request["standalone"]:
            copy: list[Step] = [Convert(LEAD, image, "qcow2", layer, "qcow2", sparse=request["sparse"])]
            return copy + self._grown(request, layer, "qcow2")
        size = request["size"] if self._grows(request) and request["sparse"] else 0
        made: list[Step] = [CreateOverlay(LEAD, layer, image, "qcow2", size, request["qcow2_options"])]
        return made if size else made + self._grown(request, layer, "qcow2")

    def marker(self, request: Request, disk: Disk) -> list[Step]:
        """Steps that say who monitors this datastore: not the host, so a marker there goes (contract-tm 5.4).

        A kernel or an initrd says nothing: oned calls its own driver, whatever the system datastore's is.
        """
        path = os.path.join(disk.datastore, ".monitor")
        if not disk.name.startswith("disk.") or not request.look(path):
            return []
        shop = request.shop(Claim(LEAD, disk.datastore, disk.key))
        return [SetAside(LEAD, path, os.path.join(shop, "monitor"), disk.datastore, "marker")]

    @staticmethod
    def _there(request: Request, image: str) -> None:
        if request.look(image, follow=True) is None:
            raise Missing(
                f"The image {image} is not there",
                request.site.lead.name,
                todo="is the image datastore mounted on this host",
            )

    @staticmethod
    def _is_right(request: Request, disk: Disk, image: str) -> Reply | None:
        """A disk that stood there before us must be what was asked for."""
        if request.ran:
            return None
        info = request.look(disk.path)
        wants_link = request["format"] == "qcow2" and disk.name.startswith("disk.")
        if info and (info["kind"] == "link") != wants_link:
            raise Refused(f"{disk.path} is there and is not a clone of {image}", todo="force replaces it")
        return None

    @staticmethod
    def _grows(request: Request) -> bool:
        return bool(request["original_size"] and request["size"] > request["original_size"])

    def _grown(self, request: Request, part: str, image_format: str) -> list[Step]:
        """Steps that grow a disk which was asked for larger than its image."""
        if not self._grows(request):
            return []
        return [Resize(LEAD, part, image_format, request["size"], allocate=not request["sparse"])]

    # ------------------------------------------------------------ ln

    def claims_ln(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        image = clean_path(options["source"], "image")
        return [Claim(LEAD, disk.datastore, disk.key), Claim(LEAD, parent(image), image_key(image))]

    def ln(self, request: Request) -> Reply:
        """Let a VM work on a persistent image itself: its disk is a link into the image datastore."""
        disk = Disk(request["destination"], request["datastore"])
        image = clean_path(request["source"], "image")
        steps: list[Step] = [MakeDirectory(LEAD, disk.directory, disk.datastore)]
        target = image
        names: list[Step] = []
        if request["format"] == "qcow2":
            target, prepared, names = self._layers_of(request, image)
            steps += prepared
        else:
            self._there(request, image)
        shop = request.shop(self.claims_ln(request.options)[0])
        if request.look(disk.snap):
            steps.append(SetAside(LEAD, disk.snap, os.path.join(shop, disk.name + ".snap"), disk.datastore, "layers"))
        old = request.look(disk.path)
        if old and old["kind"] != "link":
            if not request["force"]:
                raise Refused(f"{disk.path} is there and is not a link to {target}", todo="force replaces it")
            steps.append(SetAside(LEAD, disk.path, os.path.join(shop, disk.name), disk.datastore, "disk"))
        previous = request.site.lead.readlink(disk.path) if old and old["kind"] == "link" else ""
        steps += [MakeLink(LEAD, disk.path, target, disk.datastore, previous), *names]
        if all(step.done(request.site) for step in steps):
            return Answer(path=disk.path, target=target)
        return Plan(steps)

    def _layers_of(self, request: Request, image: str) -> tuple[str, list[Step], list[Step]]:
        """The active layer of a persistent image, and steps before and after it is linked, so that a VM can open it so.

        An image without snapshots gets a directory for them. What mixed drivers and ``local`` brought back names its
        backing file relatively, and qemu would look for that beside the link: the active layer gets the absolute name
        (contract-tm 6.2). From there on the names of those below are found either way.

        :raises Refused: the numbered files are not the layers of this image, but copies that another driver made.
        """
        host, snap, root = request.site.lead, image + ".snap", parent(image)
        steps: list[Step] = [
            MakeDirectory(LEAD, snap, root),
            MakeLink(LEAD, os.path.join(snap, base(snap)), ".", root),
        ]
        active = chain.active(host, snap)
        info = request.look(image)
        if not active or info is None:
            self._there(request, image)
            return os.path.join(snap, "0"), [*steps, MakeLink(LEAD, os.path.join(snap, "0"), image, root)], []
        found = chain.layers(host, active, [root])
        if info["kind"] != "link" and host.real(image) not in [layer.path for layer in found]:
            raise Refused(
                f"The image {image} is one file, and {active} beside it is not a layer of it",
                host.name,
                todo=f"is {snap} of another driver",
            )
        if info["kind"] == "link" and host.real(image) != found[0].path:
            # snapshots that came later left it at an older one, or leading nowhere
            steps.append(MakeLink(LEAD, image, f"{base(snap)}/{base(active)}", root, host.readlink(image)))
        name = chain.neighbour(host, snap, found[0])
        wrong = name and not found[0].backing.startswith("/")
        return active, steps, [Rebase(LEAD, active, name)] if wrong else []

    # ------------------------------------------------------------ mv, mvds

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """Moves that move nothing: a disk travels with its directory, a directory on the same storage stays."""
        if action == "mvds":
            return True
        if action in HOOKS:
            return self.idle_hook(action, options)
        if action != "mv":
            return super().idle(action, options)
        source = clean_path(options["source"], "source")
        return is_disk(source) or source == clean_path(options["destination"], "destination")

    def mvds(self, request: Request) -> Reply:
        """Nothing: a persistent disk was the image all the time."""
        return Answer()

    def claims_mv(self, options: dict[str, Any]) -> list[Claim]:
        source, destination, old, new = moved(options)
        return [Claim(LEAD, new, vm_key(destination)), Claim(LEAD, old, vm_key(source))]

    def mv(self, request: Request) -> Reply:
        """Move a VM's directory to another system datastore; both are seen by the lead (contract-tm Q42)."""
        source, destination, old, new = moved(request.options)
        arrival = Arrival(request, LEAD, LEAD)
        if request.look(source) is None:
            arrival.check()
            return Answer(path=destination)
        if base(source) == base(destination) and same_place(request, LEAD, new, old):
            return Answer(path=destination)
        claims = self.claims_mv(request.options)
        shop = request.shop(claims[0])
        part = os.path.join(shop, base(destination))
        aside = part + ".old" if request.look(destination) else ""
        away = os.path.join(request.shop(claims[1]), base(source) + ".moved")
        beside = parent(old) == parent(new) and request.look(new) is not None
        if beside and not aside and request.site.lead.same_file_system(old, new):
            # names first: once it is renamed, nobody comes back to them
            named = own_names(request, source, destination, source, LEAD, LEAD)
            forgotten = forget_arrival(request, LEAD, source, request.shop(claims[1]))
            return Plan([*named, arrival.note(source), *forgotten, Move(LEAD, source, destination, parent(old))])
        steps: list[Step] = [CopyTree(LEAD, source, part, new)]
        steps += own_names(request, source, destination, part, LEAD, LEAD)
        steps.append(arrival.note(part))
        steps.append(PublishForGood(LEAD, part, destination, new, aside, "directory"))
        steps += forget_arrival(request, LEAD, source, request.shop(claims[1]))
        steps.append(Discard(LEAD, source, away, old, "directory"))
        return Plan(steps)


class Shared(Qcow2):
    """The same driver under stock's other name."""

    name = "shared"


def image_key(image: str) -> str:
    """The name under which an image is locked in its datastore."""
    return "image-" + base(image)


def layers(shop: str, disk: Disk) -> list[Step]:
    """Steps that finish a layer directory in a workshop: the self link and the disk's link (contract-tm 6.1)."""
    snap = os.path.join(shop, disk.name + ".snap")
    return [
        MakeLink(LEAD, os.path.join(snap, disk.name + ".snap"), ".", disk.datastore),
        MakeLink(LEAD, os.path.join(shop, disk.name), f"{disk.name}.snap/0", disk.datastore),
    ]
