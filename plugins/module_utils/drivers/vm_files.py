# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every driver does alike that keeps a VM's disks in files: delete, context, mkimage, mkswap.

A VM's directory is ``<datastore>/<vm id>``, a disk in it ``disk.<n>``, its layers or snapshots ``disk.<n>.snap/``
(contract-tm 6).
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, Refused, one_line
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, Publish, SetAside
from .base import Answer, Driver, Plan, Request, base, clean_path, inside, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply

SUPPORTED_FS = ("ext2", "ext3", "ext4", "xfs")
MAX_SIZE_MB = 1 << 33


class Disk:
    """The place of one disk, or of another file of a VM, checked by name.

    :ivar directory: the VM's directory.
    :ivar key: the VM's key for locks and workshops.
    """

    def __init__(self, path: str, datastore: str, what: str = "disk") -> None:
        self.datastore = clean_path(datastore, "datastore")
        self.path = inside(clean_path(path, what), self.datastore, what)
        self.directory = parent(self.path)
        if parent(self.directory) != self.datastore:
            raise Refused(f"The {what} {self.path} is not in a VM's directory of {self.datastore}")
        self.key = vm_key(self.directory)
        self.snap = self.path + ".snap"
        self.name = base(self.path)


def vm_key(directory: str) -> str:
    """The name under which a VM's files are locked."""
    return "vm-" + base(directory)


def is_disk(path: str) -> bool:
    """Whether a path is that of a disk, not of a VM's directory (``disk.<n>``, ``kernel``, ``initrd``)."""
    name = base(path)
    return name in ("kernel", "initrd") or (name.startswith("disk.") and name[5:].isdigit())


def moved(options: dict[str, Any]) -> tuple[str, str, str, str]:
    """Source and destination directories of a VM and the datastores they lie in, checked by name."""
    old = clean_path(options["source_datastore"], "datastore")
    new = clean_path(options["datastore"], "datastore")
    source = inside(clean_path(options["source"], "source"), old, "source")
    destination = inside(clean_path(options["destination"], "destination"), new, "destination")
    for path, root in ((source, old), (destination, new)):
        if parent(path) != root and not is_disk(path):
            raise Refused(f"{path} is not a VM's directory of {root}")
    return source, destination, old, new


def check_size(size: int) -> int:
    """A size in MB that an image can have."""
    if not 0 < size <= MAX_SIZE_MB:
        raise BadCall(f"The size {size} MB is not possible: it must be from 1 to {MAX_SIZE_MB}")
    return size


def publish(request: Request, disk: Disk, where: str = LEAD, link: str = "", snap: bool = False) -> list[Step]:
    """Steps that put what was built as ``disk.<n>`` (and ``disk.<n>.snap``) in the workshop in its place.

    What stands there from an earlier run is set aside and deleted at the end; layers first, so that a link never
    points nowhere.

    :param link: target of the link that ``disk.<n>`` becomes; empty when it is a file in the workshop.
    """
    from ..steps.files import workshop_name

    shop = request.shop(Claim(where, disk.datastore, disk.key))
    steps: list[Step] = [MakeDirectory(where, disk.directory, disk.datastore)]
    if request.look(disk.snap, where) or snap:
        aside = workshop_name(shop, disk.snap, ".old") if request.look(disk.snap, where) else ""
        if snap:
            part = workshop_name(shop, disk.snap)
            steps.append(Publish(where, part, disk.snap, disk.datastore, aside, "layers"))
        else:
            steps.append(SetAside(where, disk.snap, aside, disk.datastore, "old layers"))
    aside = workshop_name(shop, disk.path, ".old") if request.look(disk.path, where) else ""
    steps.append(Publish(where, workshop_name(shop, disk.path), disk.path, disk.datastore, aside, "disk"))
    return steps


def settled(request: Request, disk: Disk, where: str = LEAD) -> bool:
    """Whether a disk stands and may stay: our own work, or, without ``force``, that of an earlier run."""
    there = request.look(disk.path, where)
    if there is None:
        if request.ran:
            raise Missing(f"The disk {disk.path} is not there although it was made", request.site.host(where).name)
        return False
    return request.ran or not request["force"]


class VmFiles(Driver):
    """Base of the TM drivers for disks in files."""

    kind = "tm"
    leads: dict[str, str] = {"context": "frontend", "monitor": "frontend", "monitor_ds": "here"}
    looking = ("monitor", "monitor_ds")
    peer_actions: tuple[str, ...] = ("context",)

    # ------------------------------------------------------------ delete

    def claims_delete(self, options: dict[str, Any]) -> list[Claim]:
        path, datastore = self._deleted(options)
        directory = parent(path) if is_disk(path) else path
        return [Claim(LEAD, datastore, vm_key(directory))]

    def _deleted(self, options: dict[str, Any]) -> tuple[str, str]:
        datastore = clean_path(options["datastore"], "datastore")
        path = inside(clean_path(options["path"], "path"), datastore, "path")
        depth = path[len(datastore) + 1 :].count("/")
        if depth != (1 if is_disk(path) else 0) or base(path).startswith("."):
            raise Refused(f"{path} is neither a VM's directory nor a disk in one of {datastore}")
        return path, datastore

    def delete(self, request: Request) -> Reply:
        """Remove a disk with its layers, or a VM's directory. What is gone is a success (contract-tm 7.1, Q16, Q17)."""
        path, datastore = self._deleted(request.options)
        claim = self.claims_delete(request.options)[0]
        shop = request.shop(claim)
        what = "disk" if is_disk(path) else "directory"
        steps: list[Step] = []
        if request.look(path):
            steps.append(Discard(LEAD, path, os.path.join(shop, base(path)), datastore, what))
        if is_disk(path) and request.look(path + ".snap"):
            steps.append(Discard(LEAD, path + ".snap", os.path.join(shop, base(path) + ".snap"), datastore, "layers"))
        if not is_disk(path):
            from ..steps.migrate import arrival_path, receipt_path

            # of a VM that was to come, and goes instead; of one that came
            for receipt in (receipt_path(datastore, claim.key), arrival_path(datastore, claim.key)):
                if request.look(receipt):
                    steps.append(Discard(LEAD, receipt, os.path.join(shop, base(receipt)), datastore, "receipt"))
        return Plan(steps) if steps else Answer(path=path)

    # ------------------------------------------------------------ context

    def claims_context(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        claims = [Claim(LEAD, disk.datastore, disk.key)]
        if options["peer"]:
            claims.append(Claim(PEER, disk.datastore, disk.key))
        return claims

    def context(self, request: Request) -> Reply:
        """Build the context ISO on the lead and put it on the node (contract-tm 7.1)."""
        from ..steps.fetch import Fetch
        from ..steps.images import BuildIso
        from ..steps.transfer import Send

        disk = Disk(request["destination"], request["datastore"])
        if settled(request, disk, PEER):
            return Answer(path=disk.path)
        here = request.shop(self.claims_context(request.options)[0])
        there = request.shop(Claim(PEER, disk.datastore, disk.key))
        steps: list[Step] = []
        mapped = []
        for number, item in enumerate(request["files"]):
            source, name = self._iso_entry(item)
            if "://" in source:
                part = os.path.join(here, f"fetched.{number}")
                steps.append(Fetch(LEAD, source, part, disk.datastore, 64 << 20, {}, False))
                source = part
            elif not request.look(source, follow=True):
                raise Missing(f"The context file {source} is not there", request.site.lead.name)
            mapped.append([source, name])
        iso = os.path.join(here, "iso")
        steps.append(BuildIso(LEAD, iso, disk.datastore, mapped))
        steps.append(Send(PEER, [[iso, disk.name]], there, disk.datastore))
        return Plan(steps + publish(request, disk, PEER))

    @staticmethod
    def _iso_entry(item: str) -> tuple[str, str]:
        """Split ``path[:name]`` (or a URL, whose last part is the name)."""
        if item.startswith(("http://", "https://")):
            name = base(item.split("?")[0].split("#")[0])
            source = item
        else:
            path, _colon, name = item.partition(":")
            source = clean_path(path, "context file")
            name = name or base(source)
        if not name or "/" in name or name in (".", "..") or not name.isprintable():
            raise BadCall(f"'{one_line(name, 80)}' cannot be the name of a file in the context image")
        return source, name

    # ------------------------------------------------------------ mkimage, mkswap

    def claims_mkimage(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        return [Claim(LEAD, disk.datastore, disk.key)]

    claims_mkswap = claims_mkimage

    def mkimage(self, request: Request) -> Reply:
        """Make an empty disk, formatted when a file system is asked for (contract-tm 5.6, 7.1)."""
        return self._empty(request, request["format"], request["fs"])

    def mkswap(self, request: Request) -> Reply:
        """Make a swap disk: raw, with the label ``swap``."""
        return self._empty(request, "swap", "")

    def _empty(self, request: Request, image_format: str, fs: str) -> Reply:
        disk = Disk(request["destination"], request["datastore"])
        size = check_size(request["size"])
        if settled(request, disk):
            return Answer(path=disk.path)
        claim = self.claims_mkimage(request.options)[0]
        part = os.path.join(request.shop(claim), disk.name)
        if fs:
            check_fs(fs, request["supported_fs"])
            options = request["fs_options"]
        else:
            options = []
        steps = empty_image(part, disk.datastore, image_format, size, fs, options)
        return Plan(steps + publish(request, disk))


def check_fs(fs: str, supported: list[str]) -> None:
    """``BadCall`` unless the file system is one that the configuration allows (SUPPORTED_FS)."""
    allowed = supported or list(SUPPORTED_FS)
    if fs not in allowed:
        raise BadCall(f"Unsupported file system type '{one_line(fs, 40)}': SUPPORTED_FS has {', '.join(allowed)}")


def empty_image(
    part: str, datastore: str, image_format: str, size: int, fs: str = "", options: list[str] | None = None
) -> list[Step]:
    """Steps that make an empty image of *size* MB at *part*: raw, qcow2 or swap, perhaps with a file system."""
    from ..steps.images import Convert, CreateImage, MakeFilesystem, MakeSwap

    if image_format == "swap":
        return [CreateImage(LEAD, part, datastore, "raw", size), MakeSwap(LEAD, part)]
    if not fs:
        return [CreateImage(LEAD, part, datastore, image_format, size)]
    raw = part + ".raw" if image_format == "qcow2" else part
    steps: list[Step] = [
        CreateImage(LEAD, raw, datastore, "raw", size),
        MakeFilesystem(LEAD, raw, fs, options or []),
    ]
    if image_format == "qcow2":
        steps.append(Convert(LEAD, raw, "raw", part, "qcow2"))
    return steps
