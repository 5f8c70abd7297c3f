# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both kinds of repositories can do, and what there is to know of one."""

from __future__ import annotations

from ..._errors import BadCall, Corrupt, Missing, one_line
from .. import manifest as manifests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..host import Host
    from ..progress import Progress
    from ..sources.base import Options, Source

_HEX = frozenset("0123456789abcdef")
#: Largest small file that is read whole, in bytes: a VM's document, a manifest, a TPM's state.
_SMALL = 16 << 20


class Stored:
    """One file of a backup.

    :ivar name: ``disk.0.1``; :ivar path: where it is in the repository, as pseudo-URLs have it (contract-ds 6.3).
    :ivar size: bytes.
    """

    def __init__(self, name: str, path: str, size: int) -> None:
        self.name = name
        self.path = path
        self.size = size


class Kept:
    """What was stored: the reference that oned gets, and the bytes of its files."""

    def __init__(self, reference: str, size: int) -> None:
        self.reference = reference
        self.size = size


class Repository:
    """The backups of one VM, or of one backup job.

    :param place: what :func:`.place_of` made of an action's options: plain data without secrets.
    :param secrets: those of the place by option; they reach tools by their stdin or environment alone.
    :param host: where the work is done: this machine, or the peer of an action.
    :param command: seconds that one look may take; :param stall: seconds without progress of a transfer;
    :param lock: seconds to wait for others who have the repository locked.
    """

    kind = ""
    #: Hexadecimal digits of a reference.
    digits = 0

    def __init__(
        self,
        place: dict[str, Any],
        secrets: dict[str, str],
        host: Host,
        command: float = 3600,
        stall: float = 60,
        lock: float = 120,
    ) -> None:
        self.place = place
        self.secrets = secrets
        self.host = host
        self.command = command
        self.stall = stall
        self.lock = lock

    def check_reference(self, reference: str) -> str:
        """A reference that can be one; anything else could name more than a backup (contract-ds 11.3)."""
        if len(reference) < self.digits or len(reference) > 64 or not _HEX.issuperset(reference):
            raise BadCall(f"'{one_line(reference, 60)}' is not the reference of a backup")
        return reference

    def files(self, reference: str) -> list[Stored]:
        """The files of a backup that belong to one, by name; ``Missing`` when there is no such backup."""
        raise TypeError(f"{type(self).__name__} has no files")

    def source(self, reference: str, path: str, options: Options) -> Source:
        """One file of a backup as a stream of chunks.

        :param path: that of :attr:`Stored.path`.
        """
        raise TypeError(f"{type(self).__name__} gives nothing")

    def space(self) -> dict[str, int] | None:
        """Total, used and free bytes where the repository lies; None where nobody can tell."""
        raise TypeError(f"{type(self).__name__} has no space")

    def store(self, folder: str, names: Sequence[str], target: str, progress: Progress) -> Kept:
        """Store these files of a directory of this machine.

        :param target: rsync: the directory that gets them; restic: the tag that they are found by.
        """
        raise TypeError(f"{type(self).__name__} keeps nothing")

    def remove(self, references: Sequence[str]) -> None:
        """Remove backups; those that are gone are fine."""
        raise TypeError(f"{type(self).__name__} removes nothing")

    # ---------------------------------------------------------------- what follows from these

    def find(self, reference: str, name: str) -> Stored:
        """A file of a backup by its name."""
        for stored in self.files(reference):
            if stored.name == name:
                return stored
        raise Missing(f"The backup {reference} has no file {one_line(name, 60)}", self.host.name)

    def content(self, reference: str, path: str) -> bytes:
        """A small file as a whole: ``vm.xml``, the manifest, a TPM's state."""
        from ..sources.base import Options

        source = self.source(reference, path, Options(stall=self.stall, command=self.command))
        parts, size = [], 0
        try:
            for data in source.chunks():
                parts.append(data)
                size += len(data)
                if size > _SMALL:
                    raise Corrupt(f"The backup's file {path} is larger than {_SMALL >> 20} MB", self.host.name)
        finally:
            source.close()
        return b"".join(parts)

    def manifest(self, reference: str, files: Sequence[Stored] | None = None) -> dict[str, Any] | None:
        """The manifest of a backup; None when it has none.

        :param files: what :meth:`files` gave, to save another look.
        """
        for stored in self.files(reference) if files is None else files:
            if stored.name == manifests.NAME:
                return manifests.parse(self.content(reference, stored.path), f"{stored.path} of {reference}")
        return None
