# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups as snapshots of a restic repository (contract-ds 12).

The password reaches restic by its stdin. Exit code and summary are both looked at. A repository that others have locked
is waited for, and locks whose owner is gone are taken off by ``restic unlock``, which leaves those of the living alone;
before restic 0.17 there is no exit code for it, so it is known by its text.
"""

from __future__ import annotations

import os
import time

from ..._errors import (
    BadCall,
    Busy,
    Cancelled,
    Corrupt,
    DeadlineOver,
    Missing,
    NoAccess,
    NoSpace,
    StorageError,
    ToolFailed,
    Unreachable,
    one_line,
)
from .. import manifest as manifests
from ..codec import loads
from ..command import going_on
from ..restic_words import kind_of, last_words, node
from .backends import backend_of, identity
from .base import Kept, Repository, Stored
from .unfinished import is_half_made, remove_unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..host import Host
    from ..progress import Progress
    from ..sources.base import Options, Source

#: Most bytes of a listing: a repository of a backup job may have thousands of snapshots.
_MOST = 64 << 20
_PAUSES = (0.2, 0.5, 1, 2, 5)
_UNITS = "kKmMgGtT"


class Restic(Repository):
    """One repository."""

    kind = "restic"
    digits = 8

    def __init__(self, place: dict[str, Any], *rest: Any, **named: Any) -> None:
        super().__init__(place, *rest, **named)
        self._backend, self._full = backend_of(place, self.secrets)
        self._heard = ""
        self._listings: dict[str, tuple[dict[str, Any], list[Stored]]] = {}

    # ---------------------------------------------------------------- commands

    @property
    def url(self) -> str:
        """The repository as restic is told."""
        return self._backend.url(self._full)

    @property
    def is_far(self) -> bool:
        """Whether it lies on a server that restic logs in to."""
        return self.url.startswith("sftp:")

    @property
    def folder(self) -> str:
        """The folder that it is, on its server or here; empty for an object store."""
        return "" if self.url.startswith("s3:") else os.path.join(self.place["path"], identity(self.place))

    def argv(self, *words: str, limits: Sequence[str] = ()) -> list[str]:
        """A command line; nothing secret stands in it."""
        place = self.place
        found = [*limits, place.get("program") or "restic", f"--repo={self.url}", *self._backend.options(self._full)]
        if place["bandwidth"] > 0:
            found += [f"--limit-upload={place['bandwidth']}", f"--limit-download={place['bandwidth']}"]
        if place["compression"] in ("off", "max"):
            found.append(f"--compression={place['compression']}")
        return [*found, *words]

    def variables(self) -> dict[str, str]:
        """restic's environment beside the usual one."""
        found = {
            "RESTIC_PASSWORD_FILE": "/dev/stdin",
            "RESTIC_PROGRESS_FPS": "1",
            **self._backend.variables(self._full),
        }
        if self.place["processors"] > 0:
            found["GOMAXPROCS"] = str(self.place["processors"])
        for name in ("SSH_AUTH_SOCK", "XDG_CACHE_HOME"):
            if name in os.environ:
                found[name] = os.environ[name]
        return found

    def password(self) -> bytes:
        """What restic reads: one pair of quotes around it is taken off (contract-ds 12.1)."""
        text = str(self._full["password"])
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        if not text or "\n" in text or "\r" in text or text != text.strip():
            raise BadCall("RESTIC_PASSWORD has line breaks, or blanks at its ends, which restic cannot be given")
        return text.encode() + b"\n"

    def ask(self, doing: str, *words: str) -> str:
        """Run restic to its end where the repository's work is done, waiting for locks; its stdout.

        :param doing: for the sentence: ``list the backup x``.
        """

        def once() -> tuple[int, str, str]:
            try:
                result = self._run(*words)
            except TimeoutError:
                raise DeadlineOver(
                    f"Cannot {doing}: restic did not end within {self.command:g} seconds", self.host.name
                ) from None
            except FileNotFoundError:
                raise Missing("The command restic is not installed", self.host.name) from None
            return int(result["rc"]), str(result["out"]), str(result["err"])

        return self._patiently(doing, once)

    def _run(self, *words: str) -> dict[str, Any]:
        given = self.password().decode()
        return self.host.run(self.argv(*words), self.command, (), given, self.variables(), _MOST)

    def _patiently(self, doing: str, once: Any) -> str:
        until, tries = time.monotonic() + self.lock, 0
        while True:
            code, out, err = once()
            if code == 0:
                self._heard = str(err)
                return str(out)
            error = self.failure(doing, code, f"{err}\n{out}")
            if error.code != "busy" or time.monotonic() >= until:
                raise error
            if tries % len(_PAUSES) == 0:
                # what is left of the dead goes; those who live keep theirs
                self._run("unlock")
            pause = min(_PAUSES[min(tries, len(_PAUSES) - 1)], max(0.05, until - time.monotonic()))
            tries += 1
            end = time.monotonic() + pause
            while time.monotonic() < end:
                try:
                    going_on()
                except InterruptedError:
                    raise Cancelled("The caller went away") from None
                time.sleep(min(0.1, max(0, end - time.monotonic())))

    def failure(self, doing: str, code: int, said: str) -> StorageError:
        """The sentence for a restic that failed."""
        reason = one_line(last_words(said), 300) or f"it ended with code {code}"
        start, host, kind = f"Cannot {doing}", self.host.name, kind_of(code, said)
        if kind == "busy":
            return Busy(
                f"{start}: the repository {self.url} has been locked by others for more than {self.lock:g} seconds",
                host,
                todo="wait for them, or look with restic list locks",
                detail=said,
            )
        if kind == "no-access":
            return NoAccess(
                f"{start}: RESTIC_PASSWORD is not the password of the repository {self.url}", host, detail=said
            )
        if kind == "no-space":
            return NoSpace(f"{start}: {reason}", host, todo="free some space there", detail=said)
        if kind == "unreachable":
            return Unreachable(f"{start}: {reason}", host, detail=said)
        if kind == "absent":
            return Missing(f"{start}: there is no repository {self.url}", host, detail=said)
        return ToolFailed(f"{start}: restic says: {reason}", host, detail=said)

    # ---------------------------------------------------------------- looking

    def exists(self) -> bool:
        """Whether there is a repository; an error when nobody can tell.

        On the file system of this host a look tells. Elsewhere restic has to say that there is none: what cannot be
        reached, is locked or has another password is there, or may be (contract-ds 12.3).
        """
        if self.folder and not self.is_far:
            return lies_at(self.host, self.folder, self.command)
        try:
            self.ask("look for the repository", "cat", "config", "--no-lock", "--quiet")
        except Missing as error:
            if "not installed" in str(error):
                raise
            return False
        return True

    def initialise(self) -> None:
        """Make the repository, unless somebody else did so first."""
        try:
            self.ask("make the repository", "init", "--quiet")
        except StorageError:
            if not self.exists():
                raise

    def listing(self, reference: str) -> tuple[dict[str, Any], list[Stored]]:
        """A snapshot's own record, and its files; asked for once, as a snapshot never changes."""
        if reference not in self._listings:
            self._listings[reference] = self._listing(reference)
        return self._listings[reference]

    def _listing(self, reference: str) -> tuple[dict[str, Any], list[Stored]]:
        doing = f"list the backup {self.check_reference(reference)}"
        said = self.ask(doing, "ls", "--json", "--no-lock", "--quiet", reference)
        snapshot: dict[str, Any] = {}
        found = []
        for line in said.splitlines():
            entry = node(line)
            if entry.get("struct_type") == "snapshot":
                snapshot = entry
            elif entry.get("type") == "file" and manifests.belongs(str(entry.get("name"))):
                found.append(Stored(str(entry["name"]), str(entry["path"]), int(entry.get("size", 0))))
        if not snapshot:
            detail = f"{self._heard}\n{said}"
            raise Missing(f"The backup {reference} is not in the repository {self.url}", self.host.name, detail=detail)
        return snapshot, found

    def files(self, reference: str) -> list[Stored]:
        """The files of a snapshot that belong to a backup."""
        try:
            return self.listing(reference)[1]
        except ToolFailed as error:
            if kind_of(1, error.detail) == "missing":
                raise Missing(
                    f"The backup {reference} is not in the repository {self.url}", self.host.name, detail=error.detail
                ) from None
            raise

    def tagged(self, tag: str) -> list[str]:
        """References of the snapshots with a tag, the full ones."""
        said = self.ask("list the backups", "snapshots", "--json", "--no-lock", "--quiet", f"--tag={tag}")
        return [str(item.get("id", "")) for item in _list(said)]

    def known(self, references: Sequence[str]) -> list[str]:
        """Those of the references that the repository has."""
        said = self.ask("list the backups", "snapshots", "--json", "--no-lock", "--quiet")
        ids = [str(item.get("id", "")) for item in _list(said)]
        return [ref for ref in references if any(number.startswith(ref) for number in ids)]

    def source(self, reference: str, path: str, options: Options) -> Source:
        """One file of a snapshot as a stream of chunks, from a restic that runs on this machine."""
        from ..sources.stdout import CommandSource

        doing = f"read {path} of the backup {self.check_reference(reference)}"
        return CommandSource(
            self.argv("--quiet", "dump", reference, path),
            f"{self.url} {reference} {path}",
            options,
            lambda said, code, _begun: self.failure(doing, code, said),
            lambda said: kind_of(1, said) == "busy",
            variables=self.variables(),
            stdin=self.password(),
            end="INT",
        )

    def space(self) -> dict[str, int] | None:
        """Total, used and free bytes of the file system; None for what has no such thing."""
        if self.is_far or not self.folder:
            return None
        return self.host.space(self.place["path"])

    # ---------------------------------------------------------------- doing

    def store(self, folder: str, names: Sequence[str], target: str, progress: Progress) -> Kept:
        """Back these files of a directory of this machine up, each by its path (contract-ds 12.3).

        :param target: further words: tags, a time.
        """
        return self.save([os.path.join(folder, name) for name in names], [f"--tag={target}"], progress)

    def save(self, paths: Sequence[str], words: Sequence[str], progress: Progress, limits: Sequence[str] = ()) -> Kept:
        """Make a snapshot of files of this machine.

        restic has read each of them from end to end when its summary says so, and what it has stored it has compared
        with digests of its own; asking it again for a list would cost as much as a small backup does.

        :param words: more options: ``--tag=…``, ``--time=…``.
        :param limits: a command in front of restic that holds it back.
        """
        from . import tool

        found: dict[str, Any] = {}

        def heard(line: str) -> bool:
            told = node(line)
            kind = told.get("message_type")
            if kind == "summary":
                found.update(told)
            count = int(told.get("bytes_done", 0)) if kind == "status" else 0
            if kind == "status" and told.get("total_bytes"):
                progress.total = int(told["total_bytes"])
            if count <= progress.done:
                return kind == "summary"
            progress.add(count - progress.done)
            return True

        def once() -> tuple[int, str, str]:
            found.clear()
            try:
                argv = self.argv("backup", "--force", "--json", *words, "--", *paths, limits=limits)
                said = tool.follow(argv, self.stall, heard, self.password(), self.variables())
            except TimeoutError:
                raise DeadlineOver(
                    f"restic has stored nothing in {self.url} for {self.stall:g} seconds", self.host.name
                ) from None
            except FileNotFoundError as error:
                raise Missing(f"The command {error.filename} is not installed", self.host.name) from None
            return said.code, said.out, said.err

        self._patiently(f"back up to {self.url}", once)
        reference = str(found.get("snapshot_id", ""))
        if not reference:
            raise Corrupt(f"restic ended well and named no snapshot in {self.url}", self.host.name)
        stored = (int(found.get("total_files_processed", 0)), int(found.get("total_bytes_processed", 0)))
        wanted = (len(paths), sum(os.stat(path).st_size for path in paths))
        if stored != wanted:
            raise Corrupt(
                f"The snapshot {reference[:8]} of {self.url} has {stored[0]} files of {stored[1]} bytes in all, and not"
                f" {wanted[0]} of {wanted[1]}",
                self.host.name,
            )
        return Kept(reference[:8], stored[1])

    def remove(self, references: Sequence[str], prune: bool = True) -> None:
        """Forget snapshots; those that are gone are fine. Their data goes with *prune* (contract-ds 12.4)."""
        there = self.known([self.check_reference(reference) for reference in references])
        if not there:
            return
        words = ["forget", "--quiet", *there]
        if prune:
            words += ["--prune", *self.pruning()]
        self.ask(f"remove the backups {' '.join(there)}", *words)
        if prune and self.folder and not self.is_far:
            remove_unfinished(self.host, self.folder, self.command)

    def pruning(self) -> list[str]:
        """How much may stay unused, and how much is packed anew at most (contract-ds 12.1)."""
        unused, repack = self.place["prune_max_unused"], self.place["prune_max_repack"]
        if unused and unused != "unlimited" and not _amount(unused, _UNITS + "%"):
            raise BadCall(f"RESTIC_PRUNE_MAX_UNUSED is '{one_line(unused, 40)}', not a size, a part or 'unlimited'")
        if repack and not _amount(repack, _UNITS):
            raise BadCall(f"RESTIC_PRUNE_MAX_REPACK is '{one_line(repack, 40)}', not a size such as 10G")
        return [f"--max-unused={unused or '0'}", *([f"--max-repack-size={repack}"] if repack else [])]


def lies_at(host: Host, path: str, seconds: float = 60) -> bool:
    """Whether there is a repository at a path of a host; what is damaged is one all the same, and never made anew.

    :param seconds: that a look through it may take.
    :raises Corrupt: there is something that has lost its config.
    """
    if host.stat(os.path.join(path, "config")) is not None:
        return True
    left = [name for name in host.entries(path) if name in ("keys", "data", "snapshots", "index")]
    if any(host.entries(os.path.join(path, name)) for name in left) and not is_half_made(host, path, seconds):
        raise Corrupt(f"The repository {path} has lost its file config", host.name, todo="bring it back from a copy")
    return False


def _amount(text: str, units: str) -> bool:
    digits = text[:-1] if text[-1] in units else text
    return digits.isascii() and digits.isdigit()


def _list(text: str) -> list[dict[str, Any]]:
    try:
        found = loads(text.strip().encode() or b"[]")
    except ValueError:
        raise Corrupt("restic's list of snapshots is not JSON", detail=text) from None
    return [item for item in found or [] if isinstance(item, dict)]
