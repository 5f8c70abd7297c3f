# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the table of events (contract-tm 3), on real hosts, for every pairing of drivers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.events import OF_DATASTORES, OF_SNAPSHOTS, Events, actions, wrong
from tests.lab.ground import LabGround
from tests.lab.story import ALL
from tests.lab.virt import Hypervisor

CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "contract-tm.md"

_MOVES = "mv mv mv mv mv"
_TWO = "{0} {0}"
#: Each row by the beginning of its text: which events of the story are of it, and the calls that oned makes then.
ROWS: dict[str, dict[str, str]] = {
    "Create / recreate": {
        "CREATE": "clone ln mkimage mkswap clone clone context",
        "CREATE AGAIN": "clone ln mkimage mkswap clone clone context",
    },
    "Attach while poweroff": {"ATTACH, OFF": "clone"},
    "Attach while running": {"ATTACH": "ln", "ATTACH VOLATILE": "mkimage"},
    "Cold migrate": {
        "MIGRATE": f"{_MOVES} context",
        "MIGRATE, OFF": _MOVES,
        "MIGRATE, ANOTHER DATASTORE": f"{_MOVES} context",
        "MIGRATE, BACK": f"{_MOVES} context",
    },
    "Stop / undeploy": {"STOP": _MOVES, "UNDEPLOY": _MOVES},
    "Resume from stop/undeploy": {"RESUME": f"{_MOVES} context", "REDEPLOY": f"{_MOVES} context"},
    "Terminate": {
        "TERMINATE": "delete mvds delete delete delete",
        "TERMINATE, STOPPED": f"clone ln mkimage mkswap clone clone context {_MOVES} delete mvds delete delete delete",
    },
    "Detach": {"DETACH, OFF": "delete", "DETACH": "mvds", "DETACH VOLATILE": "delete"},
    "Hard delete": {"DELETE": "delete delete delete delete delete"},
    "…during PROLOG_MIGRATE": {"DELETE DURING A MIGRATION": " ".join(["delete"] * 10)},
    "Live migrate": {
        "LIVE MIGRATION": "premigrate postmigrate",
        "LIVE MIGRATION THAT FAILS": "premigrate failmigrate",
    },
    "disk-saveas": {
        "SAVE": "mkfs cpds mkfs cpds",
        "SAVE SNAPSHOT": "mkfs cpds mkfs cpds",
        "SAVE, SUSPENDED": "mkfs cpds mkfs cpds",
        "SAVE, STOPPED": "mkfs cpds mkfs cpds",
        "SAVE, UNDEPLOYED": "mkfs cpds mkfs cpds",
        "SAVE, RUNNING": "mkfs cpds mkfs cpds",
    },
    "disk-snapshot create": {
        "SNAPSHOT 0": _TWO.format("snap_create"),
        "SNAPSHOT 1": _TWO.format("snap_create"),
        "SNAPSHOT, SUSPENDED": _TWO.format("snap_create"),
        "SNAPSHOT, RUNNING": _TWO.format("snap_create_live"),
    },
    "disk-snapshot revert": {"REVERT": _TWO.format("snap_revert")},
    "disk-snapshot delete": {
        "DELETE SNAPSHOT": _TWO.format("snap_delete"),
        "DELETE SNAPSHOT, RUNNING": _TWO.format("snap_delete"),
    },
    "disk resize": {
        "RESIZE": _TWO.format("resize"),
        "RESIZE, OFF": _TWO.format("resize"),
        "RESIZE, UNDEPLOYED": _TWO.format("resize"),
    },
}
#: Events that some pairings do not have.
WITHOUT = {"ceph": OF_DATASTORES, "ceph+ssh": OF_SNAPSHOTS}
#: Rows of backups, which have tests of their own.
OF_BACKUPS = ("in-place restore", "backup")


def rows() -> list[str]:
    """The first column of the table."""
    section = CONTRACT.read_text(encoding="utf-8").partition("\n## 3.")[2].partition("\nImportant consequences")[0]
    return re.findall(r"(?m)^\| (?!Event|---)([^|]+?) \|", section)


def test_every_row_of_the_table_has_its_events() -> None:
    named = [*ROWS, *OF_BACKUPS]
    assert len(rows()) == len(named)
    assert [row for row in rows() if sum(row.startswith(name) for name in named) != 1] == []


def lived(ground: LabGround, pairing: str, machines: dict[str, Hypervisor]) -> None:
    """The whole table for one pairing."""
    story = Events(ground, ALL[pairing], machines)
    story.tell()
    assert wrong(story) == []
    found = {chapter.title: actions(chapter) for chapter in story.chapters}
    wanted = {title: calls for row in ROWS.values() for title, calls in row.items()}
    wanted = {title: calls for title, calls in wanted.items() if title not in WITHOUT.get(pairing, ())}
    if not machines:
        wanted = {title: calls for title, calls in wanted.items() if "RUNNING" not in title and "LIVE" not in title}
    assert {title: found.get(title) for title in wanted} == wanted
    assert story.chapters[-1].title == "CLEAN UP"


#: A short run takes what differs most, and leaves the events of running guests to the tests that are about them.
SHORT = ("qcow2+ssh",)


@pytest.mark.parametrize("pairing", SHORT)
def test_every_event_but_those_of_running_guests(tidy: LabGround, pairing: str) -> None:
    lived(tidy, pairing, {})


@pytest.mark.full
@pytest.mark.parametrize("pairing", ALL)
def test_every_event(ground: LabGround, lent: dict[str, Hypervisor], pairing: str) -> None:
    lived(ground, pairing, lent)
