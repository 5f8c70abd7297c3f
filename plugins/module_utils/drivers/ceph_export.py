# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: images for a marketplace, which fetches them from a host of the cluster (contract-ds 9.6)."""

from __future__ import annotations

import os

from .._errors import Refused, one_line
from ..tools.rbd import volume_of
from .base import Answer, Request
from .ceph_images import CephImages, claim_of, family, needed
from .ceph_snapshots import found
from .fs_export import PLAIN, check_url_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.claim import Claim
    from .base import Reply


class CephExports(CephImages):
    """``export``."""

    def claims_export(self, options: dict[str, Any]) -> list[Claim]:
        return [claim_of(*volume_of(options["source"]), shared=True)]

    def export(self, request: Request) -> Reply:
        """Name the volume in a URL, with the MD5 digest of what it holds."""
        pool, name = volume_of(request["source"])
        cluster = request.site.volumes()
        snapshot = str(request["target_snapshot"]) if request["target_snapshot"] >= 0 else ""
        if snapshot:
            _current, holder = found(family(cluster, pool, name), pool, name, snapshot)
            name = holder.name
        size = int(needed(cluster, pool, name)["size"])
        where = check_url_host(request["url_host"] or os.uname().nodename)
        url = url_of(where, request.options, f"{pool}/{name}" + (f"@{snapshot}" if snapshot else ""))
        taken = ""
        if not request.site.check:
            taken, size = cluster.ask("digest", pool=pool, name=name, snapshot=snapshot, kind="md5")
        return Answer(
            file=request["source"],
            import_source=url,
            md5=taken,
            size=request["size"] or -(-size // (1 << 20)),
            format="raw",
            dispose=False,
            dispose_cmd="",
        )


def url_of(host: str, reached: dict[str, Any], volume: str) -> str:
    """``rbd://<host>/<pool>/<volume>``, with how the cluster is reached there.

    :param reached: the options that say so.
    :raises Refused: something in it has characters that a URL of a marketplace cannot have.
    """
    words = [
        f"{name}={reached[name.lower()]}" for name in ("CEPH_USER", "CEPH_KEY", "CEPH_CONF") if reached[name.lower()]
    ]
    for word in (volume.replace("@", "").replace(":", ""), *words):
        # marketplaces' drivers use a shell, and take the URL apart at these
        if not (PLAIN - {"%", "+", ","}).issuperset(word) or word.count("=") > 1:
            raise Refused(
                f"'{one_line(word, 120)}' has characters that marketplaces' drivers cannot take",
                todo="use letters, digits and @=._/- only",
            )
    return f"rbd://{host}/{volume}" + ("?" + "&".join(words) if words else "")
