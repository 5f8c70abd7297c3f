# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe of one datastore: something is made there by a real action, written, read again and removed by another."""

from __future__ import annotations

import os
import time

from ._errors import Corrupt, from_os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KINDS = ("image", "shared", "local")
_SIZE = 4
_BLOCK = 1 << 16
#: Ids of VMs and images that oned, which counts from 0, does not come to.
_NOBODY = 2_000_000_000


def probe(kind: str, number: int, store: str, monitor: str, act: Callable[[str, dict[str, Any]], Any]) -> int:
    """Write, read and remove in a datastore; the milliseconds that it took.

    :param kind: one of ``KINDS``: an image datastore, or a system datastore that is shared or the host's own.
    :param number: the datastore's id.
    :param store: its directory.
    :param monitor: what the marker of a local system datastore says.
    :param act: runs an action with options and returns its result.
    :raises StorageError: it cannot be done; nothing is left.
    """
    begun, ident = time.monotonic(), _NOBODY + os.getpid() % 100_000_000
    if kind == "image":
        made = {"driver": "fs", "datastore": store}
        new: dict[str, Any] = {"datastore_id": number, "image_id": ident, "regtime": int(time.time())}
        path = str(act("ds_mkfs", {**made, **new, "format": "raw", "size": _SIZE})["source"])
        gone = ("ds_rm", {**made, "source": path})
    else:
        made = {"driver": "ssh" if kind == "local" else "qcow2", "datastore": store}
        folder = os.path.join(store, str(ident))
        new = {"destination": os.path.join(folder, "disk.0"), "format": "raw", "size": _SIZE, "monitor": monitor}
        path = str(act("tm_mkimage", {**made, **new})["path"])
        gone = ("tm_delete", {**made, "path": folder})
    try:
        _write_and_read(path)
    finally:
        act(*gone)
    if os.path.lexists(path):
        raise Corrupt(f"{path} was removed and is there still")
    return int(1000 * (time.monotonic() - begun))


def _write_and_read(path: str) -> None:
    block = os.urandom(_BLOCK)
    try:
        with open(path, "r+b") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with open(path, "rb") as file:
            read = file.read(_BLOCK)
    except OSError as error:
        raise from_os(error, f"write {path}") from error
    if read != block:
        raise Corrupt(f"{path} does not hold what was written to it")
