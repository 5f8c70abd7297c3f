# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on volumes of a Ceph pool and on their snapshots (contract-tm 6.6).

What is built has a name of the run's own (:func:`..tools.rbd.unfinished`) until it is whole; a rename publishes it, and
a rename sets aside what goes. Ids of volumes are the evidence: a name may have become another volume's.
"""

from __future__ import annotations

import errno
import time

from .._errors import Busy, StorageError
from ..tools.command import going_on
from ..tools.rbd import UNFINISHED
from .base import LEAD, Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.rbd.cluster import Cluster


#: Attempts to clone a snapshot that others take away.
_TRIES = 20


def shown_volume(pool: str, name: str, snapshot: str = "") -> str:
    """A volume as people should read it: one that is being built goes by the name that it will have."""
    if name.startswith(UNFINISHED):
        name = name.split(".", 2)[-1]
    return f"{pool}/{name}" + (f"@{snapshot}" if snapshot else "")


class VolumeStep(Step):
    """A step on one volume."""

    def __init__(self, pool: str, name: str) -> None:
        super().__init__(LEAD)
        self.pool = pool
        self.name = name

    def shown(self, snapshot: str = "") -> str:
        """The volume, for sentences."""
        return shown_volume(self.pool, self.name, snapshot)

    def standing(self, site: Site, path: str) -> str:
        name, at, snapshot = path.partition("/")[2].partition("@")
        cluster = site.volumes()
        there = snapshot_of(cluster, self.pool, name, snapshot) if at else cluster.look(self.pool, name)
        return ("snapshot" if at else "volume") if there else "absent"

    def ask(self, site: Site, operation: str, **values: Any) -> Any:
        """Call the cluster about this volume."""
        return site.volumes().ask(operation, pool=self.pool, name=self.name, **values)


# -------------------------------------------------------------------- what is built


class NewVolume(VolumeStep):
    """A volume with a name of the run's own; who undoes this removes it."""

    def __init__(self, pool: str, name: str, image_format: int = 2, data_pool: str = "") -> None:
        super().__init__(pool, name)
        self.image_format = image_format
        self.data_pool = data_pool
        if not name.startswith(UNFINISHED):
            raise StorageError(f"The volume {pool}/{name} would not be known again as unfinished")

    def undo(self, site: Site) -> None:
        self.ask(site, "remove")


class CreateVolume(NewVolume):
    """Make an empty volume.

    :param size: bytes.
    """

    kind: ClassVar[str] = "create-volume"

    def __init__(self, pool: str, name: str, size: int, image_format: int = 2, data_pool: str = "") -> None:
        super().__init__(pool, name, image_format, data_pool)
        self.size = size

    def words(self) -> str:
        return f"create an empty volume of {-(-self.size >> 20)} MB for {self.shown()}"

    def do(self, site: Site) -> None:
        self.ask(site, "create", size=self.size, image_format=self.image_format, data_pool=self.data_pool)


class CloneVolume(NewVolume):
    """Make a volume that stands on a protected snapshot; format 2 alone has such ones.

    :param source: pool and name of the volume that has the snapshot.
    :param size: bytes, when it shall be larger than the snapshot; else 0.
    """

    kind: ClassVar[str] = "clone-volume"

    def __init__(
        self, source: tuple[str, str], snapshot: str, pool: str, name: str, data_pool: str = "", size: int = 0
    ) -> None:
        super().__init__(pool, name, 2, data_pool)
        self.source = list(source)
        self.snapshot = snapshot
        self.size = size

    def words(self) -> str:
        return f"clone {shown_volume(self.source[0], self.source[1], self.snapshot)} for {self.shown()}"

    def do(self, site: Site) -> None:
        pool, name = self.source
        cluster = site.volumes()
        more = {"to_pool": self.pool, "to_name": self.name, "data_pool": self.data_pool}
        cluster.ask("clone", pool=pool, name=name, snapshot=self.snapshot, **more)
        if self.size:
            self.ask(site, "resize", size=self.size)


class CloneImage(CloneVolume):
    """Make a VM's disk that stands on an image's snapshot for clones, which every VM of that image shares.

    Whoever deletes the last clone removes the snapshot, perhaps at this very moment: then it is taken again.
    """

    kind: ClassVar[str] = "clone-image"

    def do(self, site: Site) -> None:
        import errno

        pool, name = self.source
        for _try in range(_TRIES):
            try:
                super().do(site)
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
                lost = error
            site.volumes().ask("snapshot", pool=pool, name=name, snapshot=self.snapshot)
            site.volumes().ask("protect", pool=pool, name=name, snapshot=self.snapshot)
        raise lost


class CopyVolume(NewVolume):
    """Copy what a volume, or one of its snapshots, holds into a new one that stands on nothing.

    :param source: pool and name; :param snapshot: empty for what it holds now.
    """

    kind: ClassVar[str] = "copy-volume"

    def __init__(
        self,
        source: tuple[str, str],
        snapshot: str,
        pool: str,
        name: str,
        image_format: int = 2,
        data_pool: str = "",
    ) -> None:
        super().__init__(pool, name, image_format, data_pool)
        self.source = list(source)
        self.snapshot = snapshot

    def words(self) -> str:
        return f"copy {shown_volume(self.source[0], self.source[1], self.snapshot)} for {self.shown()}"

    def do(self, site: Site) -> None:
        pool, name = self.source
        more = {"to_pool": self.pool, "to_name": self.name}
        more_of = {"image_format": self.image_format, "data_pool": self.data_pool}
        site.volumes().ask("copy", pool=pool, name=name, snapshot=self.snapshot, **more, **more_of)


class FillVolume(NewVolume):
    """Make a volume of a raw file of the lead, without its holes and zeros; the volume is of the file's size."""

    kind: ClassVar[str] = "fill-volume"

    def __init__(self, path: str, pool: str, name: str, image_format: int = 2, data_pool: str = "") -> None:
        super().__init__(pool, name, image_format, data_pool)
        self.path = path

    def words(self) -> str:
        return f"write {self.path.rpartition('/')[2]} to {self.shown()}"

    def do(self, site: Site) -> None:
        self.ask(site, "create", size=0, image_format=self.image_format, data_pool=self.data_pool)
        self.ask(site, "fill", path=self.path)


class ExportVolume(VolumeStep):
    """Write what a volume holds into a raw file in a workshop of the lead, holes as holes."""

    kind: ClassVar[str] = "export-volume"

    def __init__(self, pool: str, name: str, part: str, inside: str) -> None:
        super().__init__(pool, name)
        self.part = part
        self.inside = inside

    def words(self) -> str:
        return f"copy {self.shown()} to {shown(self.part)}"

    def do(self, site: Site) -> None:
        import os

        site.lead.make_directory(os.path.dirname(self.part))
        if site.lead.stat(self.part):
            site.lead.remove(self.part, self.inside)
        self.ask(site, "export", snapshot="", path=self.part)


class FlattenVolume(VolumeStep):
    """Copy into a volume what it has from its parent, so that it stands on nothing. There is nothing to take back."""

    kind: ClassVar[str] = "flatten-volume"

    def words(self) -> str:
        return f"copy what {self.shown()} stands on into it"

    def done(self, site: Site) -> bool:
        found = site.volumes().look(self.pool, self.name)
        return found is not None and found["parent"] is None

    def do(self, site: Site) -> None:
        self.ask(site, "flatten")


# -------------------------------------------------------------------- names


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
            leave_alone(site, self.pool, self.name)
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
        there = site.volumes().look(self.pool, self.name)
        return there is None or bool(self.id and there["id"] != self.id)

    def do(self, site: Site) -> None:
        leave_alone(site, self.pool, self.name)
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
        if self.name != self.aside and cluster.look(self.pool, self.name) is None:
            if cluster.look(self.pool, self.aside) is not None:
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
        there = site.volumes().look(self.pool, self.name)
        return there is None or bool(self.id and there["id"] != self.id)

    def do(self, site: Site) -> None:
        leave_alone(site, self.pool, self.name)
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


class ResizeVolume(VolumeStep):
    """Let a volume be larger. What was added holds zeros, and goes again when this is undone.

    :param size: bytes.
    """

    kind: ClassVar[str] = "resize-volume"

    def __init__(self, pool: str, name: str, size: int) -> None:
        super().__init__(pool, name)
        self.size = size
        self.before = 0

    def evidence(self, site: Site) -> dict[str, Any]:
        found = site.volumes().look(self.pool, self.name)
        return {"before": found["size"] if found else 0}

    def words(self) -> str:
        return f"let the volume {self.shown()} have {-(-self.size >> 20)} MB"

    def done(self, site: Site) -> bool:
        found = site.volumes().look(self.pool, self.name)
        return found is not None and int(found["size"]) >= self.size

    def do(self, site: Site) -> None:
        self.ask(site, "resize", size=self.size)

    def undo(self, site: Site) -> None:
        found = site.volumes().look(self.pool, self.name)
        if found and self.before and found["size"] == self.size:
            self.ask(site, "resize", size=self.before, shrink=True)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), f"{-(-self.size >> 20)} MB"


# -------------------------------------------------------------------- snapshots


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
        self.ask(site, "snapshot", snapshot=self.snapshot)
        if self.protect:
            self.ask(site, "protect", snapshot=self.snapshot)

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
            if not self.done(site) and not self.ask(site, "children", snapshot=self.snapshot):
                self.ask(site, "forget", snapshot=self.snapshot)
        except OSError:
            # others clone it, or remove it, in this moment; where it stays, the next clone uses it
            pass


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


# -------------------------------------------------------------------- looking


def id_of(cluster: Cluster, pool: str, name: str) -> str:
    """By what a volume is known whatever its name; empty when it is not there."""
    found = cluster.look(pool, name) if name else None
    return "" if found is None else str(found["id"])


def snapshot_of(cluster: Cluster, pool: str, name: str, snapshot: str) -> dict[str, Any] | None:
    """A snapshot of a volume, or None."""
    volume = cluster.look(pool, name)
    for found in volume["snapshots"] if volume else []:
        if found["name"] == snapshot:
            return dict(found)
    return None


def leave_alone(site: Site, pool: str, name: str) -> None:
    """``Busy`` when somebody has a volume open, and does not close it before the action's data may stall no longer.

    Who died has it open for half a minute yet, as the cluster sees it.
    """
    until, pause = time.monotonic() + site.timeouts.stall, 0.05
    while True:
        volume = site.volumes().look(pool, name)
        if volume is None or not volume["watchers"]:
            return
        if time.monotonic() >= until:
            raise Busy(
                f"The volume {shown_volume(pool, name)} is still open at {', '.join(volume['watchers'])}",
                todo="end what uses it, then run it again",
            )
        going_on()
        time.sleep(pause)
        pause = min(2 * pause, 1)


def purge(cluster: Cluster, pool: str, name: str) -> None:
    """Delete a volume with its snapshots; fine when it is gone."""
    volume = cluster.look(pool, name)
    for snapshot in volume["snapshots"] if volume else []:
        cluster.ask("forget", pool=pool, name=name, snapshot=snapshot["name"])
    cluster.ask("remove", pool=pool, name=name)
