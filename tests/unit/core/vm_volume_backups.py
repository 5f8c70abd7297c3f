# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of a VM that are backed up, for tests: what is in the repository, and what each increment must show."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

from plugins.module_utils.tools import manifest
from tests.unit.core.backups import DOCUMENT, Repository
from tests.unit.core.stored import Restic, Rsync, Stored
from tests.unit.core.support import MIB, act, tool
from tests.unit.core.vm_volumes import VM, Disks

#: A disk that is a clone, one that is its image itself, one that was made empty.
VOLUMES = {0: "one-5-42-0", 1: "one-6", 2: "one-sys-42-2"}
IMAGES = {0: "one/one-5", 1: "one/one-6"}


class Backed:
    """A VM's volumes with their backups.

    :ivar kept: what each disk was, by increment.
    """

    def __init__(self, disks: Disks, numbers: tuple[int, ...] = (0,)) -> None:
        self.disks = disks
        self.pools = disks.pools
        self.numbers = numbers
        self.mode = "increment"
        self.last = -1
        self.folder = disks.vm / "backup"
        self.kept: dict[int, dict[int, bytes]] = {}
        self.repository = Repository(disks.world.root / "repository")
        disks.vm.mkdir(parents=True, exist_ok=True)
        self._writes = 0
        for number in numbers:
            if number == 0:
                self.pools.volume("one-5")
                disks.clone()
            elif number == 1:
                self.pools.volume("one-6")
            else:
                disks.act("tm_mkimage", destination=disks.path(2), size=6, format="raw")

    def volume(self, number: int) -> str:
        """A disk's volume."""
        return f"one/{VOLUMES[number]}"

    def write(self) -> None:
        """The guest writes to all disks, here and there, and frees what it wrote before."""
        self._writes += 1
        place = (self._writes * 7 % 11) * MIB // 2
        for number in self.numbers:
            self.pools.patch(VOLUMES[number], f"{number} {self._writes}", place=place)
            self.pools.patch(VOLUMES[number], f"{number} always", place=5 * MIB)
            self._discard(number, self._writes * 65536)

    def _discard(self, number: int, place: int) -> None:
        code = (
            "import rados, rbd, sys\n"
            "c = rados.Rados(conffile=sys.argv[1], name='client.oneadmin'); c.connect()\n"
            "i = rbd.Image(c.open_ioctx('one'), sys.argv[2]); i.discard(int(sys.argv[3]), 65536); i.close()\n"
        )
        tool("/usr/bin/python3", "-c", code, str(self.pools.cluster.conf), VOLUMES[number], str(place))

    def now(self) -> dict[int, bytes]:
        """What all disks hold."""
        return {number: self.pools.content(self.volume(number)) for number in self.numbers}

    def options(self, **more: Any) -> dict[str, Any]:
        """Options that pre and post have in common."""
        return self.disks.options(
            path=self.disks.vm,
            disks=[f"{number}:raw" for number in self.numbers],
            images=[f"{number}:{IMAGES[number]}" for number in self.numbers if number in IMAGES],
            persistent=["1"] if 1 in self.numbers else [],
            mode=self.mode,
            last_increment=self.last,
            **more,
        )

    def before(self, **more: Any) -> dict[str, Any]:
        """prebackup."""
        return act("tm_prebackup", **self.options(document=DOCUMENT, **more))

    def after(self, failed: bool = False, **more: Any) -> dict[str, Any]:
        """postbackup."""
        result = act("tm_postbackup", **self.options(failed=failed, **more))
        assert not self.folder.exists()
        return result

    def back_up(self, heard: bool = True, warned: str = "", **more: Any) -> int:
        """A whole backup that the repository takes; its number.

        :param heard: whether postbackup is called; :param warned: what its warnings say; empty when there are none.
        """
        shown = self.now()
        result = self.before(**more)
        warnings = result.get("warnings", [])
        assert bool(warnings) == bool(warned) and all(warned in text for text in warnings), warnings
        number = int(result["increment"])
        assert number == (self.last + 1 if self.mode == "increment" else 0)
        self.take(number, shown, warnings)
        assert self.now() == shown, "prebackup leaves the disks as they are"
        if heard:
            self.after()
        if self.mode == "increment":
            self.last = number
        return number

    def take(self, number: int, shown: dict[int, bytes], warnings: list[str], consistency: str = "off") -> Path:
        """The repository takes what lies in the backup directory, once it was looked at."""
        kept = self.repository.take(self.folder, number)
        told = manifest.read(str(kept))
        assert told is not None
        manifest.check(str(kept), told)
        assert (told["consistency"], told["warnings"]) == (consistency, warnings)
        assert (told["vm"], told["increment"], told["mode"]) == (VM, number, "increment" if number else "full")
        assert base64.b64decode((kept / "vm.xml").read_text()).decode() == DOCUMENT
        for path in kept.glob("disk.*"):
            tool("qemu-img", "check", "-q", "-f", "qcow2", path)
        self.kept[number] = shown
        return kept

    def check_all(self) -> None:
        """Every increment restores to what the disks were, by stock's recipe."""
        for number, disks in self.kept.items():
            for disk, wanted in disks.items():
                assert self.repository.restored(disk, number) == wanted, f"disk {disk}, increment {number}"

    def snapshots(self, number: int = 0) -> list[str]:
        """Names of the snapshots of a disk's volume."""
        found = self.pools.look.look("one", VOLUMES[number])
        assert found
        return [snapshot["name"] for snapshot in found["snapshots"]]

    def size_of(self, number: int, disk: int = 0) -> int:
        """Bytes of a disk's file in the repository."""
        return (self.repository.folder / f"increment.{number}" / f"disk.{disk}.{number}").stat().st_size

    # ---------------------------------------------------------------- restores

    def stored(self, kind: str = "rsync") -> Stored:
        """A repository that has the increments up to now."""
        made = (Rsync if kind == "rsync" else Restic)(self.disks.world.root, self.disks.world.root / kind, VM)
        for number in sorted(self.kept):
            folder = self.disks.world.root / "0" / str(VM) / "backup"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.repository.folder / f"increment.{number}", folder)
            made.take(number, folder)
        return made

    def url_of(self, stored: Stored, number: int, upto: int) -> str:
        """The source of a disk at an increment."""
        return stored.url(number, upto)

    def restore_options(self, stored: Stored, upto: int = -1, **more: Any) -> dict[str, Any]:
        """Options of a restore in place of all disks."""
        given = {
            "path": self.disks.vm,
            "disks": [f"{number}:raw" for number in self.numbers],
            "images": [f"{number}:{IMAGES[number]}" for number in self.numbers if number in IMAGES],
            "persistent": ["1"] if 1 in self.numbers else [],
            "sizes": [f"{number}:6" for number in self.numbers],
            "sources": [f"{number}:{self.url_of(stored, number, upto)}" for number in self.numbers],
            **stored.options(),
            **more,
        }
        return self.disks.options(**given)
