# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restic that died has left in a repository goes, and nothing that a living one writes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from plugins.module_utils._errors import Busy, Corrupt, NoSpace
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.repositories.unfinished import is_unfinished, remove_unfinished
from tests.unit.core.keeping import PASSWORD, VM, Keeping
from tests.unit.core.support import act
from tests.unit.core.test_repositories import another_lock, sentence

ID = "9f" * 32
FAR, HERE = f"{ID}-restic-temp-{'0a' * 16}", f"{ID}-tmp-3140957"
LONG_AGO = time.time() - 31 * 60


@pytest.fixture(autouse=True)
def longer() -> None:
    signal.alarm(120)


def lay(root: Path, *names: str, age: float = 0) -> None:
    """Files in a repository, written to so many seconds ago."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (f"data/9f/{FAR}", True),
        (f"data/9f/{HERE}", True),
        (f"index/{FAR}", True),
        (f"snapshots/{HERE}", True),
        (f"data/9f/{ID}", False),
        (f"data/9f/{ID}-tmp-", False),
        (f"data/9f/{ID}-tmp-12x", False),
        (f"data/9f/{ID[1:]}-tmp-12", False),
        (f"data/9f/{ID}-restic-temp-xyz", False),
        (f"data/9f/{ID.upper()}-tmp-12", False),
        ("data/9f/somebody's-tmp-12", False),
        # these are written without a lock
        (f"locks/{FAR}", False),
        (f"keys/{FAR}", False),
        (f"config-restic-temp-{'0a' * 16}", False),
    ],
)
def test_only_what_has_exactly_that_form(folder: Path, path: str, is_one: bool) -> None:
    assert is_unfinished(path) == is_one
    lay(folder, path, age=3600)
    assert remove_unfinished(Host("here"), str(folder), 60) == ([path] if is_one else [])
    assert (folder / path).exists() != is_one


@pytest.mark.parametrize(("lock", "left"), [("", []), (ID, ["new"]), (f"{ID}-tmp-7", [])])
def test_what_a_living_one_may_be_writing_stays(folder: Path, lock: str, left: list[str]) -> None:
    """Who has the repository locked may be writing all that is not older than restic lets a lock be."""
    lay(folder, f"data/00/{FAR}", age=29 * 60)
    lay(folder, f"data/9f/{HERE}", age=31 * 60)
    if lock:
        lay(folder, f"locks/{lock}")
    remove_unfinished(Host("here"), str(folder), 60)
    found = [path.name for path in folder.rglob("*-t*mp-*") if path.parent.name != "locks"]
    assert found == ([FAR] if left else [])


@pytest.mark.full
def test_a_real_one_that_is_killed_leaves_what_is_known(folder: Path) -> None:
    """A removal takes it away, and the next backup is right."""
    keeping = Keeping(folder, "restic")
    keeping.fill(2)
    repository = keeping.base / str(VM)
    # it cannot finish what it has begun to write, and holds its lock
    with another_lock(keeping):
        lay(repository, f"data/9f/{HERE}")
        assert remove_unfinished(Host("here"), str(repository), 60) == []
    lay(repository, f"index/{HERE}")
    act("ds_rm", **keeping.options, source="x", increments=keeping.chain[1:])
    keeping.chain.pop()
    assert list(repository.rglob("*-tmp-*")) == []
    assert keeping.verify()["sound"]


# ---------------------------------------------------------------- the repository itself


def half_made(keeping: Keeping) -> Path:
    """What ``restic init`` leaves that dies before it writes the config."""
    repository = keeping.base / str(VM)
    given = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
    subprocess.run(["restic", f"--repo={repository}", "init", "--quiet"], env=given, check=True)
    (repository / "config").unlink()
    return repository


def test_one_that_was_half_made_is_made_anew(folder: Path) -> None:
    """With its key in place nobody could open what is made beside it. One that is just being made is left alone."""
    keeping = Keeping(folder, "restic")
    repository = half_made(keeping)
    keys = os.listdir(repository / "keys")
    keeping.prepare(0)
    said = sentence(lambda: act("ds_backup", **keeping.backup_options), Busy)
    assert "is being made by somebody else" in said and "two minutes" in said
    assert os.listdir(repository / "keys") == keys and keeping.is_tidy()
    for path in [*repository.rglob("*"), repository]:
        os.utime(path, (LONG_AGO, LONG_AGO))
    keeping.fill(1)
    assert len(os.listdir(repository / "keys")) == 1 and keeping.verify()["sound"]


@pytest.mark.full
def test_one_that_has_data_is_not_half_made(folder: Path) -> None:
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    repository = keeping.base / str(VM)
    for name in ("index", "snapshots"):
        shutil.rmtree(repository / name)
    (repository / "config").unlink()
    keeping.prepare(1)
    assert "has lost its file config" in sentence(lambda: act("ds_backup", **keeping.backup_options), Corrupt)
    assert list(repository.glob("data/*/*"))


def test_two_vms_of_a_job_make_one_repository(folder: Path) -> None:
    """Both find none; each stores its backup, and both can be read."""
    keeping = Keeping(folder, "restic")
    children = []
    for vm in (VM, VM + 1):
        keeping.prepare(0)
        if vm != VM:
            shutil.copytree(keeping.prepared.parent, keeping.system / str(vm))
    for vm in (VM, VM + 1):
        source = keeping.system / str(vm) / "backup"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                act("ds_backup", **{**keeping.backup_options, "vm_id": vm, "backup_job_id": 4, "source": str(source)})
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    repository = keeping.base / "job_4"
    assert codes == [0, 0]
    assert len(os.listdir(repository / "keys")) == 1 and len(os.listdir(repository / "snapshots")) == 2
    given = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
    subprocess.run(["restic", f"--repo={repository}", "check", "--quiet"], env=given, check=True)


# ---------------------------------------------------------------- no space


@pytest.mark.full
def test_a_full_disk_is_said_whatever_restic_calls_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over SFTP it has one word for all trouble; here a tool says it, on a disk that is full by then."""
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    keeping.prepare(1)
    (folder / "bin").mkdir()
    program = folder / "bin" / "restic"
    program.write_text(
        '#!/bin/sh\ncase " $* " in *" backup "*) echo \'Fatal: Save: sftp: "Failure" (SSH_FX_FAILURE)\' >&2; exit 1;; '
        'esac\nexec /usr/bin/restic "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    answers = [1 << 40, 1 << 20]
    monkeypatch.setattr(Host, "space", lambda _host, _path: {"free": answers.pop(0) if answers else 1 << 20})
    said = sentence(lambda: act("ds_backup", **keeping.backup_options), NoSpace)
    assert "no space left for the backup" in said and "1 MB are free" in said and "nothing was changed" in said
    assert len(keeping.references()) == 1 and keeping.is_tidy()
