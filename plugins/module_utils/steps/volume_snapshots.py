# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on snapshots of volumes (contract-tm 6.6)."""

from __future__ import annotations

from .base import Site
from .volume_base import VolumeStep, snapshot_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class SnapshotVolume(VolumeStep):
    """Take a snapshot of a volume and protect it, as stock does with all of its own (format 2 alone can)."""

    kind: ClassVar[str] = "snapshot-volume"

    def __init__(self, pool: str, name: str, snapshot: str, protect: bool = True) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot
        self.protect = protect
        self.made = False

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"made": snapshot_of(site.volumes(), self.pool, self.name, self.snapshot) is None}

    def words(self) -> str:
        return f"take the snapshot {self.shown(self.snapshot)}"

    def done(self, site: Site) -> bool:
        found = snapshot_of(site.volumes(), self.pool, self.name, self.snapshot)
        return found is not None and (found["protected"] or not self.protect)

    def do(self, site: Site) -> None:
        self.ask(site, "snapshot", snapshot=self.snapshot, protect=self.protect)

    def undo(self, site: Site) -> None:
        if self.made and snapshot_of(site.volumes(), self.pool, self.name, self.snapshot):
            # what somebody cloned meanwhile stays
            if not self.ask(site, "children", snapshot=self.snapshot):
                self.ask(site, "forget", snapshot=self.snapshot)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(self.snapshot), "snapshot"


class ForgetSnapshot(VolumeStep):
    """Remove a snapshot, protected or not: a point of no return. One that has clones stays, which is an error."""

    kind: ClassVar[str] = "forget-snapshot"
    final = True

    def __init__(self, pool: str, name: str, snapshot: str) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot

    def words(self) -> str:
        return f"remove the snapshot {self.shown(self.snapshot)}"

    def done(self, site: Site) -> bool:
        return snapshot_of(site.volumes(), self.pool, self.name, self.snapshot) is None

    def do(self, site: Site) -> None:
        self.ask(site, "forget", snapshot=self.snapshot)

    def undo(self, site: Site) -> None:
        # one that lost its protection alone gets it back
        found = snapshot_of(site.volumes(), self.pool, self.name, self.snapshot)
        if found and not found["protected"]:
            self.ask(site, "protect", snapshot=self.snapshot)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(self.snapshot), "absent"


class ReleaseBase(VolumeStep):
    """Remove an image's snapshot for clones once the action is over, unless something stands on it.

    It is taken again for the next clone, so there is nothing to undo.
    """

    kind: ClassVar[str] = "release-base"

    def __init__(self, pool: str, name: str, snapshot: str) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot

    def words(self) -> str:
        return f"remove {self.shown(self.snapshot)} if nothing stands on it any more"

    def done(self, site: Site) -> bool:
        return snapshot_of(site.volumes(), self.pool, self.name, self.snapshot) is None

    def do(self, site: Site) -> None:
        """Nothing yet: what goes still stands on it."""

    def ended(self, site: Site) -> None:
        try:
            if not self.ask(site, "children", snapshot=self.snapshot):
                self.ask(site, "forget", snapshot=self.snapshot)
        except OSError:
            # it is gone, or others clone it, or remove it, in this moment; where it stays, the next clone uses it
            pass
