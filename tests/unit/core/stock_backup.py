# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stock's backup of a VM that is off does to a disk, command by command (contract-tm 8.3)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.unit.core.backups import Backed
from tests.unit.core.support import info, tool


def stock_backup(disk: Backed) -> None:
    """One increment of the disk's chain, made by stock and taken into the repository."""
    number = disk.last + 1
    folder = disk.folder
    folder.mkdir()
    out = folder / f"disk.0.{number}"
    if number == 0:
        tool("qemu-img", "convert", "-m", "4", "-O", "qcow2", "-U", disk.path.resolve(), out)
    if disk.increments == "cbt":
        _by_bitmaps(disk, number, out)
    else:
        _by_layers(disk, number, out)
    (folder / "vm.xml").write_text("Vk0=\n")
    disk.repository.take(folder, number)
    shutil.rmtree(folder)
    disk.kept[number] = disk.now
    disk.last = number


def _by_bitmaps(disk: Backed, number: int, out: Path) -> None:
    file = disk.path.resolve()
    parent = f"one-5-{number - 1}"
    if number:
        # what nbdinfo would tell is what qemu-img map makes of it
        import subprocess
        import time

        socket = disk.world.root / "s"
        serving = subprocess.Popen(
            ["qemu-nbd", "-r", "-k", str(socket), "-f", "qcow2", "-t", "-B", parent, str(disk.path)]
        )
        try:
            while not socket.exists():
                assert serving.poll() is None
                time.sleep(0.01)
            _pulled(f"nbd+unix:///?socket={socket}", socket, parent, out)
        finally:
            serving.kill()
            serving.wait()
            socket.unlink(missing_ok=True)
    known = info(file)["format-specific"]["data"].get("bitmaps", [])
    for bitmap in known:
        if bitmap["name"] != parent:
            tool("qemu-img", "bitmap", file, bitmap["name"], "--remove")
    tool("qemu-img", "bitmap", file, f"one-5-{number}", "--add")


def _pulled(uri: str, socket: Path, bitmap: str, out: Path) -> None:
    import json

    source = f"driver=nbd,server.type=unix,server.path={socket},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
    extents = json.loads(tool("qemu-img", "map", "--output=json", "--image-opts", source))
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", uri, out)
    reads = [
        word for item in extents if not item["data"] for word in ("-c", f"read -q {item['start']} {item['length']}")
    ]
    if reads:
        tool("qemu-io", "-C", "-f", "qcow2", *reads, out)


def _by_layers(disk: Backed, number: int, out: Path) -> None:
    link, file = disk.path, disk.path.resolve()
    snap = disk.path.parent / "disk.0.snap"
    if link.is_symlink():
        target = os.readlink(link)
        snap = Path(os.path.dirname(target)) if target.startswith("/") else snap
        slink = os.path.dirname(target)
    else:
        snap.mkdir()
        link.rename(snap / "0")
        link.symlink_to("disk.0.snap/0")
        slink, file = "disk.0.snap", snap / "0"
    if number:
        shutil.copy(file, out)
        tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-q", "-b", "", out)
    base = file
    if file.name != "0" and info(file).get("full-backing-filename", "").endswith("/0"):
        base = Path(info(file)["full-backing-filename"])
        tool("qemu-img", "commit", "-q", file)
        file.unlink()
    new = snap / str(number + 1)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", "backing_fmt=qcow2", "-b", base, new)
    link.unlink()
    link.symlink_to(f"{slink}/{number + 1}")
