# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of a restore: a disk is put together as a restore would, looked at, and thrown away."""

from __future__ import annotations

import os

from .._errors import Corrupt, Missing, StorageError, ToolFailed
from ..tools import manifest as manifests
from .base import Site
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class RehearseRestore(Store):
    """Restore one disk of a backup to a scratch folder, and prove the image there.

    What is wrong with the backup is noted in ``site.figures["rehearsed"]``, by its increment; what keeps us from
    trying, such as a full disk, is an error.

    :param url: the disk's pseudo-URL (contract-ds 6.3).
    :param size: virtual size in bytes that the manifest tells; 0 when nobody knows.
    :param folder: scratch folder, which is there.
    """

    kind: ClassVar[str] = "rehearse-restore"

    def __init__(
        self, where: str, place: dict[str, Any], desk: str, increment: int, url: str, size: int, folder: str
    ) -> None:
        super().__init__(where, place, desk)
        self.increment = increment
        self.url = url
        self.size = size
        self.folder = folder

    def words(self) -> str:
        from ..tools.sources.backup import BackupUrl

        return f"restore {BackupUrl(self.url).name} to {self.folder}, and look at it"

    def do(self, site: Site) -> None:
        part = os.path.join(self.folder, "rehearsal")
        rows = site.figures.setdefault("rehearsed", {})
        found = rows.setdefault(self.increment, {"disks": [], "problems": []})
        disk = os.path.basename(self.url).split(".")[1]
        progress = self.progress(site)
        try:
            self._fetch(site, part, progress)
            self._prove(site, part)
            found["disks"].append(disk)
            progress.end()
        except (Corrupt, Missing, ToolFailed) as error:
            found["problems"].append(f"Disk {disk} cannot be restored: {error}")
            progress.end(str(error))
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def _fetch(self, site: Site, part: str, progress: Any) -> None:
        from ..tools.intake import File
        from ..tools.sources import Options, open_source

        options = Options(
            stall=site.timeouts.stall, command=site.timeouts.command, secrets=site.secrets, repository=self.place
        )
        source = open_source(self.url, options)
        try:
            file = File(part)
            try:
                for data in source.chunks():
                    file.write(data)
                    progress.add(len(data))
                file.whole()
            finally:
                file.close()
        finally:
            source.close()

    def _prove(self, site: Site, part: str) -> None:
        """An image that stands alone, sound by qemu-img, of the size that was backed up."""
        from ..tools import image_header, stack

        name = os.path.basename(self.url)
        if name == manifests.TPM:
            return
        host = site.host(self.where)
        if not stack.alone(host, part):
            raise Corrupt("the image names others that it stands on", host.name)
        size = os.stat(part).st_size
        site.command(
            self.where, ["qemu-img", "check", "-q", "-f", "qcow2", part], f"check {name}", untrusted=True, size=size
        )
        with open(part, "rb") as file:
            shows = image_header.virtual_size(file.read(image_header.HEAD_BYTES))
        if self.size and shows != self.size:
            raise Corrupt(f"{name} shows {shows} bytes, and its manifest says {self.size}", host.name)
