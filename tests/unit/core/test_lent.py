# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a session lends its connection to the tools of its action."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from plugins.module_utils.tools import ssh
from plugins.module_utils.tools.lent import socket_path


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a short path, as homes have."""
    with TemporaryDirectory() as made:
        monkeypatch.setenv("HOME", made)
        Path(made, ".ssh").mkdir()
        yield Path(made)


def test_sockets_of_the_dead_are_removed_and_no_others(home: Path) -> None:
    start = f"one_storage-{os.uname().nodename}-"
    stays = ["id_rsa", "one_storage-elsewhere-99999999", f"{start}1", f"{start}x", "one_storage-0123abcd-0"]
    for name in (*stays, f"{start}99999999"):
        (home / ".ssh" / name).touch()
    assert socket_path() == str(home / ".ssh" / f"{start}{os.getpid()}")
    assert sorted(os.listdir(home / ".ssh")) == sorted(stays)


def test_where_there_is_no_place_for_it_tools_log_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ssh").rmdir()
    assert socket_path() == ""
    monkeypatch.setenv("HOME", str(home / ("long" * 20)))
    assert socket_path() == ""


def test_a_connection_is_lent_as_long_as_its_session_and_used_without_making_one() -> None:
    lends = ssh.options(lend="/home/.ssh/it")
    assert {"ControlMaster=yes", "ControlPath=/home/.ssh/it", "ControlPersist=no"} <= set(lends)
    assert {"ControlMaster=no", "ControlPath=/home/.ssh/it"} <= set(ssh.options(lent="/home/.ssh/it"))
    assert {"ControlMaster=no", "ControlPath=none"} <= set(ssh.options(lent=""))
