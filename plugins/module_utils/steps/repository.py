# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that make a repository of restic and store snapshots in it, and take both back."""

from __future__ import annotations

import os

from .._errors import Busy, NoSpace, StorageError, Unreachable
from ..tools import manifest as manifests
from ..tools.repositories.backends import identity
from ..tools.repositories.restic import lies_at
from ..tools.repositories.rsync import login
from ..tools.repositories.unfinished import is_being_made, is_half_made, remove_unfinished
from .base import PEER, Site, shown
from .store import Store, confined, restic, unconfined, url_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from ..tools.host import Host
    from ..tools.repositories.restic import Restic

#: With fewer free bytes a file system is called full: restic writes 16 MiB at a time and removes what did not fit.
_LITTLE = 32 << 20


class MakeRepository(Store):
    """Make a restic repository. It stays: an empty one does no harm, and another run may be using it by now.

    Two who make one at once would leave two keys of which one opens nothing, so it is done under the lock of the
    repository, where that lies; one that was half made is removed first.
    """

    kind: ClassVar[str] = "make-repository"

    def __init__(self, where: str, place: dict[str, Any], desk: str) -> None:
        super().__init__(where, place, desk)
        #: Whether what is half made is somebody else's.
        self.others = False

    def words(self) -> str:
        return f"make the repository {url_of(self.place)}"

    def do(self, site: Site) -> None:
        repository = restic(self.repository(site))
        if not repository.folder:
            repository.initialise()
            return
        host = site.host(PEER) if repository.is_far else site.lead

        def make() -> None:
            if lies_at(host, repository.folder, site.timeouts.command):
                return
            if is_half_made(host, repository.folder, site.timeouts.command):
                if is_being_made(host, repository.folder, site.timeouts.command):
                    self.others = True
                    raise Busy(
                        f"The repository {repository.folder} is being made by somebody else, or was a minute ago",
                        host.name,
                        todo="run it again in two minutes",
                    )
                host.remove(repository.folder, self.place["path"])
            try:
                repository.initialise()
            except StorageError as error:
                raise short_of_space(repository, host, error) from error

        self._alone(site, host, make)

    def undo(self, site: Site) -> None:
        repository = restic(self.repository(site))

        def take_back(host: Host) -> None:
            def remove() -> None:
                if is_half_made(host, repository.folder, site.timeouts.command):
                    host.remove(repository.folder, self.place["path"])

            if host.stat(self.place["path"], follow=True) is not None:
                self._alone(site, host, remove)

        if repository.folder and not self.others:
            where_it_lies(site, repository, take_back)

    def _alone(self, site: Site, host: Host, task: Callable[[], None]) -> None:
        """Do it while nobody else makes or prunes this repository."""
        root, key = self.place["path"], f"repository-{identity(self.place)}"
        host.make_directory(root)
        try:
            host.lock(root, key, False, site.timeouts.lock)
        except BlockingIOError:
            raise Busy(
                f"Another action has held {key} in {root} for more than {site.timeouts.lock:g} seconds",
                host.name,
                todo="wait for it, then run it again",
            ) from None
        try:
            task()
        finally:
            try:
                host.unlock(root, key)
            except Unreachable:
                # it went with the session
                pass


class Snapshot(Store):
    """Store a directory as a snapshot of a restic repository. It is found again by the run's tag.

    :param folder: on the lead, with the files.
    :param words: tags and more of ``restic backup``.
    """

    kind: ClassVar[str] = "snapshot"

    def __init__(
        self,
        where: str,
        place: dict[str, Any],
        desk: str,
        folder: str,
        tags: list[str],
        limits: dict[str, int],
        store: int,
        moment: str = "",
    ) -> None:
        super().__init__(where, place, desk)
        self.folder = folder
        self.tags = tags
        self.limits = limits
        self.store = store
        self.moment = moment
        self.nothing = False
        self.run = ""

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"run": site.run}

    def words(self) -> str:
        return f"store {shown(self.folder)} in {url_of(self.place)}"

    def do(self, site: Site) -> None:
        names = [name for name in sorted(os.listdir(self.folder)) if manifests.belongs(name)]
        repository = restic(self.repository(site))
        words = [f"--tag={tag}" for tag in (*self.tags, run_tag(site.run))]
        words += [f"--time={self.moment}"] if self.moment else []
        held = confined(site, self.limits, self.store, self.folder, tuple(repository.variables()))
        progress = self.progress(site)
        try:
            kept = repository.save([os.path.join(self.folder, name) for name in names], words, progress, held)
        except (OSError, StorageError) as error:
            # restic that could not even begin has left nothing to look for
            if isinstance(error, StorageError):
                self.nothing = not progress.done and error.code in ("no-access", "missing", "unreachable")
                host = site.host(PEER) if repository.is_far else site.lead
                error = short_of_space(repository, host, error) if repository.folder else error
            progress.end(str(error))
            raise error
        progress.end()
        site.figures.update(reference=kept.reference, bytes=kept.size)

    def undo(self, site: Site) -> None:
        unconfined(site, self.limits, self.run)
        if self.nothing:
            return
        repository = restic(self.repository(site))
        if not repository.exists():
            return
        repository.ask("take stale locks off", "unlock", "--quiet")
        left = repository.tagged(run_tag(self.run or site.run))
        if left:
            repository.remove(left, prune=False)
        if repository.folder:
            where_it_lies(
                site, repository, lambda host: remove_unfinished(host, repository.folder, site.timeouts.command)
            )


# ---------------------------------------------------------------- what they share


def where_it_lies(site: Site, repository: Restic, task: Callable[[Host], Any]) -> Any:
    """Do something on the host that has a repository's folder.

    For taking things back: a session of the action that broke, or that is another host's, as when a dead run is
    settled, is replaced by one of its own.
    """
    from ..tools import peer

    if not repository.is_far:
        return task(site.lead)
    name = login(repository.place)
    if site.peer is not None and site.peer.name == name:
        try:
            return task(site.peer)
        except Unreachable:
            pass
    ciphers, stall = str(repository.place.get("ciphers", "")), site.timeouts.stall
    settings = getattr(site.peer, "settings", None) or peer.Settings(ciphers=ciphers, stall=stall)
    fresh = peer.connect(name, settings)
    try:
        return task(fresh)
    finally:
        fresh.close()  # type: ignore[attr-defined]


def short_of_space(repository: Restic, host: Host, error: StorageError) -> StorageError:
    """The error of a restic that could not store something: SFTP has one word for a full disk and all other trouble,
    at which restic tries again for a long time, so the file system is asked how full it is."""
    if error.code not in ("deadline", "tool-failed"):
        return error
    try:
        free = host.space(repository.place["path"])["free"]
    except (OSError, StorageError):
        return error
    if free >= _LITTLE:
        return error
    return NoSpace(
        f"There is no space left for the backup in {repository.folder}: {free >> 20} MB are free",
        host.name,
        todo="free some space there, or remove old backups",
        detail=f"{error.sentence}; {error.detail}",
    )


def run_tag(run: str) -> str:
    """The tag of a run's snapshot."""
    return f"one_storage-{run}"
