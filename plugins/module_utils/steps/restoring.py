# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that make a disk, or a TPM's state, of what came out of a backup. All of it is built in a workshop."""

from __future__ import annotations

import os

from .._errors import Corrupt, Refused, one_line
from .base import Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tarfile import TarInfo
    from typing import ClassVar

#: A TPM's state has some 100 KB; so many bytes are none.
_TPM_BYTES = 64 << 20
_TPM_FILES = 1000


class Arrange(Step):
    """Give what was fetched the name under which it belongs in the workshop."""

    kind: ClassVar[str] = "arrange"

    def __init__(self, where: str, fetched: str, part: str, inside: str) -> None:
        super().__init__(where)
        self.fetched = fetched
        self.part = part
        self.inside = inside

    def words(self) -> str:
        return f"make {shown(self.part)} of {shown(self.fetched)}"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        host.rename(self.fetched, self.part, self.inside)


class DropBitmaps(Step):
    """Take the bitmaps out of a qcow2 image: oned begins a new chain of increments after a restore (contract-tm 8.6).

    :param names: of the bitmaps.
    """

    kind: ClassVar[str] = "drop-bitmaps"

    def __init__(self, where: str, part: str, names: list[str]) -> None:
        super().__init__(where)
        self.part = part
        self.names = names

    def words(self) -> str:
        return f"remove the bitmaps {' '.join(self.names)} of {shown(self.part)}"

    def do(self, site: Site) -> None:
        for name in self.names:
            argv = ["qemu-img", "bitmap", "--remove", "-f", "qcow2", self.part, name]
            site.command(self.where, argv, self.words())


class UnpackTpm(Step):
    """Unpack the state of a TPM, a packed tar of the VM's folder ``tpm`` (contract-tm 8.2): plain files and folders.

    :param folder: what becomes the VM's ``tpm``.
    """

    kind: ClassVar[str] = "unpack-tpm"

    def __init__(self, where: str, archive: str, folder: str, inside: str) -> None:
        super().__init__(where)
        self.archive = archive
        self.folder = folder
        self.inside = inside

    def words(self) -> str:
        return "unpack the state of the TPM"

    def do(self, site: Site) -> None:
        import tarfile

        host = site.host(self.where)
        host.make_directory(self.folder)
        try:
            with tarfile.open(self.archive, "r:gz") as archive:
                entries = archive.getmembers()
                self._check(entries)
                for entry in entries:
                    name = self._name(entry)
                    target = os.path.join(self.folder, name) if name else self.folder
                    if entry.isdir():
                        os.makedirs(target, exist_ok=True)
                        continue
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    content = archive.extractfile(entry)
                    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, entry.mode & 0o777)
                    with os.fdopen(handle, "wb") as file:
                        file.write(content.read() if content else b"")
        except (tarfile.TarError, EOFError, OverflowError) as error:
            raise Corrupt(
                f"The state of the TPM in the backup cannot be unpacked: {one_line(str(error), 120)}"
            ) from None

    @staticmethod
    def _check(entries: list[TarInfo]) -> None:
        if sum(entry.size for entry in entries) > _TPM_BYTES or len(entries) > _TPM_FILES:
            raise Refused("The state of the TPM in the backup is larger than any TPM's")
        for entry in entries:
            if not (entry.isfile() or entry.isdir()) or ".." in entry.name.split("/") or entry.name.startswith("/"):
                raise Refused(
                    f"The state of the TPM in the backup has '{one_line(entry.name, 80)}', which is not a file"
                )

    @staticmethod
    def _name(entry: TarInfo) -> str:
        """The path below ``tpm``, which the archive may or may not begin with."""
        parts = [part for part in entry.name.split("/") if part not in ("", ".")]
        return "/".join(parts[1:] if parts[:1] == ["tpm"] else parts)
