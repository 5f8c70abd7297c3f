# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the packing off a stream: compressions and archives, one inside the other, known by their magic numbers.

Nothing is written here, and no name out of an archive is ever used for a file. Every decompression gives at most one
chunk at a time, whatever it was fed, so a bomb costs time and what the writer allows, not memory.
"""

from __future__ import annotations

from .._errors import Corrupt, Refused
from .reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

CHUNK = 1 << 20
#: Layers that are taken off: an ova with a compressed disk in a compressed tar has four.
_DEPTH = 5
#: Most memory in bytes that unpacking xz may take; its highest preset needs 65 MB.
_XZ_MEMORY = 128 << 20
_PEEK = 512


class Unpacked:
    """A stream without its packing; what stands in it is known once the first bytes were looked at.

    :param archives: take tar and zip off too.
    :param decompress: take anything off at all.
    :ivar layers: names of what was taken off, the outermost first.
    :ivar length: bytes of what is inside, where something says so before it was all read; else None.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        name: str,
        length: int | None = None,
        archives: bool = True,
        decompress: bool = True,
    ) -> None:
        self.layers: list[str] = []
        self.length = length
        self._stages: list[Iterator[bytes]] = []
        try:
            self._reader = self._opened(Reader(chunks, name), archives, decompress)
        except BaseException:
            self.close()
            raise

    def _opened(self, reader: Reader, archives: bool, decompress: bool) -> Reader:
        while decompress:
            kind = _kind(reader.peek(_PEEK), archives)
            if not kind:
                break
            if len(self.layers) == _DEPTH:
                raise Refused(f"{reader.name} is packed more than {_DEPTH} times")
            self.layers.append(kind)
            self.length = None
            self._stages.append(self._stage(kind)(reader))
            reader = Reader(self._stages[-1], reader.name)
        return reader

    def head(self, size: int) -> bytes:
        """The first *size* bytes, which stay."""
        return self._reader.peek(size)

    def chunks(self) -> Iterator[bytes]:
        """What is inside, in chunks of a few MiB at most. Must be read to the end: an archive is proven there."""
        return iter(self._reader)

    def close(self) -> None:
        """Give up: what runs for a stage ends, the innermost first."""
        for stage in reversed(self._stages):
            stage.close()  # type: ignore[attr-defined]

    def _stage(self, kind: str) -> Callable[[Reader], Iterator[bytes]]:
        if kind == "zstd":
            from .zstd import unzstd

            return unzstd
        if kind in ("tar", "zip"):
            from . import archive

            inside = archive.tar_disk if kind == "tar" else archive.zip_disk
            return lambda reader: inside(reader, self._found)
        return lambda reader: _decompressed(reader, kind)

    def _found(self, length: int | None) -> None:
        self.length = length


def packing_of(head: bytes, archives: bool = True) -> str:
    """gzip, bzip2, xz, zstd, tar or zip; empty for what is not packed.

    :param head: the first 512 bytes.
    :param archives: whether tar and zip count.
    """
    return _kind(head[:_PEEK], archives)


def _kind(head: bytes, archives: bool) -> str:
    from .image_header import compression_of

    found = compression_of(head)
    if found or not archives:
        return found
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    return "tar" if _is_tar(head) else ""


def _is_tar(head: bytes) -> bool:
    """A magic number and a right checksum: a disk may have any bytes in its first sector."""
    if len(head) < _PEEK or head[257:262] != b"ustar":
        return False
    try:
        told = int(head[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return told == sum(head[:148]) + 8 * 32 + sum(head[156:])


def _decompressed(reader: Reader, kind: str) -> Iterator[bytes]:
    """gzip with all its members, bzip2 and xz with all their streams."""
    import zlib

    while True:
        engine = _engine(kind)
        while not engine.eof:
            data = reader.next()
            if not data:
                raise Corrupt(f"{reader.name} is broken: its {kind} data ends too early")
            try:
                yield from engine.feed(data)
            except (zlib.error, OSError, ValueError, EOFError) as error:
                raise Corrupt(f"{reader.name} is broken: {kind} says {error}") from None
            except Exception as error:
                # lzma's own family, whose module is not loaded for the others
                if type(error).__name__ != "LZMAError":
                    raise
                raise Corrupt(f"{reader.name} is broken: {kind} says {error}") from None
        reader.back(engine.rest)
        if not _another(reader, kind):
            return


def _another(reader: Reader, kind: str) -> bool:
    """Whether a further member follows; zeros that fill up a block may stand before it, or at the end."""
    while True:
        head = reader.peek(6)
        if not head:
            return False
        from .image_header import compression_of

        if compression_of(head) == kind:
            return True
        if head[0]:
            raise Corrupt(f"{reader.name} is broken: something else follows its {kind} data")
        data = reader.next()
        reader.back(data.lstrip(b"\0"))


def _engine(kind: str) -> _Engine:
    if kind == "gzip":
        import zlib

        return _Gzip(zlib.decompressobj(31))
    if kind == "bzip2":
        import bz2

        return _Engine(bz2.BZ2Decompressor())
    import lzma

    return _Engine(lzma.LZMADecompressor(memlimit=_XZ_MEMORY))


class _Engine:
    """A decompressor of the standard library that gives one chunk at a time."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @property
    def eof(self) -> bool:
        """Whether the end of this member was seen."""
        return bool(self._engine.eof)

    @property
    def rest(self) -> bytes:
        """What came behind the end."""
        return bytes(self._engine.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What a chunk becomes."""
        while True:
            out = self._engine.decompress(data, CHUNK)
            if out:
                yield out
            data = b""
            if self._engine.eof or self._engine.needs_input:
                return


class _Gzip(_Engine):
    """zlib keeps what it did not get to elsewhere than the others."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._engine.decompress(data, CHUNK)
            if out:
                yield out
            data = self._engine.unconsumed_tail
            if self._engine.eof or (not data and len(out) < CHUNK):
                return


def inflated(reader: Reader) -> Iterator[bytes]:
    """Deflated data without a frame, as it stands in a zip; what follows it stays in the reader."""
    import zlib

    engine = _Gzip(zlib.decompressobj(-15))
    while not engine.eof:
        data = reader.next()
        if not data:
            raise Corrupt(f"{reader.name} is broken: its zip data ends too early")
        try:
            yield from engine.feed(data)
        except zlib.error as error:
            raise Corrupt(f"{reader.name} is broken: zip says {error}") from None
    reader.back(engine.rest)
