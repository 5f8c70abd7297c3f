# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: snapshots of persistent images that no VM uses (contract-ds 8.8, contract-tm 6.2-6.4).

An image is a chain of layers in ``<image>.snap``, or it is one file whose snapshots there are full copies. Raw is
always the latter; qcow2 is what its headers say, as the ssh driver copies it, too. Each snapshot that is to stay, and
what the image holds now, can be read at every moment in between, also when a run dies there.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Corrupt, Missing, Refused, StorageError
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import Discard, MakeHardLink, MakeLink, Replace, SetAside
from ..tools import chain
from .base import Answer, Plan, Request, base, parent
from .fs_images import FsImages, existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.host import Host
    from .base import Reply


class _Image:
    """A persistent image, the snapshot that the action is about, and the file that holds it.

    :ivar snap: directory of its snapshots, which may not be there.
    :ivar target: the file that holds the snapshot, as a name in ``snap``; empty when the snapshot is gone.
    :ivar layered: whether it is a chain of layers.
    :ivar active: the file that is written to; a name in ``snap`` for layers.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.host = request.site.lead
        self.source, self.root = existing(request.options)
        self.number: int = request["snapshot"]
        if self.number < 0:
            raise BadCall(f"{self.number} is not the id of a snapshot")
        self.snap = self.source + ".snap"
        self.shop = request.shop(claim_of(request.options))
        info = request.look(self.source)
        if info is None or request.look(self.source, follow=True) is None:
            raise Missing(f"The image {self.source} is not there", self.host.name)
        self.format: str = request["format"]
        self.is_link = info["kind"] == "link"
        if info["kind"] != "file" and not (self.is_link and self.format == "qcow2"):
            raise Refused(f"The {self.format} image {self.source} is not a file", self.host.name)
        self._check_folder()
        self.active = top_of(self.host, self.source, self.format)
        self.layered = self.active != self.source
        self.target = chain.current(self.host, self.snap, self.number)

    def is_active(self) -> bool:
        """Whether the snapshot's file would be the one that is written to: then there is no such snapshot."""
        return bool(self.target) and self.host.real(self.target) == self.host.real(self.active)

    def needed(self) -> str:
        """The file that holds the snapshot, when the image can become what is in it."""
        if not self.target:
            raise Missing(f"Snapshot {self.number} of {self.source} is not there", self.host.name)
        self.refuse_active()
        if self.format == "raw":
            info = self.request.look(self.target, follow=True)
            if info is None or info["kind"] != "file" or not info["size"]:
                raise Corrupt(f"{self.target} is empty, or no file: it cannot be a snapshot", self.host.name)
        elif len(self.follow(self.target)) > 1 and not self.layered:
            raise Refused(f"{self.target} stands on another file: it is no copy of the image", self.host.name)
        return self.target

    def refuse_active(self) -> None:
        """``Refused`` when the snapshot would be what is written to."""
        if self.is_active():
            raise Refused(
                f"Snapshot {self.number} of {self.source} would be {self.active}, which the image is written to",
                self.host.name,
            )

    def follow(self, path: str) -> list[chain.Layer]:
        """The chain below a layer, all of which lies in the datastore."""
        return chain.layers(self.host, path, [self.root])

    def part(self, name: str) -> str:
        """A path in the workshop."""
        return os.path.join(self.shop, name)

    def forget_digest(self) -> list[Step]:
        """Steps that drop the cached digest: one of other content would spoil copies (contract-ds 8)."""
        path = self.source + ".md5sum"
        if not self.request.look(path):
            return []
        return [SetAside(LEAD, path, self.part(base(path)), self.root, "cached digest")]

    def has_folder(self) -> bool:
        """Whether there is a directory of snapshots."""
        return self.request.look(self.snap) is not None

    def _check_folder(self) -> None:
        """The directory of snapshots is renamed as a whole, so it must be one, in the datastore's file system."""
        info = self.request.look(self.snap)
        if info is None:
            return
        if info["kind"] != "directory" or not self.host.same_file_system(self.root, self.snap):
            raise Refused(f"{self.snap} is not a directory in the file system of {self.root}", self.host.name)


def top_of(host: Host, source: str, image_format: str) -> str:
    """The file that an image is written to: the highest layer when it is a chain of layers, else the image itself.

    :raises Refused: the format is raw and the files there are layers, so one of both records is wrong.
    """
    snap = source + ".snap"
    own = (host.real(source), host.real(snap))
    linked = host.real(source) != os.path.join(host.real(parent(source)), base(source))
    for name in [str(number) for number in chain.numbers(host, snap)]:
        path = os.path.join(snap, name)
        linked = linked or (image_format == "qcow2" and host.real(path) == own[0])
        try:
            below = chain.read(host, path).below
        except StorageError:
            continue
        linked = linked or below == own[0] or bool(below and parent(below) == own[1])
    if linked and image_format != "qcow2":
        raise Refused(
            f"The image {source} has layers in {base(snap)}, and its format is {image_format}",
            host.name,
            todo="its FORMAT in OpenNebula should be qcow2",
        )
    return (chain.active(host, snap) or source) if linked else source


class Snapshots(FsImages):
    """``snap_delete``, ``snap_revert`` and ``snap_flatten``."""

    def claims_snap_delete(self, options: dict[str, Any]) -> list[Claim]:
        return [claim_of(options)]

    claims_snap_revert = claims_snap_delete
    claims_snap_flatten = claims_snap_delete

    # ------------------------------------------------------------ snap_delete

    def snap_delete(self, request: Request) -> Reply:
        """Remove a snapshot. Layers that stand on it are given its data first, or it stays (contract-ds 8.8)."""
        image = _Image(request)
        steps: list[Step] = []
        if image.target and image.layered:
            above = self._above(image)
            if above:
                for layer in above:
                    steps += _given_the_data(image, layer)
                return Plan(image.forget_digest() + steps)
            steps += _free_the_name(image)
        if image.target and base(image.target) not in _given_to_others(image):
            steps.append(Discard(LEAD, image.target, image.part(base(image.target)), image.root, "snapshot"))
        mark = os.path.join(image.snap, f"{image.number}{chain.REDIRECT}")
        if request.look(mark):
            steps.append(Discard(LEAD, mark, image.part(base(mark)), image.root, "mark"))
        return Plan(image.forget_digest() + steps) if steps else Answer(source=image.source)

    @staticmethod
    def _above(image: _Image) -> list[chain.Layer]:
        """The layers that stand on the snapshot; an error when the snapshot must stay."""
        info = image.request.look(image.target)
        if image.is_active() and info and info["kind"] == "link" and base(image.target) != base(image.active):
            # one more name of the layer that is written to, which a run that died half-way may leave
            return []
        image.refuse_active()
        real = image.host.real(image.target)
        everyone = chain.sound(image.host, image.snap, [image.root], but=image.target)
        above = [layer for layer in everyone if layer.below == real]
        if above and not image.request["allow_orphans"]:
            names = ", ".join(sorted((base(layer.path) for layer in above), key=lambda name: (len(name), name)))
            raise Refused(
                f"Snapshot {image.number} of {image.source} is needed by layer {names}",
                image.host.name,
                todo="delete the snapshots above it first, or set ALLOW_ORPHANS=YES, with which they get its data",
            )
        return above

    # ------------------------------------------------------------ snap_revert

    def snap_revert(self, request: Request) -> Reply:
        """Let the image begin again as a snapshot; what was written since goes (contract-ds 8.8)."""
        image = _Image(request)
        target = image.needed()
        return (
            self._revert_layer(request, image, target) if image.layered else self._revert_copy(request, image, target)
        )

    def _revert_copy(self, request: Request, image: _Image, target: str) -> Reply:
        from ..steps.transfer import CopyFile

        if request.ran:
            return Answer(source=image.source)
        part = image.part("image")
        steps: list[Step] = [CopyFile(LEAD, target, part, image.root), *image.forget_digest()]
        return Plan([*steps, Replace(LEAD, part, image.source, image.root, what="image")])

    def _revert_layer(self, request: Request, image: _Image, target: str) -> Reply:
        from ..steps.layers import NewLayer

        found = image.follow(target)
        now = _neighbour(image)
        same = now is not None and (now.below, now.virtual_size) == (found[0].path, found[0].virtual_size)
        if same and chain.is_empty(image.host, image.active) and not image.forget_digest():
            return Answer(source=image.source)
        if request.ran:
            raise Corrupt(f"The layer {image.active} is not an empty one on {target} although it was made so")
        above = chain.standing_on(image.host, image.snap, image.active, but=image.active)
        if above or base(image.active) in _given_to_others(image):
            what = f"layer {base(above[0].path)}" if above else "another snapshot"
            raise Refused(f"{image.active} cannot begin again: {what} needs its data", image.host.name)
        part = image.part("layer")
        name = chain.name_like(now, target)
        steps: list[Step] = [NewLayer(LEAD, part, name, found[0].virtual_size), *image.forget_digest()]
        return Plan([*steps, Replace(LEAD, part, image.active, image.root, what="layer")])

    # ------------------------------------------------------------ snap_flatten

    def snap_flatten(self, request: Request) -> Reply:
        """Let the image be what a snapshot holds, in one file; all snapshots go (contract-ds 8.8)."""
        image = _Image(request)
        if not image.has_folder():
            if image.is_link or (image.format == "qcow2" and len(image.follow(image.source)) > 1):
                raise Corrupt(f"The image {image.source} has no {base(image.snap)} and needs it", image.host.name)
            return Answer(source=image.source)
        target = image.needed()
        return self._flatten_layers(image, target) if image.layered else self._flatten_copies(image, target)

    def _flatten_layers(self, image: _Image, target: str) -> Reply:
        from ..steps.images import Convert

        part = image.part("image")
        steps: list[Step] = [Convert(LEAD, target, "qcow2", part, "qcow2")]
        steps += _keep_the_base(image) + image.forget_digest()
        steps.append(Replace(LEAD, part, image.source, image.root, what="image"))
        steps.append(Discard(LEAD, image.snap, image.part(base(image.snap)), image.root, "snapshots"))
        return Plan(steps)

    def _flatten_copies(self, image: _Image, target: str) -> Reply:
        # a copy would take as long as the image is large, so the snapshot's own file becomes the image; that must not
        # be seen half done, so the directory is away, and comes back, until the image is in place
        away = image.part(base(image.snap))
        steps: list[Step] = [SetAside(LEAD, image.snap, away, image.root, "snapshots"), *image.forget_digest()]
        steps.append(Replace(LEAD, os.path.join(away, base(target)), image.source, image.root, what="image"))
        return Plan(steps)


def claim_of(options: dict[str, Any]) -> Claim:
    """What the actions on an image's snapshots lock: the image, as all others do."""
    source, root = existing(options)
    return Claim(LEAD, root, "image-" + base(source))


def _given_to_others(image: _Image) -> list[str]:
    """Names of layers that a note gives to other snapshots (contract-tm 6.4)."""
    return [name for number, name in chain.redirects(image.host, image.snap).items() if number != image.number]


def _neighbour(image: _Image) -> chain.Layer | None:
    """The layer that is written to; None when its header is no longer right, which a revert mends."""
    try:
        return chain.read(image.host, image.active)
    except StorageError:
        return None


def _given_the_data(image: _Image, layer: chain.Layer) -> list[Step]:
    """Steps that let a layer stand on what its backing file stands on, with the data of both.

    It is done in a copy, as qemu-img that is killed leaves the file it works on in a state that nobody knows.
    """
    from ..steps.images import Convert
    from ..steps.layers import TakeOver
    from ..steps.transfer import CopyFile

    name = base(layer.path)
    part = image.part(f"layer.{name}")
    whole = image.follow(layer.path)
    lower = whole[1]
    replace = Replace(LEAD, part, layer.path, image.root, what="layer")
    if not lower.backing:
        return [Convert(LEAD, layer.path, "qcow2", part, "qcow2"), replace]
    steps: list[Step] = []
    # relative names are looked up beside the copy, and those of what lies below beside the link that led there
    for first in sorted({below.backing.split("/")[0] for below in whole} - {""}):
        if first in (".", ".."):
            raise Refused(f"A layer below {layer.path} names its backing file {first}/…", image.host.name)
        steps.append(MakeLink(LEAD, image.part(first), os.path.join(image.snap, first), image.root))
    steps.append(CopyFile(LEAD, layer.path, part, image.root))
    return [*steps, TakeOver(LEAD, part, lower.backing, lower.backing_format), replace]


def _free_the_name(image: _Image) -> list[Step]:
    """Steps that let the image's name lead to its highest layer (contract-tm 6.2), when it is a layer's no more.

    The name stays as long as the image, so the file there would be kept, and would be taken for what the image holds.
    """
    own = image.host.real(image.source)
    staying = chain.family(image.host, image.snap, but=image.target)
    if any(own in (layer.path, layer.below) for layer in staying) or own == image.host.real(image.active):
        return []
    part = image.part("link")
    target = f"{base(image.snap)}/{base(image.active)}"
    return [MakeLink(LEAD, part, target, image.root), Replace(LEAD, part, image.source, image.root, what="link")]


def _keep_the_base(image: _Image) -> list[Step]:
    """Steps that let the layers keep the file at the bottom when another takes the image's name."""
    if image.is_link:
        return []
    own = image.host.real(image.source)
    for layer in chain.family(image.host, image.snap):
        named = os.path.join(parent(layer.path), layer.backing)
        if layer.below == own and image.host.real(parent(named)) != image.host.real(image.snap):
            raise Refused(
                f"The layer {layer.path} stands on {image.source} itself, not on a name in {base(image.snap)}",
                image.host.name,
                todo="let it name the layer there with qemu-img rebase -u",
            )
    steps: list[Step] = []
    for number in chain.numbers(image.host, image.snap):
        path = os.path.join(image.snap, str(number))
        info = image.request.look(path)
        if info and info["kind"] == "link" and image.host.real(path) == own:
            steps.append(MakeHardLink(LEAD, path, image.source, image.root, image.host.readlink(path)))
    return steps
