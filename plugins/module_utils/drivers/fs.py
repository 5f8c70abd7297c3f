# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``fs``: images are files in the datastore's directory (contract-ds 8)."""

from __future__ import annotations

import os

from .._errors import Missing
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.files import Discard, MakeDirectory, Publish
from .base import Answer, Plan, Request, base, clean_path, parent
from .fs_digest import Digests
from .fs_export import Exports
from .fs_images import existing, foreign
from .fs_import import Imports
from .fs_snapshots import Snapshots, top_of
from .space import Files, totals
from .vm_files import check_fs, check_size, empty_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Fs(Imports, Exports, Snapshots, Digests, Files):
    """Images as files. Each group of actions has a file of its own."""

    peer_actions = ("clone",)
    looking = ("stat", "monitor", "digest")
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
        read = Claim(PEER if options["peer"] else LEAD, parent(origin), "image-" + base(origin), shared=True)
        new = self.claims(options)
        # on the other host the new image has a workshop too, in the origin's datastore
        return [*new, Claim(PEER, parent(origin), new[0].key), read] if options["peer"] else [*new, read]

    def clone(self, request: Request) -> Reply:
        """Copy an image; a chain of layers is folded in (contract-ds 8.5)."""
        from ..steps.images import Convert
        from ..steps.transfer import CopyFile, Send
        from ..tools import chain

        claim = self.claims(request.options)[0]
        final, root = self.final(request), claim.datastore
        wanted = request["convert_to"] or request["format"]
        if request.look(final):
            return Answer(source=self.as_given(request), format=wanted)
        origin = clean_path(request["source"], "image")
        # the host that has the origin: another bridge's datastore is not to be seen here
        where = PEER if request["peer"] else LEAD
        host = request.site.host(where)
        info = request.look(origin, where)
        if info is None:
            raise Missing(f"The image {origin} is not there", host.name)
        part = os.path.join(request.shop(claim), "image")
        publish = [MakeDirectory(LEAD, root, root), Publish(LEAD, part, final, root, what="image")]
        top, chained = origin, info["kind"] == "link"
        if request["format"] == "qcow2":
            # what the image holds is in its highest layer, which may not be the file of its name
            top = top_of(host, origin, "qcow2")
            chained = len(chain.layers(host, top, [parent(origin)])) > 1 or chained
        changes = chained or wanted != request["format"]
        read = foreign(host, top, request["format"]) if changes else {}
        if not request["peer"]:
            copy: Step = CopyFile(LEAD, top, part, root)
            if changes:
                copy = Convert(LEAD, top, request["format"], part, wanted, **read)
            return Plan([copy, *publish])
        there = request.shop(self.claims_clone(request.options)[1])
        steps: list[Step] = []
        if changes:
            whole = os.path.join(there, "image")
            steps, top = [Convert(PEER, top, request["format"], whole, wanted, **read)], whole
        return Plan([*steps, Send(LEAD, [[top, "image"]], request.shop(claim), root), *publish])

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
        return Answer(**totals(request))
