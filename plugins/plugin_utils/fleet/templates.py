# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which templates of VMs name an image: by its id, which changes with a migration, or by its name, which does not."""

from __future__ import annotations

import re

from ..documents import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: In OS/KERNEL_DS and INITRD_DS: $FILE[IMAGE_ID=7], and $FILE[IMAGE="name"]; in CONTEXT/FILES_DS several of them.
_FILE = re.compile(r"\$FILE\[\s*IMAGE(_ID)?\s*=\s*\"?([^\"\],]*)\"?")


class Templates:
    """All templates of a site, by the images that they name.

    :param pool: oned's document of them.
    """

    def __init__(self, pool: _Element) -> None:
        self._by_id: dict[str, list[dict[str, Any]]] = {}
        self._by_name: dict[str, list[tuple[_Element | None, dict[str, Any]]]] = {}
        for one in pool.iterfind("VMTEMPLATE"):
            told = {"id": int(text(one, "ID", "-1")), "name": text(one, "NAME")}
            for disk in one.iterfind("TEMPLATE/DISK"):
                self._add(told, text(disk, "IMAGE_ID").strip(), text(disk, "IMAGE"), disk, text(one, "UID"))
            for path in ("TEMPLATE/OS/KERNEL_DS", "TEMPLATE/OS/INITRD_DS", "TEMPLATE/CONTEXT/FILES_DS"):
                for by_id, value in _FILE.findall(text(one, path)):
                    self._add(told, value if by_id else "", "" if by_id else value, None, text(one, "UID"))

    def _add(self, told: dict[str, Any], ident: str, name: str, disk: _Element | None, uid: str) -> None:
        if ident:
            self._by_id.setdefault(ident, []).append({**told, "by": "id"})
        elif name:
            self._by_name.setdefault(name, []).append((disk, {**told, "by": "name", "uid": uid}))

    def naming(self, image: _Element) -> list[dict[str, Any]]:
        """Templates that name an image, with ``by``: ``id``, which has to be changed there, or ``name``."""
        found = list(self._by_id.get(text(image, "ID"), []))
        for disk, told in self._by_name.get(text(image, "NAME"), []):
            # a name is its owner's, or that of the user whom the disk names
            whose = (text(disk, "IMAGE_UNAME"), text(disk, "IMAGE_UID")) if disk is not None else ("", "")
            theirs = whose[0] == text(image, "UNAME") or whose[1] == text(image, "UID")
            if theirs or (not any(whose) and told["uid"] == text(image, "UID")):
                found.append({key: told[key] for key in ("id", "name", "by")})
        return [row for number, row in enumerate(found) if row not in found[:number]]
