# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seats on shared connections: the first free one is taken, and a dead process has none."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils.tools import ssh
from plugins.module_utils.tools.seat import CONNECTIONS, SESSIONS, Seat
from tests.lab.hosts import repository

SIT = """
import sys
sys.path.insert(0, sys.argv[1])
from plugins.module_utils.tools.seat import Seat
print(Seat("n1").connection, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


class Other:
    """Another process with a seat; locks are a process's, so it must be one."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", SIT, str(repository())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout
        self.connection = int(self.process.stdout.readline())

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


def test_a_connection_has_so_many_sessions_and_then_comes_the_next(home: Path) -> None:
    others = [Other() for _number in range(SESSIONS + 1)]
    try:
        assert [one.connection for one in others] == [0] * SESSIONS + [1]
        others.pop(0).end()
        assert Seat("n1").connection == 0
        assert Seat("n2").connection == 0
    finally:
        for one in others:
            one.end()


def test_one_after_the_other_use_one_connection(home: Path) -> None:
    for _number in range(2 * SESSIONS):
        seat = Seat("n1")
        assert seat.connection == 0
        seat.leave()
        seat.leave()


def test_when_all_are_taken_it_is_the_last_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("os.lockf", refuse)
    assert Seat("n1").connection == CONNECTIONS - 1


def test_without_a_home_there_is_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert Seat("n1").connection == 0


@pytest.mark.parametrize(("connection", "path"), [(0, "one_storage-%C-0"), (3, "one_storage-%C-3")])
def test_each_connection_has_a_socket_of_its_own(home: Path, connection: int, path: str) -> None:
    line = ssh.command("n1", ["true"], connection=connection)
    assert f"ControlPath={home}/.ssh/{path}" in line and "ControlMaster=auto" in line


def test_a_session_of_its_own_has_none() -> None:
    line = ssh.command("n1", ["true"])
    assert "ControlPath=none" in line and "ControlMaster=no" in line
