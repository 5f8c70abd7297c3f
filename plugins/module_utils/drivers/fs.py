# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: images are files in the datastore's directory (contract-ds 8)."""

from __future__ import annotations

import os

from .._errors import Missing, from_os
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, Publish
from .base import Answer, Plan, Request, base, clean_path, parent
from .fs_export import Exports
from .fs_images import existing
from .fs_import import Imports
from .fs_snapshots import Snapshots, top_of
from .vm_files import check_fs, check_size, empty_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Fs(Imports, Exports, Snapshots):
    """Images as files. Each group of actions has a file of its own."""

    looking = ("stat", "monitor")
    answering = ("cp", "mkfs", "clone", "export")

    # ------------------------------------------------------------ mkfs

    def mkfs(self, request: Request) -> Reply:
        """Make an empty image; for ``save_as`` only its name (contract-ds 8.2)."""
        if request["format"] == "save_as":
            return Answer(source=self.as_given(request))
        claim = self.claims(request.options)[0]
        final, root = self.final(request), claim.datastore
        if request.look(final):
            return Answer(source=self.as_given(request))
        size = check_size(request["size"])
        if request["fs"]:
            check_fs(request["fs"], request["supported_fs"])
        part = os.path.join(request.shop(claim), "image")
        steps = empty_image(part, root, request["format"], size, request["fs"], request["fs_options"])
        return Plan([*steps, MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")])

    # ------------------------------------------------------------ clone

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        origin = clean_path(options["source"], "image")
        return [*self.claims(options), Claim(LEAD, parent(origin), "image-" + base(origin), shared=True)]

    def clone(self, request: Request) -> Reply:
        """Copy an image; a chain of layers is folded in (contract-ds 8.5)."""
        from ..steps.images import Convert
        from ..steps.transfer import CopyFile
        from ..tools import chain

        claim = self.claims(request.options)[0]
        final, root = self.final(request), claim.datastore
        wanted = request["convert_to"] or request["format"]
        if request.look(final):
            return Answer(source=self.as_given(request), format=wanted)
        origin = clean_path(request["source"], "image")
        info = request.look(origin)
        if info is None:
            raise Missing(f"The image {origin} is not there", request.site.lead.name)
        part = os.path.join(request.shop(claim), "image")
        lead, top, chained = request.site.lead, origin, info["kind"] == "link"
        if request["format"] == "qcow2":
            # what the image holds is in its highest layer, which may not be the file of its name
            top = top_of(lead, origin, "qcow2")
            chained = len(chain.layers(lead, top, [parent(origin)])) > 1 or chained
        copy: Step = CopyFile(LEAD, top, part, root)
        if chained or wanted != request["format"]:
            copy = Convert(LEAD, top, request["format"], part, wanted)
        return Plan([copy, MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")])

    # ------------------------------------------------------------ rm

    def claims_rm(self, options: dict[str, Any]) -> list[Claim]:
        source, root = existing(options)
        return [Claim(LEAD, root, "image-" + base(source))]

    def rm(self, request: Request) -> Reply:
        """Remove an image with its snapshots and its cached digest. What is gone is a success (contract-ds 8.3)."""
        source, root = existing(request.options)
        shop = request.shop(self.claims_rm(request.options)[0])
        steps: list[Step] = []
        for suffix, what in (("", "image"), (".snap", "snapshots"), (".md5sum", "cached digest")):
            if request.look(source + suffix):
                steps.append(Discard(LEAD, source + suffix, os.path.join(shop, base(source) + suffix), root, what))
        return Plan(steps) if steps else Answer(source=source)

    # ------------------------------------------------------------ monitor

    def monitor(self, request: Request) -> Reply:
        """Total, used and free MB of the datastore's file system (contract-ds 8.6)."""
        root = clean_path(request["datastore"], "datastore")
        lead = request.site.lead
        try:
            if not request.look(root, follow=True):
                if not request.site.check:
                    lead.make_directory(root)
                while not request.look(root, follow=True):
                    # a check makes nothing: what is above has the same figures
                    root = parent(root)
            space = lead.space(root)
        except OSError as error:
            raise from_os(error, f"read the size of the datastore {root}", lead.name) from error
        # rounded up like df -B1M, so that figures do not jump when a site switches
        return Answer(**{f"{name}_mb": -(-space[name] >> 20) for name in ("used", "free", "total")})
