# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: the digest of what an image holds, so that two of them can be compared that no host sees both."""

from __future__ import annotations

from .._errors import Corrupt, Missing, ToolFailed, from_os, one_line
from ..steps.base import limits
from .base import Answer, Request, parent
from .fs_images import FsImages, existing, foreign
from .fs_snapshots import top_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .base import Reply

#: Most that the map of a fragmented image may take, a line of some 150 bytes for each stretch.
_MAP_BYTES = 256 << 20


class Digests(FsImages):
    """The digest of images."""

    def digest(self, request: Request) -> Reply:
        """SHA-256 of what a guest would read, the same for every format, and the size in bytes that it would see."""
        from ..tools import disk_digest

        source, _root = existing(request.options)
        if request.look(source) is None:
            raise Missing(f"The image {source} is not there", request.site.lead.name)
        try:
            if request["format"] == "raw":
                digest, data, size = disk_digest.of_raw(source)
            else:
                digest, data, size = _mapped(request, source)
        except OSError as error:
            raise from_os(error, f"read the image {source}", request.site.lead.name) from error
        return Answer(digest=digest, data=data, size=size)


def _mapped(request: Request, source: str) -> tuple[str, int, int]:
    from ..tools import chain, disk_digest, nbd
    from ..tools.codec import loads
    from ..tools.command import run

    host, image_format, top = request.site.lead, request["format"], source
    files = [source]
    if image_format == "qcow2":
        # what the image holds is in its highest layer, which may not be the file of its name
        top = top_of(host, source, "qcow2")
        files = [layer.path for layer in chain.layers(host, top, [parent(source)])]
    room = limits(foreign(host, top, image_format).get("size", 0))
    argv = ["qemu-img", "map", "--output=json", "-f", image_format, top]
    told = run(argv, request.site.timeouts.command, room, most=_MAP_BYTES)
    if told["rc"] != 0:
        said = str(told["err"]).strip() or f"code {told['rc']}"
        raise ToolFailed(f"Cannot read {source}: {one_line(said.splitlines()[-1], 300)}", host.name)
    try:
        found: list[dict[str, Any]] = loads(str(told["out"]).encode())
        if any(item["depth"] >= len(files) for item in found):
            raise ValueError
        size = max((int(item["start"]) + int(item["length"]) for item in found), default=0)
    except (ValueError, KeyError, TypeError):
        raise Corrupt(f"qemu-img tells nothing of {source} that can be read", host.name) from None
    opened: list[nbd.Image] = []

    def elsewhere(start: int, count: int) -> bytes:
        if not opened:
            opened.append(nbd.Image(top, image_format, limits(size), request.site.timeouts.stall))
        return opened[0].read(start, count)

    try:
        return *disk_digest.of_map(found, files, size, elsewhere), size
    finally:
        for image in opened:
            image.close()
