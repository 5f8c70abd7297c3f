# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one disk in an archive: a tar (an ova is one) or a zip, read as a stream.

Names in an archive are for sentences only. Small files that go with a disk are passed over; links and devices, a
second disk and an archive without one are refused.
"""

from __future__ import annotations

import os

from .._errors import Corrupt, Refused, one_line
from .unpack import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .reader import Reader

    Found = Callable[["int | None"], None]

#: What goes with a disk: descriptions, digests, certificates, firmware variables, texts.
_BESIDE = (".ovf", ".mf", ".cert", ".nvram", ".txt", ".json", ".xml", ".md", ".asc", ".sig", ".md5", ".sha1", ".sha256")
_NAMES = ("readme", "license", "copying", "md5sums", "sha256sums", ".ds_store")
#: Bytes that one of these may have, and entries that an archive may have.
_SMALL = 8 << 20
_ENTRIES = 1000
#: Bytes of headers before an entry: long names, maps of sparse files.
_HEADERS = 8 << 20
#: Bytes behind the end of an archive: tar fills up its last block.
_BEHIND = 64 << 20


class Contents:
    """What was met in an archive so far."""

    def __init__(self, name: str, kind: str) -> None:
        self.disk = ""
        self._name = name
        self._kind = kind
        self._others: list[str] = []
        self._count = 0

    def meets(self, entry: str, size: int | None) -> bool:
        """Whether an entry is the disk; ``Refused`` for a second one, or too many."""
        entry = one_line(entry, 80)
        self._count += 1
        if self._count > _ENTRIES:
            raise Refused(f"{self._name} is a {self._kind} with more than {_ENTRIES} entries")
        if _beside(entry):
            if size is not None and size > _SMALL:
                raise Refused(f"{self._name} is a {self._kind} whose entry {entry} has {size} bytes")
            self._others.append(entry)
            return False
        if self.disk:
            raise Refused(
                f"{self._name} is a {self._kind} with more than one disk: {self.disk}, {entry}",
                todo="register each disk as an image of its own",
            )
        self.disk = entry
        return True

    def refuse(self, entry: str, what: str) -> None:
        """For entries that no archive of a disk has."""
        raise Refused(f"{self._name} is a {self._kind} with {what} in it: {one_line(entry, 80)}")

    def end(self) -> None:
        """``Refused`` unless there was a disk."""
        if not self.disk:
            within = ", ".join(self._others[:5]) or "nothing"
            raise Refused(f"{self._name} is a {self._kind} without a disk; in it is {within}")


def _beside(entry: str) -> bool:
    name = os.path.basename(entry.rstrip("/")).lower()
    # ._NAME is what macOS adds to every file that it packs
    return name.endswith(_BESIDE) or name in _NAMES or name.startswith("._")


def tar_disk(reader: Reader, found: Found) -> Iterator[bytes]:
    """The disk in a tar; sparse files come with their holes as zeros.

    :param found: called with the disk's size in bytes before its first chunk.
    """
    import tarfile

    contents = Contents(reader.name, "tar")
    # what the library reads for itself, first as it opens, then between two entries
    reader.allowance = _HEADERS
    try:
        # "r|" never seeks
        with tarfile.open(fileobj=reader, mode="r|", bufsize=65536) as archive:  # type: ignore[call-overload]
            while True:
                reader.allowance = _HEADERS
                entry = archive.next()
                reader.allowance = None
                if entry is None:
                    break
                if entry.isdir():
                    continue
                if not entry.isfile():
                    contents.refuse(entry.name, "a link" if entry.issym() or entry.islnk() else "a device")
                is_disk = contents.meets(entry.name, entry.size)
                if is_disk:
                    found(entry.size)
                file = archive.extractfile(entry)
                left = entry.size
                while left and file is not None:
                    data = file.read(min(CHUNK, left))
                    if not data:
                        raise Corrupt(f"{reader.name} is broken: the tar ends in the middle of {contents.disk}")
                    left -= len(data)
                    if is_disk:
                        yield data
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise Corrupt(f"{reader.name} is broken: tar says {one_line(str(error), 100)}") from None
    contents.end()
    reader.drain(_BEHIND, "tar")


def zip_disk(reader: Reader, found: Found) -> Iterator[bytes]:
    """The disk in a zip, read from its local headers; the directory at its end must agree with them.

    :param found: called with the disk's size in bytes, None when it stands only behind it.
    """
    from .zipstream import Zip

    contents = Contents(reader.name, "zip")
    archive = Zip(reader)
    for entry in archive.entries():
        is_disk = not entry.name.endswith("/") and contents.meets(entry.name, entry.size)
        if is_disk:
            found(entry.size)
        for data in archive.data(entry, 0 if is_disk else _SMALL):
            if is_disk:
                yield data
    for name, what in archive.directory():
        if what:
            contents.refuse(name, what)
    contents.end()
    reader.drain(_BEHIND, "zip")
