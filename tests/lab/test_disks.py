# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of a VM that is off, on real hosts: snapshots stay right over moves, and saved images come from nodes."""

from __future__ import annotations

import pytest

from tests.integration.test_wrappers_disks import pairings, told
from tests.lab.disks import DiskStory
from tests.lab.ground import LabGround
from tests.lab.story import PAIRINGS


@pytest.mark.parametrize("pairing", pairings())
def test_snapshots_on_hosts(tidy: LabGround, pairing: str) -> None:
    story = DiskStory(tidy, PAIRINGS[pairing], {"ONE_STORAGE_LAUNCHER": "ssh"})
    story.tell()
    assert told(story) == []
