# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a layer out of the disk of a running guest: a commit where that can be, else a pull (contract-tm 6.4, 7.2).

A *commit* folds the layer above into the one that goes, whose file then holds that layer's snapshot: a ``.current``
marker says so, as stock has it. It moves what that one layer holds, and a pull would move that and more, so it is
chosen wherever it can be: the layer above is not the one that is written to (whose number has to stay the highest, and
which stock finds by its number), nothing else stands on either, there is room, and QEMU can open what it has to open
again, see :mod:`..tools.guest`.

A *pull* lets the top take over all that the guest reads from that layer and those between. They stay as they are, for
the snapshots that they are; then everything goes as it does for a VM that is off.
"""

from __future__ import annotations

import os

from ..steps.base import LEAD
from ..steps.layers import Mark, MarkForGood
from ..steps.live import CommitDown, PullUp, ask
from ..tools import chain
from .base import Plan, base, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..steps.base import Step
    from ..tools.chain import Layer
    from .base import Request
    from .vm_layers import Stack


def taken_out(
    request: Request,
    stack: Stack,
    number: int,
    path: str,
    layers: list[Layer],
    guest: dict[str, Any],
    discard: Callable[[str], list[Step]],
) -> Plan:
    """The steps after which the guest does not need the layer of a snapshot any more.

    :param path: the layer, by its name among the snapshots.
    :param layers: the guest's chain, top first; the layer is one of them, and not the top.
    :param discard: steps that remove a file.
    """
    depth = [layer.path for layer in layers].index(stack.host.real(path))
    if not _can_commit(request, stack, path, layers, depth, guest):
        return Plan([_pulled(stack, layers, depth, guest)])
    upper = os.path.join(stack.snap, base(layers[depth - 1].path))
    markers = {name: os.path.join(stack.snap, f"{name}{chain.REDIRECT}") for name in (number, *_held(stack, upper))}
    mine = markers.pop(number)
    steps: list[Step] = [
        MarkForGood(LEAD, mine, chain.gone(path, upper) + "\n", stack.root, stack.host.read(mine)),
        _committed(stack, layers, depth, path, guest),
        *(Mark(LEAD, marker, path + "\n", stack.root, stack.host.read(marker)) for marker in markers.values()),
        *discard(upper),
        *discard(mine),
    ]
    return Plan(stack.followed() + steps)


def _can_commit(
    request: Request, stack: Stack, path: str, layers: list[Layer], depth: int, guest: dict[str, Any]
) -> bool:
    """Whether the layer above can be folded into the one that goes."""
    if depth < 2:
        return False
    host, snap = stack.host, stack.snap
    above, upper, lower = layers[depth - 2 : depth + 1]
    for layer, only in ((upper, above), (lower, upper)):
        if parent(layer.path) != host.real(snap) or not chain.is_number(base(layer.path)):
            return False
        if [other.path for other in chain.standing_on(host, snap, layer.path)] != [only.path]:
            return False
    info = host.stat(upper.path)
    if not info or host.space(stack.root)["free"] < info["allocated"]:
        return False
    said = ask(request.site, LEAD, "look", guest, expected=[layer.path for layer in layers])
    return not ({depth, depth - 2} - {0}) & set(said["linked"])


def _held(stack: Stack, upper: str) -> list[int]:
    """The snapshots that a layer holds."""
    host, snap = stack.host, stack.snap
    known = {*chain.redirects(host, snap), int(base(upper))}
    return sorted(number for number in known if chain.current(host, snap, number) == upper)


def _committed(stack: Stack, layers: list[Layer], depth: int, path: str, guest: dict[str, Any]) -> Step:
    relative = all(not layer.backing.startswith("/") for layer in layers[depth - 2 : depth])
    expected = [layer.path for layer in layers]
    return CommitDown(LEAD, guest, expected, depth, relative, stack.name_of(path))


def _pulled(stack: Stack, layers: list[Layer], depth: int, guest: dict[str, Any]) -> Step:
    gone = layers[depth]
    beside = chain.neighbour(stack.host, stack.snap, gone)
    # what lies elsewhere keeps its name when that is absolute, and gets one that is found from anywhere
    elsewhere = gone.backing if gone.backing.startswith("/") else gone.below
    name = stack.name_of(beside) if beside else elsewhere
    relative = all(layer.backing and not layer.backing.startswith("/") for layer in layers[: depth + 1])
    expected = [layer.path for layer in layers]
    return PullUp(LEAD, guest, expected, depth + 1 if name else 0, relative, name, gone.path)
