# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on the volume of a running guest: the cluster takes a snapshot while libvirt holds the guest."""

from __future__ import annotations

import os

from .._errors import DeadlineOver
from .base import LEAD, Site
from .volume_snapshots import SnapshotVolume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

#: Seconds that libvirt may take beyond those for which the guest may be held.
_PATIENCE = 60.0


def while_held(site: Site, guest: dict[str, Any], volume: str, take: Callable[[], object], what: str) -> dict[str, Any]:
    """Do something while a guest is held, as ``guest["quiesce"]`` says; ``consistency`` is what was reached.

    The process that holds the guest lets it go when this one dies, or takes longer than the guest may be held.

    :param volume: what the guest's disk has to be; :param what: what libvirt is asked about, for sentences.
    """
    from ..tools.child import Child
    from .backup_live import answer_of
    from .live import argv_of

    limit = guest["freeze_timeout"] + _PATIENCE
    child = Child(argv_of(site, "hold", guest, {"volume": volume}))
    try:
        answer_of(site, LEAD, child, limit, what=what)
        take()
        try:
            os.write(child.stdin, b"taken\n")
        except BrokenPipeError:
            # it was too late, and what it has to say about that comes now
            pass
        return answer_of(site, LEAD, child, limit, what=what)
    finally:
        # without its word it lets the guest go all the same
        child.end(limit)


class LiveSnapshot(SnapshotVolume):
    """Take a snapshot of a volume at a moment at which the guest that writes to it is held.

    :param guest: what :func:`.vm_live.guest_of` says.
    """

    kind: ClassVar[str] = "live-snapshot"

    def __init__(self, pool: str, name: str, snapshot: str, guest: dict[str, Any], protect: bool = True) -> None:
        super().__init__(pool, name, snapshot, protect)
        self.guest = guest

    def words(self) -> str:
        return f"take the snapshot {self.shown(self.snapshot)} while {self.guest['domain']} is held"

    def do(self, site: Site) -> None:
        what = f"the disk {self.guest['target']} of {self.guest['domain']}"
        volume = f"{self.pool}/{self.name}"
        answer = while_held(site, self.guest, volume, lambda: self.ask(site, "snapshot", snapshot=self.snapshot), what)
        if answer["consistency"] == "none":
            seconds = self.guest["freeze_timeout"]
            raise DeadlineOver(
                f"{self.guest['domain']} could not be held until the snapshot {self.shown(self.snapshot)} was taken, "
                f"within {seconds} seconds",
                site.lead.name,
                todo="raise freeze_timeout",
            )
        site.figures.update(answer)
        if self.protect:
            self.ask(site, "protect", snapshot=self.snapshot)


class PassingSnapshot(LiveSnapshot):
    """The same, for a copy: the snapshot goes when the action is over."""

    kind: ClassVar[str] = "passing-snapshot"

    def __init__(self, pool: str, name: str, snapshot: str, guest: dict[str, Any]) -> None:
        super().__init__(pool, name, snapshot, guest, protect=False)

    def ended(self, site: Site) -> None:
        self.undo(site)

    def changes(self) -> tuple[str, str] | None:
        return None
