# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``vm.xml`` of a backup: the VM's document in base64, with line breaks (contract-ds 10.1).

Backup servers have Python and nothing else, so it is read with the standard library's parser, which is told to refuse a
document type and with it every entity. Wherever lxml is, :mod:`plugin_utils.documents` is the place for XML.
"""

from __future__ import annotations

from .._errors import Corrupt, Missing

_LIMIT = 16 << 20


def disk_size(data: bytes, disk: int, where: str) -> int:
    """SIZE of a disk in MB, out of ``VM/TEMPLATE/DISK`` with that DISK_ID.

    :param where: what to call the document in sentences.
    :raises Missing: it has no such disk, or no size for it.
    :raises Corrupt: it is not what it should be.
    """
    for found in disks(data, where):
        if found.get("DISK_ID", "").strip() == str(disk):
            size = found.get("SIZE", "").strip()
            if not (size.isascii() and size.isdigit() and len(size) < 15):
                raise Missing(f"Cannot find the size of disk {disk} in {where}")
            return int(size)
    raise Missing(f"Cannot find disk {disk} in {where}")


def disks(data: bytes, where: str) -> list[dict[str, str]]:
    """The elements of each DISK of the VM's template, by name."""
    import base64
    import binascii
    from xml.parsers import expat

    try:
        text = data if data.lstrip().startswith(b"<") else base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        raise Corrupt(f"{where} is neither XML nor base64") from None
    if len(text) > _LIMIT:
        raise Corrupt(f"{where} is larger than {_LIMIT >> 20} MB")
    found: list[dict[str, str]] = []
    path: list[str] = []

    def begin(name: str, _attributes: dict[str, str]) -> None:
        path.append(name)
        if path == ["VM", "TEMPLATE", "DISK"]:
            found.append({})

    def end(_name: str) -> None:
        path.pop()

    def words(part: str) -> None:
        if len(path) == 4 and path[:3] == ["VM", "TEMPLATE", "DISK"]:
            found[-1][path[3]] = found[-1].get(path[3], "") + part

    def refuse(*_given: object) -> None:
        raise Corrupt(f"{where} brings a document type of its own, which is not read")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, words
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise Corrupt(f"{where} is not XML: {error}") from None
    return found
