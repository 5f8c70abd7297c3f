# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one file of a backup where the repository lies, and writes it to stdout as records of :mod:`.relay`.

It is sent to the backup server, which needs Python, qemu-img and perhaps restic, and nothing of ours; a repository that
this machine reaches itself is read by the same program, started here. A full backup passes as it is. A chain of
increments becomes one image first, in a private scratch folder: what is stored is opened read-only, and its backing
file is named without anything being written into it, so that several can read at once (contract-ds 11.9, 12.10).

What it was asked for, passwords among it, comes over stdin with the program. When the other end of stdin goes away, the
work ends and the scratch folder goes; that of one that was killed is removed by the next one.

Standard library and what is sent along only.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import time
from _thread import allocate_lock

from .codec import dumps, loads
from .command import SIGINT, holding, run, said, stop_work, which
from .relay import Feeder
from .wire import Lifeline, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SCRATCH = "one_storage-retrieval-"
MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_MANIFEST_BYTES = 1 << 20
#: Seconds between two tries at a repository that somebody else has locked.
_PAUSE = 2.0
#: Every so many tries locks of dead processes are taken off.
_UNLOCK_EVERY = 5
#: What restic's commands are for.
_VERBS = {"ls": "list the backup", "dump": "read the backup", "unlock": "take old locks off"}
#: Seconds that restic has to give its lock back.
_PATIENCE = 5
#: What restic says of such a lock; its code 11 is known since 0.17 only.
_LOCKED = ("already locked", "unable to create lock")
_EXTERNAL_DATA = 4


class Trouble(Exception):
    """Why it does not work: a kind of :mod:`.._errors` by its code, a sentence, and what a tool said."""

    def __init__(self, code: str, sentence: str, detail: str = "", todo: str = "") -> None:
        super().__init__(sentence)
        self.record = {
            "code": code,
            "sentence": sentence,
            "detail": detail,
            "todo": todo,
            "host": os.uname().nodename,
        }


def serve(order: dict[str, Any]) -> None:
    """Answer an order on stdout.

    :param order: ``store`` (see :func:`_store`), ``chain`` (number and reference of each backup, the oldest first),
        ``disk`` (its id as text, or ``tpm``), ``scratch`` (folder for temporary data), ``patience`` (seconds that a
        tool, or a lock, may take), ``name`` (for people).
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
        self.store = _store(order["store"], order["patience"])
        self._scratch = ""
        self._lock = -1
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
        if files[0].name.endswith((".rbd2", ".rbdiff")):
            return head, self._archive(files)
        if len(files) == 1:
            head["length"] = files[0].size
            return head, self.store.chunks(files[0])
        image = self._merged(files)
        # now their digests are known
        head["files"] = [file.record() for file in files]
        head["length"] = os.stat(image).st_size
        return head, _chunks(image)

    def _merged(self, files: list[_File]) -> str:
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

    def _archive(self, files: list[_File]) -> Iterator[bytes]:
        """A chain of Ceph's differences as stock hands it on: a packed tar of all of them (contract-ds 11.9)."""
        import zlib

        packing = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        for data in self._members(files):
            for start in range(0, len(data), _CHUNK):
                packed = packing.compress(data[start : start + _CHUNK])
                if packed:
                    yield packed
        yield packing.flush()

    def _members(self, files: list[_File]) -> Iterator[bytes]:
        import tarfile

        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mtime = file.size, int(time.time())
            yield entry.tobuf(tarfile.GNU_FORMAT)
            yield from self.store.chunks(file)
            yield bytes(-file.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _folder(self, size: int) -> str:
        import fcntl

        top = self.order["scratch"]
        _sweep(top)
        info = os.statvfs(top)
        free = info.f_bavail * info.f_frsize
        if free < size:
            raise Trouble(
                "no-space",
                f"There is no room in {top} to put {self.order['name']} together: it may take {_mb(size)} MB, and "
                f"{_mb(free)} MB are free",
                todo="free some space, or name another folder in the datastore",
            )
        self._scratch = os.path.join(top, SCRATCH + os.urandom(8).hex())
        os.mkdir(self._scratch, 0o700)
        # whoever can lock it knows that we are gone
        self._lock = os.open(self._scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._scratch

    def clear(self) -> None:
        """End what runs, and remove the scratch folder."""
        with self._clearing:
            self.store.end()
            if self._scratch:
                _remove(self._scratch)
                self._scratch = ""


class _File:
    """A file of a backup.

    :ivar ref: the reference that it belongs to; :ivar sha256: known once it was read.
    """

    def __init__(self, ref: str, path: str, size: int) -> None:
        self.ref = ref
        self.path = path
        self.name = os.path.basename(path)
        self.size = size
        self.sha256 = ""

    def record(self) -> dict[str, Any]:
        """What is told of it."""
        return {"ref": self.ref, "name": self.name, "bytes": self.size, "sha256": self.sha256}


def _store(told: dict[str, Any], patience: float) -> _Store:
    """A repository: ``{"folder": path}`` of plain files, one folder a reference; or ``{"command": [...], "environment":
    {...}, "stdin": text}``, restic with all that it takes to reach one, and the password that it reads."""
    if "folder" in told:
        return _Store(told["folder"])
    return _Restic(told, patience)


class _Store:
    """Plain files in a folder."""

    is_remote = False

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find(self, chain: list[list[Any]], disk: str) -> tuple[list[_File], dict[str, str | None]]:
        """The disk's files in the order of the chain, and the text of each reference's manifest, if it has one."""
        files: list[_File] = []
        manifests: dict[str, str | None] = {}
        for number, ref in chain:
            paths = self.listed(ref)
            manifests[ref] = self.manifest(ref, paths)
            path = _file_of(paths, disk, number)
            if path:
                files.append(_File(ref, path, self.size(ref, path)))
        return (files[-1:] if disk == "tpm" else files), manifests

    def listed(self, ref: str) -> list[str]:
        """Paths of the files of a reference."""
        folder = os.path.join(self.folder, ref)
        try:
            return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        except FileNotFoundError:
            raise Trouble("missing", f"The backup {ref} is not in the repository {self.folder}") from None

    def manifest(self, ref: str, paths: list[str]) -> str | None:
        """The text of a reference's manifest; None when it has none."""
        for path in paths:
            if os.path.basename(path) == MANIFEST:
                data = b""
                for chunk in self.chunks(_File(ref, path, 0)):
                    data += chunk
                    if len(data) > _MANIFEST_BYTES:
                        break
                return data.decode("utf-8", "replace")
        return None

    def size(self, _ref: str, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def chunks(self, file: _File) -> Iterator[bytes]:
        """Its content."""
        return _chunks(file.path)

    def local(self, file: _File, _path: str) -> str:
        """A path where qemu-img finds it; its digest is known then."""
        import hashlib

        taken = hashlib.sha256()
        for data in _chunks(file.path):
            taken.update(data)
        file.sha256 = taken.hexdigest()
        return file.path

    def end(self) -> None:
        """End what runs."""


class _Restic(_Store):
    """Files that restic keeps."""

    is_remote = True

    def __init__(self, told: dict[str, Any], patience: float) -> None:
        super().__init__("")
        self._command: list[str] = told["command"]
        self._environment = {**os.environ, "LC_ALL": "C", **told["environment"]}
        self._stdin: bytes = told["stdin"].encode()
        self._until = time.monotonic() + patience
        self._sizes: dict[tuple[str, str], int] = {}
        self._running: subprocess.Popen[bytes] | None = None

    def listed(self, ref: str) -> list[str]:
        """Paths of the files of a snapshot, whose sizes are known then too."""
        paths = []
        for line in b"".join(self._said(["ls", "--json", "--quiet", ref])).splitlines():
            told = loads(line)
            if told.get("type") == "file":
                paths.append(str(told["path"]))
                self._sizes[(ref, paths[-1])] = int(told.get("size", 0))
        return paths

    def size(self, ref: str, path: str) -> int:
        """Bytes of a file."""
        return self._sizes[(ref, path)]

    def chunks(self, file: _File) -> Iterator[bytes]:
        """What restic dumps."""
        return self._said(["dump", "--quiet", file.ref, file.path])

    def local(self, file: _File, path: str) -> str:
        """Dumped, with its zeros left out."""
        import hashlib

        taken = hashlib.sha256()
        size = 0
        with open(path, "xb") as out:
            for data in self.chunks(file):
                taken.update(data)
                size += len(data)
                if data.count(0) == len(data):
                    out.seek(len(data), os.SEEK_CUR)
                else:
                    out.write(data)
            out.truncate(size)
        file.size, file.sha256 = size, taken.hexdigest()
        return path

    def _said(self, words: list[str]) -> Iterator[bytes]:
        """The stdout of restic; tried again while somebody else has the repository locked."""
        tries = 0
        while True:
            begun = False
            for data in self._once(words):
                if data is None:
                    break
                begun = True
                yield data
            else:
                return
            if begun or time.monotonic() + _PAUSE > self._until:
                raise Trouble(
                    "busy",
                    "The restic repository is locked by somebody else",
                    todo="wait for it, or look with restic list locks",
                )
            if not tries % _UNLOCK_EVERY:
                # locks of the dead go; those of the living stay
                for _data in self._once(["unlock", "--quiet"]):
                    pass
            tries += 1
            time.sleep(_PAUSE)

    def _once(self, words: list[str]) -> Iterator[bytes | None]:
        """Its stdout; None at the end when the repository was locked."""
        argv = [which("setpriv"), "--pdeathsig", "INT", "--", which(self._command[0]), *self._command[1:], *words]
        given, errors = holding(self._stdin), os.memfd_create("stderr")
        try:
            self._running = subprocess.Popen(
                argv, stdin=given, stdout=subprocess.PIPE, stderr=errors, env=self._environment
            )
            out = self._running.stdout
            while out is not None:
                data = out.read(_CHUNK)
                if not data:
                    break
                yield data
            code = self._running.wait()
            self._running = None
            text = said(errors).strip()
        finally:
            self.end()
            os.close(given)
            os.close(errors)
        if not code:
            return
        if code == 11 or any(word in text for word in _LOCKED):
            yield None
            return
        last = text.splitlines()[-1] if text else f"it ended with code {code}"
        kind, todo = "tool-failed", ""
        if "no space left" in text.lower():
            kind = "no-space"
        elif "wrong password" in text or "no key found" in text:
            kind, todo = "no-access", "RESTIC_PASSWORD of the datastore is another one"
        elif "no matching ID" in text or "no snapshot found" in text:
            kind = "missing"
        raise Trouble(kind, f"restic cannot {_VERBS.get(words[0], words[0])}: {last}", text, todo)

    def end(self) -> None:
        """Tell restic to end, so that it gives its lock back."""
        running, self._running = self._running, None
        if running is not None:
            running.send_signal(SIGINT)
            try:
                running.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _file_of(paths: list[str], disk: str, number: int) -> str:
    """The path of a disk's file among those of one backup; empty when the disk is not in it.

    The number in the name is that of the increment, but where increments were merged there may be another one.
    """
    found = [path for path in paths if _disk(os.path.basename(path)) == disk]
    for path in found:
        if os.path.basename(path).split(".")[2] == str(number):
            return path
    return found[0] if found else ""


def _disk(name: str) -> str:
    """Disk out of ``disk.<disk>.<increment>``, with ``.rbdiff`` behind it, or ``disk.<disk>.rbd2``; else empty."""
    words = name.split(".")
    if words[0] != "disk" or len(words) < 3 or not words[1]:
        return ""
    return words[1] if (words[2].isdigit() and words[3:] in ([], ["rbdiff"])) or words[2:] == ["rbd2"] else ""


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


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(_CHUNK)
            if not data:
                return
            yield data


def _sweep(top: str) -> None:
    """Remove the scratch folders of those that were killed."""
    import fcntl

    for name in os.listdir(top):
        path = os.path.join(top, name)
        if not name.startswith(SCRATCH):
            continue
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
        except OSError:
            # somebody works there
            pass
        finally:
            os.close(handle)


def _remove(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)


def _mb(size: int) -> int:
    return -(-size // (1 << 20))
