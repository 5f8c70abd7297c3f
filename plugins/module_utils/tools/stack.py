# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Increments of a disk as one image for qemu-img, with nothing written into any of them (contract-ds 10.3).

A backing file's name in an increment is that of the host it was made on and means nothing here, so each file is told
what it stands on, and the first one that it stands on nothing.
"""

from __future__ import annotations

from .._errors import Corrupt, Refused, from_os
from .exports import CHANGES
from .image_header import HEAD_BYTES, format_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .host import Host

_EXTERNAL_DATA = 4


def opened(host: Host, files: Sequence[str]) -> str:
    """What qemu-img is given in place of a name.

    :param files: the oldest first; each of them qcow2.
    :raises Corrupt: one is not qcow2.
    :raises Refused: one keeps its data elsewhere.
    """
    from .codec import dumps

    below: dict[str, Any] | None = None
    for path in files:
        check(host, path)
        file = {"driver": "file", "filename": path}
        below = {"driver": "qcow2", "read-only": True, "file": {**file, "read-only": True}, "backing": below}
    return "json:" + dumps(below).decode()


def check(host: Host, path: str) -> bytes:
    """The head of a qcow2 file that may be opened."""
    try:
        head = bytes.fromhex(host.head(path, HEAD_BYTES))
    except OSError as error:
        raise from_os(error, f"read {path}", host.name) from error
    if format_of(head) != "qcow2" or len(head) < 72:
        raise Corrupt(f"The increment {path} is not a qcow2 image", host.name)
    if int.from_bytes(head[4:8], "big") >= 3 and int.from_bytes(head[72:80], "big") & _EXTERNAL_DATA:
        raise Refused(f"The increment {path} keeps its data in another file", host.name)
    return head


def alone(host: Host, path: str) -> bool:
    """Whether a file stands on nothing by its own header: what is not qcow2 does, but for rbd's differences."""
    if path.endswith(CHANGES):
        return False
    head = bytes.fromhex(host.head(path, HEAD_BYTES))
    return format_of(head) != "qcow2" or not int.from_bytes(head[8:16], "big")
