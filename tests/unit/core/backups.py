# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is backed up: what is in the repository, and what each of its increments must show."""

from __future__ import annotations

import base64
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plugins.module_utils.tools import manifest
from tests.unit.core.golden import SHAPES, Golden, Shape
from tests.unit.core.support import World, act, bytes_of, strings, tool

SHAPE = {shape.name: shape for shape in SHAPES}
DOCUMENT = "<VM><ID>5</ID><NAME><![CDATA[a 'name' \"with\" quotes & blanks]]></NAME></VM>" + "\n" * 50


class Repository:
    """Where the files of a chain are kept, and how a restore puts them together (contract-ds 10.3)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, backup: Path, increment: int) -> Path:
        """What the DS action backup does: the files are copied away."""
        kept = self.folder / f"increment.{increment}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(backup, kept)
        return kept

    def chain(self, disk: int, upto: int) -> list[Path]:
        """A disk's files up to an increment, in order; not all increments have to have one."""
        found = [self.folder / f"increment.{number}" / f"disk.{disk}.{number}" for number in range(upto + 1)]
        return [path for path in found if path.exists()]

    def restored(self, disk: int, upto: int) -> bytes:
        """What a restore of a disk gives, made by stock's recipe."""
        scratch = self.folder / "scratch"
        scratch.mkdir()
        try:
            names = []
            for path in self.chain(disk, upto):
                shutil.copy(path, scratch / path.name)
                names.append(path.name)
            for below, above in itertools.pairwise(names):
                tool("qemu-img", "rebase", "-q", "-u", "-F", "qcow2", "-b", below, scratch / above)
            return bytes_of(scratch / names[-1], "qcow2")
        finally:
            shutil.rmtree(scratch)


class Backed(Golden):
    """A disk with its backups.

    :ivar kept: what the disk was at each increment.
    """

    mode = "increment"
    increments = "cbt"
    base_path: Path | None = None
    #: As the option has them; empty for disk 0 alone.
    disks: Sequence[str] = ()

    def __init__(self, world: World, shape: Shape) -> None:
        super().__init__(world, shape)
        self.repository = Repository(world.root / "repository")
        self.kept: dict[int, bytes] = {}
        self.last = -1

    @classmethod
    def of(cls, world: World, shape: str, increments: str = "cbt") -> Backed:
        """A fresh one."""
        disk = cls.made(world, SHAPE[shape])
        assert isinstance(disk, Backed)
        disk.increments = increments
        return disk

    @property
    def folder(self) -> Path:
        """The backup directory."""
        return (self.base_path / "5" if self.base_path else self.path.parent) / "backup"

    def backup_options(self, **more: Any) -> dict[str, Any]:
        """Options that pre and post have in common."""
        driver = dict(self.shape.driver)
        # backups are the system driver's business
        system = driver.pop("system_driver", "")
        return strings(
            {
                "driver": system or driver["driver"],
                "datastore": self.path.parent.parent,
                "path": self.path.parent,
                "disks": list(self.disks) or [f"0:{self.shape.format}"],
                "images": [f"0:{self.world.images / self.shape.image}"],
                "persistent": ["0"] if self.shape.action == "tm_ln" and not system else [],
                "mode": self.mode,
                "increment_mode": self.increments,
                "last_increment": self.last,
                **({"backup_path": self.base_path} if self.base_path else {}),
                **more,
            }
        )

    def before(self, **more: Any) -> dict[str, Any]:
        """prebackup."""
        return act("tm_prebackup", **self.backup_options(document=DOCUMENT, **more))

    def after(self, failed: bool = False, **more: Any) -> dict[str, Any]:
        """postbackup."""
        result = act("tm_postbackup", **self.backup_options(failed=failed, **more))
        assert not self.folder.exists()
        return result

    def back_up(self, heard: bool = True, warned: str = "", **more: Any) -> dict[str, Any]:
        """A whole backup that the repository takes.

        :param heard: whether postbackup is called.
        :param warned: what its one warning says; empty when there is to be none.
        """
        shown = self.now
        result = self.before(**more)
        warnings = result.get("warnings", [])
        assert len(warnings) == bool(warned) and all(warned in text for text in warnings), warnings
        number = int(result["increment"])
        assert number == (self.last + 1 if self.mode == "increment" else 0)
        kept = self.repository.take(self.folder, number)
        told = manifest.read(str(kept))
        assert told is not None
        manifest.check(str(kept), told)
        assert (told["consistency"], told["warnings"]) == ("off", warnings)
        assert base64.b64decode((kept / "vm.xml").read_text()).decode() == DOCUMENT
        assert bytes_of(self.path, self.shape.format) == shown, "prebackup leaves the disk as it is"
        if heard:
            self.after()
        self.kept[number] = shown
        if self.mode == "increment":
            self.last = number
        return result

    def check_all(self) -> None:
        """Every increment restores to what the disk was."""
        for number, wanted in self.kept.items():
            assert self.repository.restored(0, number) == wanted, f"increment {number}"
        assert bytes_of(self.path, self.shape.format) == self.now

    def size_of(self, number: int, disk: int = 0) -> int:
        """Bytes of data that a disk's file in the repository has allocated."""
        path = self.repository.folder / f"increment.{number}" / f"disk.{disk}.{number}"
        return path.stat().st_size
