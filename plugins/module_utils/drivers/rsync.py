# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``rsync``: backups as plain files of a server, ``<BASE_PATH>/<vm>/<reference>/`` (contract-ds 11)."""

from __future__ import annotations

import os

from .._errors import Missing
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, Publish, SetAside
from ..steps.merging import DescribeMerged, KeepFile
from ..steps.merging_exports import merging, stands_alone
from ..steps.store import CopyBackup
from ..tools import manifest as manifests
from ..tools import stack
from .backups import Backups, Increment, merges
from .base import Answer, Plan, Request, clean_path
from .space import megabytes, totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.repositories import Stored
    from .base import Reply


class Rsync(Backups):
    """Backups as directories."""

    name = "rsync"

    def __init__(self) -> None:
        # six digits, as stock's references have; tried from here on until one is free
        self._start = int.from_bytes(os.urandom(3), "big")
        self._reference = ""

    # ---------------------------------------------------------------- backup

    def claims_backup(self, options: dict[str, Any]) -> list[Claim]:
        # on the server each run has an object of its own: nothing else may wait for a backup that takes hours
        there = PEER if options["peer"] else LEAD
        root = clean_path(options["datastore"], "datastore")
        return [
            *super().claims_backup(options),
            Claim(there, root, f"new-{options['vm_id']}-{self._start:06x}", fresh=True),
        ]

    def backup(self, request: Request) -> Reply:
        """Copy the backup directory to the server, compare it there, give it its name (contract-ds 11.1)."""
        folder, names, size = self._prepared(request)
        there = PEER if request["peer"] else LEAD
        home = self.claims_backup(request.options)
        root, place = home[1].datastore, self._place(request.options)
        vm_folder = os.path.join(root, str(request["vm_id"]))
        if request.ran:
            return self._kept(request, os.path.join(vm_folder, self._reference), names, there)
        self.check_space(request, root, size, there)
        self._reference = self._free(request, vm_folder, there)
        part = os.path.join(request.shop(home[1]), self._reference)
        desk = os.path.dirname(request.shop(home[0]))
        copy = CopyBackup(there, place, desk, folder, part, self._limits(request), request["datastore_id"])
        return Plan(
            [
                *self._describe(request, folder, names),
                copy,
                MakeDirectory(there, vm_folder, root),
                Publish(there, part, os.path.join(vm_folder, self._reference), root, what="backup"),
            ]
        )

    def _free(self, request: Request, vm_folder: str, there: str) -> str:
        """A reference that nothing has."""
        number = self._start
        while request.look(os.path.join(vm_folder, f"{number:06x}"), there) is not None:
            number = (number + 1) % (1 << 24)
        return f"{number:06x}"

    def _kept(self, request: Request, final: str, names: list[str], there: str) -> Answer:
        size = 0
        for name in names:
            info = request.look(os.path.join(final, name), there)
            if info is None:
                raise Missing(f"The backup {final} has no {name} after it was stored", request.site.host(there).name)
            size += int(info["allocated"])
        return Answer(reference=self._reference, size=megabytes(size), format=self._image_format(names))

    # ---------------------------------------------------------------- rm

    def claims_rm(self, options: dict[str, Any]) -> list[Claim]:
        self.needs_vm(options)
        return [Claim(LEAD, clean_path(options["datastore"], "datastore"), f"vm-{options['vm_id']}")]

    def rm(self, request: Request) -> Reply:
        """Remove every increment of a backup; those that are gone are fine (contract-ds 11.3)."""
        claim = self.claims_rm(request.options)[0]
        steps: list[Step] = []
        for increment in self.chain_of(request.options):
            folder = self._folder(request, increment)
            if request.look(folder):
                aside = os.path.join(request.shop(claim), increment.reference)
                steps.append(Discard(LEAD, folder, aside, claim.datastore, "backup"))
        return Plan(steps) if steps else Answer(source=request["source"])

    def _folder(self, request: Request, increment: Increment) -> str:
        repository = self.repository(request)
        reference = repository.check_reference(increment.reference)
        return os.path.join(repository.place["path"], str(request["vm_id"]), reference)

    # ---------------------------------------------------------------- monitor

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of the server's file system (contract-ds 11.5)."""
        return Answer(**totals(request))

    # ---------------------------------------------------------------- increment_flatten

    claims_increment_flatten = claims_rm

    def increment_flatten(self, request: Request) -> Reply:
        """Merge the oldest increments into the newest of them, which keeps its name (contract-ds 10.4, 11.7).

        The merged one is built beside the stored ones, proven, and takes the newest one's place; the others go when the
        answer has been given. So a run that dies leaves what was there, and one that is asked again finds its own work.
        """
        merged, rest = self._flattens(request)
        if not merged:
            return Answer(size=0, chain=[])
        newest = merged[-1]
        final = self._folder(request, newest)
        there = [increment for increment in merged if request.look(self._folder(request, increment))]
        if newest not in there:
            raise Missing(f"The backup {final} is not there", request.site.lead.name)
        if len(there) == 1 and self._is_whole(request, newest):
            return self._told(newest, rest, self._allocated(request, newest))
        if len(there) < len(merged):
            lost = next(one for one in merged if one not in there)
            # those before one that stands alone were merged into it by a run whose answer nobody got
            if not self._is_whole(request, there[0]) or merged.index(lost) > merged.index(there[0]):
                raise Missing(f"The backup {self._folder(request, lost)} is not there", request.site.lead.name)
        return Plan(self._merge(request, there, rest))

    def _is_whole(self, request: Request, increment: Increment) -> bool:
        """Whether an increment stands on no other.

        Our increments name no backing file, so the manifest counts, unless it speaks of other files: stock's flatten
        leaves the one of the increment that it replaced.
        """
        host, repository = request.site.lead, self.repository(request)
        files = repository.files(increment.reference)
        told = repository.manifest(increment.reference, files)
        if told and told["parent"] >= 0:
            sizes = {file.name: file.size for file in files}
            if all(sizes.get(name) == one["bytes"] for name, one in told["files"].items()):
                return False
        return all(stack.alone(host, file.path) for file in files if manifests.disk_of(file.name))

    def _allocated(self, request: Request, increment: Increment) -> int:
        found = (request.look(file.path) for file in self.repository(request).files(increment.reference))
        return sum(int(info["allocated"]) for info in found if info)

    def _merge(self, request: Request, merged: list[Increment], rest: list[Increment]) -> list[Step]:
        repository = self.repository(request)
        claim = self.claims_rm(request.options)[0]
        shop, root, newest = request.shop(claim), claim.datastore, merged[-1]
        files, work = merges(repository, merged, rest)
        self._check_manifests(request, files)
        part = os.path.join(shop, "merged")
        final = self._folder(request, newest)
        size = sum(file.size for found in work.values() if len(found) > 1 for _index, file in found)
        self.check_space(request, root, self._room(work, size), LEAD)
        steps: list[Step] = []
        for found in work.values():
            chain = [[merged[index].number, file.path] for index, file in found]
            if stands_alone([file.path for _index, file in found]):
                kept = str(chain[0][1])
                steps.append(KeepFile(LEAD, kept, os.path.join(part, os.path.basename(kept)), root))
            else:
                steps.append(merging(LEAD, chain, part, request["repository_sparsify"], self._merging(request)))
        for file in files[-1][1]:
            if manifests.disk_of(file.name) is None and file.name != manifests.NAME:
                steps.append(KeepFile(LEAD, file.path, os.path.join(part, file.name), root))
        steps.append(DescribeMerged(LEAD, part, final, request["vm_id"], newest.number))
        for increment in merged[:-1]:
            folder = self._folder(request, increment)
            steps.append(SetAside(LEAD, folder, os.path.join(shop, f"old-{increment.reference}"), root, "backup"))
        steps.append(Publish(LEAD, part, final, root, os.path.join(shop, "old"), "merged backup"))
        return steps

    def _check_manifests(self, request: Request, files: list[tuple[Increment, list[Stored]]]) -> None:
        """What is merged must be what was stored: an altered increment would be altered for good."""
        for index, (increment, found) in enumerate(files):
            told = self.repository(request).manifest(increment.reference, found)
            if told and not manifests.outdated(told, index == 0):
                manifests.check(self._folder(request, increment), told, contents=not request.site.check)
