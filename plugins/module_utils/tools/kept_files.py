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
from .files import remove_tree
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
_VERBS = {
    "find": "list the backup",
    "dump": "read the backup",
    "restore": "read the backup",
    "unlock": "take old locks off",
}
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
    """Files that restic keeps.

    Each command of restic costs most of a second before it begins, as that makes passwords hard to guess. So one finds
    the files of a whole chain, and one for each increment brings all that is needed of it; a full backup needs none to
    find it when it is told where the file is, and has a manifest.
    """

    is_remote = True

    def __init__(self, told: dict[str, Any], patience: float) -> None:
        super().__init__("")
        self._command: list[str] = told["command"]
        self._environment = {**os.environ, "LC_ALL": "C", **told["environment"]}
        self._stdin: bytes = told["stdin"].encode()
        #: Where the disk's file of the last increment is, in its snapshot.
        self._path = str(told.get("path") or "")
        self._until = time.monotonic() + patience
        self._sizes: dict[str, dict[str, int]] = {}
        self._manifests: dict[str, str | None] = {}
        self._later: set[str] = set()
        self._sparse = True
        self._running: subprocess.Popen[bytes] | None = None

    def find(self, chain: list[list[Any]], disk: str) -> tuple[list[File], dict[str, str | None]]:
        """As for plain files; the manifests of files that are to be merged come with them, in :meth:`local`."""
        if len(chain) > 1 or not self._is_described(chain[0][1]):
            self._look([ref for _number, ref in chain], disk)
        paths = [_file_of(self.listed(ref), disk, number) for number, ref in chain]
        whole = [path for path in paths if path]
        if disk != "tpm" and len(whole) > 1 and all(_is_plain(path) for path in whole):
            self._later = {ref for (_number, ref), path in zip(chain, paths) if path}
        files, self._manifests = super().find(chain, disk)
        return files, self._manifests

    def _is_described(self, ref: str) -> bool:
        """Whether the manifest beside a file that we were told of says which files there are."""
        folder = os.path.dirname(self._path)
        if not folder:
            return False
        try:
            text = self._small(ref, [os.path.join(folder, MANIFEST)], MANIFEST, _MANIFEST_BYTES) or b""
            told = loads(text)["files"]
            sizes = {os.path.join(folder, name): int(entry["bytes"]) for name, entry in told.items()}
        except Trouble as trouble:
            if "not found in snapshot" not in trouble.record["detail"]:
                raise
            return False
        except (ValueError, KeyError, TypeError, AttributeError):
            # whoever asked will say what is wrong with it
            return False
        if self._path not in sizes:
            return False
        self._sizes[ref] = sizes
        self._manifests[ref] = text.decode("utf-8", "replace")
        return True

    def _look(self, refs: list[str], disk: str) -> None:
        """Find what may be needed of these snapshots."""
        words = ["find", "--json", *(f"--snapshot={ref}" for ref in refs), f"disk.{disk}.*", MANIFEST, VM_XML]
        for told in loads(b"".join(self._said(words))):
            matches = [one for one in told["matches"] if one.get("type") == "file"]
            for ref in refs:
                if str(told["snapshot"]).startswith(ref):
                    self._sizes[ref] = {str(one["path"]): int(one.get("size", 0)) for one in matches}

    def listed(self, ref: str) -> list[str]:
        """Paths of the files of a snapshot that may be needed, their sizes are known too."""
        if ref not in self._sizes:
            raise Trouble("missing", f"The backup {ref} is not in the repository, or has no files of one")
        return sorted(self._sizes[ref])

    def size(self, ref: str, path: str) -> int:
        """Bytes of a file."""
        return self._sizes[ref][path]

    def manifest(self, ref: str, paths: list[str]) -> str | None:
        """The text of a snapshot's manifest; None when it has none, or it is to come with its disk."""
        if ref in self._manifests or ref in self._later:
            return self._manifests.get(ref)
        return super().manifest(ref, paths)

    def chunks(self, file: File) -> Iterator[bytes]:
        """What restic dumps."""
        return self._said(["dump", "--quiet", file.ref, file.path])

    def local(self, file: File, path: str) -> str:
        """Restored with its manifest, in one go, where no others can look."""
        import hashlib

        top = path + ".restored"
        found = os.path.join(top, file.path.lstrip("/"))
        self._restore([file.ref, f"--target={top}", f"--include={file.name}", f"--include={MANIFEST}"])
        os.rename(found, path)
        os.chmod(path, 0o600)
        self._manifests[file.ref] = self._restored(os.path.join(os.path.dirname(found), MANIFEST))
        remove_tree(top)
        taken = hashlib.sha256()
        for data in chunks_of(path):
            taken.update(data)
        file.size, file.sha256 = os.stat(path).st_size, taken.hexdigest()
        return path

    def _restore(self, words: list[str]) -> None:
        """Zeros become holes where restic can do that, from 0.15 on."""
        try:
            for _data in self._said(["restore", *(["--sparse"] if self._sparse else []), *words]):
                pass
        except Trouble as trouble:
            if not self._sparse or "unknown flag: --sparse" not in trouble.record["detail"]:
                raise
            self._sparse = False
            self._restore(words)

    @staticmethod
    def _restored(path: str) -> str | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            return file.read(_MANIFEST_BYTES + 1).decode("utf-8", "replace")

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
        last = _reason(text) or f"it ended with code {code}"
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


def _reason(said: str) -> str:
    """What restic says of the first file that it could not restore, as its last words only count them."""
    for line in said.splitlines():
        if line.startswith("ignoring error for "):
            return line.partition(": ")[2]
    return last_words(said)


def _is_plain(path: str) -> bool:
    """Whether it is an image, and not what rbd exports."""
    return not path.endswith((".rbd2", ".rbdiff"))


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
