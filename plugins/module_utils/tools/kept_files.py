# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of backups, read where their repository lies: plain ones in folders, and those that restic keeps.

Sent to the backup server with :mod:`.retrieval`; standard library and what is sent along only.
"""

from __future__ import annotations

import os
import subprocess
import time

from .codec import loads
from .command import SIGINT, holding, said, which
from .restic_words import kind_of, last_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MANIFEST = "manifest.json"
VM_XML = "vm.xml"
CHUNK = 1 << 20
_MANIFEST_BYTES = 1 << 20
_DOCUMENT_BYTES = 8 << 20
#: Seconds between two tries at a repository that somebody else has locked.
_PAUSE = 2.0
#: Every so many tries locks of dead processes are taken off.
_UNLOCK_EVERY = 5
#: What restic's commands are for.
_VERBS = {"ls": "list the backup", "dump": "read the backup", "unlock": "take old locks off"}
#: Seconds that restic has to give its lock back.
_PATIENCE = 5


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


class File:
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


def open_store(told: dict[str, Any], patience: float) -> Folder:
    """A repository: ``{"folder": path}`` of plain files, one folder a reference; or ``{"command": [...], "environment":
    {...}, "stdin": text}``, restic with all that it takes to reach one, and the password that it reads."""
    if "folder" in told:
        return Folder(told["folder"])
    return Restic(told, patience)


class Folder:
    """Plain files in a folder."""

    is_remote = False

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find(self, chain: list[list[Any]], disk: str) -> tuple[list[File], dict[str, str | None]]:
        """The disk's files in the order of the chain, and the text of each reference's manifest, if it has one."""
        files: list[File] = []
        manifests: dict[str, str | None] = {}
        for number, ref in chain:
            paths = self.listed(ref)
            manifests[ref] = self.manifest(ref, paths)
            path = _file_of(paths, disk, number)
            if path:
                files.append(File(ref, path, self.size(ref, path)))
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
        data = self._small(ref, paths, MANIFEST, _MANIFEST_BYTES)
        return None if data is None else data.decode("utf-8", "replace")

    def is_of_chain(self, ref: str) -> bool:
        """Whether a backup is an increment, the first one too: its VM's document says so (contract-tm 8.1)."""
        from base64 import b64decode

        data = self._small(ref, self.listed(ref), VM_XML, _DOCUMENT_BYTES) or b""
        try:
            words = b64decode(b"".join(data.split()))
        except ValueError:
            return False
        mode = words.partition(b"<BACKUP_CONFIG>")[2].partition(b"</BACKUP_CONFIG>")[0].partition(b"<MODE>")[2]
        return mode.partition(b"</MODE>")[0].replace(b"<![CDATA[", b"").replace(b"]]>", b"").strip() == b"INCREMENT"

    def _small(self, ref: str, paths: list[str], name: str, most: int) -> bytes | None:
        """The content of a small file, no more of it than a little over *most*; None when it is not there."""
        for path in paths:
            if os.path.basename(path) == name:
                data = b""
                for chunk in self.chunks(File(ref, path, 0)):
                    data += chunk
                    if len(data) > most:
                        break
                return data
        return None

    def size(self, _ref: str, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def chunks(self, file: File) -> Iterator[bytes]:
        """Its content."""
        return chunks_of(file.path)

    def local(self, file: File, _path: str) -> str:
        """A path where qemu-img finds it; its digest is known then."""
        import hashlib

        taken = hashlib.sha256()
        for data in chunks_of(file.path):
            taken.update(data)
        file.sha256 = taken.hexdigest()
        return file.path

    def end(self) -> None:
        """End what runs."""


class Restic(Folder):
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

    def chunks(self, file: File) -> Iterator[bytes]:
        """What restic dumps."""
        return self._said(["dump", "--quiet", file.ref, file.path])

    def local(self, file: File, path: str) -> str:
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
                data = out.read(CHUNK)
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
        kind = {"absent": "missing"}.get(found := kind_of(code, text), found)
        if kind == "busy":
            yield None
            return
        todo = "RESTIC_PASSWORD of the datastore is another one" if kind == "no-access" else ""
        last = last_words(text) or f"it ended with code {code}"
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


def chunks_of(path: str) -> Iterator[bytes]:
    """A plain file's content."""
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return
            yield data
