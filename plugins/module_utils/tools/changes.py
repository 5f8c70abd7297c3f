# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts of a disk go into an increment, and the orders by which qemu-io brings them there.

An increment is a qcow2 file of its own that has exactly what changed. While it is made it stands on the disk: a read by
*copy on read* brings a part over, as data or as zeros. What shows nothing but zeros is written as such, so that what
was there in an earlier increment does not shine through (contract-ds 10.3).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    #: What to do (:data:`COPY` or :data:`ZERO`), offset, length.
    Part = tuple[str, int, int]

COPY, ZERO = "copy", "zero"
#: qemu-io reads into memory, and writes zeros without any.
_READ_BYTES = 16 << 20
_ZERO_BYTES = 1 << 30
#: So many orders fit on one command line with room to spare.
_ORDERS = 2000


def above(extents: list[dict[str, Any]], depth: int) -> list[Part]:
    """What the layers above a base have.

    :param extents: of the whole chain, as ``qemu-img map --output=json`` tells them.
    :param depth: how deep the base lies in it.
    """
    return _joined(_part(extent) for extent in extents if extent["depth"] < depth)


def everything(extents: list[dict[str, Any]]) -> list[Part]:
    """All that a disk shows, zeros too."""
    return _joined(_part(extent) for extent in extents)


def _part(extent: dict[str, Any]) -> Part:
    return COPY if extent["data"] else ZERO, extent["start"], extent["length"]


def size_of(parts: Iterable[Part]) -> int:
    """Bytes that these parts may take."""
    return sum(length for what, _offset, length in parts if what == COPY)


def _joined(parts: Iterable[Part]) -> list[Part]:
    found: list[Part] = []
    for what, offset, length in parts:
        if found and found[-1][0] == what and found[-1][1] + found[-1][2] == offset:
            found[-1] = (what, found[-1][1], found[-1][2] + length)
        else:
            found.append((what, offset, length))
    return found


def dump(parts: Iterable[Part]) -> str:
    """Parts as text, a line each."""
    return "".join(f"{what} {offset} {length}\n" for what, offset, length in parts)


def load(text: str) -> list[Part]:
    """What :func:`dump` wrote."""
    words = (line.split() for line in text.splitlines())
    return [(what, int(offset), int(length)) for what, offset, length in words]


def orders(parts: Iterable[Part]) -> Iterator[tuple[list[str], int]]:
    """Arguments of one qemu-io after the other, each with the bytes that it goes through."""
    arguments: list[str] = []
    passed = 0
    for what, offset, length in parts:
        most = _READ_BYTES if what == COPY else _ZERO_BYTES
        word = "read -q" if what == COPY else "write -q -z"
        for start in range(offset, offset + length, most):
            piece = min(most, offset + length - start)
            arguments += ["-c", f"{word} {start} {piece}"]
            passed += piece if what == COPY else 0
            if len(arguments) >= 2 * _ORDERS or passed >= _ZERO_BYTES:
                yield arguments, passed
                arguments, passed = [], 0
    if arguments:
        yield arguments, passed
