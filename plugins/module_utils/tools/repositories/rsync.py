# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups as plain files on a server: ``<BASE_PATH>/<vm>/<reference>/`` (contract-ds 11)."""

from __future__ import annotations

import os

from ..._errors import BadCall, DeadlineOver, Missing, NoSpace, ToolFailed, one_line
from .. import manifest as manifests
from .. import ssh
from .base import Kept, Repository, Stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..progress import Progress
    from ..sources.base import Options, Source

#: Options that would let rsync run, read or delete what is no part of a backup.
_NEVER = frozenset(
    "rsh rsync-path remove-source-files log-file daemon config password-file files-from write-batch only-write-batch"
    " read-batch early-input remote-option dry-run list-only".split()
)
#: Options of one letter that do the same: -e, -M, -n.
_NEVER_SHORT = frozenset("eMn")


class Rsync(Repository):
    """A directory for each backup, on the machine of ``host``."""

    kind = "rsync"
    digits = 6

    def folder(self, reference: str) -> str:
        """The directory of a backup."""
        return os.path.join(self.place["path"], str(self.place["vm"]), self.check_reference(reference))

    def files(self, reference: str) -> list[Stored]:
        """The files of a backup that belong to one, by name; ``Missing`` when there is no such backup."""
        folder = self.folder(reference)
        info = self.host.stat(folder)
        if info is None or info["kind"] != "directory":
            raise Missing(f"The backup {folder} is not there", self.host.name)
        found = []
        for name in self.host.entries(folder):
            path = os.path.join(folder, name)
            info = self.host.stat(path) if manifests.belongs(name) else None
            if info and info["kind"] == "file":
                found.append(Stored(name, path, int(info["size"])))
        return found

    def source(self, reference: str, path: str, options: Options) -> Source:
        """One file of a backup as a stream of chunks."""
        if os.path.dirname(path) != self.folder(reference) or not manifests.belongs(os.path.basename(path)):
            raise BadCall(f"{one_line(path, 200)} is not a file of the backup {reference}")
        if not hasattr(self.host, "settings"):
            from ..sources.local import LocalSource

            return LocalSource(path, options)
        from ..sources.remote import ssh_source

        return ssh_source(f"ssh://{self.host.name}:{path}", options)

    def space(self) -> dict[str, int] | None:
        """Total, used and free bytes of the server's file system."""
        return self.host.space(self.place["path"])

    def store(self, folder: str, names: Sequence[str], target: str, progress: Progress) -> Kept:
        """Copy these files of a directory of this machine into a directory of the server, which is there.

        :param target: below BASE_PATH, or in the workshop there.
        """
        from . import tool

        argv = ["rsync", *arguments(self.place.get("args") or []), "--info=progress2", "--no-human-readable", "-s"]
        if self.place.get("bandwidth", -1) > 0:
            argv.append(f"--bwlimit={self.place['bandwidth']}")
        where = target
        if self.place["host"]:
            argv += ["-e", ssh.shell(login_options(self.place))]
            where = f"{login(self.place, brackets=True)}:{target}"
        argv += ["--", *(os.path.join(folder, name) for name in names), where + "/"]

        def heard(line: str) -> bool:
            passed = line.split()[:1]
            count = int(passed[0].replace(",", "")) if passed and passed[0].replace(",", "").isdigit() else 0
            if count <= progress.done:
                return False
            progress.add(count - progress.done)
            return True

        try:
            said = tool.follow([*self.place.get("prefix", []), *argv], self.stall, heard)
        except TimeoutError:
            raise DeadlineOver(f"rsync has sent nothing to {where} for {self.stall:g} seconds") from None
        if said.code:
            raise failure(said.err, said.code, where)
        return Kept("", sum(os.stat(os.path.join(folder, name)).st_size for name in names))


def login_options(place: dict[str, Any]) -> list[str]:
    """ssh as far as the server: over the connection of the action's own session, if that lends it."""
    return ssh.options(ciphers=str(place.get("ciphers", "")), lent=str(place.get("lent", "")))


def login(place: dict[str, Any], brackets: bool = False) -> str:
    """The server of a place as ``user@host``.

    :param brackets: around an address with colons, for tools that part host and path there.
    """
    host = ssh.check_host(place["host"])
    if brackets and ":" in host:
        host = f"[{host}]"
    return f"{ssh.check_user(place['user'])}@{host}" if place.get("user") else host


def arguments(given: Sequence[str]) -> list[str]:
    """RSYNC_ARGS, by default what keeps everything about a file and its holes (contract-ds 11.1).

    :raises BadCall: for options that are about other files than the backup's, or run commands.
    """
    for word in given:
        name = word.partition("=")[0]
        if not word.startswith("-") or name in ("-", "--"):
            raise BadCall(f"RSYNC_ARGS has '{one_line(word, 60)}', which is not an option", todo="write --name=value")
        if name.startswith("--"):
            refused = name[2:] in _NEVER or name.startswith(("--delete", "--include", "--exclude", "--filter"))
        else:
            refused = not _NEVER_SHORT.isdisjoint(name)
        if refused:
            raise BadCall(f"RSYNC_ARGS has '{one_line(word, 60)}', which a backup cannot be given")
    return list(given) or ["-aS"]


def failure(said: str, code: int, where: str) -> NoSpace | ToolFailed:
    """The sentence for an rsync that failed: its last words that tell something."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("rsync error:")]
    reason = one_line(lines[-1] if lines else said or f"it ended with code {code}", 300)
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return NoSpace(f"Cannot copy the backup to {where}: {reason}", todo="free some space there", detail=said)
    return ToolFailed(f"Cannot copy the backup to {where}: {reason}", detail=said)
