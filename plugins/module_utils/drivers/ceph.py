# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: images are volumes of a pool (contract-ds 9)."""

from __future__ import annotations

import os

from .._errors import Unsupported, one_line
from ..steps.base import LEAD
from ..steps.volume_names import PublishVolume
from ..steps.volumes import CopyVolume, CreateVolume, FillVolume
from ..tools.rbd import volume_of
from .base import Answer, Plan, Request
from .ceph_contents import CephContents
from .ceph_digest import CephDigests
from .ceph_export import CephExports
from .ceph_images import (
    CephImages,
    claim_of,
    family,
    is_ours,
    label_of,
    needed,
    new_volume,
    part_of,
    pool_totals,
    refuse_foreign,
)
from .ceph_snapshots import CephSnapshots, gone
from .fs_import import Imports
from .vm_files import check_fs, check_size, empty_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..steps.claim import Claim
    from .base import Reply


class Ceph(CephContents, CephDigests, CephExports, CephSnapshots, Imports):
    """Images as volumes. Each group of actions has a file of its own."""

    looking = ("stat", "monitor", "digest")
    answering = ("cp", "mkfs", "clone")

    # ------------------------------------------------------------ cp

    def cp(self, request: Request) -> Reply:
        """Import an image from a path or a URL (contract-ds 9.1)."""
        from ..steps.images import Convert

        if request["convert_to"] not in ("", "raw"):
            raise Unsupported(f"An image in a Ceph pool is raw, it cannot be {request['convert_to']}")
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

    # ------------------------------------------------------------ mkfs

    def mkfs(self, request: Request) -> Reply:
        """Make an empty image; for ``save_as`` only its name (contract-ds 9.2)."""
        source = "/".join(new_volume(request.options))
        if request["format"] == "save_as" or is_ours(request):
            return Answer(source=source)
        size, swap = check_size(request["size"]), request["format"] == "swap"
        pool, part = part_of(request)
        more = (request["rbd_format"], request["data_pool"])
        if not request["fs"] and not swap:
            return Plan([CreateVolume(pool, part, size << 20, *more), self._publish(request)])
        if request["fs"]:
            check_fs(request["fs"], request["supported_fs"])
        claim = self.claims(request.options)[1]
        file = os.path.join(request.shop(claim), "image")
        made = "swap" if swap else "raw"
        steps = empty_image(file, claim.datastore, made, size, request["fs"], request["fs_options"])
        return Plan([*steps, FillVolume(file, pool, part, *more), self._publish(request)])

    # ------------------------------------------------------------ clone

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        return [claim_of(*new_volume(options)), claim_of(*volume_of(options["source"]), shared=True)]

    def clone(self, request: Request) -> Reply:
        """Copy an image, without its snapshots, from any pool of the cluster (contract-ds 9.3)."""
        if is_ours(request):
            return Answer(source="/".join(new_volume(request.options)), format="raw")
        source = volume_of(request["source"])
        needed(request.site.volumes(), *source)
        pool, part = part_of(request)
        copy = CopyVolume(source, "", pool, part, request["rbd_format"], request["data_pool"])
        return Plan([copy, self._publish(request)])

    # ------------------------------------------------------------ monitor

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of the pool (contract-ds 9.5)."""
        return Answer(**pool_totals(request, request["pool"]))

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
        return Plan(gone(request, pool, members))

    # ------------------------------------------------------------ orphans

    def claims_orphans(self, options: dict[str, Any]) -> list[Claim]:
        """As of files: nothing for a report, else what the names belong to."""
        from .ceph_orphans import claims

        return claims(options)

    def orphans(self, request: Request) -> Reply:
        """Report what nobody knows in the pool, or do with some of it what ``state`` says."""
        from .ceph_orphans import reply

        return reply(request)
