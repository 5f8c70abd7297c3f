# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small Linux with QEMU's guest agent in it, made of Debian's packages: a kernel, busybox, the agent, its libraries.

The packages are fetched by apt-get and unpacked, never installed: a test must not give a machine a new kernel.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

#: The kernel for virtual machines; its package depends on one with a version in its name.
_KERNEL = "linux-image-cloud-amd64"
_PACKAGES = ("qemu-guest-agent", "busybox-static")
#: In the order in which they have to be loaded.
_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    "virtio_console",
)  # fmt: skip
#: The file system of the first disk is written to all the time; the agent freezes what is mounted from a device.
_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /mnt /var/run
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for name in {modules}; do /bin/busybox insmod /modules/$name.ko; done
/bin/busybox mount -t ext4 /dev/vda /mnt
( n=0; while :; do n=$((n + 1)); echo $n >> /mnt/rows; /bin/busybox usleep 2000; done ) &
exec /qemu-ga -m virtio-serial -p /dev/vport0p1 -t /run
"""
COMMAND_LINE = "console=ttyS0 quiet panic=-1"


class NoLinux(Exception):
    """The packages are not to be had here; the message says why."""


def build(folder: Path) -> tuple[Path, Path]:
    """A kernel and an initramfs in a folder, made there when they are missing.

    :raises NoLinux: this is no Debian, or the packages cannot be fetched.
    """
    folder = folder.absolute()
    kernel, initramfs = folder / "vmlinuz", folder / "initramfs"
    if not (kernel.exists() and initramfs.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        packages, tree = folder / "packages", folder / "tree"
        packages.mkdir(parents=True)
        depends = _said(["apt-cache", "depends", _KERNEL], folder)
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        if not found:
            raise NoLinux(f"apt knows no {_KERNEL}")
        _said(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", found[1], *_PACKAGES], packages)
        for package in packages.iterdir():
            _said(["dpkg-deb", "--extract", str(package), str(tree)], folder)
        initramfs.write_bytes(_initramfs(tree, folder))
        shutil.copyfile(next((tree / "boot").glob("vmlinuz-*")), kernel)
        shutil.rmtree(tree)
        shutil.rmtree(packages)
    return kernel, initramfs


def _said(argv: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoLinux(f"{argv[0]}: {getattr(error, 'stderr', '') or error}") from None
    return done.stdout


def _initramfs(tree: Path, folder: Path) -> bytes:
    agent = next(tree.glob("usr/sbin/qemu-ga"))
    files = {"init": _INIT.format(modules=" ".join(_MODULES)).encode(), "qemu-ga": agent.read_bytes()}
    files["bin/busybox"] = next(path for path in tree.glob("*bin/busybox")).read_bytes()
    for name in _MODULES:
        files[f"modules/{name}.ko"] = next(tree.glob(f"lib/modules/*/kernel/drivers/**/{name}.ko")).read_bytes()
    for path in re.findall(r"(/\S+) \(0x", _said(["ldd", str(agent)], folder)):
        files[path.lstrip("/")] = Path(path).read_bytes()
    return _archive(files)


def _archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive in the format that the kernel unpacks (``newc``), with all folders that the files need."""
    folders = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
    entries = [(name, 0o040755, b"") for name in folders] + [(name, 0o100755, data) for name, data in files.items()]
    packed = b""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        packed += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return packed
