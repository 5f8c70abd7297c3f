# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on volumes of a Ceph pool and on their snapshots (contract-tm 6.6).

What is built has a name of the run's own (:func:`..tools.rbd.unfinished`) until it is whole; a rename publishes it, and
a rename sets aside what goes. Ids of volumes are the evidence: a name may have become another volume's.
"""

from __future__ import annotations

import errno

from .._errors import StorageError
from ..tools.rbd import UNFINISHED
from .base import Site, shown
from .volume_base import VolumeStep, shown_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


#: Attempts to clone a snapshot that others take away.
_TRIES = 20


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
        pool, name = self.source
        for _try in range(_TRIES):
            try:
                super().do(site)
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
                lost = error
            site.volumes().ask("snapshot", pool=pool, name=name, snapshot=self.snapshot, protect=True)
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
        found = site.volumes().seen(self.pool, self.name)
        return found is not None and found["parent"] is None

    def do(self, site: Site) -> None:
        self.ask(site, "flatten")


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
        found = site.volumes().seen(self.pool, self.name)
        return {"before": found["size"] if found else 0}

    def words(self) -> str:
        return f"let the volume {self.shown()} have {-(-self.size >> 20)} MB"

    def done(self, site: Site) -> bool:
        found = site.volumes().seen(self.pool, self.name)
        return found is not None and int(found["size"]) >= self.size

    def do(self, site: Site) -> None:
        self.ask(site, "resize", size=self.size)

    def undo(self, site: Site) -> None:
        found = site.volumes().seen(self.pool, self.name)
        if found and self.before and found["size"] == self.size:
            self.ask(site, "resize", size=self.before, shrink=True)

    def changes(self) -> tuple[str, str] | None:
        return self.shown(), f"{-(-self.size >> 20)} MB"
