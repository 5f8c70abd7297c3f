# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that bring backups into a repository, and remove them; those that make and fill one of restic are in
:mod:`.repository`, those that merge in :mod:`.merging`."""

from __future__ import annotations

import os

from .._errors import Corrupt, StorageError
from ..tools import manifest as manifests
from ..tools.hidden import HIDDEN, STATUS
from .base import PEER, Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.progress import Progress
    from ..tools.repositories import Repository
    from ..tools.repositories.restic import Restic


class Describe(Step):
    """Write the manifest of a backup directory that has none: whoever made it tells nothing of the guest's state."""

    kind: ClassVar[str] = "describe"

    def __init__(self, where: str, folder: str, vm: int) -> None:
        super().__init__(where)
        self.folder = folder
        self.vm = vm

    def words(self) -> str:
        return f"describe the files of {shown(self.folder)}"

    def do(self, site: Site) -> None:
        places = [place for place in map(manifests.disk_of, os.listdir(self.folder)) if place]
        told = manifests.build(
            self.folder,
            site.run,
            self.vm,
            disks={},
            increment=max((number for _disk, number in places), default=0),
            consistency="crash",
            warnings=["the backup was prepared by other drivers, which do not tell what state it is of"],
        )
        manifests.write(self.folder, told)


class Store(Step):
    """What all steps on a repository share: where it is, without secrets, and who watches."""

    def __init__(self, where: str, place: dict[str, Any], desk: str) -> None:
        super().__init__(where)
        self.place = place
        #: The workshop that the status file lies beside.
        self.desk = desk

    def repository(self, site: Site) -> Repository:
        """The repository, seen from the lead."""
        return opened(site, self.place)

    def progress(self, site: Site, total: int | None = None) -> Progress:
        """What tells how far it is."""
        from ..tools.progress import Progress

        status = self.desk + STATUS if os.path.basename(os.path.dirname(self.desk)) == HIDDEN else ""
        return Progress(status, os.path.join(self.desk, "status"), site.run, self.words(), total)


class CopyBackup(Store):
    """Copy a backup directory to the server with rsync, into a workshop there, and compare it there with its manifest.

    :param where: the host that gets it.
    :param folder: on the lead; :param part: directory in the workshop there.
    """

    kind: ClassVar[str] = "copy-backup"

    def __init__(
        self, where: str, place: dict[str, Any], desk: str, folder: str, part: str, limits: dict[str, int], store: int
    ) -> None:
        super().__init__(where, place, desk)
        self.folder = folder
        self.part = part
        self.limits = limits
        self.store = store

    def words(self) -> str:
        return f"copy the backup {shown(self.folder)} to {self.place['host'] or self.place['path']}"

    def do(self, site: Site) -> None:
        names = [name for name in sorted(os.listdir(self.folder)) if manifests.belongs(name)]
        told = manifests.read(self.folder)
        if told is None:
            raise Corrupt(f"The backup {self.folder} has lost its manifest")
        site.host(self.where).make_directory(self.part)
        repository = self.repository(site)
        # ssh finds the agent by this, in a slice too
        agent = tuple(name for name in ("SSH_AUTH_SOCK",) if name in os.environ)
        repository.place["prefix"] = confined(site, self.limits, self.store, self.folder, agent)
        progress = self.progress(site, manifests.bytes_in(told))
        try:
            repository.store(self.folder, names, self.part, progress)
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        progress.end()
        self._compare(site, told, names)

    def _compare(self, site: Site, told: dict[str, Any], names: list[str]) -> None:
        """Every byte there against the manifest: what arrives is what was made, or nothing is published."""
        host = site.host(self.where)
        for name in names:
            if name != manifests.NAME and name not in told["files"]:
                raise Corrupt(f"The backup's file {os.path.join(self.folder, name)} is not in its manifest")
        for name, entry in told["files"].items():
            taken, size = host.digest(os.path.join(self.part, name), "sha256")
            manifests.compare(name, entry, size, taken, f"{host.name}:{shown(self.part)}")

    def undo(self, site: Site) -> None:
        unconfined(site, self.limits)


class Forget(Store):
    """Remove snapshots with their data."""

    kind: ClassVar[str] = "forget"
    final = True

    def __init__(self, where: str, place: dict[str, Any], desk: str, references: list[str]) -> None:
        super().__init__(where, place, desk)
        self.references = references

    def words(self) -> str:
        return f"remove the backups {', '.join(self.references)} from {url_of(self.place)}"

    def do(self, site: Site) -> None:
        self.repository(site).remove(self.references)


class ForgetLater(Forget):
    """Remove snapshots that others replace, once somebody has been told of those."""

    kind: ClassVar[str] = "forget-later"
    final = False

    def words(self) -> str:
        return f"replace the backups {', '.join(self.references)} in {url_of(self.place)}"

    def do(self, site: Site) -> None:
        """Nothing yet."""

    def ended(self, site: Site) -> None:
        self.repository(site).remove(self.references)


# ---------------------------------------------------------------- what they share


def opened(site: Site, place: dict[str, Any]) -> Repository:
    """A repository by its place. What has a server and a peer is looked at there, and restic runs on the lead."""
    from ..tools.repositories import open_repository

    where = site.host(PEER) if place["kind"] == "rsync" else site.lead
    timeouts = site.timeouts
    return open_repository(
        {**place, "lent": site.lent}, site.secrets, where, timeouts.command, timeouts.stall, timeouts.lock
    )


def restic(repository: Repository) -> Restic:
    """The repository as what it is."""
    from ..tools.repositories.restic import Restic

    if not isinstance(repository, Restic):
        raise TypeError("this is no repository of restic")
    return repository


def url_of(place: dict[str, Any]) -> str:
    """A repository for people: nothing secret is in a place."""
    from ..tools.repositories.backends import BACKENDS

    found = BACKENDS.get(place["backend"])
    return found.url(place) if found else str(place["path"])


def confined(site: Site, limits: dict[str, int], store: int, path: str, variables: tuple[str, ...] = ()) -> list[str]:
    """What stands in front of a command to hold it back, once its slice is known to systemd."""
    from ..tools import confinement

    if confinement.uses_slice(limits):
        confinement.prepare(site.lead, limits, store, path)
    return confinement.command(limits, store, site.run, variables)


def unconfined(site: Site, limits: dict[str, int], run: str = "") -> None:
    """End what systemd still does for a run."""
    from ..tools import confinement

    if confinement.uses_slice(limits):
        confinement.stop(site.lead, run or site.run)
