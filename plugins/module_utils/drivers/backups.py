# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the drivers of backup datastores, ``rsync`` and ``restic``, have in common (contract-ds 10).

``backup`` leads on the VM's host, with the server as its peer. All else leads where the repository lies, so that locks,
journal and workshop lie with the data.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, NoSpace, one_line
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.store import Describe, opened
from ..tools import exports
from ..tools import manifest as manifests
from ..tools.confinement import limits_of
from ..tools.repositories import place_of
from ..tools.sources import rate_of
from .base import Answer, Driver, Plan, Request, base, clean_path, parent
from .space import Room, megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.repositories import Repository, Stored
    from .base import Reply

#: Room that is left on the server beside the backup, in bytes.
_SPARE = 16 << 20


class Increment:
    """One increment of a chain: its number and its reference."""

    def __init__(self, number: int, reference: str) -> None:
        self.number = number
        self.reference = reference

    def __str__(self) -> str:
        return f"{self.number}:{self.reference}"


class Backups(Room, Driver):
    """A backup datastore."""

    kind = "ds"
    peer_actions = ("backup",)
    lending_actions = ("backup",)
    looking = ("stat", "ls", "monitor", "restore")
    answering = ("backup", "increment_flatten")

    # ---------------------------------------------------------------- the repository

    def _place(self, options: dict[str, Any]) -> dict[str, Any]:
        """Where the repository is, seen from the lead: on the peer, else on the lead itself."""
        found = place_of(options, clean_path(options["datastore"], "datastore"), self.name)
        user, _at, host = (options.get("peer") or "").rpartition("@")
        found.update(host=host, user=user, ciphers=options.get("ciphers", ""))
        rate = rate_of(options.get("limit_rate") or "")
        if rate and found["bandwidth"] <= 0:
            # rsync and restic count in KiB
            found["bandwidth"] = max(rate >> 10, 1)
        return found

    def repository(self, request: Request) -> Repository:
        """The repository, for looking."""
        place = self._place(request.options)
        return opened(request.site, place)

    @staticmethod
    def chain_of(options: dict[str, Any]) -> list[Increment]:
        """The increments of a backup, the oldest first; numbers rise."""
        found = []
        for item in options["increments"]:
            number, _colon, reference = item.partition(":")
            if not (number.isascii() and number.isdigit() and len(number) < 10 and reference):
                raise BadCall(f"'{one_line(item, 60)}' is not an increment, such as 0:6da1c7")
            found.append(Increment(int(number), reference))
        if not found:
            raise BadCall("No increments are named")
        numbers = [increment.number for increment in found]
        if numbers != sorted(set(numbers)):
            raise BadCall("The increments are not in their order")
        return found

    def needs_vm(self, options: dict[str, Any]) -> None:
        """``BadCall`` when nothing tells whose backups are meant."""
        if options["vm_id"] < 0 and (self.name == "rsync" or options["backup_job_id"] < 0):
            raise BadCall("The backup tells no VM")

    # ---------------------------------------------------------------- backup

    def claims_backup(self, options: dict[str, Any]) -> list[Claim]:
        import zlib

        folder = self._source(options)
        place = self._place(options)
        # a dead run's work can only be taken back by who has the same repository, and its secrets
        where = zlib.crc32(f"{place['host']}:{place['path']}:{place['backend']}:{place['s3_bucket']}".encode())
        return [Claim(LEAD, parent(parent(folder)), f"backup-{options['vm_id']}-{where:08x}")]

    @staticmethod
    def _source(options: dict[str, Any]) -> str:
        """The directory that is backed up: ``<somewhere>/<vm>/backup`` (contract-ds 10.1)."""
        folder = clean_path(options["source"], "backup")
        if folder.count("/") < 3:
            raise BadCall(f"'{one_line(folder, 120)}' is not the directory of a backup: <datastore>/<vm>/backup")
        if options["vm_id"] < 0:
            raise BadCall(f"'{options['vm_id']}' is not the id of a VM")
        return folder

    def _prepared(self, request: Request) -> tuple[str, list[str], int]:
        """The directory that is backed up, the files in it and the bytes that these have; their order is that of disks.

        :raises Missing: when there is nothing that could be restored.
        """
        folder, lead = self._source(request.options), request.site.lead
        found = {}
        for name in lead.entries(folder):
            info = lead.stat(os.path.join(folder, name)) if manifests.belongs(name) else None
            if info and info["kind"] == "file":
                found[name] = int(info["size"])
        names = sorted(found, key=_order)
        if not any(manifests.disk_of(name) for name in names) or manifests.VM_XML not in names:
            raise Missing(f"The directory {folder} has no disks of a backup, or no vm.xml", lead.name)
        return folder, names, sum(found.values())

    @staticmethod
    def _image_format(names: list[str]) -> str:
        """What oned is told: ``rbd`` by the first disk's name, else ``raw`` (contract-ds 11.1)."""
        first = next((name for name in names if manifests.disk_of(name)), "")
        return "rbd" if exports.is_export(first) else "raw"

    def _describe(self, request: Request, folder: str, names: list[str]) -> list[Step]:
        """Steps that see to it that there is a manifest; one that there is must fit what lies there."""
        if manifests.NAME not in names:
            return [Describe(LEAD, folder, request["vm_id"])]
        told = manifests.read(folder)
        if told is not None:
            manifests.check(folder, told, contents=False)
        return []

    def check_space(self, request: Request, path: str, size: int, where: str = PEER) -> None:
        """``NoSpace`` unless the file system of *path* has room for so many bytes.

        :param path: of what may not be there yet.
        """
        host = request.site.host(where)
        while path != "/" and host.stat(path, follow=True) is None:
            path = parent(path)
        free = host.space(path)["free"]
        if free < size + _SPARE:
            raise NoSpace(
                f"The backup needs {megabytes(size)} MB and {path} has {megabytes(free)} MB free",
                host.name,
                todo="free some space there, or remove old backups",
            )

    @staticmethod
    def _limits(request: Request) -> dict[str, int]:
        """How far the copying is held back."""
        return limits_of(request.options)

    # ---------------------------------------------------------------- backup_cancel

    def claims_backup_cancel(self, options: dict[str, Any]) -> list[Claim]:
        from ..steps.cancel import copying

        folder = clean_path(options["source"], "backup")
        home = parent(folder) if base(folder) == "backup" else folder
        if not copying(self.name, folder) or parent(home) == "/":
            return []
        # what is ended holds the backup itself
        return [Claim(LEAD, parent(home), f"cancel-{base(home)}")]

    def backup_cancel(self, request: Request) -> Reply:
        """End what still copies a backup directory (contract-ds 10.7); what has ended is fine."""
        from ..steps.cancel import EndCopying, copying

        folder = clean_path(request["source"], "backup")
        if not copying(self.name, folder):
            return Answer(path=folder)
        return Plan([EndCopying(LEAD, self.name, folder, request["patience"])])

    # ---------------------------------------------------------------- looking

    def stat(self, request: Request) -> Reply:
        """Size in MB that a disk of a backup has once it is restored, out of its VM's document (contract-ds 11.4)."""
        from ..tools.sources.backup import BackupUrl
        from ..tools.vm_document import disk_size

        url = BackupUrl(request["source"])
        request.options.update(vm_id=url.vm, backup_job_id=url.job if url.job >= 0 else request["backup_job_id"])
        if not request["datastore"]:
            raise BadCall("The option datastore, where the backups are, is missing")
        repository = self.repository(request)
        reference = url.chain[-1][1]
        files = repository.files(reference)
        if url.disk == "tpm":
            size = next((file.size for file in files if file.name == manifests.TPM), -1)
            if size < 0:
                raise Missing(f"The backup {reference} has no state of a TPM", request.site.lead.name)
            return Answer(size=max(1, megabytes(size)))
        document = [file for file in files if file.name == manifests.VM_XML]
        if not document:
            raise Missing(f"The backup {reference} has no vm.xml", request.site.lead.name)
        where = f"vm.xml of the backup {reference}"
        return Answer(size=disk_size(repository.content(reference, document[0].path), int(url.disk), where))

    def ls(self, request: Request) -> Reply:
        """The disks of a backup as pseudo-URLs by their id, and ``tpm`` (contract-ds 11.6, 12.7)."""
        self.needs_vm(request.options)
        chain = self.selected(request.options)
        files = self.repository(request).files(chain[-1].reference)
        return Answer(disks=self.urls(request, chain, files))

    def selected(self, options: dict[str, Any]) -> list[Increment]:
        """The chain up to the increment that is asked for; -1 stands for the last one."""
        chain, wanted = self.chain_of(options), options["increment_id"]
        if wanted >= 0:
            chain = [increment for increment in chain if increment.number <= wanted]
            if not chain or chain[-1].number != wanted:
                raise Missing(f"The backup has no increment {wanted}")
        return chain

    def restore(self, request: Request) -> Reply:
        """What a restore into new objects has to know of a backup (contract-ds 10.5)."""
        from .backups_restore import restore

        return restore(request, self)

    def urls(self, request: Request, chain: list[Increment], files: list[Stored]) -> dict[str, str]:
        """Pseudo-URLs by disk (contract-ds 6.3)."""
        kind = f"{self.name}+rbd" if request["format"] == "rbd" else self.name
        job = request["backup_job_id"]
        words = ",".join(f"{one.number}:{one.reference}" for one in chain)
        start = f"{kind}://{request['datastore_id']}/{job if job >= 0 else ''}/{words}"
        found = {}
        for file in sorted(files, key=lambda file: _order(file.name)):
            place = manifests.disk_of(file.name)
            if place or file.name == manifests.TPM:
                found[str(place[0]) if place else "tpm"] = start + file.path
        if not found:
            raise Missing(f"The backup {chain[-1].reference} has no disks", request.site.lead.name)
        return found

    def backup_verify(self, request: Request) -> Reply:
        """Compare every backup of a chain with its manifest, and the manifests with each other; rehearse a restore."""
        from .backups_verify import rehearsal, verify

        self.needs_vm(request.options)
        repository, chain = self.repository(request), self.chain_of(request.options)
        steps = [] if request.ran else rehearsal(request, self, repository, chain)
        return Plan(steps) if steps else verify(request, repository, chain)

    def claims_backup_verify(self, options: dict[str, Any]) -> list[Claim]:
        """Who only looks claims nothing; the journal of a rehearsal leads to its scratch folder."""
        if options["restore"] == "none":
            return []
        self.needs_vm(options)
        root = clean_path(options["datastore"], "datastore")
        return [Claim(LEAD, root, f"verify-{options['vm_id']}-{options['backup_job_id']}")]

    # ---------------------------------------------------------------- flatten

    def _flattens(self, request: Request) -> tuple[list[Increment], list[Increment]]:
        """The increments that are merged, and those that stay; none when there is nothing to do (contract-ds 10.4)."""
        self.needs_vm(request.options)
        chain, last = self.chain_of(request.options), request["keep_last"]
        if last < 1:
            raise BadCall(f"KEEP_LAST is {last}: at least one increment has to be kept")
        if len(chain) <= last:
            return [], chain
        return chain[: len(chain) - last + 1], chain[len(chain) - last + 1 :]

    @staticmethod
    def _room(work: dict[int, list[tuple[int, Stored]]], size: int) -> int:
        """Bytes that it takes to merge so many; what rbd exports is put together first, and read again as a proof."""
        exported = any(exports.is_export(file.name) for found in work.values() for _index, file in found)
        return 3 * size if exported else size

    def _merging(self, request: Request) -> list[str]:
        """What holds merging back: as copying is, as far as it needs no slice."""
        from ..tools import confinement

        held = {name: value for name, value in self._limits(request).items() if name in ("nice", "ionice")}
        return confinement.command(held, request["datastore_id"], request.site.run)

    @staticmethod
    def _told(merged: Increment, rest: list[Increment], size: int) -> Answer:
        """The answer: MB of the merged one, and the chain that is left."""
        return Answer(size=megabytes(size), chain=[str(increment) for increment in (merged, *rest)])

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """A chain that is short enough is left alone, and a backup without reference has nothing to remove."""
        if action == "rm":
            return not options.get("increments")
        if action != "increment_flatten" or "keep_last" not in options:
            return False
        return bool(0 < len(options["increments"]) <= options["keep_last"])


def merges(
    repository: Repository, merged: list[Increment], rest: list[Increment]
) -> tuple[list[tuple[Increment, list[Stored]]], dict[int, list[tuple[int, Stored]]]]:
    """The files of each increment that is merged, and by disk what is to be merged: (index of the increment, file), the
    oldest first.

    A disk that neither the newest of them nor a later increment has was detached from the VM, and is in no backup that
    stays. A disk that is new in one of them begins there.

    :param rest: the increments that stay as they are.
    """
    files = [(increment, repository.files(increment.reference)) for increment in merged]
    stay = [*files[-1][1], *(file for increment in rest for file in repository.files(increment.reference))]
    wanted = {place[0] for file in stay if (place := manifests.disk_of(file.name))}
    found: dict[int, list[tuple[int, Stored]]] = {}
    for index, (_increment, kept) in enumerate(files):
        for file in kept:
            place = manifests.disk_of(file.name)
            if place and place[0] in wanted:
                found.setdefault(place[0], []).append((index, file))
    return files, found


def _order(name: str) -> tuple[int, int, str]:
    """Disks by their ids as numbers, then the rest."""
    place = manifests.disk_of(name)
    return (place[0], place[1], name) if place else (1 << 30, 0, name)
