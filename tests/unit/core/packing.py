# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs disks in every way that an import takes off again, and in ways that it refuses."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
from collections.abc import Callable

Packer = Callable[[bytes], bytes]


def zstd(data: bytes) -> bytes:
    """Compressed by the command."""
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True, timeout=60).stdout


def tar(*entries: tuple[str, bytes | tarfile.TarInfo], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar; an entry is a name with its content, or with a header of its own that has none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in entries:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    """A tar entry that is a link or a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


class _Unseekable(io.RawIOBase):
    """Lets zipfile write what stands behind an entry, not before it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        added = bytes(data)  # type: ignore[call-overload]
        self.data += added
        return len(added)


def zipped(
    *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, streamed: bool = False, mode: int = 0
) -> bytes:
    """A zip; *streamed* as a pipe gets it, with sizes behind the data; *mode* is the entries' Unix mode."""
    target = _Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.create_system, info.external_attr = method, 3, mode << 16
            archive.writestr(info, content)
    return bytes(target.data) if isinstance(target, _Unseekable) else target.getvalue()


OVF = ("box.ovf", b"<Envelope/>")

#: Ways to pack one disk, each of which gives it back.
PACKERS: dict[str, Packer] = {
    "gzip": gzip.compress,
    "gzip, two members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "gzip, zeros behind": lambda data: gzip.compress(data) + bytes(3000),
    "gzip, zeros between": lambda data: gzip.compress(data[:7]) + bytes(13) + gzip.compress(data[7:]),
    "bzip2": bz2.compress,
    "bzip2, two streams": lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
    "xz": lzma.compress,
    "xz, two streams": lambda data: lzma.compress(data[:1000]) + bytes(4) + lzma.compress(data[1000:]),
    "zstd": zstd,
    "zstd, two frames": lambda data: zstd(data[:1000]) + zstd(data[1000:]),
    "tar": lambda data: tar(("disk.img", data)),
    "tar, pax": lambda data: tar(("a" * 300 + "ä", data), form=tarfile.PAX_FORMAT),
    "tar, long names": lambda data: tar(("a/" * 120 + "disk", data)),
    "tar, name that climbs": lambda data: tar(("../../../../tmp/climbed", data)),
    "tar.gz": lambda data: gzip.compress(tar(("disk.img", data))),
    "tar.xz with folders and texts": lambda data: lzma.compress(
        tar(special("d", tarfile.DIRTYPE), ("d/README", b"x"), ("d/disk", data), ("d/disk.md5", b"x"))
    ),
    "ova": lambda data: tar(OVF, ("box.mf", b"x"), ("disk1", data), ("box.cert", b"x"), ("box.nvram", b"x")),
    "ova with a compressed disk": lambda data: tar(OVF, ("disk1.gz", gzip.compress(data))),
    "zip": lambda data: zipped(("disk.img", data)),
    "zip, stored": lambda data: zipped(("disk.img", data), method=zipfile.ZIP_STORED),
    "zip, streamed": lambda data: zipped(("README.txt", b"x"), ("disk.img", data), streamed=True),
    "zip, a Mac's": lambda data: zipped(("disk.img", data), ("__MACOSX/._disk.img", b"x")),
    "zip with a folder": lambda data: zipped(("d/", b""), ("d/disk.img", data)),
    "zip, name that climbs": lambda data: zipped(("../../../../tmp/climbed", data)),
    "zip.zst": lambda data: zstd(zipped(("disk.img", data))),
    "gzip in xz in zip in tar": lambda data: tar(("a", zipped(("b", lzma.compress(gzip.compress(data)))))),
}
