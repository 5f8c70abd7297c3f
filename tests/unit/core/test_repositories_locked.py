# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of restic that somebody else has locked for himself, and one with another password: every action."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Busy, NoAccess
from plugins.module_utils.tools.sources import Options, open_source
from tests.unit.core.keeping import PASSWORD, VM, Keeping
from tests.unit.core.support import act
from tests.unit.core.test_repositories import sentence

pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def longer() -> None:
    signal.alarm(300)


@pytest.fixture
def keeping(folder: Path) -> Keeping:
    made = Keeping(folder, "restic")
    made.fill(3)
    made.prepare(3)
    return made


@contextmanager
def locked(keeping: Keeping) -> Iterator[subprocess.Popen[bytes]]:
    """A restic that needs the repository for itself, held in the middle of its work."""
    repository = keeping.base / str(VM)
    given = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
    process = subprocess.Popen(["restic", f"--repo={repository}", "check", "--read-data", "--quiet"], env=given)
    try:
        while not any(name.isalnum() for name in os.listdir(repository / "locks")):
            assert process.poll() is None, "it was too quick"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.wait(60)
    assert process.returncode == 0


def url_of(keeping: Keeping) -> str:
    answer: dict[str, str] = act("ds_ls", **keeping.options, increments=keeping.chain, datastore_id=100)["disks"]
    return answer["0"]


def restore(keeping: Keeping, url: str, password: str = PASSWORD, seconds: float = 30) -> bytes:
    """A disk as the front-end reads it."""
    place = {**keeping.repository().place, "tmp_dir": str(keeping.tmp)}
    source = open_source(
        url, Options(repository=place, secrets={"repository_password": password}, stall=60, command=seconds)
    )
    try:
        return b"".join(source.chunks())
    finally:
        source.close()


ACTIONS: dict[str, Callable[[Keeping], dict[str, Any]]] = {
    "ds_backup": lambda keeping: keeping.backup_options,
    "ds_rm": lambda keeping: {**keeping.options, "source": "x", "increments": keeping.chain},
    "ds_increment_flatten": lambda keeping: {**keeping.flatten_options, "keep_last": 1},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_who_has_it_for_himself_is_waited_for_and_then_named(keeping: Keeping, action: str) -> None:
    given = ACTIONS[action](keeping)
    before = keeping.references()
    with locked(keeping):
        said = sentence(lambda: act(action, **given, lock_timeout=1), Busy)
        assert "has been locked by others for more than 1 seconds" in said
        assert keeping.references() == before and os.listdir(keeping.tmp) == []
    with locked(keeping) as other:
        threading.Timer(2, lambda: other.send_signal(signal.SIGCONT)).start()
        assert act(action, **given, lock_timeout=60)["changed"]
    assert keeping.is_tidy()


def test_a_restore_waits_too(keeping: Keeping) -> None:
    url = url_of(keeping)
    whole = restore(keeping, url)
    with locked(keeping):
        said = sentence(lambda: restore(keeping, url, seconds=3), Busy)
        assert "is locked by somebody else" in said and os.listdir(keeping.tmp) == []
    with locked(keeping) as other:
        began = time.monotonic()
        threading.Timer(2, lambda: other.send_signal(signal.SIGCONT)).start()
        assert len(restore(keeping, url)) == len(whole)
        assert time.monotonic() - began > 2
    assert os.listdir(keeping.tmp) == []


def test_one_that_died_with_it_is_waited_for_by_nobody(keeping: Keeping) -> None:
    """It ran on this host, so its lock is known to be nobody's."""
    url = url_of(keeping)
    locks = keeping.base / str(VM) / "locks"
    for task in (lambda: restore(keeping, url), lambda: act("ds_backup", **keeping.backup_options, lock_timeout=20)):
        with pytest.raises(AssertionError), locked(keeping) as other:
            other.kill()
        assert os.listdir(locks)
        task()
        assert os.listdir(locks) == []


def test_another_password_is_named_by_every_action(keeping: Keeping) -> None:
    url = url_of(keeping)
    before = keeping.references()
    chain = {"increments": keeping.chain, "datastore_id": 100}
    for action, given in (
        *((action, ACTIONS[action](keeping)) for action in ACTIONS),
        ("ds_ls", {**keeping.options, **chain}),
        ("ds_stat", {"driver": "restic", "datastore": str(keeping.base), "source": url}),
    ):
        said = sentence(lambda a=action, g=given: act(a, **{**g, "repository_password": "secret"}), NoAccess)  # type: ignore[misc]
        assert "RESTIC_PASSWORD is not the password of the repository" in said and "secret" not in said, action
    rows = act("ds_backup_verify", **{**keeping.options, "repository_password": "secret"}, increments=keeping.chain)
    assert not rows["sound"] and all("RESTIC_PASSWORD" in row["problems"][0] for row in rows["backups"])
    said = sentence(lambda: restore(keeping, url, "secret"), NoAccess)
    assert "wrong password" in said and "RESTIC_PASSWORD" in said and "secret" not in said
    assert keeping.references() == before and keeping.is_tidy()


@pytest.mark.parametrize(
    "password", ["'", '"', "a'b\"c", "  in  side ", "$(id)`x`", "\\", "-p", "ä€", "{{ 7*7 }}", "#%"]
)
def test_passwords_that_mean_something_elsewhere(folder: Path, password: str) -> None:
    """Each is what it is, by restic's own judgement; blanks at the ends are refused with a sentence."""
    from plugins.module_utils._errors import BadCall

    keeping = Keeping(folder, "restic")
    keeping.prepare(0)
    given = {**keeping.backup_options, "repository_password": password}
    if password != password.strip():
        assert "blanks at its ends" in sentence(lambda: act("ds_backup", **given), BadCall)
        assert not (keeping.base / str(VM)).exists()
        return
    act("ds_backup", **given)
    repository = f"--repo={keeping.base}/{VM}"
    own = {**os.environ, "RESTIC_PASSWORD": password}
    said = subprocess.run(["restic", repository, "snapshots", "--json"], env=own, check=True, capture_output=True)
    assert said.stdout.count(b'"short_id"') == 1
