# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether backups are what they were when they were made: each against its manifest, the chain as a whole, and if it
is asked for, a restore that is rehearsed in a scratch folder."""

from __future__ import annotations

import os
from contextlib import closing

from .._errors import StorageError
from ..steps.base import LEAD
from ..tools import exports
from ..tools import manifest as manifests
from .base import Answer, Request, clean_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.repositories import Repository, Stored
    from ..tools.sources import Source
    from .backups import Backups, Increment
    from .base import Reply

_NOT_KNOWN = "It has no manifest, so its content cannot be verified"
_READ_ALONE = "It has no manifest: only that its files are whole, and go on where those before end, can be verified"


def verify(request: Request, repository: Repository, chain: list[Increment]) -> Reply:
    """A row for every backup: what is wrong with it, and what its manifest says of it."""
    rows = []
    before: dict[str, Any] | None = None
    exported: dict[int, exports.Chain] = {}
    for index, increment in enumerate(chain):
        row, before = _row(request, repository, increment, index == 0, before)
        _look_at_exports(request, repository, increment, row, exported)
        tried = request.site.figures.get("rehearsed", {}).get(increment.number, {})
        row["restored"] = tried.get("disks", [])
        row["problems"] += tried.get("problems", [])
        rows.append(row)
    # what a rehearsal wrote is gone again
    return Answer(changed=False, backups=rows, sound=not any(row["problems"] for row in rows))


def rehearsal(request: Request, driver: Backups, repository: Repository, chain: list[Increment]) -> list[Step]:
    """Steps that restore each disk of the last backup, or of all of them, to a scratch folder, one after the other."""
    from ..steps.merging import MakeScratch
    from ..steps.rehearse import RehearseRestore

    if request["restore"] == "none":
        return []
    top = clean_path(request["repository_tmp_dir"], "temporary folder")
    scratch = os.path.join(top, f"one_storage-rehearsal-{request.site.run}")
    desk = os.path.dirname(request.shop(driver.claims_backup_verify(request.options)[0]))
    steps: list[Step] = []
    sizes: dict[str, int] = {}
    for index, increment in enumerate(chain):
        try:
            files = repository.files(increment.reference)
            told = repository.manifest(increment.reference, files) or {"files": {}}
        except StorageError:
            # it is told by the look that follows
            continue
        disks = [file for file in files if manifests.disk_of(file.name) or file.name == manifests.TPM]
        for file in disks:
            disk = file.name.split(".")[1]
            sizes[disk] = sizes.get(disk, 0) + file.size
        if not disks or (index < len(chain) - 1 and request["restore"] == "last"):
            continue
        kind = "rbd" if any(exports.is_export(file.name) for file in disks) else ""
        asked = Request(request.action, {**request.options, "datastore_id": 0, "format": kind}, request.site)
        for url in driver.urls(asked, chain[: index + 1], disks).values():
            size = told["files"].get(os.path.basename(url), {}).get("virtual_size", 0)
            steps.append(RehearseRestore(LEAD, repository.place, desk, increment.number, url, size, scratch))
    if not steps:
        return []
    # the files, what they are merged to, and what is made of that
    driver.check_space(request, top, 3 * max(sizes.values()), LEAD)
    return [MakeScratch(LEAD, scratch, top), *steps]


def _row(
    request: Request, repository: Repository, increment: Increment, first: bool, before: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    row: dict[str, Any] = {
        "increment": increment.number,
        "reference": increment.reference,
        "problems": [],
        "notes": [],
        "consistency": "",
        "bytes": 0,
    }
    told: dict[str, Any] | None = None
    try:
        files = repository.files(increment.reference)
        row["bytes"] = sum(file.size for file in files)
        told = repository.manifest(increment.reference, files)
        names = {file.name for file in files}
        if manifests.VM_XML not in names or not any(manifests.disk_of(name) for name in names):
            row["problems"].append(f"The backup {increment.reference} has no disks, or no vm.xml")
        if told is None:
            row["notes"].append(_NOT_KNOWN)
        elif manifests.outdated(told, first):
            row["notes"].append("It was merged by other drivers, and its manifest is of the time before")
            told = None
        else:
            row["consistency"] = told["consistency"]
            row["notes"] += told["warnings"]
            row["problems"] += _in_chain(told, increment, first, before)
            row["problems"] += _files(request, repository, increment, told, files)
    except StorageError as error:
        row["problems"].append(str(error))
    return row, told


def _look_at_exports(
    request: Request, repository: Repository, increment: Increment, row: dict[str, Any], found: dict[int, exports.Chain]
) -> None:
    """Read what rbd exported: whether each file is whole, and goes on where the one before ended. Manifests do not tell
    that, and stock's backups have none.

    :param found: what the disks were up to the increment before.
    """
    if not request["contents"]:
        return
    try:
        files = [file for file in repository.files(increment.reference) if exports.is_export(file.name)]
        for file in files:
            disk = (manifests.disk_of(file.name) or (0, 0))[0]
            chain = found.setdefault(disk, exports.Chain())
            try:
                with closing(_opened(request, repository, increment.reference, file.path)) as source:
                    chain.add(iter(source.chunks()), exports.wanted_of(increment.number))
            except exports.Malformed as error:
                row["problems"].append(f"The file {file.name} is damaged, or not of this chain: {error}")
        if files and row["notes"][-1:] == [_NOT_KNOWN]:
            row["notes"][-1] = _READ_ALONE
    except StorageError as error:
        row["problems"].append(str(error))


def _in_chain(told: dict[str, Any], increment: Increment, first: bool, before: dict[str, Any] | None) -> list[str]:
    """What is wrong with its place in the chain."""
    problems = []
    if told["increment"] != increment.number and not (first and told["mode"] == "full"):
        problems.append(f"It is increment {told['increment']} by its manifest, and stands as {increment.number}")
    if not first and told["mode"] == "full":
        problems.append("It is a full backup by its manifest, and stands in a chain")
    if before and told["mode"] == "increment" and told["parent"] != before["increment"]:
        problems.append(f"It continues increment {told['parent']}, and stands after {before['increment']}")
    return problems


def _files(
    request: Request, repository: Repository, increment: Increment, told: dict[str, Any], files: list[Stored]
) -> list[str]:
    """What is wrong with its files; each is read to its end when contents are wanted."""
    problems = []
    there = {file.name: file for file in files}
    for name in sorted(there.keys() - told["files"].keys() - {manifests.NAME}):
        problems.append(f"The file {name} is not in the manifest")
    for name, entry in told["files"].items():
        file = there.get(name)
        if file is None:
            problems.append(f"The file {name} is not there")
            continue
        try:
            manifests.compare(name, entry, file.size, "")
            if request["contents"]:
                manifests.compare(name, entry, file.size, _digest(request, repository, increment.reference, file.path))
        except StorageError as error:
            problems.append(str(error))
    return problems


def _digest(request: Request, repository: Repository, reference: str, path: str) -> str:
    import hashlib

    taken = hashlib.sha256()
    with closing(_opened(request, repository, reference, path)) as source:
        for data in source.chunks():
            taken.update(data)
    return taken.hexdigest()


def _opened(request: Request, repository: Repository, reference: str, path: str) -> Source:
    from ..tools.sources import Options

    limits = request.site.timeouts
    return repository.source(reference, path, Options(stall=limits.stall, command=limits.command))
