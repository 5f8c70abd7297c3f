# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All disks of a running guest as they were at one moment: by a job that they are pulled from, or by new layers.

A backup job in pull mode shows each disk over NBD as it was when the job began: what the guest writes over is first put
into a scratch file. This process stays as long as the job does. When its owner goes away without a word, the job and
the new checkpoint go; when it is killed itself, the guard ends the job.
"""

from __future__ import annotations

import json
import sys
import time

from .checkpoints import bitmaps, changed_since, known, ours, remove, whole, wish
from .domain import Trouble, pause_for_tests
from .hold import hold, release
from .jobs import quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .domain import Guest
    from .guard import Guard

#: Seconds in which a backup job that was told to end has to be gone.
_END_SECONDS = 60.0


def guests_of(guest: Guest, orders: dict[str, Any]) -> list[Guest]:
    """The disks that are asked about, as guests with a target each."""
    return [guest.also(disk["target"], disk["link"]) for disk in orders["disks"]]


def tops(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """The file that each disk is written to, as libvirt names it."""
    return {"tops": {other.target: other.chain()[0] for other in guests_of(guest, orders)}}


def survey(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """What there is of backups: each disk's files, and bitmaps with whether they can be believed; the checkpoints that
    libvirt knows; the job that runs, ``ours`` for a backup job on this socket."""
    guests = guests_of(guest, orders)
    found = bitmaps(guests)
    disks = {
        other.target: {
            "chain": other.chain(),
            "bitmaps": {name: whole(bitmap) for name, bitmap in found[other.target].items()},
        }
        for other in guests
    }
    job = guest.ask("look for jobs", guest.domain.jobStats)
    running = ""
    if job.get("type"):
        running = "ours" if _is_ours(guest, job, orders["socket"]) else f"operation {job.get('operation')}"
    return {"disks": disks, "checkpoints": known(guest), "job": running}


# ---------------------------------------------------------------- the job


def backup(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Begin a backup job, say so on stdout, wait for a word on stdin, end it.

    The word is ``keep``: the new checkpoint stays. The first answer tells ``consistency``, ``warning``, and in
    ``whole`` the targets of which all has to be copied, as no bitmap tells what changed, with the reason.

    :raises Trouble: the guest cannot be held though it must be, libvirt's words.
    """
    guests = guests_of(guest, orders)
    targets = [other.target for other in guests]
    end_backup(guest, orders["socket"])
    for other in guests:
        quiet(other, orders["stall"])
    name, parent = orders["name"], orders["parent"]
    if name:
        remove(guests, [name] if parent else ours(guests))
    wrong = changed_since(guests, parent) if parent else {}
    text = _job(guests, orders, "" if len(wrong) == len(guests) else parent, wrong)
    mark = wish(guests, name, targets) if name else None
    guard.holds("B")
    try:
        reuse = guest.libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL

        def begin() -> int:
            return int(guest.domain.backupBegin(text, mark, reuse))

        answer = at_one_moment(guest, orders, guard, lambda: guest.ask("begin a backup", begin))
        if answer["consistency"] == "crash" and orders["freeze"] != "none" and orders["require"]:
            raise Trouble("deadline", answer["warning"], "raise freeze_timeout")
        answer["whole"] = wrong
        sys.stdout.write(json.dumps({"ok": True, **answer}) + "\n")
        sys.stdout.flush()
        kept = sys.stdin.readline().strip() == "keep"
    except Trouble:
        end_backup(guest, orders["socket"])
        if name:
            remove(guests, [name])
        raise
    if not end_backup(guest, orders["socket"]) and kept:
        remove(guests, [name] if name else [])
        raise Trouble("tool-failed", f"The backup job of {guest.name} ended too early", "look at the guest's log")
    if not kept and name:
        remove(guests, [name])
    guard.released("B")
    return {}


def _job(guests: list[Guest], orders: dict[str, Any], parent: str, wrong: dict[str, str]) -> str:
    """The document of the job; libvirt takes all disks that it does not name, so all are named."""
    etree = guests[0].etree
    root = etree.Element("domainbackup", mode="pull")
    if parent:
        etree.SubElement(root, "incremental").text = parent
    etree.SubElement(root, "server", transport="unix", socket=orders["socket"])
    disks = etree.SubElement(root, "disks")
    scratch = {disk["target"]: disk["scratch"] for disk in orders["disks"]}
    for target in guests[0].targets():
        if target not in scratch:
            etree.SubElement(disks, "disk", name=target, backup="no")
            continue
        disk = etree.SubElement(disks, "disk", name=target, backup="yes", type="file")
        if parent and target in wrong:
            disk.set("backupmode", "full")
        etree.SubElement(disk, "scratch", file=scratch[target])
    return str(etree.tostring(root, encoding="unicode"))


def end_backup(guest: Guest, socket: str) -> bool:
    """End a backup job of ours, stock's included, which has the same socket.

    :returns: whether there was one.
    :raises Trouble: another job runs.
    """
    job = guest.ask("look for jobs", guest.domain.jobStats)
    if not job.get("type"):
        return False
    if not _is_ours(guest, job, socket):
        raise Trouble("busy", f"Another job of {guest.name} runs in libvirt", "wait for it, then run it again")
    try:
        guest.domain.abortJob()
    except guest.libvirt.libvirtError:
        # it may have come to an end meanwhile; else the wait below says so
        pass
    until = time.monotonic() + _END_SECONDS
    while guest.ask("look for jobs", guest.domain.jobStats).get("type"):
        if time.monotonic() > until:
            raise Trouble("deadline", f"The backup job of {guest.name} does not end")
        time.sleep(0.02)
    return True


def _is_ours(guest: Guest, job: dict[str, Any], socket: str) -> bool:
    """Whether a job is a backup that is shown on this socket."""
    return job.get("operation") == guest.libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP and socket in _server(guest)


def _server(guest: Guest) -> str:
    """The document of the job that runs; empty when it has gone."""
    try:
        return str(guest.domain.backupGetXMLDesc())
    except guest.libvirt.libvirtError:
        return ""


def marks(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Bring a guest to rest: no backup job, and of backups' checkpoints only those that are to be kept.

    :param orders: ``keep``, names; or ``drop``, names that go, and the others stay.
    """
    guests = guests_of(guest, orders)
    end_backup(guest, orders["socket"])
    gone = orders.get("drop")
    if gone is None:
        gone = [name for name in ours(guests) if name not in orders["keep"]]
    remove(guests, gone)
    return {"removed": gone}


# ---------------------------------------------------------------- one moment


def at_one_moment(guest: Guest, orders: dict[str, Any], guard: Guard, do: Callable[[], Any]) -> dict[str, Any]:
    """Do something while the guest is held as it is asked for; which consistency was reached, and what went wrong.

    :param orders: ``freeze``: none, agent or suspend; ``require``: fail rather than go on without.
    """
    held, warning = "", ""
    if orders["freeze"] != "none":
        try:
            held = hold(guest, guard, orders["freeze"])
        except Trouble as trouble:
            if orders["require"]:
                raise
            warning = str(trouble)
    try:
        pause_for_tests(orders, "held")
        do()
        in_time = held in ("", "paused") or guard.in_time()
    finally:
        release(guest, guard, held)
    if not in_time:
        held, warning = "", f"{guest.name} could not be held long enough"
    return {"consistency": {"": "crash", "paused": "suspend"}.get(held, held), "warning": warning}


def layers(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Let the guest write to new layers from one moment on, all its disks at once.

    :param orders: each of ``disks`` has its new ``layer``, and the chain that is ``expected``.
    """
    from .snapshot import over

    for other, disk in zip(guests_of(guest, orders), orders["disks"]):
        quiet(other, orders["stall"])
        other.check(disk["expected"])
    new = {disk["target"]: disk["layer"] for disk in orders["disks"]}
    return at_one_moment(guest, orders, guard, lambda: over(guest, new))
