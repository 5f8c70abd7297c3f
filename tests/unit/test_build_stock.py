# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""build.py in stock's place and beside it: what is kept, what comes back, and names of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parents[2] / "remotes" / "one_storage"

#: A small collection: what is tested is how it is laid, and compiling the real one takes a second each time.
OURS = {
    "plugins/module_utils/core.py": "VALUE = 1\n",
    "remotes/tm/qcow2/clone": "#!/bin/sh\nexec true\n",
    "remotes/tm/qcow2/clone.ssh": "#!/bin/sh\nexec true\n",
    "remotes/tm/qcow2/ln": "#!/bin/sh\nexec true\n",
    "remotes/tm/qcow2/mvds": "#!/bin/sh\nexec true\n",
    "remotes/tm/shared/clone": "#!/bin/sh\nexec true\n",
    "remotes/tm/ssh/mv": "#!/bin/sh\nexec true\n",
    "remotes/tm/local/clone": "#!/bin/sh\nexec true\n",
    "remotes/datastore/fs/cp": "#!/bin/sh\nexec true\n",
    "remotes/etc/one_storage/one_storage.conf": 'LAUNCHER="auto"\n',
}

STOCK = {
    "tm/qcow2/clone": b"#!/bin/bash\necho stock \xff\n",
    "tm/qcow2/notours": b"#!/bin/bash\necho stays\n",
    "tm/ssh/mv": b"#!/usr/bin/env ruby\n",
    "datastore/fs/cp": b"#!/bin/bash\ncp\n",
    "scripts_common.sh": b"# stock's\n",
    "etc/datastore/datastore.conf": b"SUPPORTED_FS=ext4\n",
}


Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the small collection's build.py: its lines, or those of its sentence."""
    root = tmp_path_factory.mktemp("sources")
    for name, text in OURS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    programs = root / "remotes" / "one_storage"
    programs.mkdir()
    for program in ("build.py", "kept.py"):
        shutil.copy(PROGRAMS / program, programs)

    def runs(*arguments: str | Path, good: bool = True) -> list[str]:
        command = [sys.executable, "-I", str(programs / "build.py"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) == good, done.stderr
        return (done.stdout if good else done.stderr).splitlines()

    return runs


def everything(folder: Path) -> dict[str, tuple[object, ...]]:
    """Each path below a folder with its bytes, mode, owner and time; folders without their times."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        time = 0 if path.is_dir() else status.st_mtime_ns
        found[path.relative_to(folder).as_posix()] = (content, status.st_mode, status.st_uid, status.st_gid, time)
    return found


@pytest.fixture
def remotes(tmp_path: Path) -> Path:
    """A tree such as stock's package leaves, a link and another user's file in it."""
    dest = tmp_path / "remotes"
    for name, data in STOCK.items():
        path = dest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.startswith(("tm", "datastore")) else 0o640)
        os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    (dest / "tm/qcow2/ln").symlink_to("clone")
    (dest / "tm/shared").symlink_to("qcow2")
    if os.geteuid() == 0:
        os.chown(dest / "tm/ssh/mv", 1234, 4321)
    return dest


def test_what_was_replaced_comes_back_byte_for_byte(run: Run, remotes: Path) -> None:
    before = everything(remotes)
    run(remotes)
    assert (remotes / "tm/qcow2/clone").read_bytes() != STOCK["tm/qcow2/clone"]
    assert not (remotes / "tm/qcow2/ln").is_symlink()
    promised = run(remotes, "--remove", "--check")
    laid = everything(remotes)
    assert "back tm/qcow2/clone" in promised and "gone tm/qcow2/mvds" in promised and "gone one_storage" in promised
    assert run(remotes, "--remove", "--check") == promised and everything(remotes) == laid
    # tm/shared leads to the same files: what was put back through one name is not ours under the other
    done = set(run(remotes, "--remove"))
    assert {line for line in promised if "/shared/" not in line} == {line for line in done if "/shared/" not in line}
    assert everything(remotes) == before
    assert run(remotes, "--remove") == ["build none"]


def test_a_tree_that_was_not_there_is_gone(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "bare")
    run(tmp_path / "bare", "--remove")
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_keeps_the_first_ones_files(run: Run, remotes: Path) -> None:
    before = everything(remotes)
    run(remotes)
    run(remotes)
    run(remotes, "--prefix", "os_")
    run(remotes, "--remove")
    assert everything(remotes) == before


def test_an_upgrade_of_stock_is_what_comes_back(run: Run, remotes: Path) -> None:
    run(remotes)
    (remotes / "tm/qcow2/clone").write_bytes(b"#!/bin/bash\nnewer stock\n")
    run(remotes)
    run(remotes, "--remove")
    assert (remotes / "tm/qcow2/clone").read_bytes() == b"#!/bin/bash\nnewer stock\n"


def test_what_somebody_wrote_over_ours_stays(run: Run, remotes: Path) -> None:
    run(remotes)
    (remotes / "tm/qcow2/clone").write_bytes(b"#!/bin/bash\nlocal patch\n")
    conf = remotes / "etc/one_storage/one_storage.conf"
    conf.write_text("LAUNCHER=ssh\n")
    (remotes / "tm/local/mine").write_text("mine")
    lines = run(remotes, "--remove")
    assert "kept etc/one_storage/one_storage.conf" in lines
    assert (remotes / "tm/qcow2/clone").read_bytes() == b"#!/bin/bash\nlocal patch\n"
    assert conf.read_text() == "LAUNCHER=ssh\n" and (remotes / "tm/local/mine").read_text() == "mine"
    assert not (remotes / "tm/local/clone").exists()


def test_names_of_its_own_leave_stock_alone(run: Run, remotes: Path) -> None:
    before = everything(remotes)
    assert {line.split()[0] for line in run(remotes, "--prefix", "os_")} == {"new", "build"}
    assert {name: what for name, what in everything(remotes).items() if name in before} == before
    assert (remotes / "one_storage/PREFIX").read_text() == "os_\n"
    assert (remotes / "tm/os_qcow2/clone.os_ssh").is_file() and (remotes / "datastore/os_fs/cp").is_file()
    assert {line.split()[0] for line in run(remotes)} >= {"gone", "changed", "new"}
    assert not (remotes / "tm/os_qcow2").exists() and not (remotes / "one_storage/PREFIX").exists()


def test_an_older_release_kept_no_list(run: Run, remotes: Path) -> None:
    run(remotes)
    for path in sorted((remotes / ".one_storage.stock").rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    (remotes / ".one_storage.stock").rmdir()
    run(remotes, "--remove")
    assert not (remotes / "tm/qcow2/clone").exists() and (remotes / "tm/qcow2/notours").exists()


@pytest.mark.parametrize("prefix", ["OS_", "os", "../x_", "1_", "a-b_", "os_ "])
def test_a_prefix_that_cannot_name_a_driver(run: Run, remotes: Path, prefix: str) -> None:
    before = everything(remotes)
    [sentence] = run(remotes, "--prefix", prefix, good=False)
    assert "cannot begin the names of drivers" in sentence and everything(remotes) == before
