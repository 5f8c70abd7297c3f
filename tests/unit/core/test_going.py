# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot whose deletion by a commit broke off: it is gone from the first byte on, and its rest is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils.tools import chain
from plugins.module_utils.tools.host import Host
from tests.unit.core.support import tool

#: Markers by snapshot, what stands on what, and what is left to be taken away of snapshot 1. Layer 2 goes into 1.
STATES: dict[str, tuple[dict[int, str], dict[str, str], str]] = {
    "not begun": ({}, {"1": "0", "2": "1", "3": "2"}, ""),
    "begun": ({1: "1.2.gone"}, {"1": "0", "2": "1", "3": "2"}, "1"),
    "ended": ({1: "1.2.gone"}, {"1": "0", "2": "1", "3": "1"}, "1"),
    "noted": ({1: "1.2.gone", 2: "1"}, {"1": "0", "2": "1", "3": "1"}, "2"),
    "noted, and used again": ({1: "1.2.gone", 2: "1"}, {"1": "0", "2": "1", "3": "2"}, ""),
    "folded": ({1: "1.2.gone", 2: "1"}, {"1": "0", "3": "1"}, ""),
    "over": ({2: "1"}, {"1": "0", "3": "1"}, ""),
    "in another file": ({1: "5.2.gone"}, {"5": "0", "2": "5", "3": "2"}, "5"),
    "nonsense": ({1: "x.gone"}, {"1": "0"}, ""),
}


@pytest.mark.parametrize("state", STATES)
def test_what_is_left_of_a_snapshot_that_goes(tmp_path: Path, state: str) -> None:
    markers, layers, left = STATES[state]
    snap = tmp_path / "disk.0.snap"
    snap.mkdir()
    tool("qemu-img", "create", "-q", "-f", "qcow2", str(snap / "0"), "1M")
    for name, below in layers.items():
        tool("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, str(snap / name), "1M")
    for number, name in markers.items():
        (snap / f"{number}.current").write_text(f"{snap}/{name}\n")
    host = Host("here")
    assert chain.going(host, str(snap), 1) == (f"{snap}/{left}" if left else "")
    # once it is marked, nobody is told that it is there
    there = chain.current(host, str(snap), 1)
    assert there == (f"{snap}/1" if state == "not begun" else "")


def test_what_a_marker_says() -> None:
    assert chain.gone("/a/disk.0.snap/5", "/a/disk.0.snap/2") == "/a/disk.0.snap/5.2.gone"
