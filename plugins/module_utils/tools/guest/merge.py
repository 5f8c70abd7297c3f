# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers that backups left below a running guest go into their base; an overlay that stock left goes into the disk.

To commit into a layer QEMU opens its file again, to write, by the name that it knows. Of a disk that was started by its
link that is the link, which leads to the top by now: QEMU would write into the wrong file, and says nothing. So it is
given the layer's own name first: the node of the format gets another node for its file. libvirt goes on as before, as
it addresses formats.
"""

from __future__ import annotations

from .checkpoints import monitor, node_of
from .domain import Trouble, indexed, pause_for_tests
from .jobs import quiet, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .domain import Guest
    from .guard import Guard


def merge(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Commit all layers between the top and a base into the base.

    :param orders: ``expected``, the chain, real paths, top first; ``depth`` of the base in it; ``name`` that the top's
        header is to have for it. Run again after it was killed, it finishes: the header is looked at in any case.
    :raises Trouble: the chain is not what it should be, before or after.
    """
    quiet(guest, orders["stall"])
    expected, depth = orders["expected"], orders["depth"]
    known = guest.chain()
    if len(known) != len(expected) - depth + 1:
        guest.check(expected)
        if depth in guest.linked():
            own_name(guest, depth, expected[depth])
        base, top = (indexed(guest.disk(), guest.target, place) for place in (depth, 1))
        # until the header is put right the disk could not be started again, so the guard does it when we are killed
        guard.holds("M")
        guest.ask("commit layers", lambda: guest.domain.blockCommit(guest.target, base, top, 0, 0))
        pause_for_tests(orders, "committing")
    merged(guest, orders)
    guard.released("M")
    guest.check([expected[0], *expected[depth:]])
    return {}


def merged(guest: Guest, orders: dict[str, Any]) -> None:
    """Wait for a commit that was begun, and put the top's header right when all of it was committed."""
    wait(guest, orders["stall"], lambda _job: False)
    if len(guest.chain()) == len(orders["expected"]) - orders["depth"] + 1:
        rename(guest, orders["name"])


def own_name(guest: Guest, depth: int, path: str) -> None:
    """Let QEMU know a layer by its own path; once for as long as it runs."""
    layer = guest.disk()
    for _step in range(depth):
        layer = layer.find("backingStore")
    node = node_of(layer)
    name = f"own-{node}"
    nodes = {found["node-name"]: found for found in monitor(guest, "query-named-block-nodes", flat=True)}
    if name in nodes:
        return
    cache = {key: nodes[node]["cache"][key] for key in ("direct", "no-flush")}
    common = {"read-only": False, "auto-read-only": True, "discard": "unmap", "cache": cache}
    monitor(guest, "blockdev-add", **{"driver": "file", "filename": path, "node-name": name, **common})
    below = layer.find("backingStore")
    backing = node_of(below) if below is not None and below.find("source") is not None else None
    options = {"driver": "qcow2", "node-name": node, "read-only": True, "cache": cache, "discard": "unmap"}
    try:
        monitor(guest, "blockdev-reopen", options=[{**options, "file": name, "backing": backing}])
    except Trouble:
        monitor(guest, "blockdev-del", **{"node-name": name})
        raise


def rename(guest: Guest, name: str) -> None:
    """Give the top's backing file its name in the header: QEMU writes the one that it knows, which may be the link."""
    node = node_of(guest.disk())
    nodes = {found["node-name"]: found for found in monitor(guest, "query-named-block-nodes", flat=True)}
    if node not in nodes:
        raise Trouble("tool-failed", f"QEMU does not know the disk {guest.target} of {guest.name} as libvirt does")
    monitor(guest, "change-backing-file", **{"device": node, "image-node-name": node, "backing-file": name})


def home(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Bring what the guest wrote to an overlay of stock's live backup home into the disk, and let it write there.

    :param orders: ``expected``, the disk's own chain below the overlay; ``folder`` that such overlays lie in.
    :raises Trouble: the overlay is still in use afterwards, so that nothing may be deleted.
    """
    libvirt = guest.libvirt
    found = guest.chain()
    if not found[0].startswith(orders["folder"] + "/"):
        return {}
    guest.check([found[0], *orders["expected"]])
    job = guest.job()
    kind = libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT
    if job and job["type"] != kind:
        quiet(guest, orders["stall"])
        job = {}
    if not job:
        base = indexed(guest.disk(), guest.target, 1)
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        guest.ask("commit an overlay", lambda: guest.domain.blockCommit(guest.target, base, None, 0, flags))

    def ready(_job: dict[str, Any]) -> bool:
        mirror = guest.disk().find("mirror")
        return mirror is not None and mirror.get("ready") == "yes"

    if wait(guest, orders["stall"], ready):
        pivot = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
        guest.ask("leave an overlay", lambda: guest.domain.blockJobAbort(guest.target, pivot))
    left = guest.chain()
    if left != found[1:]:
        raise Trouble("tool-failed", f"{guest.name} still writes to the overlay {found[0]}", detail=str(left))
    return {}
