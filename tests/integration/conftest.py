# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests through Ansible and through the wrappers have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.runs import Ansible
from tests.tools.stage import stage
from tests.unit.door.wrapped import front_end, remotes  # noqa: F401  # fixtures


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of collections with a copy of this one."""
    tree = tmp_path_factory.mktemp("collections")
    stage(target=tree / "ansible_collections" / "one_storage" / "drivers")
    return tree


@pytest.fixture
def ansible(collections: Path, tmp_path: Path) -> Ansible:
    """Ansible, with a home of the test's own."""
    folder = tmp_path / "ansible"
    folder.mkdir()
    return Ansible(collections, folder)
