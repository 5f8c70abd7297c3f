# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a backup of volumes: what changed is noted, and that alone is brought out of the cluster (contract-tm 8.4).

Files are written into a workshop, so they need no undoing.
"""

from __future__ import annotations

import os

from .._errors import DeadlineOver, ToolFailed
from .backup import CopyChanges, CopyOut
from .base import LEAD, Site, Step
from .volume_base import VolumeStep, shown_volume, snapshot_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from ..tools.changes import Part


class NoteChanges(VolumeStep):
    """Note what of a volume's snapshot goes into a backup.

    :param before: the snapshot of the increment before; empty to take all.
    :param whole: taking all, zeros too, which hide what earlier increments have there.
    :param part: where it is noted, as :func:`..tools.changes.dump` writes it.
    :param vm: to whose chain the snapshot belongs from now on; -1 for none.
    """

    kind: ClassVar[str] = "note-changes"

    def __init__(self, pool: str, name: str, snapshot: str, before: str, whole: bool, part: str, vm: int) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot
        self.before = before
        self.whole = whole
        self.part = part
        self.vm = vm

    def words(self) -> str:
        return f"see what of {self.shown()} " + (f"changed since {self.before}" if self.before else "there is")

    def do(self, site: Site) -> None:
        site.host(self.where).make_directory(os.path.dirname(self.part))
        if self.vm >= 0:
            self.ask(site, "own", snapshot=self.snapshot, vm=self.vm)
        self.ask(site, "note", snapshot=self.snapshot, before=self.before, whole=self.whole, path=self.part)


class BringVolume(VolumeStep):
    """Write what was noted of a volume's snapshot as one qcow2 file that stands on nothing.

    The data comes into a raw file first, as with stock: qemu-img reads volumes only where its driver for them is
    installed, and the copies that follow are held back as the repository's datastore says.

    :param parts: where it is noted; :param size: virtual size in bytes.
    :param alone: the backup is the first of its chain, so that what has no data in it is zeros anyway.
    :param pace: how the commands are held back.
    """

    kind: ClassVar[str] = "bring-volume"

    def __init__(
        self, pool: str, name: str, snapshot: str, size: int, parts: str, part: str, alone: bool, pace: dict[str, int]
    ) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot
        self.size = size
        self.parts = parts
        self.part = part
        self.alone = alone
        self.pace = pace

    def words(self) -> str:
        return f"write {self.shown(self.snapshot)} to {os.path.basename(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import changes

        def write(raw: str, noted: list[Part]) -> None:
            if self.alone:
                CopyOut(LEAD, raw, "raw", self.part, self.pace, changes.size_of(noted)).do(site)
            else:
                CopyChanges(LEAD, raw, self.size, self.parts, self.part, self.pace, "raw").do(site)

        _picked(self, site, write)


class BringExport(VolumeStep):
    """Write what was noted of a volume's snapshot as rbd exports it, for a chain in stock's old form (contract-tm 8.4).

    The data comes into a raw file first, as in :class:`BringVolume`.

    :param before: the snapshot that the file goes on from; empty for a whole image.
    :param parts: where it is noted.
    """

    kind: ClassVar[str] = "bring-export"

    def __init__(self, pool: str, name: str, snapshot: str, before: str, parts: str, part: str) -> None:
        super().__init__(pool, name)
        self.snapshot = snapshot
        self.before = before
        self.parts = parts
        self.part = part

    def words(self) -> str:
        return f"write {self.shown(self.snapshot)} to {os.path.basename(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import exports_write

        def write(raw: str, noted: list[Part]) -> None:
            if self.before:
                exports_write.changes(raw, self.part, self.before, self.snapshot, noted)
            else:
                exports_write.full(raw, self.part, self.snapshot)

        _picked(self, site, write)


def _picked(step: BringVolume | BringExport, site: Site, write: Callable[[str, list[Part]], None]) -> None:
    """Let a file of a backup be written out of a raw one with what was noted, which goes afterwards."""
    from ..tools import changes

    raw = step.parts + ".raw"
    site.host(step.where).make_directory(os.path.dirname(step.part))
    with open(step.parts, encoding="ascii") as file:
        noted = changes.load(file.read())
    try:
        with site.growing(step.where, raw, step.words(), changes.size_of(noted)):
            step.ask(site, "pick", snapshot=step.snapshot, parts=step.parts, path=raw)
        write(raw, noted)
    finally:
        if os.path.exists(raw):
            os.unlink(raw)


class LiveSnapshots(Step):
    """Take a snapshot of each volume of a running guest, all at one moment, at which the guest is held.

    It is held as it was asked for. Where nothing was asked for, and there are several volumes, its processors stand
    still for that moment all the same: else the disks would be those of several moments.

    :param volumes: pool and name of each, that of the guest's own disk first.
    :param freeze: ``none``, ``agent`` or ``suspend``; :param require: fail when that cannot be.
    :param protect: as stock does with those of chains.
    """

    kind: ClassVar[str] = "live-snapshots"

    def __init__(
        self,
        volumes: list[tuple[str, str]],
        snapshot: str,
        guest: dict[str, Any],
        freeze: str,
        require: bool,
        protect: bool,
    ) -> None:
        super().__init__(LEAD)
        self.volumes = [list(volume) for volume in volumes]
        self.snapshot = snapshot
        self.guest = guest
        self.freeze = freeze
        self.require = require and freeze != "none"
        self.protect = protect
        #: Those that had no such snapshot before.
        self.new: list[list[str]] = []

    def words(self) -> str:
        names = ", ".join(shown_volume(pool, name, self.snapshot) for pool, name in self.volumes)
        return f"take the snapshots {names} of {self.guest['domain']}"

    def evidence(self, site: Site) -> dict[str, Any]:
        cluster = site.volumes()
        return {"new": [one for one in self.volumes if snapshot_of(cluster, one[0], one[1], self.snapshot) is None]}

    def do(self, site: Site) -> None:
        how = self.freeze if self.freeze != "none" else "suspend" if len(self.volumes) > 1 else ""
        reached = self._held(site, how) if how else self._take(site)
        site.figures["consistency"] = reached if self.freeze != "none" else "crash"
        for pool, name in self.volumes if self.protect else []:
            site.volumes().ask("protect", pool=pool, name=name, snapshot=self.snapshot)

    def undo(self, site: Site) -> None:
        cluster = site.volumes()
        for pool, name in self.new:
            if snapshot_of(cluster, pool, name, self.snapshot):
                cluster.ask("forget", pool=pool, name=name, snapshot=self.snapshot)

    def _take(self, site: Site) -> str:
        for pool, name in self.volumes:
            site.volumes().ask("snapshot", pool=pool, name=name, snapshot=self.snapshot)
        return "crash"

    def _held(self, site: Site, how: str) -> str:
        """Take them while the guest is held; the consistency that was reached."""
        from .volume_live import while_held

        seconds, taken = self.guest["freeze_timeout"], []
        guest, what = {**self.guest, "quiesce": how}, f"the disks of {self.guest['domain']}"
        try:
            answer = while_held(site, guest, "/".join(self.volumes[0]), lambda: taken.append(self._take(site)), what)
        except ToolFailed as error:
            if self.require or taken:
                raise
            site.warn(error.sentence)
            return self._take(site)
        reached = str(answer["consistency"])
        if reached == "none":
            said = f"{self.guest['domain']} could not be held within {seconds} seconds"
            if self.require:
                raise DeadlineOver(f"{said}, and it has to be", site.lead.name, todo="raise freeze_timeout")
            site.warn(said)
            return "crash"
        return "suspend" if reached == "paused" else reached
