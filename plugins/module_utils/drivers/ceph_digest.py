# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: the digest of what an image holds, the same that a file with its contents has."""

from __future__ import annotations

from .._errors import BadCall, Corrupt
from ..steps.volume_base import leave_alone
from ..tools.rbd import volume_of
from .base import Answer, Request
from .ceph_images import CephImages, needed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Reply


class CephDigests(CephImages):
    """The digest of images."""

    def digest(self, request: Request) -> Reply:
        """SHA-256 of what a guest would read, and the size in bytes that it would see.

        :raises Busy: somebody has the volume open, and may write to it.
        """
        if request["format"] != "raw":
            raise BadCall(f"An image in a Ceph pool is raw, not {request['format']}")
        pool, name = volume_of(request["source"])
        cluster = request.site.volumes()
        before = needed(cluster, pool, name)
        leave_alone(request.site, pool, [name], 0)
        digest, data, size = cluster.ask("hashed", pool=pool, name=name)
        after = needed(cluster, pool, name)
        if (before["id"], before["size"], before["parent"]) != (after["id"], after["size"], after["parent"]):
            raise Corrupt(f"The volume {pool}/{name} changed while it was read", request.site.lead.name)
        leave_alone(request.site, pool, [name], 0)
        return Answer(digest=digest, data=data, size=size)
