# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk image says it is, read from its first bytes by ourselves.

qemu-img opens whatever a header points at, so a header that points elsewhere must be refused before qemu-img sees the
file (rule 10). Formats and fields: QEMU's docs/interop/qcow2.txt, VMware's Virtual Disk Format 5.0.
"""

from __future__ import annotations

import struct

from .._errors import Corrupt, Refused

HEAD_BYTES = 65536

_MAGIC = (
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk-descriptor"),
    (b"LUKS\xba\xbe", "luks"),
    (b"conectix", "vpc"),
    (b"vhdxfile", "vhdx"),
    (b"QED\0", "qed"),
    (b"WithoutFreeSpace", "parallels"),
    (b"WithouFreSpacExt", "parallels"),
)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_FIRST = "convert it to qcow2 first"
#: Formats that an image datastore takes as they are or converts; the others are not disks of VMs.
ACCEPTED = ("raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi", "luks")


def format_of(head: bytes) -> str:
    """The format by its magic number; ``raw`` when there is none."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return "vdi"
    return "raw"


def compression_of(head: bytes) -> str:
    """gzip, bzip2, xz or zstd; empty when the bytes are none of these."""
    for magic, name in _COMPRESSED:
        if head.startswith(magic):
            return name
    return ""


def virtual_size(head: bytes) -> int | None:
    """Virtual size in bytes where the header says it; None for other formats, and when *head* is too short.

    :param head: the first :func:`size_bytes` bytes.
    """
    found = format_of(head)
    if found == "qcow2" and len(head) >= 32:
        return int(struct.unpack(">Q", head[24:32])[0])
    if found == "vmdk" and head.startswith(b"KDMV") and len(head) >= 20:
        return int(struct.unpack("<Q", head[12:20])[0]) * 512
    if found == "vdi" and len(head) >= 376:
        return int(struct.unpack("<Q", head[368:376])[0])
    if found == "vhdx":
        return _vhdx_size(head)
    return None


def size_bytes(image_format: str) -> int:
    """How many bytes of an image :func:`virtual_size` needs."""
    return 8 << 20 if image_format == "vhdx" else HEAD_BYTES


def _vhdx_size(head: bytes) -> int | None:
    """By way of the region table at 192 KiB and the metadata table that it names (MS-VHDX 2.2.3, 2.6)."""
    metadata = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
    disk_size = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
    regions = head[196608 : 196608 + 65536]
    place = _row(regions, 16, metadata, "<Q") if regions.startswith(b"regi") else None
    if place is None or head[place : place + 8] != b"metadata":
        return None
    offset = _row(head[place : place + 65536], 32, disk_size, "<I")
    value = head[place + offset : place + offset + 8] if offset else b""
    return int(struct.unpack("<Q", value)[0]) if len(value) == 8 else None


def _row(table: bytes, start: int, key: bytes, form: str) -> int | None:
    """The number behind a key of 16 bytes in a table with rows of 32."""
    for row in range(start, len(table) - 31, 32):
        if table[row : row + 16] == key:
            return int(struct.unpack_from(form, table, row + 16)[0])
    return None


def refuse_unsafe(head: bytes, name: str) -> str:
    """The format of an image that may be opened.

    :param head: its first :data:`HEAD_BYTES` bytes.
    :param name: what to call it in the sentence.
    :raises Refused: when it names a backing file, an external data file or extents in other files.
    :raises Corrupt: when its header is cut off.
    """
    found = format_of(head)
    if found == "vmdk-descriptor":
        raise Refused(f"{name} is a VMDK descriptor whose data lies in other files", todo="convert it to qcow2 first")
    if found not in ACCEPTED:
        raise Refused(f"{name} has the format {found}, which is not accepted", todo="convert it to qcow2 first")
    if found == "vmdk":
        _refuse_vmdk(head, name)
    if found == "qcow2":
        _refuse_qcow2(head, name)
    return found


def _refuse_qcow2(head: bytes, name: str) -> None:
    if len(head) < 72:
        raise Corrupt(f"{name} is a qcow2 image whose header is cut off")
    version, backing, _length = struct.unpack(">IQI", head[4:20])
    if version not in (2, 3):
        raise Corrupt(f"{name} is a qcow2 image of the unknown version {version}")
    if backing:
        raise Refused(f"{name} has a backing file", todo="flatten it with qemu-img convert first")
    if version == 3:
        if len(head) < 104:
            raise Corrupt(f"{name} is a qcow2 image whose header is cut off")
        (incompatible,) = struct.unpack(">Q", head[72:80])
        if incompatible & 4:
            raise Refused(f"{name} keeps its data in another file", todo="convert it with qemu-img first")


def _refuse_vmdk(head: bytes, name: str) -> None:
    if head.startswith(b"KDMV"):
        capacity, _grain, descriptor, length = struct.unpack("<QQQQ", head[12:44].ljust(32, b"\0"))
        # without a capacity of its own the file is but a descriptor, wherever that lies in it
        if not capacity:
            raise Refused(f"{name} is a VMDK without a size, whose data lies in other files", todo=_FIRST)
        if (descriptor + length) * 512 > HEAD_BYTES:
            raise Refused(f"{name} is a VMDK whose description does not stand at its beginning", todo=_FIRST)
    for line in head.replace(b"\r", b"\n").split(b"\n"):
        line = line.lstrip(b" \t\0")
        if line.startswith(b"parentFileNameHint"):
            raise Refused(f"{name} has a parent image", todo=_FIRST)
        if line.startswith((b"RW ", b"RDONLY ")) and (b" FLAT " in line or b" VMFS " in line or b" ZERO" in line):
            raise Refused(f"{name} keeps its data in another file", todo=_FIRST)
