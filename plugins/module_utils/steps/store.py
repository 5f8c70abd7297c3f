# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that bring backups into a repository, or take them out of it."""

from __future__ import annotations

import errno
import os

from .._errors import Corrupt, StorageError
from ..tools import manifest as manifests
from ..tools.host import HIDDEN, STATUS
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
        repository.place["prefix"] = confined(site, self.limits, self.store, self.folder)
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


class MakeRepository(Store):
    """Make a restic repository. It stays: an empty one does no harm, and another run may be using it by now."""

    kind: ClassVar[str] = "make-repository"

    def words(self) -> str:
        return f"make the repository {_url(self.place)}"

    def do(self, site: Site) -> None:
        restic(self.repository(site)).initialise()


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
        return f"store {shown(self.folder)} in {_url(self.place)}"

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
            self.nothing = isinstance(error, StorageError) and error.code in ("no-access", "missing", "unreachable")
            progress.end(str(error))
            raise
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


class Forget(Store):
    """Remove snapshots with their data."""

    kind: ClassVar[str] = "forget"
    final = True

    def __init__(self, where: str, place: dict[str, Any], desk: str, references: list[str]) -> None:
        super().__init__(where, place, desk)
        self.references = references

    def words(self) -> str:
        return f"remove the backups {', '.join(self.references)} from {_url(self.place)}"

    def do(self, site: Site) -> None:
        self.repository(site).remove(self.references)


class ForgetLater(Forget):
    """Remove snapshots that others replace, once somebody has been told of those."""

    kind: ClassVar[str] = "forget-later"
    final = False

    def words(self) -> str:
        return f"replace the backups {', '.join(self.references)} in {_url(self.place)}"

    def do(self, site: Site) -> None:
        """Nothing yet."""

    def ended(self, site: Site) -> None:
        self.repository(site).remove(self.references)


class TakeOut(Store):
    """Write files of snapshots to a folder, each compared with its manifest while it comes.

    :param wanted: (reference, path in the repository, name in the folder, SHA-256 or nothing).
    """

    kind: ClassVar[str] = "take-out"

    def __init__(self, where: str, place: dict[str, Any], desk: str, folder: str, wanted: list[list[str]]) -> None:
        super().__init__(where, place, desk)
        self.folder = folder
        self.wanted = wanted

    def words(self) -> str:
        return f"take {len(self.wanted)} files out of {_url(self.place)}"

    def do(self, site: Site) -> None:
        from ..tools.sources import Options

        repository = self.repository(site)
        progress = self.progress(site)
        options = Options(stall=site.timeouts.stall, command=site.timeouts.command)
        try:
            for reference, path, name, digest in self.wanted:
                part = os.path.join(self.folder, name)
                os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
                source = repository.source(reference, path, options)
                try:
                    _write(source, part, digest, progress)
                finally:
                    source.close()
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        progress.end()


def _write(source: Any, part: str, digest: str, progress: Progress) -> None:
    import hashlib

    from ..tools.intake import File

    file, taken = File(part), hashlib.sha256()
    try:
        for data in source.chunks():
            file.write(data)
            taken.update(data)
            progress.add(len(data))
        file.whole()
    finally:
        file.close()
    if digest and taken.hexdigest() != digest:
        raise Corrupt(f"{source.name} is not what was backed up: its SHA-256 digest is another one")


class MakeScratch(Step):
    """Make a private folder for temporary data outside of the datastore; it goes when the action ends."""

    kind: ClassVar[str] = "make-scratch"

    def __init__(self, where: str, path: str, root: str) -> None:
        super().__init__(where)
        self.path = path
        self.root = root

    def words(self) -> str:
        return f"create the temporary folder {self.path}"

    def do(self, site: Site) -> None:
        os.mkdir(self.path, 0o700)

    def undo(self, site: Site) -> None:
        site.host(self.where).remove(self.path, self.root)

    def ended(self, site: Site) -> None:
        self.undo(site)


class Merge(Step):
    """Write a chain of increments as one image, and prove it: checked by qemu-img, and compared with the chain.

    What is merged is opened read-only and each file is told its backing file: nothing is written into it (contract-ds
    11.7).

    :param chain: paths of the qcow2 files, the oldest first.
    """

    kind: ClassVar[str] = "merge"

    def __init__(self, where: str, chain: list[str], part: str, sparsify: bool = False, prefix: Any = None) -> None:
        super().__init__(where)
        self.chain = chain
        self.part = part
        self.sparsify = sparsify
        self.prefix = prefix or []

    def words(self) -> str:
        return f"merge {len(self.chain)} increments into {shown(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import stack

        os.makedirs(os.path.dirname(self.part), exist_ok=True)
        whole = stack.opened(site.host(self.where), self.chain)
        argv = ["qemu-img", "convert", "-q", "-O", "qcow2", whole, self.part]
        site.command(self.where, [*self.prefix, *argv], self.words())
        site.command(self.where, ["qemu-img", "check", "-q", "-f", "qcow2", self.part], f"check {shown(self.part)}")
        site.command(
            self.where,
            [*self.prefix, "qemu-img", "compare", "-q", whole, stack.opened(site.host(self.where), [self.part])],
            f"compare {shown(self.part)} with what it was merged from",
        )
        if self.sparsify:
            self._sparsify(site)

    def _sparsify(self, site: Site) -> None:
        """Give unused blocks back where the tool is installed; without it this was silent in stock too."""
        try:
            site.command(self.where, ["virt-sparsify", "-q", "--in-place", self.part], f"sparsify {shown(self.part)}")
        except FileNotFoundError:
            site.warn("RESTIC_SPARSIFY is set and virt-sparsify is not installed")


class KeepFile(Step):
    """Give a file of a backup a second name in a workshop: it is on one file system, and nobody writes to it."""

    kind: ClassVar[str] = "keep-file"

    def __init__(self, where: str, source: str, part: str, inside: str) -> None:
        super().__init__(where)
        self.source = source
        self.part = part
        self.inside = inside

    def words(self) -> str:
        return f"keep {self.source}"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        try:
            host.hard_link(self.source, self.part, self.inside)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            host.copy(self.source, self.part, self.inside)


class DescribeMerged(Step):
    """Write the manifest of merged increments.

    :param old: the folder with the manifest of the newest of them; it may have none.
    """

    kind: ClassVar[str] = "describe-merged"

    def __init__(self, where: str, folder: str, old: str, vm: int, increment: int) -> None:
        super().__init__(where)
        self.folder = folder
        self.old = old
        self.vm = vm
        self.increment = increment

    def words(self) -> str:
        return f"describe the files of {shown(self.folder)}"

    def do(self, site: Site) -> None:
        old = manifests.read(self.old)
        told = manifests.build_full(self.folder, site.run, self.vm, old, self.increment)
        manifests.write(self.folder, told)


class EndCopying(Step):
    """End the processes of a tool that copy a backup directory: asked first, so that they take their locks off."""

    kind: ClassVar[str] = "end-copying"

    def __init__(self, where: str, tool: str, folder: str, patience: float) -> None:
        super().__init__(where)
        self.tool = tool
        self.folder = folder
        self.patience = patience

    def words(self) -> str:
        return f"end {self.tool}, which copies {self.folder}"

    def done(self, site: Site) -> bool:
        return not copying(self.tool, self.folder)

    def do(self, site: Site) -> None:
        import signal
        import time

        until = time.monotonic() + self.patience
        for pid in copying(self.tool, self.folder):
            _signal(pid, signal.SIGTERM)
        while copying(self.tool, self.folder):
            if time.monotonic() > until:
                raise StorageError(
                    f"Unable to stop leftover {self.tool} processes within {self.patience:g} seconds", site.lead.name
                )
            time.sleep(0.1)


def copying(tool: str, folder: str) -> list[int]:
    """Processes of this user that are the tool and have a path in the folder, or the folder itself, as an argument."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if not name.isdigit() or os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read(1 << 20).decode("utf-8", "replace").split("\0")
        except OSError:
            # it has ended
            continue
        if os.path.basename(words[0]) == tool and any((word + "/").startswith(folder + "/") for word in words[1:]):
            found.append(int(name))
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


# ---------------------------------------------------------------- what they share


def opened(site: Site, place: dict[str, Any]) -> Repository:
    """A repository by its place. What has a server and a peer is looked at there, and restic runs on the lead."""
    from ..tools.repositories import open_repository

    where = site.host(PEER) if place["kind"] == "rsync" else site.lead
    timeouts = site.timeouts
    return open_repository(dict(place), site.secrets, where, timeouts.command, timeouts.stall, timeouts.lock)


def restic(repository: Repository) -> Restic:
    """The repository as what it is."""
    from ..tools.repositories.restic import Restic

    if not isinstance(repository, Restic):
        raise TypeError("this is no repository of restic")
    return repository


def run_tag(run: str) -> str:
    """The tag of a run's snapshot."""
    return f"one_storage-{run}"


def _url(place: dict[str, Any]) -> str:
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
