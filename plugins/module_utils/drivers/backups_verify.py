# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether backups are what they were when they were made: each against its manifest, and the chain as a whole."""

from __future__ import annotations

from .._errors import StorageError
from ..tools import manifest as manifests
from .base import Answer, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..tools.repositories import Repository, Stored
    from .backups import Increment
    from .base import Reply


def verify(request: Request, repository: Repository, chain: list[Increment]) -> Reply:
    """A row for every backup: what is wrong with it, and what its manifest says of it."""
    rows = []
    before: dict[str, Any] | None = None
    for index, increment in enumerate(chain):
        row, before = _row(request, repository, increment, index == 0, before)
        rows.append(row)
    return Answer(backups=rows, sound=not any(row["problems"] for row in rows))


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
            row["notes"].append("It has no manifest, so its content cannot be verified")
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

    from ..tools.sources import Options

    taken = hashlib.sha256()
    source = repository.source(
        reference, path, Options(stall=request.site.timeouts.stall, command=request.site.timeouts.command)
    )
    try:
        for data in source.chunks():
            taken.update(data)
    finally:
        source.close()
    return taken.hexdigest()
