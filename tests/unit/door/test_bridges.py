# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge that leads is one that is up, the same for the same image."""

from __future__ import annotations

import pytest
from lxml import etree

from plugins.module_utils._errors import BadCall, StorageError, Unreachable
from plugins.plugin_utils.bridges import choose, route
from plugins.plugin_utils.calls import Call
from plugins.plugin_utils.oned import Oned

UP, ALSO_UP = 2, 1


class Pool(Oned):
    """oned with these hosts by name and state; None for an oned that does not answer."""

    def __init__(self, states: dict[str, int] | None) -> None:
        super().__init__()
        self.states = states

    def hosts(self) -> etree._Element:
        if self.states is None:
            raise Unreachable("oned does not answer")
        hosts = "".join(
            f"<HOST><NAME>{name}</NAME><STATE>{state}</STATE></HOST>" for name, state in self.states.items()
        )
        return etree.fromstring(f"<HOST_POOL>{hosts}</HOST_POOL>")


@pytest.mark.parametrize(
    ("states", "turn", "chosen"),
    [
        ({"h1": UP, "h2": UP, "h3": UP}, 0, "h1"),
        ({"h1": UP, "h2": UP, "h3": UP}, 7, "h2"),
        ({"h1": UP, "h2": UP, "h3": UP}, 8, "h3"),
        ({"h1": 8, "h2": ALSO_UP, "h3": 3}, 8, "h2"),
        ({"h1": 4, "h2": 5, "h3": 0}, 1, "h3"),
        ({"h1": 7, "h2": 8}, 1, "h3"),
        ({"other": 8}, 1, "h2"),
        (None, 5, "h3"),
    ],
)
def test_one_that_is_up(states: dict[str, int] | None, turn: int, chosen: str) -> None:
    assert choose(["h1", "h2", "h3"], turn, Pool(states)) == chosen


@pytest.mark.parametrize(
    ("bridges", "origins", "states", "way"),
    [
        ("h1 h2", "", {}, ("h1", "")),
        ("", "h3", {}, ("", "h3")),
        ("h1", "h3", {}, ("h1", "h3")),
        ("h1 h2", "h2 h3", {}, ("h2", "h2")),
        ("h1 h2", "h2 h3", {"h2": 8}, ("h1", "h3")),
    ],
)
def test_the_way_of_a_clone(bridges: str, origins: str, states: dict[str, int], way: tuple[str, str]) -> None:
    call = Call("ds_clone", lambda _context, _here: {}, bridges=bridges.split(), origins=origins.split())
    assert route(call, Pool(states)) == way


def test_none_is_up() -> None:
    with pytest.raises(StorageError, match="All hosts of BRIDGE_LIST are offline, in error or disabled: h1, h2"):
        choose(["h1", "h2"], 0, Pool({"h1": 8, "h2": 4}))


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "h 1", "h1;reboot", ".", ""])
def test_what_is_no_host(name: str) -> None:
    with pytest.raises(BadCall):
        choose(["h1", name], 0, Pool({"h1": UP}))
