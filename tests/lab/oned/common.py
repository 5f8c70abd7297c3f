# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every object of oned has: owner and permission bits."""

from __future__ import annotations

from dataclasses import dataclass

from .xmldoc import Element, node, text

_WHO = ("OWNER", "GROUP", "OTHER")
_WHAT = ("U", "M", "A")


@dataclass(frozen=True)
class Permissions:
    """Nine bits in three octal digits: use is 4, manage 2, admin 1."""

    owner: int = 6
    group: int = 0
    other: int = 0

    def element(self) -> Element:
        """PERMISSIONS, with one element per bit."""
        children = []
        for who, bits in zip(_WHO, (self.owner, self.group, self.other), strict=True):
            for what, bit in zip(_WHAT, (4, 2, 1), strict=True):
                children.append(text(f"{who}_{what}", 1 if bits & bit else 0))
        return node("PERMISSIONS", children)


@dataclass
class Owned:
    """Identity and owner: the first elements of every document."""

    id: int
    name: str
    uid: int = 0
    gid: int = 0
    uname: str = "oneadmin"
    gname: str = "oneadmin"

    def identity(self) -> list[Element]:
        """ID, UID, GID, UNAME, GNAME and NAME, in this order."""
        return [
            text("ID", self.id),
            text("UID", self.uid),
            text("GID", self.gid),
            text("UNAME", self.uname),
            text("GNAME", self.gname),
            text("NAME", self.name),
        ]
