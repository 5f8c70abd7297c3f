# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab, and those that run on it, have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.hosts import Lab, can_make_hosts


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A front-end and two nodes, for all tests of this run; a test that changes one has to put it right again."""
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    with Lab.up(tie=True) as made:
        yield made
