# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a backup: what changed is found, room is looked for, disks are copied out, the manifest is written.

All of it is written into a workshop, so nothing needs undoing.
"""

from __future__ import annotations

import os

from .._errors import NoSpace, StorageError, ToolFailed, one_line
from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.changes import Part

#: A copy may take a second more for each so many bytes: no disk that can be worked with is slower.
_BYTES_PER_SECOND = 4 << 20
#: Of all that qemu-img says of a disk's extents, in bytes.
_MAP_BYTES = 1 << 30
#: Beside what it holds a qcow2 file has its tables; so many bytes for each TiB, and some in any case.
_TABLES, _TABLES_PER_TIB = 4 << 20, 256 << 20


class FindChanges(Step):
    """Find out what of a disk changed since an increment, and note it in the workshop.

    :param layer: the file that is written to, with its chain sound.
    :param mark: the bitmap that was begun with the increment before; empty to go by layers.
    :param depth: how deep the layer lies which is the disk as it was then; 0 to take the whole disk.
    :param part: where the parts are noted.
    """

    kind: ClassVar[str] = "find-changes"

    def __init__(self, where: str, layer: str, mark: str, depth: int, size: int, part: str) -> None:
        super().__init__(where)
        self.layer = layer
        self.mark = mark
        self.depth = depth
        self.size = size
        self.part = part

    def words(self) -> str:
        since = f"since {self.mark}" if self.mark else f"in the layers above {self.depth}" if self.depth else "ever"
        return f"see what of {self.layer} changed {since}"

    def do(self, site: Site) -> None:
        from ..tools import changes

        parts = self.found(site)
        os.makedirs(os.path.dirname(self.part), exist_ok=True)
        with open(self.part, "w", encoding="ascii") as file:
            file.write(changes.dump(parts))

    def found(self, site: Site) -> list[Part]:
        """What changed."""
        from ..tools import bitmaps, changes

        if self.mark:
            bitmap = bitmaps.find(self.layer, self.mark)
            if bitmap is None or not bitmap.sound:
                raise StorageError(f"The bitmap {self.mark} of {self.layer} went away")
            return [(changes.COPY, offset, length) for offset, length in bitmaps.changed(self.layer, bitmap, self.size)]
        extents = self.mapped(site, ["-f", "qcow2", self.layer])
        return changes.above(extents, self.depth) if self.depth else changes.everything(extents)

    def mapped(self, site: Site, which: list[str]) -> list[dict[str, Any]]:
        """What qemu-img says of the extents of a disk.

        :param which: its last arguments.
        """
        from ..tools.codec import loads
        from ..tools.command import run

        result = run(["qemu-img", "map", "--output=json", *which], site.timeouts.command, most=_MAP_BYTES)
        if result["rc"] != 0:
            said = str(result["err"]).strip() or f"code {result['rc']}"
            raise ToolFailed(f"Cannot {self.words()}: {one_line(said.splitlines()[-1], 300)}", site.lead.name)
        extents: list[dict[str, Any]] = loads(str(result["out"]).encode())
        return extents


class LookForRoom(Step):
    """Fail before anything is written, when there is no room for it.

    :param folder: a directory of the file system that is written to.
    :param size: bytes of disks that are copied whole, at most.
    :param sizes: virtual sizes in bytes of all disks.
    :param parts: where parts of other disks are noted.
    """

    kind: ClassVar[str] = "look-for-room"

    def __init__(self, where: str, folder: str, size: int, sizes: list[int], parts: list[str]) -> None:
        super().__init__(where)
        self.folder = folder
        self.size = size
        self.sizes = sizes
        self.parts = parts

    def words(self) -> str:
        return f"look whether there is room for the backup in {self.folder}"

    def do(self, site: Site) -> None:
        from ..tools import changes

        host = site.host(self.where)
        needed = self.size + sum(_TABLES + _TABLES_PER_TIB * (size >> 30) // 1024 for size in self.sizes)
        for part in self.parts:
            with open(part, encoding="ascii") as file:
                needed += changes.size_of(changes.load(file.read()))
        free = host.space(self.folder)["free"]
        if needed > free:
            raise NoSpace(
                f"There is no room for the backup in {self.folder}: it may take {_megabytes(needed)} MB, "
                f"and {_megabytes(free)} MB are free",
                host.name,
                todo="make room, or set BACKUP_BASE_PATH to a folder that has some",
            )


def _megabytes(size: int) -> int:
    return -(-size // (1 << 20))


class CopyOut(Step):
    """Write a disk, with its chain folded in, as one qcow2 file.

    :param pace: how the command is held back: see :func:`held_back`.
    :param size: bytes that are read, at most.
    """

    kind: ClassVar[str] = "copy-out"

    def __init__(self, where: str, source: str, source_format: str, part: str, pace: dict[str, int], size: int) -> None:
        super().__init__(where)
        self.source = source
        self.source_format = source_format
        self.part = part
        self.pace = pace
        self.size = size

    def words(self) -> str:
        return f"write all of {self.source} to {os.path.basename(self.part)}"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "convert", "-q", "-f", self.source_format, "-O", "qcow2"]
        site.host(self.where).make_directory(os.path.dirname(self.part))
        more = self.size // _BYTES_PER_SECOND
        with site.growing(self.where, self.part, self.words(), self.size):
            held_back(site, self, self.pace, [*argv, self.source, self.part], more)


class CopyChanges(Step):
    """Write what changed of a disk as one qcow2 file that stands on nothing.

    :param layer: what it is read from: a file that nobody writes to, or what a backup job of a guest shows.
    :param size: virtual size in bytes.
    :param parts: where the parts are noted.
    :param pace: how the commands are held back.
    :param layer_format: of what it is read from.
    """

    kind: ClassVar[str] = "copy-changes"

    def __init__(
        self,
        where: str,
        layer: str,
        size: int,
        parts: str,
        part: str,
        pace: dict[str, int],
        layer_format: str = "qcow2",
    ) -> None:
        super().__init__(where)
        self.layer_format = layer_format
        self.layer = layer
        self.size = size
        self.parts = parts
        self.part = part
        self.pace = pace

    def words(self) -> str:
        return f"write what changed of {self.layer} to {os.path.basename(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import changes

        site.host(self.where).make_directory(os.path.dirname(self.part))
        with open(self.parts, encoding="ascii") as file:
            parts = changes.load(file.read())
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", self.layer_format, "-b", self.layer]
        site.command(self.where, [*create, self.part, str(self.size)], self.words())
        with site.growing(self.where, self.part, self.words(), changes.size_of(parts)):
            for orders, size in changes.orders(parts):
                # what is written is brought to disk when it is published
                argv = ["qemu-io", "-C", "-f", "qcow2", "-t", "unsafe", *orders, self.part]
                held_back(site, self, self.pace, argv, size // _BYTES_PER_SECOND)
        alone = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", "", self.part]
        site.command(self.where, alone, self.words())


def held_back(site: Site, step: Step, pace: dict[str, int], argv: list[str], more: int) -> None:
    """Run a command that copies, held back as the repository's datastore says (contract-ds 10.6).

    :param pace: limits by option, and the datastore's id, ``store``; empty for none.
    :param more: seconds that it may take beyond the usual deadline.
    """
    if not pace:
        site.command(step.where, argv, step.words(), more=more)
        return
    from ..tools.confinement import session
    from .store import confined, unconfined

    limits = {name: value for name, value in pace.items() if name != "store"}
    before = confined(site, limits, pace["store"], os.path.dirname(argv[-1]))
    try:
        site.command(step.where, [*before, *argv], step.words(), more=more, variables=session())
    except BaseException:
        # what systemd runs is no child of ours
        unconfined(site, limits)
        raise


class KeepDocument(Step):
    """Write the VM's document, in base64 with lines as stock writes them (contract-tm 8.2).

    It may have passwords in it, so it comes from :attr:`.Site.secrets` and stands in no journal.
    """

    kind: ClassVar[str] = "keep-document"
    _LINE = 45

    def __init__(self, where: str, part: str) -> None:
        super().__init__(where)
        self.part = part

    def words(self) -> str:
        return "write the virtual machine's document to vm.xml"

    def do(self, site: Site) -> None:
        import binascii

        data = site.secrets["document"].encode()
        lines = [binascii.b2a_base64(data[start : start + self._LINE]) for start in range(0, len(data), self._LINE)]
        os.makedirs(os.path.dirname(self.part), exist_ok=True)
        with open(self.part, "wb") as file:
            file.write(b"".join(lines))


class KeepTpm(Step):
    """Pack the state of a VM's TPM, as ``disk.tpm.0``: a gzipped tar of its directory ``tpm`` (contract-tm 8.2).

    :param script: OpenNebula's script that copies what libvirt has; run with sudo where sudo lets us.
    """

    kind: ClassVar[str] = "keep-tpm"

    def __init__(self, where: str, directory: str, uuid: str, script: str, part: str) -> None:
        super().__init__(where)
        self.directory = directory
        self.uuid = uuid
        self.script = script
        self.part = part

    def words(self) -> str:
        return f"pack the state of the TPM of {self.uuid}"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        self._fetch(site)
        state = host.stat(os.path.join(self.directory, "tpm"))
        if not state or state["kind"] != "directory":
            site.warn(f"The virtual machine has a TPM, and its state is not in {self.directory}/tpm: it is not kept")
            return
        host.make_directory(os.path.dirname(self.part))
        site.command(self.where, ["tar", "-czf", self.part, "-C", self.directory, "tpm"], self.words())

    def _fetch(self, site: Site) -> None:
        host = site.host(self.where)
        argv = [self.script, "backup", self.uuid, self.directory]
        if not host.stat(self.script, follow=True):
            return
        try:
            if host.run(["sudo", "-n", "-l", *argv], site.timeouts.command)["rc"] != 0:
                return
        except FileNotFoundError:
            return
        try:
            site.command(self.where, ["sudo", "-n", *argv], f"copy the state of the TPM of {self.uuid}")
        except ToolFailed as error:
            site.warn(f"{error.sentence}; the state that was saved before is taken")


class WriteManifest(Step):
    """Write what every file has to be, as the last one.

    :param disks: format and virtual size in bytes by the file's name.
    """

    kind: ClassVar[str] = "write-manifest"

    def __init__(
        self, where: str, folder: str, vm: int, disks: dict[str, dict[str, Any]], increment: int, increment_mode: str
    ) -> None:
        super().__init__(where)
        self.folder = folder
        self.vm = vm
        self.disks = disks
        self.increment = increment
        self.increment_mode = increment_mode

    def words(self) -> str:
        return "write the manifest: size and digest of every file"

    def do(self, site: Site) -> None:
        from ..tools import manifest

        told = manifest.build(
            self.folder,
            site.run,
            self.vm,
            disks=self.disks,
            increment=self.increment,
            increment_mode=self.increment_mode,
            consistency=str(site.figures.get("consistency") or "off"),
            warnings=site.warnings,
        )
        manifest.write(self.folder, told)
