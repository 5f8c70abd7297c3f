# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the bridge that does an action on a datastore which the front-end cannot reach (contract-ds 5.3)."""

from __future__ import annotations

from ..module_utils._errors import Unreachable
from ..module_utils.tools.ssh import check_login

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import Call
    from .oned import Oned

#: oned's states of a host that is not asked for anything: error (3, and 5 while it is looked at again), disabled (4,
#: and 7 likewise), offline (8).
_DOWN = frozenset("34578")


def route(call: Call, oned: Oned) -> tuple[str, str]:
    """The bridge that leads, and the one that has the origin of a clone; empty for the front-end.

    One that reaches both datastores is best: then nothing goes over the network.
    """
    both = [bridge for bridge in call.bridges if bridge in call.origins]
    if both:
        try:
            bridge = choose(both, call.turn, oned)
            return bridge, bridge
        except Unreachable:
            # one of each may still be up
            pass
    lead = choose(call.bridges, call.turn, oned) if call.bridges else ""
    return lead, choose(call.origins, call.turn, oned) if call.origins else ""


def choose(bridges: list[str], turn: int, oned: Oned) -> str:
    """One of the bridges that are up, the same for the same *turn* while the same ones are up.

    A bridge that oned does not manage counts as up, as it cannot know; and so do all when oned gives no answer.

    :raises Unreachable: when all are down. The front-end is never taken instead: it has another disk there.
    """
    for bridge in bridges:
        check_login(bridge)
    try:
        down = {
            str(host.findtext("NAME")).strip()
            for host in oned.hosts().findall("HOST")
            if (host.findtext("STATE") or "").strip() in _DOWN
        }
    except Unreachable:
        down = set()
    up = [bridge for bridge in bridges if bridge not in down]
    if not up:
        raise Unreachable(
            f"All hosts of BRIDGE_LIST are offline, in error or disabled: {', '.join(bridges)}",
            todo="enable one of them, or correct BRIDGE_LIST in the datastore",
        )
    return up[turn % len(up)]
