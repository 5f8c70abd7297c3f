# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a guest to a stop for a moment, under the guard, and letting it go on (Q4, Q28)."""

from __future__ import annotations

import json
import select
import sys

from .domain import Trouble, pause_for_tests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .domain import Guest
    from .guard import Guard


def hold(guest: Guest, guard: Guard, how: str) -> str:
    """Bring the guest to a stop: its file systems by the agent, else all of it; what was reached.

    :param how: ``agent``, ``suspend``, or ``auto``: the agent, else suspend.
    :raises Trouble: neither is possible.
    """
    said = ""
    if how != "suspend":
        guard.holds("F")
        try:
            guest.domain.agentSetResponseTimeout(max(1, int(guard.limit / 2)))
            guest.domain.fsFreeze()
            return "agent"
        except guest.libvirt.libvirtError as error:
            said = str(error)
            _thaw(guest, guard, quietly=True)
    if how == "agent":
        raise Trouble("tool-failed", f"The agent in {guest.name} does not freeze its file systems: {said}")
    if guest.domain.state()[0] == guest.libvirt.VIR_DOMAIN_PAUSED:
        return "paused"
    guard.holds("S")
    try:
        guest.domain.suspend()
    except guest.libvirt.libvirtError as error:
        _resume(guest, guard)
        raise Trouble("tool-failed", f"{guest.name} cannot be frozen ({said}) nor suspended: {error}") from None
    return "suspend"


def release(guest: Guest, guard: Guard, held: str) -> None:
    """Let the guest go on. What fails here is left to the guard, which tries longer."""
    if held == "agent":
        _thaw(guest, guard)
    if held == "suspend":
        _resume(guest, guard)


def held(guest: Guest, orders: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Hold the guest, say so on stdout, and let it go on after a word on stdin, or its end.

    :raises Trouble: the disk is not the volume that is to be seen at rest.
    """
    source = guest.disk().find("source")
    name = "" if source is None or source.get("protocol") != "rbd" else source.get("name")
    if name != orders["volume"]:
        raise Trouble("refused", f"The disk {guest.target} of {guest.name} is not the volume {orders['volume']}")
    how = hold(guest, guard, orders["quiesce"])
    try:
        sys.stdout.write(json.dumps({"ok": True, "consistency": how}) + "\n")
        sys.stdout.flush()
        pause_for_tests(orders, "held")
        select.select([sys.stdin], [], [], guard.limit)
        whole = how == "paused" or guard.in_time()
    finally:
        release(guest, guard, how)
    return {"consistency": how if whole else "none"}


def _thaw(guest: Guest, guard: Guard, quietly: bool = False) -> None:
    try:
        guest.domain.fsThaw()
    except guest.libvirt.libvirtError:
        # an agent that is not there froze nothing; one that is slow may freeze yet, so the guard thaws again
        if not quietly:
            return
    guard.released("F")


def _resume(guest: Guest, guard: Guard) -> None:
    try:
        if guest.domain.state()[0] == guest.libvirt.VIR_DOMAIN_PAUSED:
            guest.domain.resume()
        guard.released("S")
    except guest.libvirt.libvirtError:
        pass
