# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass: what a source gives is counted, hashed, unpacked, looked at and written while it comes.

Nothing is read twice and nothing waits in memory but a few chunks. Digests are taken in a thread beside the writing, as
hashing lets other threads run: with an md5 an import from the web took about a fifth less time.
"""

from __future__ import annotations

import errno
import os

from .._errors import Corrupt
from .command import going_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .progress import Progress
    from .sources import Source
    from .unpack import Unpacked

DIGESTS = ("md5", "sha1", "sha256")
#: Zeros are looked for in pieces of so many bytes: smaller ones are not worth a hole.
_PIECE = 64 << 10
_ZEROS = bytes(1 << 20)
#: Without a limit of its own no image has more: a header in an archive costs nothing and can claim 16 EiB of zeros.
MOST = 64 << 40
#: Bytes that a source may give beyond what is written: small files in an archive, what stands behind its end.
_PACKING = 128 << 20
#: Chunks that may wait to be hashed.
_AHEAD = 4
#: First bytes that are looked at before more is fetched.
HEAD = 65536


class Order:
    """What is wanted of an intake.

    :param limit: most bytes that may be written; 0 for :data:`MOST`.
    :param digests: expected hexadecimal digests of what comes, before it is unpacked, by name.
    :param decompress: take compressions off.
    :param archives: take archives off too.
    :param look: is shown the first :data:`HEAD` bytes of what will be written, and may refuse it.
    """

    def __init__(
        self,
        limit: int = 0,
        digests: dict[str, str] | None = None,
        decompress: bool = True,
        archives: bool = True,
        look: Callable[[bytes], object] | None = None,
    ) -> None:
        self.limit = limit
        self.digests = {name: value.strip().lower() for name, value in (digests or {}).items() if value.strip()}
        self.decompress = decompress
        self.archives = archives
        self.look = look


class File:
    """A new file, written from its beginning; blocks of zeros become holes.

    :param sparse: whether they do. ``SPARSE=NO`` keeps them allocated.
    """

    def __init__(self, path: str, sparse: bool = True) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._sparse = sparse
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        if not self._sparse:
            self._at(data, self.size)
        elif not data.startswith(_ZEROS[: len(data)]) or len(data) > len(_ZEROS):
            for start, end in filled(data, self.size):
                self._at(memoryview(data)[start:end], self.size + start)
        self.size += len(data)

    def whole(self) -> None:
        """Everything is there: give it its size and flush it."""
        os.ftruncate(self._handle, self.size)
        os.fsync(self._handle)

    def close(self) -> None:
        """Close it."""
        os.close(self._handle)

    def _at(self, data: bytes | memoryview, place: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._handle, view, place)
            view = view[count:]
            place += count


def filled(data: bytes, place: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the stretches of *data* that are not whole pieces of zeros.

    :param place: where in the file the data begins: pieces are counted from the file's beginning, so that holes are
        what a file system can leave out.
    """
    start = position = 0
    while position < len(data):
        end = min(position + _PIECE - (place + position) % _PIECE, len(data))
        if data.startswith(_ZEROS[: end - position], position):
            if start < position:
                yield start, position
            start = end
        position = end
    if start < len(data):
        yield start, len(data)


class Taken:
    """What came.

    :ivar fetched: bytes that the source gave, :ivar written: those that it became.
    :ivar layers: what was unpacked, the outermost first.
    :ivar digests: those that were asked for, in hexadecimal.
    """

    def __init__(self, fetched: int, written: int, layers: list[str], digests: dict[str, str]) -> None:
        self.fetched = fetched
        self.written = written
        self.layers = layers
        self.digests = digests


def take(source: Source, write: Callable[[bytes], object], order: Order, progress: Progress) -> Taken:
    """Read a source to its end and write what is in it.

    :param write: is given chunks of a few MiB at most.
    :raises OSError: EFBIG when more comes than the order allows; what writing raises.
    :raises StorageError: what the source, the packing, or a digest is about.
    """
    limit = order.limit or MOST
    # what hardly can be compressed grows a little, and an archive has more than its disk
    most = limit + (limit >> 6) + _PACKING
    if source.length is not None and source.length > most:
        raise OSError(errno.EFBIG, "larger than allowed", source.name)
    passing = _Passing(source, order.digests, progress, most)
    try:
        written, layers = _written(opened(passing.chunks(), source, order), source, write, order, limit)
    finally:
        # its thread ends with this, too
        taken = passing.taken()
    check(taken, order.digests, source.name)
    return Taken(passing.count, written, layers, taken)


def _written(
    packed: Unpacked, source: Source, write: Callable[[bytes], object], order: Order, limit: int
) -> tuple[int, list[str]]:
    """Bytes that were written, and the layers that they had."""
    try:
        if packed.length is not None and packed.length > limit:
            raise OSError(errno.EFBIG, "larger than allowed", source.name)
        if order.look:
            order.look(packed.head(HEAD))
        written = 0
        for data in packed.chunks():
            going_on()
            written += len(data)
            if written > limit:
                raise OSError(errno.EFBIG, "larger than allowed", source.name)
            write(data)
        return written, packed.layers
    finally:
        packed.close()


def opened(chunks: Iterator[bytes], source: Source, order: Order) -> Unpacked:
    """A source's chunks without the packing that the order takes off."""
    from .unpack import Unpacked

    return Unpacked(chunks, source.name, source.length, order.archives, order.decompress)


def check(taken: dict[str, str], wanted: dict[str, str], name: str) -> None:
    """``Corrupt`` unless every digest is what it should be."""
    for kind, value in wanted.items():
        if taken[kind] != value:
            raise Corrupt(
                f"The {kind} of {name} is {taken[kind]}, not {value}",
                todo="the source differs from what was registered: download it again or correct the digest",
            )


class _Hashes:
    """Digests, taken in a thread of their own; a few chunks wait for it at most."""

    def __init__(self, names: Iterable[str]) -> None:
        import hashlib
        import queue
        import threading

        self._hashes = {name: hashlib.new(name) for name in names}
        self._waiting: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._work, name="digests", daemon=True)
        self._thread.start()

    def add(self, data: bytes) -> None:
        """Hash these bytes too, soon."""
        self._waiting.put(data)

    def taken(self) -> dict[str, str]:
        """The digests in hexadecimal, of all that was added; the thread has ended then."""
        if self._thread.is_alive():
            self._waiting.put(b"")
            self._thread.join()
        return {name: item.hexdigest() for name, item in self._hashes.items()}

    def _work(self) -> None:
        while True:
            data = self._waiting.get()
            if not data:
                return
            for item in self._hashes.values():
                item.update(data)


class _Passing:
    """Counts and hashes what passes; ``OSError(EFBIG)`` when that is more than *most* bytes.

    What is written has a limit of its own; this one ends a source that sends packing and nothing in it.
    """

    def __init__(self, source: Source, names: Iterable[str], progress: Progress, most: int) -> None:
        self.hashes = _Hashes(names) if names else None
        self.count = 0
        self._most = most
        self._source = source
        self._progress = progress

    def chunks(self) -> Iterator[bytes]:
        for data in self._source.chunks():
            self.count += len(data)
            if self.count > self._most:
                raise OSError(errno.EFBIG, "larger than allowed", self._source.name)
            if self.hashes:
                self.hashes.add(data)
            self._progress.add(len(data))
            yield data

    def taken(self) -> dict[str, str]:
        """The digests of what has passed."""
        return self.hashes.taken() if self.hashes else {}
