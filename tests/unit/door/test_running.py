# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The register of running backups: one a VM, found by name, stale when its process is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.module_utils._errors import Busy, Cancelled, StorageError
from plugins.plugin_utils import running
from plugins.plugin_utils.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "remotes"))


@contextmanager
def backup(settings: Settings, vm: int, name: str, stubborn: bool = False) -> Iterator[int]:
    """Another process that backs up a VM."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            running.note(settings, vm, name, "backup")
            if stubborn:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(tell, b"x")
            time.sleep(60)
        except Cancelled:
            os._exit(3)
        finally:
            os._exit(4)
    os.read(told, 1)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def test_a_second_one_is_refused(settings: Settings) -> None:
    with backup(settings, 5, "one-5") as pid:
        with pytest.raises(Busy, match=f"VM 5 is being backed up already: backup runs as process {pid}"):
            running.enter(settings, 5, "one-5", "prebackup")
        running.enter(settings, 6, "one-6", "prebackup").leave()


def test_a_dead_one_is_none(settings: Settings) -> None:
    with backup(settings, 5, "one-5") as pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert running.find(settings, "one-5") == []
    running.enter(settings, 5, "one-5", "backup").leave()


def test_it_is_found_by_its_whole_name_and_ended(settings: Settings) -> None:
    with backup(settings, 5, "one-5") as pid, backup(settings, 55, "one-55") as other:
        assert [record["pid"] for record in running.find(settings, "one-5")] == [pid]
        assert running.find(settings, "one") == []
        running.stop(running.find(settings, "one-5"), 10)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3, "it heard of it as an error"
        os.kill(other, 0)


def test_one_that_does_not_end_is_named(settings: Settings) -> None:
    with backup(settings, 5, "one-5", stubborn=True) as pid, pytest.raises(StorageError) as caught:
        running.stop(running.find(settings, "one-5"), 0.2)
    assert f"process {pid} has not ended within 0.2 seconds" in str(caught.value)


def test_who_only_looks_is_in_nobodys_way(settings: Settings) -> None:
    entered = running.enter(settings, 5, "one-5", "backup")
    entered.leave()
    for _again in range(3):
        assert running.find(settings, "one-5") == []
        running.enter(settings, 5, "one-5", "backup").leave()


def test_the_folder_is_a_setting(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.folder_of(settings) == str(tmp_path / ".one_storage" / "running")
    monkeypatch.setenv("ONE_STORAGE_RUN_DIRECTORY", "/run/somewhere")
    assert running.folder_of(settings) == "/run/somewhere"
