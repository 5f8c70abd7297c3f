# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a VM's disks in files, on the VM's host: what is asked for, and the names that stock's drivers know
(contract-tm 8).

``prebackup`` puts files into the backup directory, the DS action ``backup`` of the repository takes them from there,
``postbackup`` removes them and hears how it went. The disks are looked at, as everywhere: what they are made of is
decided by what is there.
"""

from __future__ import annotations

import os

from .._errors import BadCall, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim
from .base import Request, base, clean_path, inside, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .base import Reply
    from .vm_layers import Stack

#: oned counts increments in 32 bits.
_MOST_INCREMENTS = 1 << 31


class Backups:
    """Backups of the disks of a VM."""

    in_place = False

    def claims_prebackup(self, options: dict[str, Any]) -> list[Claim]:
        """The VM's files, the folder that the backup directory lies in, and images that are the disks themselves."""
        backup = Backup(options, self.in_place)
        claims = [Claim(LEAD, backup.datastore, backup.key)]
        if backup.root != backup.datastore:
            claims.append(Claim(LEAD, backup.root, backup.key))
        for disk in backup.disks:
            if disk.persistent:
                claims.append(Claim(LEAD, parent(disk.image), "image-" + base(disk.image)))
        return claims

    claims_prebackup_live = claims_prebackup
    claims_postbackup = claims_prebackup
    claims_postbackup_live = claims_prebackup

    def prebackup(self, request: Request) -> Reply:
        """Put the disks of a VM that does not run into the backup directory (contract-tm 8.3)."""
        from .vm_backup_off import prebackup

        return prebackup(request, Backup(request.options, self.in_place))

    def postbackup(self, request: Request) -> Reply:
        """Clear up after the backup of a VM that does not run (contract-tm 8.3)."""
        from .vm_backup_off import postbackup

        return postbackup(request, Backup(request.options, self.in_place))

    def prebackup_live(self, request: Request) -> Reply:
        """Put the disks of a VM that runs into the backup directory (contract-tm 8.3)."""
        from .vm_backup_live import prebackup_live

        return prebackup_live(request, Backup(request.options, self.in_place))

    def claims_backup_doctor(self, options: dict[str, Any]) -> list[Claim]:
        """Who only looks locks nothing."""
        return self.claims_prebackup(options) if options["repair"] else []

    def backup_doctor(self, request: Request) -> Reply:
        """Say whether disks, libvirt and OpenNebula agree on where a VM's chain of increments stands."""
        from .vm_backup_doctor import backup_doctor

        return backup_doctor(request, Backup(request.options, self.in_place))

    def postbackup_live(self, request: Request) -> Reply:
        """Clear up after the backup of a VM that runs (contract-tm 8.3)."""
        from .vm_backup_live import postbackup_live

        return postbackup_live(request, Backup(request.options, self.in_place))


class BackupDisk:
    """One disk that is backed up.

    :ivar id: its number; :ivar format: ``raw`` or ``qcow2``, as oned has it.
    :ivar path: its place in the VM's directory.
    :ivar image: the image that it was made from, as the lead sees it; empty for a volatile disk.
    :ivar persistent: whether the disk may be that image itself, by way of a link.
    :ivar target: its name in the guest, of a VM that runs; empty otherwise.
    """

    def __init__(self, number: int, image_format: str, path: str, image: str, persistent: bool, target: str) -> None:
        self.id = number
        self.format = image_format
        self.path = path
        self.image = image
        self.persistent = persistent
        self.target = target


class Backup:
    """What an action's options say of a backup, checked.

    :ivar vm: the VM's id, as its directory is named; :ivar key: its key for locks and workshops.
    :ivar datastore: the system datastore; :ivar directory: the VM's directory in it.
    :ivar tmp: the VM's folder for what live backups need (contract-tm 8.1).
    :ivar root: the folder that the backup directory may not leave: the datastore, or BACKUP_BASE_PATH.
    :ivar folder: the backup directory (contract-tm 8.1).
    :ivar number: the increment that is being made, 0 for a full backup; :ivar parent: the one before it, -1 for none.
    :ivar chain: ``cbt`` or ``snapshot``, the way in which later increments learn what changed; empty for a full backup
        that none follow.
    :cvar forms: what its files may be, as oned says it by FORMAT.
    """

    forms: tuple[str, ...] = ("raw",)

    def __init__(self, options: dict[str, Any], in_place: bool) -> None:
        self.datastore = clean_path(options["datastore"], "datastore")
        self.directory = inside(clean_path(options["path"], "path"), self.datastore, "path")
        name = base(self.directory)
        if parent(self.directory) != self.datastore or not _is_number(name):
            raise BadCall(f"{self.directory} is not a VM's directory of {self.datastore}")
        self.vm = int(name)
        self.key = "vm-" + name
        self.tmp = os.path.join(self.directory, "tmp")
        self.root = clean_path(options["backup_path"], "backup path") if options["backup_path"] else self.datastore
        above = os.path.join(self.root, name) if options["backup_path"] else self.directory
        self.folder = os.path.join(above, "backup")
        self.chain: str = options["increment_mode"] if options["mode"] == "increment" else ""
        last: int = options["last_increment"]
        if not -1 <= last < _MOST_INCREMENTS:
            raise BadCall(f"{last} is not the number of an increment: it must be -1, for none, or more")
        self.parent = last if self.chain else -1
        self.number = self.parent + 1
        form = options.get("backup_format") or self.forms[0]
        if form not in self.forms:
            raise BadCall(f"The chain has backup_format={one_line(form, 40)}, which only disks that are volumes have")
        self.disks = self.disks_of(options, in_place)

    def disks_of(self, options: dict[str, Any], in_place: bool) -> list[BackupDisk]:
        """The disks that are asked for."""
        return disks_of(options, self.directory, in_place)

    def file_of(self, disk: BackupDisk) -> str:
        """The name of a disk's file in the backup directory (contract-tm 8.2)."""
        return f"disk.{disk.id}.{self.number}"

    def mark(self, number: int) -> str:
        """The name of the bitmap, and of the checkpoint in libvirt, that an increment begins with (contract-tm 8.3)."""
        return f"one-{self.vm}-{number}"

    def is_mark(self, name: str) -> bool:
        """Whether a bitmap is one of backups, of this VM or of one that had the image before."""
        words = name.split("-")
        return len(words) == 3 and words[0] == "one" and all(_is_number(word) for word in words[1:])

    def stack(self, request: Request, disk: BackupDisk) -> Stack:
        """What a disk is made of."""
        from .vm_files import Disk
        from .vm_layers import Stack

        single = Request(request.action, {**request.options, "format": disk.format}, request.site)
        return Stack(single, Disk(disk.path, self.datastore), disk.image, disk.persistent)

    def shop(self, request: Request, root: str) -> str:
        """The workshop of this run in a datastore, or beside the backup directory: one of those that are claimed."""
        if root in (self.datastore, self.root):
            return request.shop(Claim(LEAD, root, self.key))
        image = next(disk.image for disk in self.disks if disk.persistent and parent(disk.image) == root)
        return request.shop(Claim(LEAD, root, "image-" + base(image)))


class DiskRules:
    """What the options of a backup may say of disks.

    :ivar formats: that a disk may have; :ivar rule: the same in words; :ivar what: what an image is called by.
    :ivar clean: checks that name, and returns it.
    """

    def __init__(self, formats: tuple[str, ...], rule: str, what: str, clean: Callable[[str], str]) -> None:
        self.formats = formats
        self.rule = rule
        self.what = what
        self.clean = clean


#: Disks that are files.
FILES = DiskRules(("raw", "qcow2"), "it must be raw or qcow2", "path", lambda path: clean_path(path, "image"))


def disks_of(options: dict[str, Any], directory: str, in_place: bool, rules: DiskRules = FILES) -> list[BackupDisk]:
    """The disks that are named, in the order of their numbers."""
    images = by_disk(options["images"], "images", rules.what)
    targets = by_disk(options.get("targets") or [], "targets", "target")
    own = {disk_id(item, "persistent") for item in options["persistent"]}
    formats = by_disk(options["disks"], "disks", "format")
    if not formats:
        raise BadCall("There is no disk to back up")
    found = []
    for number in sorted(formats):
        if formats[number] not in rules.formats:
            raise BadCall(f"Disk {number} has the format '{one_line(formats[number], 40)}': {rules.rule}")
        image = rules.clean(images[number]) if images.get(number) else ""
        persistent = in_place and number in own and bool(image)
        path = os.path.join(directory, f"disk.{number}")
        found.append(BackupDisk(number, formats[number], path, image, persistent, targets.get(number, "")))
    return found


def by_disk(items: list[str], option: str, what: str) -> dict[int, str]:
    """``<disk id>:<value>`` items as a mapping."""
    found: dict[int, str] = {}
    for item in items:
        number, colon, value = item.partition(":")
        if not colon:
            raise BadCall(f"'{one_line(item, 80)}' of {option} is not <disk id>:<{what}>")
        if disk_id(number, option) in found:
            raise BadCall(f"Disk {number} stands twice in {option}")
        found[int(number)] = value
    return found


def disk_id(text: str, option: str) -> int:
    """The id of a disk out of an item of an option; ``BadCall`` when it is none."""
    if not _is_number(text):
        raise BadCall(f"'{one_line(text, 40)}' of {option} is not the id of a disk")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
