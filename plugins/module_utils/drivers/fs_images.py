# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: where images lie and what they are called (contract-ds 5.3, 8)."""

from __future__ import annotations

import os

from .._errors import Corrupt, Refused, from_os, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim
from .base import Driver, Request, base, clean_path, inside, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..tools.host import Host


class FsImages(Driver):
    """What all actions on images in files share."""

    kind = "ds"
    name = "fs"

    def claims(self, options: dict[str, Any]) -> list[Claim]:
        """The new image: its name follows from datastore, image and time of registration, so a rerun finds its own."""
        return [Claim(LEAD, clean_path(options["datastore"], "datastore"), "image-" + image_name(options))]

    @staticmethod
    def final(request: Request) -> str:
        """The path of the new image."""
        return os.path.join(clean_path(request["datastore"], "datastore"), image_name(request.options))

    @staticmethod
    def as_given(request: Request) -> str:
        """The image's SOURCE in oned's own spelling of the datastore, double slashes and all (contract-ds 4.3)."""
        return f"{request['datastore'].rstrip('/')}/{image_name(request.options)}"


def existing(options: dict[str, Any]) -> tuple[str, str]:
    """Path of an image that there is (SOURCE), and its datastore; it must lie directly in that (contract-ds 8.3)."""
    root = clean_path(options["datastore"], "datastore")
    source = inside(clean_path(options["source"], "image"), root, "image")
    if parent(source) != root or base(source).startswith("."):
        raise Refused(f"{source} is not an image of {root}")
    return source, root


def most_bytes(size: int, image_format: str) -> int:
    """The most bytes that the file of an image of *size* MB may have.

    oned counts the virtual size. A raw file has that and no more; the others have tables too, qcow2 up to a 300th with
    its smallest clusters, the foreign ones whole blocks. An empty format is one that is not known yet.
    """
    room = {"raw": 0, "luks": 0, "qcow2": 2}.get(image_format, 64)
    return (size << 20) + (((size << 20) >> 8) + (room << 20) if room else 0)


def image_name(options: dict[str, Any]) -> str:
    """The file name of a new image: 32 hexadecimal digits that follow from who it is (contract-ds 5.3)."""
    import hashlib

    text = f"{options['datastore_id']}:{options['image_id']}:{options['regtime']}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def head_of(path: str, size: int) -> bytes:
    """The first *size* bytes of a file."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise from_os(error, f"read {one_line(path, 200)}") from error


def foreign(host: Host, path: str, image_format: str) -> dict[str, Any]:
    """How an image is converted; one of a format that can name other files is looked at before (rule 10).

    Raw names none, and of qcow2 the chain was followed. The others may have come by drivers that did not look.
    """
    from ..tools import image_header

    if image_format in ("raw", "qcow2"):
        return {}
    head = bytes.fromhex(host.head(path, image_header.HEAD_BYTES))
    found = image_header.refuse_unsafe(head, path)
    # a vpc of fixed size has its header at its end
    if found != image_format and (found, image_format) != ("raw", "vpc"):
        raise Corrupt(f"The image {path} is {found}, not {image_format}", host.name)
    size = (host.stat(path, True) or {"size": 0})["size"]
    return {"untrusted": True, "size": max(size, image_header.virtual_size(head) or 0)}
