# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of what a disk holds, block by block: of files (:mod:`..disk_digest`) and, in the program that has a
connection, of volumes. It imports nothing of ours."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_BLOCK = 1 << 20


def hashed(
    stretches: Iterable[tuple[int, int]], size: int, read: Callable[[int, int], bytes], passed: Callable[[], object]
) -> tuple[str, int]:
    """Hexadecimal SHA-256 digest, and the bytes of data.

    Blocks of nothing but zeros are left out, each other one is hashed with its number and without the zeros at its end.

    :param stretches: (start, end) in bytes of what may hold data, rising.
    :param read: data from an offset on, so many bytes.
    :param passed: called before each block.
    """
    import hashlib

    taken, count = hashlib.sha256(), 0
    for block in _blocks(stretches):
        passed()
        # how many zeros end a block depends on how formats round sizes up
        data = read(block * _BLOCK, min(_BLOCK, size - block * _BLOCK)).rstrip(b"\0")
        if data:
            taken.update(struct.pack(">QI", block, len(data)))
            taken.update(data)
            count += len(data)
    return taken.hexdigest(), count


def _blocks(stretches: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Numbers of the blocks that have data, each once, rising."""
    behind = 0
    for start, end in stretches:
        first, last = max(start // _BLOCK, behind), -(-end // _BLOCK)
        yield from range(first, last)
        behind = max(behind, last)
