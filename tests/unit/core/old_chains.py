# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of backups of volumes in stock's old form, made and restored by the command ``rbd`` as stock uses it
(contract-ds 9.1, 11.9; contract-tm 8.4)."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

from tests.unit.core.backups import DOCUMENT
from tests.unit.core.stored import Restic, Rsync, Stored
from tests.unit.core.support import act, tool
from tests.unit.core.vm_volume_backups import VOLUMES, Backed
from tests.unit.core.vm_volumes import VM, Disks

MODE = "<VM><ID>42</ID><BACKUPS><BACKUP_CONFIG><MODE><![CDATA[{}]]></MODE></BACKUP_CONFIG></BACKUPS>"
SIZES = "".join(f"<DISK><DISK_ID>{number}</DISK_ID><SIZE>6</SIZE></DISK>" for number in range(3))
DOCUMENT_OF = MODE + f"<TEMPLATE>{SIZES}</TEMPLATE><USER_TEMPLATE/></VM>"


class Old(Backed):
    """A VM's volumes, whose backups are laid into a repository as stock or we make them."""

    def __init__(self, disks: Disks, numbers: tuple[int, ...] = (0,), kind: str = "rsync") -> None:
        super().__init__(disks, numbers)
        self.kind = kind
        made = Rsync if kind == "rsync" else Restic
        self.store: Stored = made(disks.world.root, disks.world.root / kind, VM)
        self.place = disks.world.root / "0" / str(VM) / "backup"

    def stock(self, mode: str = "INCREMENT", while_exported: bool = False) -> int:
        """One increment as stock makes it; its number.

        :param while_exported: whether the guest writes while the whole image is exported.
        """
        rbd, number = self.pools.cluster.rbd, self.last + 1
        folder = self._folder()
        self.kept[number] = self.now()
        for disk in self.numbers:
            volume, snapshot = self.volume(disk), f"one_backup_{number}"
            if mode == "INCREMENT":
                rbd("snap", "create", "--no-progress", f"{volume}@{snapshot}")
                rbd("snap", "protect", f"{volume}@{snapshot}")
            if while_exported:
                self.pools.patch(VOLUMES[disk], "moving", place=3 << 20)
            out = folder / (f"disk.{disk}.rbd2" if number == 0 else f"disk.{disk}.{number}.rbdiff")
            if number == 0:
                rbd("export", "--no-progress", "--export-format", "2", volume, str(out))
            else:
                more = ["--from-snap", f"one_backup_{number - 1}"]
                rbd("export-diff", "--no-progress", *more, f"{volume}@{snapshot}", str(out))
                self._unprotected(volume, f"one_backup_{number - 1}")
        (folder / "vm.xml").write_bytes(base64.encodebytes(DOCUMENT_OF.format(mode).encode()))
        self.store.take(number, folder)
        self.last = number
        return number

    def ours(self, warned: list[str] | None = None, **more: Any) -> int:
        """The next increment as our drivers make it; its number."""
        shown = self.now()
        result = self.before(backup_format="rbd", **more)
        assert result.get("warnings", []) == (warned or [])
        number = int(result["increment"])
        folder = self._folder()
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        assert base64.b64decode((folder / "vm.xml").read_text()).decode() == DOCUMENT
        self.store.take(number, folder)
        self.after()
        self.kept[number] = shown
        self.last = number
        return number

    def add(self, number: int) -> None:
        """The VM gets a disk more."""
        self.pools.volume("one-6")
        self.numbers = (*self.numbers, number)

    def forget(self) -> None:
        """The chain goes; the volumes keep its snapshots."""
        shutil.rmtree(self.store.base / str(VM))
        self.store.chain.clear()
        self.kept.clear()
        self.last = -1

    # ---------------------------------------------------------------- what keeps them

    def _kept(self, **more: Any) -> dict[str, Any]:
        options = {name: value for name, value in self.store.options().items() if name != "repository_path"}
        options.pop("repository_backend", None)
        where = {"driver": self.kind, "datastore": str(self.store.base), "vm_id": VM}
        chain = [f"{number}:{reference}" for number, reference in self.store.chain]
        return {**options, **where, "increments": chain, **more}

    def flatten(self, keep: int) -> dict[str, Any]:
        """Merge; the chain is what is left."""
        result = act("ds_increment_flatten", **self.flattening(keep))
        left = [one.partition(":") for one in result.get("chain") or []]
        self.store.chain = [(int(number), reference) for number, _colon, reference in left] or self.store.chain
        return result

    def flattening(self, keep: int) -> dict[str, Any]:
        """Options for that."""
        return self._kept(datastore_id=100, keep_last=keep, format="rbd")

    def verify(self, **more: Any) -> dict[str, Any]:
        """What a verification says."""
        return act("ds_backup_verify", **self._kept(**more))

    def _folder(self) -> Path:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        return self.place

    def _unprotected(self, volume: str, snapshot: str) -> None:
        self.pools.cluster.rbd("snap", "unprotect", f"{volume}@{snapshot}")
        self.pools.cluster.rbd("snap", "rm", "--no-progress", f"{volume}@{snapshot}")

    # ---------------------------------------------------------------- what is in it

    def url_of(self, stored: Stored, number: int, upto: int) -> str:
        return self.url(number, upto)

    def url(self, disk: int, upto: int = -1) -> str:
        """What our ``ls`` says of a disk."""
        return str(act("ds_ls", **self._kept(datastore_id=100, format="rbd", increment_id=upto))["disks"][str(disk)])

    def size_told(self) -> int:
        """MB that a new image out of the last increment will have."""
        options = self._kept(source=self.url(0))
        return int(
            act("ds_stat", **{name: options[name] for name in options if name not in ("increments", "vm_id")})["size"]
        )

    def check_increments(self) -> None:
        """Each increment restores to what the disks were, read by us as one image."""
        for number, disks in self.kept.items():
            for disk, wanted in disks.items():
                image = self.pools.folder / "read.qcow2"
                image.write_bytes(self.store.read(self.url(disk, number)))
                raw = self.pools.folder / "read.raw"
                tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
                assert raw.read_bytes() == wanted, f"disk {disk}, increment {number}"
                image.unlink()
                raw.unlink()

    def stock_restores(self, upto: int, disk: int = 0) -> bytes:
        """What a disk is when stock restored it: a whole image, then the differences, then no snapshots."""
        rbd, name = self.pools.cluster.rbd, "one/one-stock"
        files = []
        for number, reference in self.store.chain[: upto + 1]:
            files += [self.file(number, reference, disk)]
        rbd("import", "--no-progress", "--export-format", "2", str(files[0]), name)
        for path in files[1:]:
            rbd("import-diff", "--no-progress", str(path), name)
        found = self.pools.content(name)
        rbd("snap", "ls", name)
        volume = self.pools.look.look("one", "one-stock")
        assert volume
        for one in volume["snapshots"]:
            self.pools.look.ask("forget", pool="one", name="one-stock", snapshot=one["name"])
        self.pools.look.ask("remove", pool="one", name="one-stock")
        return found

    def file(self, number: int, reference: str, disk: int) -> Path:
        """A disk's file in a repository of plain files."""
        names = [f"disk.{disk}.rbd2", f"disk.{disk}.{number}.rbdiff"]
        folder = self.store.base / str(VM) / reference
        return next(folder / name for name in names if (folder / name).exists())
