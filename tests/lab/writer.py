# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that writes by itself: a boot sector that fills its first disk sector after sector, through the BIOS.

It stops when the machine stops and goes where the machine goes, as any guest does. Each sector is filled with its own
number plus one, 2 ms after the one before. What was kept of one moment therefore has a beginning of that row, without
a gap.
"""

from __future__ import annotations

import struct

SECTOR = 512
_FLOPPY = 1440 << 10

#: 16-bit code for address 0x7c00. AX, DS, ES, SS = 0; then, for each sector: fill 0x8000 with its number plus one,
#: INT 13h AH=43h (write by the packet behind the code, to disk 0x80) until that works, count, INT 15h AH=86h (wait).
_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfbfc"  # cli; xor ax, ax; mov ds, es, ss, ax; mov sp, 7c00; sti; cld
    "66a14f7c6640bf0080b9800066f3ab"  # mov eax, [number]; inc eax; mov di, 8000; mov cx, 80; rep stosd
    "be477cb280b80043cd1372f4"  # mov si, packet; mov dl, 80; mov ax, 4300; int 13; jc to mov si
    "66ff064f7c66a14f7c663b06577c730b"  # inc dword [number]; mov eax, [number]; cmp eax, [last]; jae to hlt
    "b48631c9bad007cd15ebca"  # mov ah, 86; xor cx, cx; mov dx, 7d0; int 15; jmp to mov eax
    "f4ebfd"  # hlt; jmp to hlt
)


def floppy(first: int, last: int) -> bytes:
    """A floppy disk that boots the writer: it writes the sectors from *first* up to, but not including, *last*."""
    packet = struct.pack("<BBHHHQ", 16, 0, 1, 0x8000, 0, first)
    code = _CODE + packet + struct.pack("<I", last)
    return (code.ljust(510, b"\0") + b"\x55\xaa").ljust(_FLOPPY, b"\0")


def row(data: bytes, first: int, last: int) -> int:
    """How many sectors of the row a disk's content has; asserts that behind them nothing was written."""
    count = 0
    while count < last - first:
        at = (first + count) * SECTOR
        if data[at : at + SECTOR] != struct.pack("<I", first + count + 1) * (SECTOR // 4):
            break
        count += 1
    rest = data[(first + count) * SECTOR : last * SECTOR]
    assert rest == bytes(len(rest)), f"there is a gap behind sector {first + count}"
    return count
