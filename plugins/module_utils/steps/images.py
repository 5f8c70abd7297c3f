# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that make or change disk images in a workshop, with qemu-img, mkfs, mkswap and xorriso."""

from __future__ import annotations

import os

from .base import Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class CreateImage(Step):
    """Create an empty image.

    :param image_format: ``raw`` or ``qcow2``.
    :param size: virtual size in MB (2^20 bytes).
    """

    kind: ClassVar[str] = "create-image"

    def __init__(self, where: str, part: str, inside: str, image_format: str, size: int) -> None:
        super().__init__(where)
        self.part = part
        self.inside = inside
        self.image_format = image_format
        self.size = size

    def words(self) -> str:
        return f"create an empty {self.image_format} image of {self.size} MB"

    def do(self, site: Site) -> None:
        if self.image_format == "raw":
            site.host(self.where).truncate(self.part, self.size << 20, self.inside)
            return
        site.command(
            self.where, ["qemu-img", "create", "-q", "-f", self.image_format, self.part, f"{self.size}M"], self.words()
        )


class CreateOverlay(Step):
    """Create a qcow2 overlay that starts as its backing file.

    :param backing: path or relative name written into the overlay.
    :param size: virtual size in MB, when it differs from the backing file's; 0 keeps that.
    :param extra: further arguments of ``qemu-img create`` (QCOW2_OPTIONS, contract-tm 7.2).
    """

    kind: ClassVar[str] = "create-overlay"

    def __init__(
        self, where: str, part: str, backing: str, backing_format: str, size: int = 0, extra: list[str] | None = None
    ) -> None:
        super().__init__(where)
        self.part = part
        self.backing = backing
        self.backing_format = backing_format
        self.size = size
        self.extra = extra or []

    def words(self) -> str:
        grown = f", grown to {self.size} MB" if self.size else ""
        return f"create an overlay on {self.backing}{grown}"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", self.backing_format, "-b", self.backing, *self.extra]
        argv.append(self.part)
        if self.size:
            argv.append(f"{self.size}M")
        site.host(self.where).make_directory(os.path.dirname(self.part))
        site.command(self.where, argv, self.words())


class Convert(Step):
    """Write an image anew in a format, with its chain folded in.

    :param sparse: leave zeros out; ``SPARSE=NO`` keeps them allocated.
    :param untrusted: the source comes from outside, so the tool is limited.
    :param size: bytes of the source, which the limits follow.
    """

    kind: ClassVar[str] = "convert"

    def __init__(
        self,
        where: str,
        source: str,
        source_format: str,
        part: str,
        image_format: str,
        sparse: bool = True,
        untrusted: bool = False,
        size: int = 0,
    ) -> None:
        super().__init__(where)
        self.source = source
        self.source_format = source_format
        self.part = part
        self.image_format = image_format
        self.sparse = sparse
        self.untrusted = untrusted
        self.size = size

    def words(self) -> str:
        return f"write {shown(self.source)} as a {self.image_format} image of its own"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "convert", "-q", "-f", self.source_format, "-O", self.image_format]
        if not self.sparse:
            argv += ["-S", "0"]
        site.host(self.where).make_directory(os.path.dirname(self.part))
        argv += [self.source, self.part]
        with site.growing(self.where, self.part, self.words()):
            site.command(self.where, argv, self.words(), untrusted=self.untrusted, size=self.size)


class Resize(Step):
    """Grow an image.

    :param size: new virtual size in MB.
    :param allocate: allocate the new room at once (SPARSE=NO).
    """

    kind: ClassVar[str] = "resize"

    def __init__(self, where: str, part: str, image_format: str, size: int, allocate: bool = False) -> None:
        super().__init__(where)
        self.part = part
        self.image_format = image_format
        self.size = size
        self.allocate = allocate

    def words(self) -> str:
        return f"grow the image to {self.size} MB"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "resize", "-q", "-f", self.image_format]
        if self.allocate:
            argv.append("--preallocation=falloc")
        site.command(self.where, [*argv, self.part, f"{self.size}M"], self.words())


class Rebase(Step):
    """Rename the backing file that an overlay names, which stays the same qcow2 file; no data moves.

    There is nothing to undo: where both names are of one file, either of them is right.
    """

    kind: ClassVar[str] = "rebase"

    def __init__(self, where: str, part: str, backing: str) -> None:
        super().__init__(where)
        self.part = part
        self.backing = backing

    def words(self) -> str:
        return f"let the layer {os.path.basename(self.part)} name its backing file {self.backing}"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", self.backing, self.part]
        site.command(self.where, argv, self.words())


class MakeFilesystem(Step):
    """Format a raw image.

    :param options: further arguments of mkfs (FS_OPTS_<FS> in datastore.conf).
    """

    kind: ClassVar[str] = "make-filesystem"

    def __init__(self, where: str, part: str, fs: str, options: list[str]) -> None:
        super().__init__(where)
        self.part = part
        self.fs = fs
        self.options = options

    def words(self) -> str:
        return f"format the image with {self.fs}"

    def do(self, site: Site) -> None:
        argv = [f"mkfs.{self.fs}", "-f" if self.fs in ("xfs", "btrfs") else "-F", *self.options, self.part]
        site.command(self.where, argv, self.words())


class MakeSwap(Step):
    """Make a raw image a swap area with the label ``swap``."""

    kind: ClassVar[str] = "make-swap"

    def __init__(self, where: str, part: str) -> None:
        super().__init__(where)
        self.part = part

    def words(self) -> str:
        return "make the image a swap area"

    def do(self, site: Site) -> None:
        site.command(self.where, ["mkswap", "-L", "swap", self.part], self.words())


class BuildIso(Step):
    """Build the context ISO: volume id CONTEXT, Joliet and Rock Ridge (contract-tm 7.1).

    :param files: (path on the host, name in the ISO).
    """

    kind: ClassVar[str] = "build-iso"

    def __init__(self, where: str, part: str, inside: str, files: list[list[str]]) -> None:
        super().__init__(where)
        self.part = part
        self.inside = inside
        self.files = files

    def words(self) -> str:
        return "build the context image of " + ", ".join(name for _path, name in self.files)

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        # xorriso's -map takes any name literally, unlike mkisofs' graft points, where "=" and "\\" mean something
        argv = ["xorriso", "-outdev", f"stdio:{self.part}", "-volid", "CONTEXT", "-joliet", "on"]
        for path, name in self.files:
            argv += ["-map", path, "/" + name]
        site.command(self.where, [*argv, "-end"], self.words())
