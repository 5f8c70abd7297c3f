# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one file of a backup where the repository lies, and writes it to stdout as records of :mod:`.relay`.

It is sent to the backup server, which needs Python, qemu-img and perhaps restic, and nothing of ours; a repository that
this machine reaches itself is read by the same program, started here. A full backup passes as it is. A chain of
increments becomes one image first, in a private scratch folder: what is stored is opened read-only, and its backing
file is named without anything being written into it, so that several can read at once (contract-ds 11.9, 12.10).

What it was asked for, passwords among it, comes over stdin with the program. When the other end of stdin goes away, the
work ends and the scratch folder goes; that of one that was killed is removed by the next one.

A chain in stock's old form, as rbd exports it, becomes a qcow2 image as well, so that whoever reads it needs to know
nothing of it. Stock hands on a packed tar of its files (contract-ds 11.9), which only its own driver for Ceph can use;
that one takes an image in qcow2 too.

Standard library and what is sent along only.
"""

from __future__ import annotations

import errno
import os
import struct
from _thread import allocate_lock

from . import exports
from .codec import dumps
from .command import run, stop_work
from .kept_files import Trouble, chunks_of, open_store
from .relay import Feeder
from .scratch import Scratch
from .wire import Lifeline, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .kept_files import File

_EXTERNAL_DATA = 4


def serve(order: dict[str, Any]) -> None:
    """Answer an order on stdout.

    :param order: ``store`` (see :func:`.open_store`), ``chain`` (number and reference of each backup, the oldest
        first), ``disk`` (its id as text, or ``tpm``), ``scratch`` (folder for temporary data), ``patience`` (seconds
        that a tool, or a lock, may take), ``name`` (for people).
    """
    os.umask(0o077)
    work = _Work(order)
    Wire(0, 1).send({"ready": True})

    def ended() -> None:
        stop_work()
        work.clear()
        os._exit(3)

    # stdout belongs to the records: nothing is said back
    Lifeline(Wire(0, os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)), ended)
    feeder = Feeder(1)
    try:
        feeder.feed(work.prepare, _record)
    finally:
        work.clear()


def _record(error: Exception) -> bytes:
    if isinstance(error, Trouble):
        return dumps(error.record)
    if isinstance(error, OSError):
        code = {errno.ENOSPC: "no-space", errno.EDQUOT: "no-space", errno.EACCES: "no-access", errno.ENOENT: "missing"}
        where = f" {error.filename}" if error.filename else ""
        text = f"Cannot read the backup:{where}: {error.strerror or error}"
        return dumps(Trouble(code.get(error.errno or 0, "failed"), text).record)
    return dumps(Trouble("failed", f"Cannot read the backup: {type(error).__name__}: {error}").record)


class _Work:
    """One order."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.store = open_store(order["store"], order["patience"])
        self._scratch = Scratch(order["scratch"])
        self._clearing = allocate_lock()

    def prepare(self) -> tuple[dict[str, Any], Iterator[bytes]]:
        """What is told of the data, and the data."""
        files, told = self.store.find(self.order["chain"], self.order["disk"])
        head: dict[str, Any] = {
            "name": self.order["name"],
            "length": None,
            "manifests": told,
            "files": [file.record() for file in files],
        }
        if not files:
            raise Trouble("missing", f"{self.order['name']} is not in the repository")
        old = [exports.is_export(file.name) for file in files]
        if any(old) and not all(old):
            raise Trouble("corrupt", f"{self.order['name']} has files of two forms, which do not stand on each other")
        if len(files) == 1 and not any(old):
            head["length"] = files[0].size
            return head, self.store.chunks(files[0])
        image = self._exported(files) if any(old) else self._merged(files)
        # now their digests are known
        head["files"] = [file.record() for file in files]
        head["length"] = os.stat(image).st_size
        return head, chunks_of(image)

    def _merged(self, files: list[File]) -> str:
        """A chain as one image, in the scratch folder."""
        size = sum(file.size for file in files)
        folder = self._folder(size * 2 if self.store.is_remote else size)
        paths = []
        for number, file in enumerate(files):
            path = self.store.local(file, os.path.join(folder, str(number)))
            _refuse_unsafe(path, file.name)
            paths.append(path)
        node: dict[str, Any] = {}
        for path in paths:
            # the names that the files have for each other mean nothing here
            lower = {"backing": node} if node else {}
            node = {"driver": "qcow2", "read-only": True, "file": {"driver": "file", "filename": path}, **lower}
        image = os.path.join(folder, "image")
        argv = ["qemu-img", "convert", "-q", "-O", "qcow2", "json:" + dumps(node).decode(), image]
        _checked(argv, self.order["patience"], f"put {self.order['name']} together")
        for path in paths:
            if os.path.dirname(path) == folder:
                os.unlink(path)
        return image

    def _exported(self, files: list[File]) -> str:
        """A chain of files as rbd exports them, as one image in the scratch folder."""
        folder = self._folder(2 * sum(file.size for file in files))
        raw, image = os.path.join(folder, "raw"), os.path.join(folder, "image")
        goes_on = self._goes_on(files)
        laid = exports.Laid(raw)
        try:
            for file in files:
                self._lay(laid, file, exports.wanted_of(self._number_of(file)) if goes_on else "")
        finally:
            laid.close()
        argv = ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, image]
        _checked(argv, self.order["patience"], f"put {self.order['name']} together")
        os.unlink(raw)
        return image

    def _lay(self, laid: exports.Laid, file: File, wanted: str) -> None:
        """Go on with a file; its digest is known then."""
        import hashlib

        taken = hashlib.sha256()

        def passing() -> Iterator[bytes]:
            for data in self.store.chunks(file):
                taken.update(data)
                yield data

        try:
            laid.add(passing(), wanted)
        except exports.Malformed as error:
            what = f"The backup's file {file.name} of {file.ref}"
            raise Trouble("corrupt", f"{what} cannot be put together with the others: {error}") from None
        file.sha256 = taken.hexdigest()

    def _number_of(self, file: File) -> int:
        return int(next(number for number, ref in self.order["chain"] if ref == file.ref))

    def _goes_on(self, files: list[File]) -> bool:
        """Whether increments follow, or will: then the first file is of the moment of its snapshot.

        Of a full backup a snapshot of that name would be one that an older chain left.
        """
        return len(self.order["chain"]) > 1 or self.store.is_of_chain(files[0].ref)

    def _folder(self, size: int) -> str:
        scratch = self._scratch
        scratch.sweep()
        free = scratch.free()
        if free < size:
            raise Trouble(
                "no-space",
                f"There is no room in {scratch.top} to put {self.order['name']} together: it may take {_mb(size)} MB, "
                f"and {_mb(free)} MB are free",
                todo="free some space, or name another folder in the datastore",
            )
        return scratch.make()

    def clear(self) -> None:
        """End what runs, and remove the scratch folder."""
        with self._clearing:
            self.store.end()
            self._scratch.remove()


def _refuse_unsafe(path: str, name: str) -> None:
    """qemu-img is given nothing that keeps its data elsewhere; backing files are named by us (QEMU's qcow2.txt)."""
    with open(path, "rb") as file:
        head = file.read(104)
    if len(head) < 72 or head[:4] != b"QFI\xfb":
        raise Trouble("corrupt", f"The backup's file {name} is not a qcow2 image")
    (version,) = struct.unpack(">I", head[4:8])
    incompatible = struct.unpack(">Q", head[72:80])[0] if version >= 3 and len(head) >= 80 else 0
    if incompatible & _EXTERNAL_DATA:
        raise Trouble("refused", f"The backup's file {name} keeps its data in another file")


def _checked(argv: list[str], patience: float, doing: str) -> None:
    result = run(argv, patience)
    if result["rc"]:
        said = str(result["err"]).strip() or f"{argv[0]} ended with code {result['rc']}"
        code = "no-space" if "No space left" in said else "tool-failed"
        raise Trouble(code, f"Cannot {doing}: {said.splitlines()[-1]}", said)


def _mb(size: int) -> int:
    return -(-size // (1 << 20))
