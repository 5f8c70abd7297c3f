# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of whoever calls wrappers: import both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.door.front_end import FrontEnd, laid_out, started

__all__ = ["front_end", "remotes"]


@pytest.fixture(scope="module")
def remotes() -> Iterator[Path]:
    """The drivers as they are laid out for oned."""
    with laid_out() as tree:
        yield tree


@pytest.fixture
def front_end(remotes: Path) -> Iterator[FrontEnd]:
    """A front-end of the test's own."""
    with started(remotes) as made:
        yield made
