# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on what lies in a pool's trash: back under its name, or deleted for good. How it comes there is
:class:`.volume_names.TrashVolume`."""

from __future__ import annotations

from .base import Site
from .volume_base import VolumeStep, id_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class _Trashed(VolumeStep):
    """A step on a volume of the trash, which is known by its id."""

    def __init__(self, pool: str, number: str, name: str) -> None:
        super().__init__(pool, name)
        self.number = number

    def lies_there(self, site: Site) -> bool:
        """Whether it is in the trash."""
        return any(item["id"] == self.number for item in site.volumes().ask("trash", pool=self.pool))


class RestoreVolume(_Trashed):
    """Take a volume out of the trash, where nothing has its name."""

    kind: ClassVar[str] = "restore-volume"

    def words(self) -> str:
        return f"take the volume {self.shown()} out of the trash"

    def done(self, site: Site) -> bool:
        return id_of(site.volumes(), self.pool, self.name) == self.number

    def do(self, site: Site) -> None:
        site.volumes().ask("restore", pool=self.pool, number=self.number, name=self.name)

    def undo(self, site: Site) -> None:
        if self.done(site):
            self.ask(site, "discard")

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), "volume"


class PurgeVolume(_Trashed):
    """Delete a volume of the trash, with its snapshots, for good."""

    kind: ClassVar[str] = "purge-volume"
    final = True

    def words(self) -> str:
        return f"delete the volume {self.shown()}, which lies in the trash"

    def done(self, site: Site) -> bool:
        return not self.lies_there(site)

    def do(self, site: Site) -> None:
        site.volumes().ask("purge", pool=self.pool, number=self.number)
