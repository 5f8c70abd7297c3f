# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long two processes that are tied by a wire hear nothing of each other before one gives the other up."""

from __future__ import annotations

import time

import pytest

from plugins.module_utils.tools.wire import Lifeline, patience
from tests.unit.core.test_stream import pair


@pytest.mark.parametrize(("stall", "silence"), [(1, 3), (5, 5), (60, 60), (600, 60)])
def test_who_is_impatient_waits_as_long_as_for_data(stall: float, silence: float) -> None:
    assert patience(stall) == silence


def test_both_ends_beat_whatever_they_hear() -> None:
    """One that answers silence only would be silent itself as long as the other one beats a little earlier."""
    here, there = pair()
    here.silence = 0.9
    gone: list[str] = []
    lifeline = Lifeline(there, lambda: gone.append("there"))
    here.send({"first": True, "silence": here.silence})
    assert lifeline.next(2) == {"first": True, "silence": 0.9}
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        here.receive(begun + 3)
    assert time.monotonic() - begun >= 3 and not gone
    # now it stands still
    until = time.monotonic() + 3
    while not gone and time.monotonic() < until:
        time.sleep(0.05)
    assert gone
