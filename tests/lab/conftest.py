# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab, and those that run on it, have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.hosts import Lab, can_make_hosts, repository


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A front-end and two nodes, for all tests of this run; a test that changes one has to put it right again.

    The front-end sees this checkout, the nodes do not: what they run has to be deployed on them.
    """
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    with Lab.up(tie=True, binds=[repository()], masks=[repository()]) as made:
        yield made
