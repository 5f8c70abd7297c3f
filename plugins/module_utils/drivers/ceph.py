# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: images are volumes of a pool (contract-ds 9)."""

from __future__ import annotations

import os

from .._errors import one_line
from ..steps.base import LEAD
from ..steps.volumes import DiscardVolume, FillVolume, FlattenVolume, PublishVolume, TrashVolume
from ..tools.rbd import unfinished, volume_of
from .base import Answer, Plan, Request
from .ceph_images import CephImages, family, is_ours, label_of, new_volume, part_of, refuse_foreign
from .fs_import import Imports

TYPE_CHECKING = False
if TYPE_CHECKING:

    from ..steps.base import Step
    from .base import Reply


class Ceph(CephImages, Imports):
    """Images as volumes."""

    looking = ("stat",)
    answering = ("cp",)

    # ------------------------------------------------------------ cp

    def cp(self, request: Request) -> Reply:
        """Import an image from a path or a URL (contract-ds 9.1)."""
        from ..steps.images import Convert

        if is_ours(request):
            return Answer(source="/".join(new_volume(request.options)), format="raw", **request.site.figures)
        pool, part = part_of(request)
        volume = {"pool": pool, "name": part, "image_format": request["rbd_format"], "data_pool": request["data_pool"]}
        shop = request.shop(self.claims(request.options)[1])
        staging = self.claims(request.options)[1].datastore
        fetched = os.path.join(shop, "fetched")
        volume_there = request.site.volumes().look(pool, part) if request.ran else None
        if volume_there:
            self._refuse_size(request, volume_there["size"], one_line(request["source"], 120))
            return Plan([self._publish(request)])
        if request.ran and request.look(fetched):
            found, size = self._accepted(request, fetched)
            whole = os.path.join(shop, "converted")
            return Plan(
                [
                    Convert(LEAD, fetched, found, whole, "raw", untrusted=True, size=size),
                    FillVolume(whole, pool, part, request["rbd_format"], request["data_pool"]),
                    self._publish(request),
                ]
            )
        steps: list[Step] = [self._fetch(request, fetched, staging, volume)]
        if request.site.check:
            # a check ends here: it cannot know what will arrive, but it knows where that will go
            steps.append(self._publish(request))
        return Plan(steps)

    def _publish(self, request: Request) -> Step:
        """The step that puts the new image in place."""
        pool, part = part_of(request)
        _pool, name = new_volume(request.options)
        return PublishVolume(pool, part, name, what="image", label=label_of(request.options))

    # ------------------------------------------------------------ rm

    claims_rm = CephImages.claims_existing

    def rm(self, request: Request) -> Reply:
        """Remove an image with its snapshots and what reverts retired. What is gone is a success (contract-ds 9.4).

        With CEPH_TRASH it goes to the trash, on its own feet.
        """
        pool, name = volume_of(request["source"])
        members = family(request.site.volumes(), pool, name)
        if not members:
            return Answer(source=request["source"])
        refuse_foreign(members, pool, name, "deleted")
        steps: list[Step] = []
        for member in members:
            if request["ceph_trash"]:
                steps += [FlattenVolume(pool, member.name)] if member.volume["parent"] else []
                steps.append(TrashVolume(pool, member.name))
            else:
                steps.append(DiscardVolume(pool, member.name, unfinished(member.name, request.site.run)))
        return Plan(steps)
