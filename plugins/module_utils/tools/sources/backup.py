# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks out of backups: ``rsync://``, ``restic://``, and with ``+rbd`` those of Ceph in stock's old form (contract-ds
6.3, 11.9, 12.10). What comes is qcow2 in any case (:mod:`..retrieval`).

What is in the repository is held against the manifests of the chain: of a full backup while it passes, of a chain
before the first byte of it is taken. A file that is not what was backed up is an error, never an image.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

from ..._errors import BadCall, Corrupt, Missing, one_line
from .. import manifest as manifests
from ..wire import BEAT, Gone, Wire
from .base import Options
from .relayed import RecordSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..session import Session

SCHEMES = ("rsync", "restic", "rsync+rbd", "restic+rbd")
_HEX = frozenset("0123456789abcdef")
_REFERENCE = {"rsync": 6, "restic": 8}
#: Folder for temporary data where the datastore names none.
SCRATCH = "/var/tmp"
#: Seconds that the other side has to clear up.
_PATIENCE = 10


class BackupUrl:
    """A pseudo-URL, taken apart: ``<proto>://<datastore>/[<job>]/<n>:<ref>,<n>:<ref>…/<path>``.

    :ivar kind: ``rsync`` or ``restic``; :ivar ceph: whether the files are Ceph's differences.
    :ivar datastore: id of the backup datastore; :ivar job: id of the backup job, -1 for none.
    :ivar chain: increments with their references, the oldest first; one is a full backup.
    :ivar path: of the disk's file in the last one; :ivar disk: its id as text, or ``tpm``; :ivar vm: the VM's id.
    :raises BadCall: for what is no such URL.
    """

    def __init__(self, url: str) -> None:
        scheme, _mark, rest = url.partition("://")
        # the path may begin with one slash or two (contract-ds 14, row 19)
        store, job, chain, path = [*rest.split("/", 3), "", "", ""][:4]
        self._url = url
        scheme = scheme.lower()
        self.ceph = scheme.endswith("+rbd")
        self.kind = scheme.partition("+")[0]
        if scheme not in SCHEMES or not path:
            raise self._wrong("write <kind>://<datastore>/[<job>]/<increment>:<reference>,.../<path>")
        self.datastore = self._number(store, "the id of a datastore")
        self.job = self._number(job, "the id of a backup job") if job else -1
        self.chain = [self._element(word) for word in chain.split(",")]
        numbers = [number for number, _ref in self.chain]
        if numbers != sorted(set(numbers)):
            raise self._wrong("its increments are not in their order")
        self.path = "/" + path.lstrip("/")
        self._file()

    def _file(self) -> None:
        parts = self.path.split("/")
        place = manifests.disk_of(parts[-1])
        if place is None and parts[-1] != manifests.TPM:
            raise self._wrong(f"'{parts[-1]}' is not the name of a disk in a backup")
        self.disk = "tpm" if place is None else str(place[0])
        folder = parts[-3:-1]
        if "" in parts[1:] or {".", ".."} & set(parts) or not self.path.isprintable() or len(folder) < 2:
            raise self._wrong("its path cannot be one of a backup")
        if self.kind == "rsync":
            vm = folder[0]
            if folder[1] not in [ref for _number, ref in self.chain]:
                raise self._wrong("its path belongs to none of its references")
        else:
            vm = folder[0] if folder[1] == "backup" else ""
        self.vm = self._number(vm, "the id of a VM in its path")

    def _element(self, word: str) -> tuple[int, str]:
        number, _colon, ref = word.partition(":")
        if not _REFERENCE[self.kind] <= len(ref) <= 64 or not _HEX.issuperset(ref):
            raise self._wrong(f"'{ref}' is not the reference of a backup")
        return self._number(number, "the number of an increment"), ref

    def _number(self, text: str, what: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise self._wrong(f"'{text}' is not {what}")
        return int(text)

    def _wrong(self, why: str) -> BadCall:
        return BadCall(f"'{one_line(self._url, 200)}' is not the source of a backup: {one_line(why, 120)}")

    @property
    def name(self) -> str:
        """What to call it in sentences."""
        number, ref = self.chain[-1]
        what = "the TPM's state" if self.disk == "tpm" else f"disk {self.disk}"
        of = f"increment {number} ({ref})" if number else f"the backup {ref}"
        return f"{what} of {of} of VM {self.vm}"


def is_backup(url: str) -> bool:
    """Whether a source is one out of a backup, or would be taken for one by a helper of stock's."""
    return url.partition("://")[0].partition("+")[0].lower() in _REFERENCE and not url.startswith("/")


class BackupSource(RecordSource):
    """A disk out of a backup, read where the repository lies.

    :raises Missing: nobody said how the repository is reached.
    """

    def __init__(self, url: str, options: Options) -> None:
        self.url = BackupUrl(url)
        super().__init__(self.url.name, options, f"The connection to the repository of {self.url.name} broke")
        self._session: Session | None = None
        self._ending, self._quiet = allocate_lock(), allocate_lock()
        self._whole: dict[str, Any] | None = None
        place = options.repository
        if not place or place["kind"] != self.url.kind:
            raise Missing(
                f"Nothing is known of the {self.url.kind} repository of backup datastore {self.url.datastore}",
                todo="the options repository_... say where it is",
            )
        self._open(place)

    def _open(self, place: dict[str, Any]) -> None:
        from ..peer import Settings, open_retrieval
        from ..repositories.reading import reached

        login, store = reached({**place, "vm": self.url.vm, "job": self.url.job}, self.options.secrets)
        order = {
            "name": self.name,
            "store": {**store, "path": self.url.path},
            "chain": [list(element) for element in self.url.chain],
            "disk": self.url.disk,
            "scratch": place.get("tmp_dir") or SCRATCH,
            "patience": self.options.command,
        }
        reach = Settings(
            str(place.get("python") or "/usr/bin/python3"), str(place.get("ciphers") or ""), stall=self.options.stall
        )
        session = open_retrieval(login, reach, order)
        self._keep_alive(session.stdin)
        self._session = session
        try:
            self.begin(session.stdout)
            self._judge()
        except BaseException:
            self.close()
            raise

    def _keep_alive(self, handle: int) -> None:
        """Say now and then that somebody still wants it: else the other side clears up and goes."""
        wire = Wire(-1, handle)
        self._ending.acquire()
        self._quiet.acquire()

        def beat() -> None:
            try:
                while not self._ending.acquire(timeout=BEAT):
                    wire.send({"beat": True})
            except Gone:
                # whoever reads learns it too
                pass
            finally:
                self._quiet.release()

        start_new_thread(beat, ())

    # ------------------------------------------------------------ what was backed up

    def _judge(self) -> None:
        """Hold what was found against the manifests, as far as it is known by now."""
        files = {str(file["ref"]): file for file in self.told["files"]}
        without = []
        for number, ref in self.url.chain:
            text = self.told["manifests"].get(ref)
            told = manifests.parse(text.encode(), f"of the backup {ref}") if text is not None else None
            if told is not None and manifests.outdated(told, number == self.url.chain[0][0] and self.url.disk != "tpm"):
                told = None
            file = files.get(ref)
            if told is None:
                without.append(ref)
            elif file is None:
                self._refuse_gap(ref, told)
            elif file["name"] not in told["files"]:
                raise Corrupt(f"The file {one_line(file['name'], 60)} of the backup {ref} is not in its manifest")
            else:
                self._compare(file, told["files"][file["name"]], ref)
        self._refuse_hole(files)
        if without:
            which = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
            self.warning = f"The backup {which} has no manifest: that {self.name} is what was backed up is not proven"

    def _compare(self, file: dict[str, Any], wanted: dict[str, Any], ref: str) -> None:
        if file["sha256"]:
            manifests.compare(file["name"], wanted, file["bytes"], file["sha256"], ref)
        elif len(self.told["files"]) == 1:
            # it is known when all of it has passed
            self._whole = {"name": file["name"], "wanted": wanted, "ref": ref}

    def _refuse_gap(self, ref: str, told: dict[str, Any]) -> None:
        names = [name for name in told["files"] if self._is_ours(name)]
        if names and (self.url.disk != "tpm" or ref == self.url.chain[-1][1]):
            raise Missing(f"The file {names[0]} of the backup {ref} is gone, and its manifest names it")

    def _is_ours(self, name: str) -> bool:
        place = manifests.disk_of(name)
        return name == manifests.TPM if self.url.disk == "tpm" else bool(place and str(place[0]) == self.url.disk)

    def _refuse_hole(self, files: dict[str, Any]) -> None:
        """A disk may come into a chain late, but from then on none of its increments may be missing."""
        seen = False
        for number, ref in self.url.chain if self.url.disk != "tpm" else []:
            seen = seen or ref in files
            if seen and ref not in files:
                raise Missing(f"Increment {number} ({ref}) has no file of disk {self.url.disk}")

    def blocks(self) -> Iterator[bytes]:
        """The file; the end comes only when it is what was backed up."""
        if self._whole is None:
            yield from super().blocks()
            return
        import hashlib

        taken, size = hashlib.sha256(), 0
        for data in super().blocks():
            taken.update(data)
            size += len(data)
            yield data
        manifests.compare(self._whole["name"], self._whole["wanted"], size, taken.hexdigest(), self._whole["ref"])

    def close(self) -> None:
        """End the other side, which clears up."""
        session, self._session = self._session, None
        if session is not None:
            self._ending.release()
            self._quiet.acquire(timeout=_PATIENCE)
            session.end(_PATIENCE)
