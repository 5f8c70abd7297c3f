# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on names of volumes: published, set aside, put into the trash, removed (contract-tm 6.6)."""

from __future__ import annotations

import errno

from ..tools.rbd import UNFINISHED
from .base import Site
from .volume_base import VolumeStep, id_of, leave_alone, purge, shown_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class PublishVolume(VolumeStep):
    """Give a finished volume its name; the volume that has it is set aside first.

    RBD knows no rename over another volume: between the two renames, some hundredths of a second, nothing has the name.
    Whoever settles this puts the old one back.

    :param part: the name that the finished volume has.
    :param aside: the name that the old one gets; empty when there is none.
    :param label: what is written on the new one before, by which a rerun knows it; empty for nothing.
    """

    kind: ClassVar[str] = "publish-volume"

    def __init__(self, pool: str, part: str, name: str, aside: str = "", what: str = "volume", label: str = "") -> None:
        super().__init__(pool, name)
        self.label = label
        self.part = part
        self.aside = aside
        self.what = what
        #: The new volume's id, and the old one's.
        self.id = ""
        self.old = ""

    def evidence(self, site: Site) -> dict[str, Any]:
        cluster = site.volumes()
        return {"id": id_of(cluster, self.pool, self.part), "old": id_of(cluster, self.pool, self.name)}

    def words(self) -> str:
        return f"put the {self.what} {self.shown()} in place" + (", instead of the old one" if self.aside else "")

    def done(self, site: Site) -> bool:
        return bool(self.id) and id_of(site.volumes(), self.pool, self.name) == self.id

    def do(self, site: Site) -> None:
        cluster = site.volumes()
        if self.aside and self.old:
            leave_alone(site, self.pool, [self.name], site.timeouts.stall)
        if self.label:
            cluster.ask("set_label", pool=self.pool, name=self.part, text=self.label)
        if self.aside and self.old:
            cluster.ask("rename", pool=self.pool, name=self.name, new=self.aside)
        cluster.ask("rename", pool=self.pool, name=self.part, new=self.name)

    def undo(self, site: Site) -> None:
        cluster = site.volumes()
        there = id_of(cluster, self.pool, self.name)
        # only what we put there ourselves is taken away
        if there and there == self.id:
            cluster.ask("rename", pool=self.pool, name=self.name, new=self.part)
            there = ""
        if not there and self.old and id_of(cluster, self.pool, self.aside) == self.old:
            cluster.ask("rename", pool=self.pool, name=self.aside, new=self.name)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), self.what


class PublishVolumeForGood(PublishVolume):
    """A publish after which there is no way back. What is cut short in between is undone like any other publish.

    An old volume whose name is of the run's own is deleted when the action is over, also by whoever settles it.
    """

    kind: ClassVar[str] = "publish-volume-for-good"
    final = True

    def complete(self, site: Site) -> None:
        if self.done(site):
            self.ended(site)

    def ended(self, site: Site) -> None:
        cluster = site.volumes()
        if self.old and self.aside.startswith(UNFINISHED) and id_of(cluster, self.pool, self.aside) == self.old:
            purge(cluster, self.pool, self.aside)


class DiscardVolume(VolumeStep):
    """Take a volume out of its place; it is deleted, with its snapshots, when the action is over.

    None of its snapshots may have a clone that stays.

    :param aside: the name that it has until then.
    """

    kind: ClassVar[str] = "discard-volume"

    def __init__(self, pool: str, name: str, aside: str) -> None:
        super().__init__(pool, name)
        self.aside = aside
        self.id = ""

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"id": id_of(site.volumes(), self.pool, self.name)}

    def words(self) -> str:
        return f"delete the volume {self.shown()}"

    def done(self, site: Site) -> bool:
        there = id_of(site.volumes(), self.pool, self.name)
        return not there or bool(self.id and there != self.id)

    def do(self, site: Site) -> None:
        leave_alone(site, self.pool, [self.name], site.timeouts.stall)
        if self.name == self.aside:
            return
        try:
            self.ask(site, "rename", new=self.aside)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # a full pool has no room for another name, and must still be able to give space back
            purge(site.volumes(), self.pool, self.name)

    def undo(self, site: Site) -> None:
        cluster = site.volumes()
        if self.name != self.aside and not id_of(cluster, self.pool, self.name):
            if id_of(cluster, self.pool, self.aside):
                cluster.ask("rename", pool=self.pool, name=self.aside, new=self.name)

    def ended(self, site: Site) -> None:
        purge(site.volumes(), self.pool, self.aside)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), "absent"


class TrashVolume(VolumeStep):
    """Move a volume to the pool's trash, under its own name, with what it holds and its snapshots (CEPH_TRASH)."""

    kind: ClassVar[str] = "trash-volume"

    def __init__(self, pool: str, name: str) -> None:
        super().__init__(pool, name)
        self.id = ""

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"id": id_of(site.volumes(), self.pool, self.name)}

    def words(self) -> str:
        return f"move the volume {self.shown()} to the trash"

    def done(self, site: Site) -> bool:
        there = id_of(site.volumes(), self.pool, self.name)
        return not there or bool(self.id and there != self.id)

    def do(self, site: Site) -> None:
        leave_alone(site, self.pool, [self.name], site.timeouts.stall)
        self.ask(site, "discard")

    def undo(self, site: Site) -> None:
        cluster = site.volumes()
        if self.id and any(item["id"] == self.id for item in cluster.ask("trash", pool=self.pool)):
            cluster.ask("restore", pool=self.pool, number=self.id, name=self.name)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), "absent"


class RenameVolume(VolumeStep):
    """Give a volume another name."""

    kind: ClassVar[str] = "rename-volume"

    def __init__(self, pool: str, name: str, new: str) -> None:
        super().__init__(pool, name)
        self.new = new
        self.id = ""

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"id": id_of(site.volumes(), self.pool, self.name)}

    def words(self) -> str:
        return f"rename the volume {self.shown()} to {shown_volume(self.pool, self.new)}"

    def done(self, site: Site) -> bool:
        there = id_of(site.volumes(), self.pool, self.new)
        return bool(there) and (not self.id or there == self.id)

    def do(self, site: Site) -> None:
        self.ask(site, "rename", new=self.new)

    def undo(self, site: Site) -> None:
        if self.id and id_of(site.volumes(), self.pool, self.new) == self.id:
            site.volumes().ask("rename", pool=self.pool, name=self.new, new=self.name)

    def changes(self) -> tuple[str, str] | None:
        return shown_volume(self.pool, self.new), "volume"


class DropVolume(VolumeStep):
    """Delete a volume that nobody needs; one that cannot be deleted is told of, and is no failure."""

    kind: ClassVar[str] = "drop-volume"

    def words(self) -> str:
        return f"delete the volume {self.shown()}"

    def do(self, site: Site) -> None:
        try:
            purge(site.volumes(), self.pool, self.name)
        except OSError as error:
            site.warn(f"The volume {self.shown()} is left: {error.strerror}")
