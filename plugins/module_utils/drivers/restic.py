# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``restic``: backups as snapshots of a repository for each VM or backup job (contract-ds 12)."""

from __future__ import annotations

import os

from .._errors import BadCall, Missing
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.merging import DescribeMerged, MakeScratch, TakeOut
from ..steps.merging_exports import merging, stands_alone
from ..steps.repository import MakeRepository, Snapshot
from ..steps.store import Forget, ForgetLater, restic
from ..tools import manifest as manifests
from ..tools.repositories.backends import backend_of, identity
from ..tools.repositories.restic import lies_at
from .backups import Backups, Increment, merges
from .base import Answer, Plan, Request, clean_path
from .space import megabytes, totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.repositories import Stored
    from ..tools.repositories.restic import Restic as Repository
    from .base import Reply

#: Names of temporary folders of ours below RESTIC_TMP_DIR.
_SCRATCH = "one_storage-"


class Restic(Backups):
    """Backups as snapshots."""

    name = "restic"

    def repository(self, request: Request) -> Repository:
        """The repository, for looking."""
        return restic(super().repository(request))

    def _is_far(self, request: Request) -> bool:
        """Whether the repository lies on a server, which is the peer."""
        backend, _full = backend_of(self._place(request.options), request.site.secrets)
        return bool(request.options.get("peer")) and not backend.here

    # ---------------------------------------------------------------- backup

    def backup(self, request: Request) -> Reply:
        """Store the files of the backup directory as a snapshot (contract-ds 12.3)."""
        folder, names, size = self._prepared(request)
        if request.ran:
            figures = request.site.figures
            stored = megabytes(int(figures["bytes"]))
            return Answer(reference=str(figures["reference"]), size=stored, format=self._image_format(names))
        repository = self.repository(request)
        steps: list[Step] = list(self._describe(request, folder, names))
        place = repository.place
        desk = os.path.dirname(request.shop(self.claims_backup(request.options)[0]))
        if self._is_far(request):
            self.check_space(request, place["path"], size, PEER)
            there = lies_at(request.site.host(PEER), os.path.join(place["path"], identity(place)))
        else:
            if not repository.url.startswith("s3:"):
                self.check_space(request, place["path"], size, LEAD)
            there = repository.exists()
        if not there:
            steps.append(MakeRepository(LEAD, place, desk))
        tags = [f"one-{request['vm_id']}"]
        steps.append(Snapshot(LEAD, place, desk, folder, tags, self._limits(request), request["datastore_id"]))
        return Plan(steps)

    # ---------------------------------------------------------------- rm

    def claims_rm(self, options: dict[str, Any]) -> list[Claim]:
        self.needs_vm(options)
        root = clean_path(options["datastore"], "datastore")
        return [Claim(LEAD, root, f"repository-{identity(self._place(options))}")]

    def rm(self, request: Request) -> Reply:
        """Forget every snapshot of a backup and give the room back; those that are gone are fine (contract-ds 12.4)."""
        repository = self.repository(request)
        references = [repository.check_reference(increment.reference) for increment in self.chain_of(request.options)]
        repository.pruning()
        there = repository.known(references) if repository.exists() else []
        if not there:
            return Answer(source=request["source"])
        desk = os.path.dirname(request.shop(self.claims_rm(request.options)[0]))
        return Plan([Forget(LEAD, repository.place, desk, there)])

    # ---------------------------------------------------------------- monitor

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of the file system that holds the repositories (contract-ds 12.6).

        An object store has no such figures: ``-1`` each, and who asked counts what oned knows.
        """
        backend, _full = backend_of({**self._place(request.options), "vm": 0}, request.site.secrets)
        if backend.name == "S3":
            return Answer(total_mb=-1, used_mb=-1, free_mb=-1)
        return Answer(**totals(request))

    # ---------------------------------------------------------------- increment_flatten

    claims_increment_flatten = claims_rm

    def increment_flatten(self, request: Request) -> Reply:
        """Merge the oldest increments into a new snapshot (contract-ds 10.4, 12.9).

        They are taken out into a private folder below RESTIC_TMP_DIR, which goes in any case. The snapshots that were
        merged go when the answer has been given; until then a run that dies leaves what was there.
        """
        merged, rest = self._flattens(request)
        if not merged:
            return Answer(size=0, chain=[])
        if request.ran:
            new = Increment(merged[-1].number, str(request.site.figures["reference"]))
            self.repository(request).find(new.reference, manifests.VM_XML)
            return self._told(new, rest, int(request.site.figures["bytes"]))
        repository = self.repository(request)
        for increment in merged:
            repository.check_reference(increment.reference)
        known = repository.known([one.reference for one in (*merged, *rest)])
        lost = [one for one in (*merged, *rest) if one.reference not in known]
        if lost:
            return self._again(request, repository, merged, rest, lost)
        return Plan(self._merge(request, repository, merged, rest))

    def _again(
        self,
        request: Request,
        repository: Repository,
        merged: list[Increment],
        rest: list[Increment],
        lost: list[Increment],
    ) -> Reply:
        """A run whose answer nobody got may have merged some of them already; its snapshot says so by a tag."""
        for place in range(len(merged) - 1, -1, -1):
            found = repository.tagged(_replaces(merged[place].reference))
            if not found or any(one in (*merged[place + 1 :], *rest) for one in lost):
                continue
            stands = Increment(merged[place].number, found[0][:8])
            left = [stands, *merged[place + 1 :]]
            if len(left) > 1:
                return Plan(self._merge(request, repository, left, rest))
            size = sum(file.size for file in repository.files(stands.reference))
            return self._told(stands, rest, size)
        raise Missing(f"The backup {lost[0].reference} is not in the repository {repository.url}")

    def _merge(
        self, request: Request, repository: Repository, merged: list[Increment], rest: list[Increment]
    ) -> list[Step]:
        newest, place = merged[-1], repository.place
        desk = os.path.dirname(request.shop(self.claims_rm(request.options)[0]))
        snapshot, _files = repository.listing(newest.reference)
        files, work = merges(repository, merged, rest)
        vm = vm_of(files[-1][1], request["vm_id"])
        scratch = os.path.join(clean_path(request["repository_tmp_dir"], "temporary folder"), f"{_SCRATCH}{_random()}")
        # a path that ends like those of backups: the VM's id is read out of it (contract-ds 6.3)
        part = os.path.join(scratch, str(vm), "backup")
        digests = [self._digests(repository, increment, found, index) for index, (increment, found) in enumerate(files)]
        wanted, steps = [], []
        for found in work.values():
            chain: list[list[Any]] = []
            alone = stands_alone([file.name for _index, file in found])
            for index, file in found:
                folder = os.path.join(str(vm), "backup") if alone else f"increments/{index}"
                name = os.path.join(folder, file.name)
                wanted.append([merged[index].reference, file.path, name, digests[index].get(file.name, "")])
                chain.append([merged[index].number, os.path.join(scratch, name)])
            if not alone:
                steps.append(merging(LEAD, chain, part, request["repository_sparsify"], self._merging(request)))
        for file in files[-1][1]:
            if manifests.disk_of(file.name) is None:
                folder = "old" if file.name == manifests.NAME else os.path.join(str(vm), "backup")
                name = os.path.join(folder, file.name)
                wanted.append([newest.reference, file.path, name, digests[-1].get(file.name, "")])
        size = sum(file.size for found in work.values() for _index, file in found)
        self.check_space(request, os.path.dirname(scratch), size + self._room(work, size), LEAD)
        tags = [f"one-{vm}", _replaces(newest.reference)]
        return [
            MakeScratch(LEAD, scratch, os.path.dirname(scratch)),
            TakeOut(LEAD, place, desk, scratch, wanted),
            *steps,
            DescribeMerged(LEAD, part, os.path.join(scratch, "old"), vm, newest.number),
            Snapshot(
                LEAD,
                place,
                desk,
                part,
                tags,
                self._limits(request),
                request["datastore_id"],
                _moment(str(snapshot.get("time", ""))),
            ),
            ForgetLater(LEAD, place, desk, [increment.reference for increment in merged]),
        ]

    @staticmethod
    def _digests(repository: Repository, increment: Increment, files: list[Stored], index: int) -> dict[str, str]:
        told = repository.manifest(increment.reference, files)
        if told is None or manifests.outdated(told, index == 0):
            return {}
        for file in files:
            if file.name in told["files"]:
                manifests.compare(file.name, told["files"][file.name], file.size, "", increment.reference)
        return {name: entry["sha256"] for name, entry in told["files"].items()}


def vm_of(files: list[Stored], known: int) -> int:
    """The VM of a backup: what the caller says, else the folder that its files were in (contract-ds 12.2)."""
    for file in files:
        words = file.path.split("/")
        if known < 0 and len(words) > 2 and words[-2] == "backup" and words[-3].isascii() and words[-3].isdigit():
            return int(words[-3])
    if known < 0:
        raise BadCall("Neither the call nor the paths in the backup tell the VM")
    return known


def _replaces(reference: str) -> str:
    """The tag of a snapshot that has what others had up to this one."""
    return f"one_storage-merged-{reference[:8]}"


def _moment(text: str) -> str:
    """The time of a snapshot as ``restic backup --time`` takes it, in this machine's time zone."""
    import datetime

    try:
        # nine digits of a second are more than Python reads
        head, dot, rest = text.partition(".")
        zone = rest.lstrip("0123456789") if dot else ""
        found = datetime.datetime.fromisoformat(
            head + zone.replace("Z", "+00:00") if dot else text.replace("Z", "+00:00")
        )
    except ValueError:
        return ""
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _random() -> str:
    return os.urandom(6).hex()
