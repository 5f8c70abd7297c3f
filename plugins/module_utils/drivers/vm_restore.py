# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring the disks of a VM that is off, in place (contract-tm 8.6).

Every disk is fetched and proven in the workshop before anything of the VM is touched. Then all are put in their places,
what stood there is kept aside until the last one stands, and only then it goes: after a failure, or a kill, the VM has
all of its old disks, or all of the new ones.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Corrupt, Missing, Refused, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import MakeDirectory, MakeLink, Publish, SetAside
from .base import Answer, Plan, Request, base, clean_path, inside, parent
from .vm_files import Disk, publish, vm_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply
    from .vm_backup import BackupDisk

TPM = "tpm"


class Restoring:
    """Restores of the disks of a VM.

    :cvar in_place: whether a persistent disk is the image itself, by way of a link.
    :cvar layered: whether a qcow2 disk is a directory of layers with a link into it; else it becomes one file, unless
        the one that it replaces is such a directory.
    """

    in_place = False
    layered = False

    def claims_restore(self, options: dict[str, Any]) -> list[Claim]:
        """The VM's files, and images that are the disks themselves."""
        found = self._restored(options)
        claims = [Claim(LEAD, found.datastore, found.key)]
        for disk in found.disks:
            if disk.persistent:
                claims.append(Claim(LEAD, parent(disk.image), "image-" + base(disk.image), aside=True))
        return claims

    def restore(self, request: Request) -> Reply:
        """Put disks, and a TPM's state, out of a backup in place of those that the VM has."""
        from .vm_snapshots import refuse_running

        refuse_running(request)
        asked = self._restored(request.options)
        items: list[_Item] = [self._item(request, asked, disk) for disk in asked.disks]
        if TPM in asked.sources:
            items.append(_Tpm(request, asked))
        if not request.ran:
            for item in items:
                item.look()
            return Plan([_fetch(request, asked, number) for number in asked.sources])
        if not all(request.look(item.fetched) for item in items):
            return Answer(path=asked.directory, restored=[item.what for item in items])
        prepared = [step for item in items for step in item.prepare()]
        return Plan([*prepared, *[step for item in items for step in item.publish()]])

    def _restored(self, options: dict[str, Any]) -> Restored:
        """What an action's options say."""
        return Restored(options, self.in_place)

    def _item(self, request: Request, asked: Restored, disk: BackupDisk) -> RestoredDisk:
        if disk.persistent:
            return _Persistent(request, asked, disk)
        if disk.format == "qcow2" and (self.layered or _is_layered(request, disk.path)):
            return _Layered(request, asked, disk)
        return RestoredDisk(request, asked, disk)


def _is_layered(request: Request, path: str) -> bool:
    """Whether a disk is a link into its own directory of layers: drivers for images made it so in this datastore."""
    info = request.look(path)
    linked = bool(info and info["kind"] == "link")
    return linked and request.site.lead.readlink(path).startswith(base(path) + ".snap/")


class Restored:
    """What an action's options say of a restore, checked.

    :ivar sources: where each item comes from, by disk id or ``tpm``, in the order in which they are sent.
    :ivar sizes: MB that oned counted, by disk.
    """

    def __init__(self, options: dict[str, Any], in_place: bool) -> None:
        from .vm_backup import by_disk

        self.datastore = clean_path(options["datastore"], "datastore")
        self.directory = inside(clean_path(options["path"], "path"), self.datastore, "path")
        if parent(self.directory) != self.datastore or not base(self.directory).isdigit():
            raise BadCall(f"{self.directory} is not a VM's directory of {self.datastore}")
        self.key = vm_key(self.directory)
        self.sources = _sources(options["sources"])
        numbers = {number for number in self.sources if number != TPM}
        self.disks = [disk for disk in (self.disks_of(options, in_place) if numbers else []) if str(disk.id) in numbers]
        missing = numbers - {str(disk.id) for disk in self.disks}
        if missing:
            raise BadCall(f"Disk {min(missing)} stands in sources and not in disks")
        self.sizes = {}
        for number, size in by_disk(options["sizes"], "sizes", "MB").items():
            if not (size.isascii() and size.isdigit() and len(size) <= 10):
                raise BadCall(f"'{one_line(size, 40)}' is not the size of disk {number} in MB")
            self.sizes[number] = int(size)

    def disks_of(self, options: dict[str, Any], in_place: bool) -> list[BackupDisk]:
        """The disks that are told of."""
        from .vm_backup import disks_of

        return disks_of(options, self.directory, in_place)

    def shop(self, request: Request, number: str) -> tuple[str, str]:
        """The workshop where an item is built, and the datastore that it lies in."""
        for disk in self.disks:
            if str(disk.id) == number and disk.persistent:
                root = parent(disk.image)
                return request.shop(Claim(LEAD, root, "image-" + base(disk.image))), root
        return request.shop(Claim(LEAD, self.datastore, self.key)), self.datastore


def _sources(items: list[str]) -> dict[str, str]:
    """``<disk id>:<source>`` and ``tpm:<source>`` items as a mapping, in their order."""
    found: dict[str, str] = {}
    for item in items:
        number, _colon, source = item.partition(":")
        if not (source and (number == TPM or (number.isascii() and number.isdigit() and len(number) < 10))):
            raise BadCall(f"'{one_line(item, 80)}' of sources is not <disk id>:<source>, nor {TPM}:<source>")
        number = number if number == TPM else str(int(number))
        if number in found:
            raise BadCall(f"Disk {number} stands twice in sources")
        found[number] = source
    if not found:
        raise BadCall("There is nothing to restore")
    return found


def _fetch(request: Request, asked: Restored, number: str) -> Step:
    """Bring one item into the workshop; a source out of a backup is held against its manifest on the way."""
    from ..steps.fetch import Fetch
    from ..tools.repositories import place_of, secrets_of
    from ..tools.sources import local_path, scheme_of, shown
    from ..tools.sources.backup import BackupUrl, is_backup
    from .fs_images import most_bytes

    source = asked.sources[number]
    shop, root = asked.shop(request, number)
    more: dict[str, Any] = {"feed": request["feed"], "disk": number != TPM, "decompress": False}
    if is_backup(source):
        url = BackupUrl(source)
        if url.disk != number:
            raise BadCall(f"{one_line(source, 200)} is not the source of disk {number}, but of {url.disk}")
        if request["repository_path"]:
            more["repository"] = place_of({**request.options, "driver": url.kind}, request["repository_path"])
        request.site.secrets = {**request.site.secrets, **secrets_of(request.options)}
    elif scheme_of(source) == "" or local_path(source):
        source = clean_path(local_path(source), "source")
        if not request["feed"] and not request.look(source, follow=True):
            raise Missing(f"The source {source} is not there", request.site.lead.name)
    name = shown(source)
    if name != source:
        request.site.private[name] = source
    size = asked.sizes.get(int(number), 0) if number != TPM else 64
    limit = most_bytes(size, "") if size else 0
    return Fetch(LEAD, name, os.path.join(shop, _fetched(number)), root, limit, {}, True, **more)


def _fetched(number: str) -> str:
    return f"fetched.{number}"


class _Item:
    """Something that is restored.

    :ivar fetched: where it was brought; gone when it has been used.
    """

    what = ""

    def __init__(self, request: Request, asked: Restored, number: str) -> None:
        self.request = request
        self.asked = asked
        self.shop, self.root = asked.shop(request, number)
        self.fetched = os.path.join(self.shop, _fetched(number))

    def look(self) -> None:
        """Refuse what could not be put in place, before anything is fetched."""

    def prepare(self) -> list[Step]:
        """Steps that make of it what is put in place."""
        raise TypeError(f"{type(self).__name__} prepares nothing")

    def publish(self) -> list[Step]:
        """Steps that put it in place."""
        raise TypeError(f"{type(self).__name__} publishes nothing")


class RestoredDisk(_Item):
    """A disk that is one file."""

    def __init__(self, request: Request, asked: Restored, disk: BackupDisk) -> None:
        super().__init__(request, asked, str(disk.id))
        self.disk = disk
        self.place = Disk(disk.path, asked.datastore)
        self.what = self.place.name

    @property
    def part(self) -> str:
        """What the image is called in the workshop."""
        return os.path.join(self.shop, self.place.name)

    def look(self) -> None:
        """The VM's directory must be there, and nobody may write to the disk.

        What that is, and whether it is whole, does not matter: a broken disk is what restores are for.
        """
        host = self.request.site.lead
        if self.request.look(self.place.directory) is None:
            raise Missing(f"The directory {self.place.directory} is not there", host.name)
        info = self.request.look(self.place.path, follow=True)
        if info and info["kind"] == "file" and host.in_use(self.place.path):
            raise Refused(f"The disk {self.place.path} is in use by a running QEMU", host.name)

    def prepare(self) -> list[Step]:
        """What was fetched becomes the image, in the format and the size that oned counts."""
        from ..steps.images import Convert, Resize
        from ..steps.restoring import Arrange, DropBitmaps

        virtual, names = proven(self)
        steps: list[Step] = []
        image = self.fetched
        if self.disk.format == "raw":
            image = self.part
            size = max(virtual, os.stat(self.fetched).st_size)
            steps.append(Convert(LEAD, self.fetched, "qcow2", image, "raw", untrusted=True, size=size))
            steps.append(Arrange(LEAD, self.fetched, self.fetched + ".used", self.root))
        else:
            if names:
                steps.append(DropBitmaps(LEAD, self.fetched, names))
            steps.append(Arrange(LEAD, self.fetched, self.image_part, self.root))
            image = self.image_part
        wanted = self.asked.sizes.get(self.disk.id, 0)
        if virtual < wanted << 20:
            # it was grown since, and oned goes on counting that
            steps.append(Resize(LEAD, image, self.disk.format, wanted))
        return [*steps, *self.framed()]

    @property
    def image_part(self) -> str:
        """Where in the workshop a qcow2 image goes."""
        return self.part

    def framed(self) -> list[Step]:
        """Steps that make the directory and the links around it."""
        return []

    def publish(self) -> list[Step]:
        """The disk takes the old one's place, and layers or snapshots of that go."""
        return publish(self.request, self.place)


class _Layered(RestoredDisk):
    """A qcow2 disk in a directory of layers of its own (contract-tm 6.1)."""

    @property
    def image_part(self) -> str:
        return os.path.join(self.part + ".snap", "0")

    def framed(self) -> list[Step]:
        snap = self.part + ".snap"
        return [
            MakeLink(LEAD, os.path.join(snap, base(snap)), ".", self.root),
            MakeLink(LEAD, self.part, f"{base(snap)}/0", self.root),
        ]

    def publish(self) -> list[Step]:
        return publish(self.request, self.place, snap=True)


class _Persistent(RestoredDisk):
    """A disk that is a link to a persistent image, or to its layers (contract-tm 6.2, 6.3)."""

    @property
    def part(self) -> str:
        return os.path.join(self.shop, base(self.disk.image))

    def framed(self) -> list[Step]:
        if self.disk.format == "raw":
            return []
        image, snap = self.disk.image, self.part + ".snap"
        return [
            MakeDirectory(LEAD, snap, self.root),
            MakeLink(LEAD, os.path.join(snap, "0"), image, self.root),
            MakeLink(LEAD, os.path.join(snap, base(snap)), ".", self.root),
        ]

    def publish(self) -> list[Step]:
        request, image = self.request, self.disk.image
        layers = self.disk.format == "qcow2"
        steps: list[Step] = []
        if request.look(image + ".snap"):
            steps.append(SetAside(LEAD, image + ".snap", self.part + ".snap.old", self.root, "old layers"))
        if layers:
            steps.append(Publish(LEAD, self.part + ".snap", image + ".snap", self.root, what="layers"))
        aside = self.part + ".old" if request.look(image) else ""
        steps.append(Publish(LEAD, self.part, image, self.root, aside, "image"))
        if request.look(image + ".md5sum"):
            # what stock's replica code caches is of the old content
            steps.append(SetAside(LEAD, image + ".md5sum", self.part + ".md5sum", self.root, "cached digest"))
        return [*steps, *self._linked(os.path.join(image + ".snap", "0") if layers else image)]

    def _linked(self, target: str) -> list[Step]:
        request, disk = self.request, self.place
        shop = request.shop(Claim(LEAD, disk.datastore, disk.key))
        steps: list[Step] = []
        if request.look(disk.snap):
            old = os.path.join(shop, base(disk.snap) + ".old")
            steps.append(SetAside(LEAD, disk.snap, old, disk.datastore, "old layers"))
        info = request.look(disk.path)
        before = ""
        if info and info["kind"] == "link":
            before = request.site.lead.readlink(disk.path)
        elif info:
            steps.append(SetAside(LEAD, disk.path, os.path.join(shop, disk.name + ".old"), disk.datastore, "old disk"))
        return [*steps, MakeLink(LEAD, disk.path, target, disk.datastore, before)]


class _Tpm(_Item):
    """The state of a VM's TPM."""

    what = TPM

    def __init__(self, request: Request, asked: Restored) -> None:
        super().__init__(request, asked, TPM)
        self.part = os.path.join(self.shop, TPM)

    def prepare(self) -> list[Step]:
        """It is unpacked."""
        from ..steps.restoring import Arrange, UnpackTpm

        unpack = UnpackTpm(LEAD, self.fetched, self.part, self.root)
        return [unpack, Arrange(LEAD, self.fetched, self.fetched + ".used", self.root)]

    def publish(self) -> list[Step]:
        """It takes the place of the old one."""
        path = os.path.join(self.asked.directory, TPM)
        aside = self.part + ".old" if self.request.look(path) else ""
        return [Publish(LEAD, self.part, path, self.root, aside, "state of the TPM")]


def proven(item: RestoredDisk) -> tuple[int, list[str]]:
    """Virtual size in bytes, and the bitmaps, of a fetched disk that may be used.

    Backups are qcow2 images that stand alone, whatever format the disk has (contract-tm 8.2).

    :raises Corrupt: it is damaged, or no such image.
    :raises Refused: it refers to other files, or is larger than what oned counted.
    """
    from ..tools import bitmaps, image_header
    from .fs_images import head_of
    from .fs_import import check_qcow2

    name = f"The backup of {item.what}"
    head = head_of(item.fetched, image_header.HEAD_BYTES)
    if image_header.refuse_unsafe(head, name) != "qcow2":
        raise Corrupt(f"{name} is not a qcow2 image")
    virtual = image_header.virtual_size(head) or 0
    wanted = item.asked.sizes.get(item.disk.id, 0)
    if wanted and virtual > wanted << 20:
        raise Refused(
            f"{name} has {-(-virtual >> 20)} MB, more than the {wanted} MB that the disk has",
            item.request.site.lead.name,
            todo="grow the disk first, or restore the backup as new images",
        )
    check_qcow2(item.request, item.fetched, name, max(virtual, os.stat(item.fetched).st_size))
    return virtual, [bitmap.name for bitmap in bitmaps.read(item.fetched)]
