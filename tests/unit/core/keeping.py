# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup datastores with a repository each, and prepared backups whose content is known."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

from plugins.module_utils import _actions, _options
from plugins.module_utils.drivers.registry import load
from plugins.module_utils.steps.base import Site, Timeouts
from plugins.module_utils.steps.store import opened
from plugins.module_utils.tools import manifest as manifests
from plugins.module_utils.tools import stack
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.repositories import Repository, secrets_of
from tests.unit.core.cheap_keys import cheapen
from tests.unit.core.support import MIB, RUN, act, bytes_of, pattern, tool

KINDS = ("rsync", "restic")
PASSWORD = 'it\'s "secret" $(id) ä'
VM = 22
SIZE = 4 * MIB


class Keeping:
    """A VM's prepared backups, and a repository that they go to.

    :ivar golden: what each disk held at each increment, by disk.
    """

    def __init__(self, root: Path, kind: str, vm_folder: str = "0") -> None:
        self.root, self.kind = root, kind
        self.base = root / f"it's a {kind} store"
        self.tmp = root / "tmp"
        self.system = root / vm_folder
        self.prepared = self.system / str(VM) / "backup"
        for path in (self.base, self.tmp):
            path.mkdir(parents=True, exist_ok=True)
        self.golden: dict[int, list[bytes]] = {}
        self.chain: list[str] = []
        #: Whether increments name a backing file, as stock's do and ours do not.
        self.named = True

    # ------------------------------------------------------------ what is backed up

    def prepare(self, number: int, disks: tuple[int, ...] = (0,), size: int = SIZE, tpm: bytes = b"") -> None:
        """Fill the backup directory with an increment: in each disk 64 KiB have changed, at another place."""
        shutil.rmtree(self.prepared, ignore_errors=True)
        self.prepared.mkdir(parents=True)
        for disk in disks:
            before = self.golden.setdefault(disk, [])
            content = bytearray(before[-1] if before else b"").ljust(size, b"\0")
            place = (number * 3 + disk) % 60 * 65536
            content[place : place + 65536] = pattern(f"{disk}.{number}", 65536)
            self._write(self.prepared / f"disk.{disk}.{number}", content, place, before, size)
            before.append(bytes(content))
        (self.prepared / "vm.xml").write_bytes(document(disks, size))
        if tpm:
            (self.prepared / "disk.tpm.0").write_bytes(tpm)

    def _write(self, path: Path, content: bytearray, place: int, before: list[bytes], size: int) -> None:
        """An increment as a driver leaves it; in stock's the backing file has the name that it had on its host."""
        more = ["-u", "-F", "qcow2", "-b", f"disk.{path.name.split('.')[1]}.lower"] if before and self.named else []
        tool("qemu-img", "create", "-q", "-f", "qcow2", *more, path, str(size))
        seed = self.root / "seed"
        seed.write_bytes(content[place : place + 65536])
        alone = json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}, "backing": None})
        tool("qemu-io", "-c", f"write -q -s {seed} {place} 65536", f"json:{alone}")
        seed.unlink()

    # ------------------------------------------------------------ actions

    @property
    def options(self) -> dict[str, Any]:
        """The repository as options."""
        found: dict[str, Any] = {"driver": self.kind, "datastore": str(self.base), "vm_id": VM}
        if self.kind == "restic":
            found.update(repository_password=PASSWORD, repository_tmp_dir=str(self.tmp))
        return found

    @property
    def backup_options(self) -> dict[str, Any]:
        """Options of ``ds_backup``."""
        return {**self.options, "source": str(self.prepared), "datastore_id": 100}

    @property
    def flatten_options(self) -> dict[str, Any]:
        """Options of ``ds_increment_flatten`` but for how many are kept."""
        return {**self.options, "increments": list(self.chain), "datastore_id": 100}

    def back_up(self, number: int, **given: Any) -> dict[str, Any]:
        """Prepare an increment and store it."""
        self.prepare(number, **given)
        result = act("ds_backup", **self.backup_options)
        if self.kind == "restic" and (self.base / str(VM)).is_dir():
            cheapen(self.base / str(VM), PASSWORD)
        self.chain.append(f"{number}:{result['reference']}")
        return result

    def fill(self, count: int, **given: Any) -> None:
        """A chain of so many."""
        for number in range(count):
            self.back_up(number, **given)

    def flatten(self, keep: int) -> dict[str, Any]:
        """Merge; the chain is what is left, as oned would have it."""
        result = act("ds_increment_flatten", **self.flatten_options, keep_last=keep)
        self.chain = list(result.get("chain") or self.chain)
        return result

    def verify(self, **given: Any) -> dict[str, Any]:
        """What a verification finds."""
        return act("ds_backup_verify", **self.options, increments=list(self.chain), **given)

    # ------------------------------------------------------------ looking

    def repository(self) -> Repository:
        """The repository itself."""
        return opened_for("ds_ls", {**self.options, "increments": self.chain, "datastore_id": 100})

    def restored(self, number: int, disk: int = 0) -> bytes:
        """What a disk held at an increment, out of what is stored: the recipe of contract-ds 10.3."""
        repository, files = self.repository(), []
        for index, word in enumerate(self.chain):
            increment, _colon, reference = word.partition(":")
            for stored in repository.files(reference):
                place = manifests.disk_of(stored.name)
                if place and place[0] == disk and int(increment) <= number:
                    path = self.root / f"out.{index}"
                    path.write_bytes(repository.content(reference, stored.path))
                    files.append(str(path))
        raw = self.root / "raw"
        tool("qemu-img", "convert", "-O", "raw", stack.opened(Host("here"), files), raw)
        try:
            return raw.read_bytes()
        finally:
            for path in (raw, *map(Path, files)):
                path.unlink()

    def references(self) -> list[str]:
        """All that is in the repository."""
        if self.kind == "rsync":
            folder = self.base / str(VM)
            return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        folder = self.base / str(VM) / "snapshots"
        return sorted(path.name[:8] for path in folder.iterdir()) if folder.is_dir() else []

    def is_tidy(self) -> bool:
        """Whether nothing is left of journals, workshops, temporary folders and locks."""
        hidden = [
            name for root in (self.base, self.system) if (root / HIDDEN).is_dir() for name in os.listdir(root / HIDDEN)
        ]
        locks = self.base / str(VM) / "locks"
        held = os.listdir(locks) if self.kind == "restic" and locks.is_dir() else []
        return set(hidden) <= {"locks"} and not os.listdir(self.tmp) and not held


def opened_for(action: str, given: dict[str, Any]) -> Repository:
    """The repository that an action with these options works on."""
    options = _options.check(action, _actions.ACTIONS[action].options, given)
    driver = load("ds", options["driver"])
    site = Site(Host("here"), None, RUN, Timeouts())
    site.secrets = secrets_of(options)
    return opened(site, driver._place(options))  # type: ignore[attr-defined]


def document(disks: tuple[int, ...], size: int) -> bytes:
    """``vm.xml`` as drivers write it: base64 with line breaks."""
    found = "".join(f"<DISK><DISK_ID>{disk}</DISK_ID><SIZE>{size // MIB + disk}</SIZE></DISK>" for disk in disks)
    return base64.encodebytes(f"<VM><ID>{VM}</ID><TEMPLATE>{found}</TEMPLATE></VM>".encode())


def whole(path: Path) -> bytes:
    """The guest's view of a qcow2 file."""
    return bytes_of(path, "qcow2")
