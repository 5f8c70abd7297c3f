# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories laid by hand, as stock lays them: chains of qcow2 increments in plain folders and in restic."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugins.module_utils.tools import manifest
from tests.unit.core.cheap_keys import cheapen
from tests.unit.core.support import MIB, bytes_of, pattern, tool

VM = 5
PASSWORD = 'it\'s "quoted" & has blanks'
SECRETS = {"repository_password": PASSWORD}
#: What the options of an action say of a restic repository, beside where it is.
RESTIC = {
    "backend": "local",
    "bandwidth": -1,
    "compression": "auto",
    "processors": -1,
    "connections": 5,
    "program": "restic",
    "host": "",
    "user": "",
}
DOCUMENT = (
    f"<VM><ID>{VM}</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><SIZE>8</SIZE><TYPE>FILE</TYPE><IMAGE_ID>0</IMAGE_ID></DISK>"
    "</TEMPLATE><USER_TEMPLATE/></VM>"
)


class Stored:
    """Backups of one VM.

    :ivar place: where the repository is, as a source is told.
    :ivar chain: number and reference of each increment.
    """

    kind = ""

    def __init__(self, root: Path, base: Path | None = None, vm: int = VM, document: str = DOCUMENT) -> None:
        self.root = root
        self.vm = vm
        self.document = document
        self.base = base or root / "repository"
        self.base.mkdir()
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        self.chain: list[tuple[int, str]] = []
        self.place: dict[str, Any] = {}
        self._disks: dict[int, bytearray] = {}
        #: What each disk was at each increment.
        self.kept: list[dict[int, bytes]] = []
        self._paths: list[dict[str, str]] = []

    # ------------------------------------------------------------ backups

    def write(self, disk: int, size: int = 0) -> None:
        """The guest writes to a disk; the first time it is there with *size* MB, 4 unless told, later it may grow."""
        data = self._disks.setdefault(disk, bytearray((size or 4) * MIB))
        if size * MIB > len(data):
            data.extend(bytes(size * MIB - len(data)))
        turn = len(self.chain)
        place = (turn * 192 * 1024) % (len(data) - MIB)
        data[place : place + 100_000] = pattern(f"{disk}:{turn}", 100_000)

    def drop(self, disk: int) -> None:
        """The disk goes away."""
        del self._disks[disk]

    def backup(self, described: bool = True, tpm: bytes = b"") -> None:
        """The next increment of all disks, with a manifest or, as stock's, without."""
        number = len(self.chain)
        folder = self.root / "0" / str(self.vm) / "backup"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for disk, data in self._disks.items():
            self._increment(folder / f"disk.{disk}.{number}", disk, bytes(data))
        (folder / "vm.xml").write_bytes(base64.encodebytes(self.document.encode()))
        if tpm:
            (folder / "disk.tpm.0").write_bytes(tpm)
        if described:
            manifest.write(str(folder), manifest.build(str(folder), "run", self.vm, disks={}, increment=number))
        self.kept.append({disk: bytes(data) for disk, data in self._disks.items()})
        self.take(number, folder)

    def take(self, number: int, folder: Path) -> None:
        """An increment that lies in a backup directory."""
        reference, paths = self._store(folder)
        self.chain.append((number, reference))
        self._paths.append(paths)

    def options(self) -> dict[str, Any]:
        """What the options of an action say of the repository."""
        found = {"repository_path": str(self.base), "repository_tmp_dir": str(self.scratch)}
        return {**found, "repository_backend": "local", **SECRETS} if self.kind == "restic" else found

    def _increment(self, path: Path, disk: int, now: bytes) -> None:
        """What changed since the last backup, in clusters of 64 KiB; the first time all of it."""
        before = self.kept[-1].get(disk, b"") if self.kept else b""
        raw = self.root / "raw"
        tool("qemu-img", "create", "-q", "-f", "qcow2", path, str(len(now)))
        for place in range(0, len(now), 65536):
            piece = now[place : place + 65536]
            if piece != before[place : place + 65536] and (before or any(piece)):
                raw.write_bytes(piece)
                tool("qemu-io", "-f", "qcow2", "-c", f"write -q -s {raw} {place} {len(piece)}", path)

    def _store(self, folder: Path) -> tuple[str, dict[str, str]]:
        raise NotImplementedError

    # ------------------------------------------------------------ restores

    def url(self, disk: int | str, upto: int = -1, slashes: str = "/") -> str:
        """The source of a disk (or ``tpm``) at an increment."""
        chain = self.chain[: upto + 1] if upto >= 0 else self.chain
        number = chain[-1][0]
        name = f"disk.{disk}.{0 if disk == 'tpm' else number}"
        words = ",".join(f"{one}:{reference}" for one, reference in chain)
        return f"{self.kind}://100//{words}{slashes}{self._paths[number][name].lstrip('/')}"

    def read(self, url: str) -> bytes:
        """What comes out of a source, as the front-end reads it."""
        from plugins.module_utils.tools.sources import Options, open_source

        source = open_source(url, Options(repository=self.place, secrets=SECRETS, stall=20))
        try:
            return b"".join(source.blocks())
        finally:
            source.close()

    def change(self, number: int, name: str, how: Callable[[bytearray], object]) -> None:
        """Alter a file in the repository."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """Everything in the repository."""
        return {str(path): path.read_bytes() for path in sorted(self.base.rglob("*")) if path.is_file()}


class Rsync(Stored):
    """``<base>/<vm>/<reference>/``."""

    kind = "rsync"

    def __init__(self, root: Path, base: Path | None = None, vm: int = VM, document: str = DOCUMENT) -> None:
        super().__init__(root, base, vm, document)
        self.place = {"kind": "rsync", "path": str(self.base), "host": "", "user": "", "tmp_dir": str(self.scratch)}

    def _store(self, folder: Path) -> tuple[str, dict[str, str]]:
        number = 0xABC000 + len(self.chain)
        while (kept := self.base / str(self.vm) / f"{number:06x}").exists():
            number += 1
        reference = kept.name
        shutil.copytree(folder, kept)
        return reference, {path.name: str(path) for path in kept.iterdir()}

    def change(self, number: int, name: str, how: Callable[[bytearray], object]) -> None:
        path = self.base / str(self.vm) / self.chain[number][1] / name
        data = bytearray(path.read_bytes())
        how(data)
        path.write_bytes(data)


class Restic(Stored):
    """A repository of restic, used by the paths that the files had on the VM's host."""

    kind = "restic"

    def __init__(self, root: Path, base: Path | None = None, vm: int = VM, document: str = DOCUMENT) -> None:
        super().__init__(root, base, vm, document)
        self.place = {"kind": "restic", "path": str(self.base), "tmp_dir": str(self.scratch), **RESTIC}
        self.restic("init")
        cheapen(self.base / str(self.vm), PASSWORD)

    def restic(self, *words: str) -> str:
        """Run restic on the repository."""
        done = subprocess.run(
            ["restic", "--repo", str(self.base / str(self.vm)), *words],
            env={**os.environ, "RESTIC_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _store(self, folder: Path) -> tuple[str, dict[str, str]]:
        said = self.restic("backup", "--force", "--json", f"--tag=one-{self.vm}", *map(str, sorted(folder.iterdir())))
        reference = json.loads(said.splitlines()[-1])["snapshot_id"][:8]
        return reference, {path.name: str(path) for path in folder.iterdir()}


def tpm_state(entries: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A packed tar such as ``disk.tpm.0`` is."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return data.getvalue()


def shown(data: bytes, folder: Path) -> bytes:
    """What a guest sees of a qcow2 image."""
    path = folder / "shown.qcow2"
    path.write_bytes(data)
    tool("qemu-img", "check", "-q", "-f", "qcow2", path)
    try:
        return bytes_of(path, "qcow2")
    finally:
        path.unlink()
