# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that merges increments in stock's old form, as rbd exports them (contract-ds 10.4).

``rbd merge-diff`` merges differences, but not into a whole image, and needs Ceph's command on the backup server.
"""

from __future__ import annotations

import os

from .._errors import Corrupt
from ..tools import exports
from ..tools.command import going_on
from .base import Site, Step, shown
from .merging import Merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar


class MergeExports(Step):
    """Write a whole image and what follows it as one whole image, and prove it: read again it shows the same.

    It has one snapshot, that of the last file, where the next increment goes on.

    :param chain: increment and path of each file, the oldest first.
    """

    kind: ClassVar[str] = "merge-exports"

    def __init__(self, where: str, chain: list[list[Any]], part: str) -> None:
        super().__init__(where)
        self.chain = chain
        self.part = part

    def words(self) -> str:
        return f"merge {len(self.chain)} increments into {shown(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import exports_write

        folder, name = os.path.split(self.part)
        os.makedirs(folder, exist_ok=True)
        # beside the folder, all of which is stored
        raw, again = f"{folder}.{name}.raw", f"{folder}.{name}.again"
        try:
            with site.growing(self.where, raw, self.words()):
                merged = _laid(raw, self.chain)
            exports_write.full(raw, self.part, merged.snapshot, merged.layout)
            _laid(again, [[self.chain[-1][0], self.part]])
            site.command(
                self.where,
                ["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", raw, again],
                f"compare {shown(self.part)} with what it was merged from",
            )
        finally:
            for path in (raw, again):
                if os.path.exists(path):
                    os.unlink(path)


def _laid(raw: str, chain: list[list[Any]]) -> exports.Laid:
    laid = exports.Laid(raw)
    try:
        for number, path in chain:
            try:
                laid.add(_passing(path), exports.wanted_of(number))
            except exports.Malformed as error:
                raise Corrupt(f"The backup's file {path} cannot be merged: {error}") from None
    finally:
        laid.close()
    return laid


def _passing(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while data := file.read(1 << 20):
            going_on()
            yield data


def stands_alone(paths: list[str]) -> bool:
    """Whether the files of a disk are one that needs no merging."""
    return len(paths) == 1 and not paths[0].endswith(exports.CHANGES)


def merging(where: str, chain: list[list[Any]], folder: str, sparsify: bool, prefix: list[str]) -> Step:
    """The step that merges the files of a disk into one, in their form.

    :param chain: increment and path of each, the oldest first; :param folder: where the new one goes.
    """
    name = os.path.basename(chain[-1][1])
    if exports.is_export(name):
        disk = ".".join(name.split(".")[:2])
        return MergeExports(where, chain, os.path.join(folder, disk + exports.FULL))
    return Merge(where, [path for _number, path in chain], os.path.join(folder, name), sparsify, prefix)
