# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Block jobs on the disk of a running guest: wait for one, pull layers up, commit one down, copy the disk."""

from __future__ import annotations

import json
import time

from .domain import Trouble, indexed, pause_for_tests
from .hold import hold, release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .domain import Guest
    from .guard import Guard

#: Our own workshops have this folder in their path (tools/host.py).
_HIDDEN = "/.one_storage/"


def wait(guest: Guest, stall: float, over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until a job is as it should be, or is gone; the last look at it.

    :param stall: seconds without progress after which the job is ended.
    """
    seen: object = None
    until, pause = time.monotonic() + stall, 0.02
    while True:
        job = guest.job()
        if not job or over(job):
            return job
        now = (job.get("cur"), job.get("end"))
        if now != seen:
            seen, until = now, time.monotonic() + stall
        if time.monotonic() > until:
            guest.ask("end a job", lambda: guest.domain.blockJobAbort(guest.target))
            raise Trouble("deadline", f"A job on the disk {guest.target} of {guest.name} came to a standstill")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def quiet(guest: Guest, stall: float) -> bool:
    """Bring the disk to rest: a pull or commit that a dead run began is waited for, its copy is ended.

    :returns: whether there was such a job.
    :raises Trouble: the job is somebody else's.
    """
    job = guest.job()
    if not job:
        return False
    libvirt = guest.libvirt
    if job["type"] in (libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL, libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT):
        wait(guest, stall, lambda _job: False)
        return True
    mirror = guest.disk().find("mirror/source")
    if mirror is not None and _HIDDEN in (mirror.get("file") or ""):
        guest.ask("end a copy", lambda: guest.domain.blockJobAbort(guest.target))
        return True
    raise Trouble(
        "busy", f"Another job runs on the disk {guest.target} of {guest.name}", "wait for it, then run it again"
    )


def pull(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let the top take over all that is above a base; the base becomes what it stands on.

    A pull that still runs, of a run that died, is waited for first, and may be all that was to be done.

    :raises Trouble: the chain is not what it should be, before or after.
    """
    libvirt = guest.libvirt
    if quiet(guest, orders["stall"]):
        return {"adopted": True}
    guest.check(orders["expected"])
    known = guest.chain()
    depth: int = orders["depth"]
    base = None
    flags = 0
    if depth:
        base = indexed(guest.disk(), guest.target, depth)
        if orders["relative"]:
            flags = libvirt.VIR_DOMAIN_BLOCK_REBASE_RELATIVE
        elif depth in guest.linked():
            # libvirt would write the link as the name of the base, and the link leads to the top
            base = None
    guest.ask("pull layers", lambda: guest.domain.blockRebase(guest.target, base, 0, flags))
    pause_for_tests(orders, "pulling")
    wait(guest, orders["stall"], lambda _job: False)
    if base is not None:
        _name(guest, 0, orders["name"])
    left = guest.chain()
    if len(left) != (len(known) - depth + 1 if base is not None else 1):
        raise Trouble("tool-failed", f"The layers of {guest.target} of {guest.name} were not pulled", detail=str(left))
    return {"adopted": False}


def commit(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let a layer take over all that the one above it holds; that one is not in the chain any more afterwards.

    QEMU opens the layer again, to write, and the one above both, to change its header: by the names that it knows.
    A commit that still runs, of a run that died, is waited for first, and may be all that was to be done.

    :raises Trouble: the chain is not what it should be, before or after.
    """
    if quiet(guest, orders["stall"]):
        return {"adopted": True}
    guest.check(orders["expected"])
    known = guest.chain()
    depth: int = orders["depth"]
    wrong = {depth, depth - 2} - {0} & set(guest.linked())
    if depth < 2 or wrong:
        raise Trouble("refused", f"A layer of {guest.target} of {guest.name} cannot be opened again to commit into it")
    disk = guest.disk()
    base, top = (indexed(disk, guest.target, place) for place in (depth, depth - 1))
    flags = guest.libvirt.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE if orders["relative"] else 0
    guest.ask("commit a layer", lambda: guest.domain.blockCommit(guest.target, base, top, 0, flags))
    pause_for_tests(orders, "committing")
    wait(guest, orders["stall"], lambda _job: False)
    left = guest.chain()
    if left != known[: depth - 1] + known[depth:]:
        said = f"A layer of {guest.target} of {guest.name} was not committed into the one below"
        raise Trouble("tool-failed", said, "is there room in the datastore", detail=str(left))
    _name(guest, depth - 2, orders["name"])
    return {"adopted": False}


def _name(guest: Guest, depth: int, name: str) -> None:
    """Give the backing file of a layer the name that its neighbours would have: libvirt's leads there too, on a detour.

    :param depth: how deep the layer lies whose header is to have that name.
    """
    import libvirt_qemu

    def monitor(command: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})
        said = guest.ask(command, lambda: libvirt_qemu.qemuMonitorCommand(guest.domain, text, 0))
        return json.loads(said).get("return")

    files = guest.chain()
    nodes = monitor("query-named-block-nodes", flat=True) or []
    found = {node["file"]: node for node in nodes if node.get("drv") == "qcow2" and node.get("file") in files}
    top, layer = found.get(files[0]), found.get(files[depth])
    if top and layer and layer["image"].get("backing-filename") != name:
        words = {"device": top["node-name"], "image-node-name": layer["node-name"], "backing-file": name}
        monitor("change-backing-file", **words)


def copy(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Copy the disk, as it is at one moment at which the guest is held, into a file that is there."""
    libvirt, etree = guest.libvirt, guest.etree
    quiet(guest, orders["stall"])
    guest.check(orders["expected"])
    wish = etree.Element("disk", type="file")
    etree.SubElement(wish, "driver", type=orders["format"])
    etree.SubElement(wish, "source", file=orders["destination"])
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    text = etree.tostring(wish, encoding="unicode")

    def ready(_job: dict[str, Any]) -> bool:
        mirror = guest.disk().find("mirror")
        return mirror is not None and mirror.get("ready") == "yes"

    def gone() -> NoReturn:
        raise Trouble("tool-failed", f"The copy of {guest.target} of {guest.name} broke off", "look at the guest's log")

    guard.holds("C")
    whole = False
    try:
        guest.ask("copy a disk", lambda: guest.domain.blockCopy(guest.target, text, flags=flags))
        pause_for_tests(orders, "copying")
        if not wait(guest, orders["stall"], ready):
            gone()
        held = hold(guest, guard, orders["quiesce"])
        try:
            pause_for_tests(orders, "held")
            if not guest.job():
                gone()
            # without a pivot the copy ends with all that was written until now
            guest.ask("end a copy", lambda: guest.domain.blockJobAbort(guest.target))
            whole = held == "paused" or guard.in_time()
        finally:
            release(guest, guard, held)
    finally:
        if guest.job():
            guest.ask("end a copy", lambda: guest.domain.blockJobAbort(guest.target))
        guard.released("C")
    if not whole:
        raise Trouble("deadline", f"{guest.name} went on before the copy of {guest.target} had ended")
    return {"consistency": held}
