# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""remotes/one_storage/build.py: what it lays, what it leaves alone, and that its archives are the same everywhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_PY = ROOT / "remotes" / "one_storage" / "build.py"
SECONDS = 60
SYSTEM_PYTHON = Path("/usr/bin/python3")

Build = Callable[..., list[str]]

SOURCES = {
    "plugins/module_utils/__init__.py": "",
    "plugins/module_utils/core.py": "VALUE = 1\n",
    "plugins/module_utils/drivers/fs.py": "NAME = 'fs'\n",
    "plugins/modules/tm_clone.py": "#!/usr/bin/python\n",
    "plugins/plugin_utils/door.py": "DOOR = True\n",
    "plugins/inventory/other.py": "not part of the core\n",
    "plugins/module_utils/__pycache__/core.cpython-311.pyc": "stale",
    "plugins/module_utils/.hidden": "an editor's",
    "plugins/module_utils/core.py~": "an editor's",
    "remotes/tm/qcow2/clone": "#!/bin/sh\nexec true\n",
    "remotes/tm/qcow2/clone.ssh": "#!/bin/sh\nexec true\n",
    "remotes/datastore/fs/cp": "#!/bin/sh\nexec true\n",
    "remotes/etc/one_storage/one_storage.conf": 'LAUNCHER="auto"\n',
    "remotes/one_storage/wrapper.py": "import sys\n",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small collection, with the real build.py in it."""
    root = tmp_path / "sources"
    for name, text in SOURCES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for program in (BUILD_PY, BUILD_PY.with_name("kept.py")):
        shutil.copy(program, root / "remotes" / "one_storage")
    return root


@pytest.fixture
def build(sources: Path) -> Build:
    """Run the small collection's build.py; the changes it prints, without the build's id."""

    def run(*arguments: str | Path) -> list[str]:
        lines = output(sources / "remotes" / "one_storage" / "build.py", *arguments)
        assert lines[-1].startswith("build ")
        return lines[:-1]

    return run


def output(program: Path, *arguments: str | Path, python: str = sys.executable) -> list[str]:
    command = [python, "-I", str(program), *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=SECONDS)
    return result.stdout.splitlines()


def refusal(program: Path, *arguments: str | Path) -> str:
    command = [sys.executable, "-I", str(program), *map(str, arguments)]
    result = subprocess.run(command, stderr=subprocess.PIPE, check=False, text=True, timeout=SECONDS)
    assert result.returncode == 1
    return result.stderr


def names(folder: Path) -> set[str]:
    """Files below folder, without compiled ones and what is kept of stock's."""
    aside = {"__pycache__", ".one_storage.stock"}
    found = (path for path in folder.rglob("*") if not path.is_dir() and not aside & set(path.parts))
    return {path.relative_to(folder).as_posix() for path in found}


LAID = {
    "datastore/fs/cp",
    "etc/one_storage/one_storage.conf",
    "one_storage/BUILD",
    "one_storage/WRAPPERS",
    "one_storage/plugins/module_utils/__init__.py",
    "one_storage/plugins/module_utils/core.py",
    "one_storage/plugins/module_utils/drivers/fs.py",
    "one_storage/plugins/modules/tm_clone.py",
    "one_storage/plugins/plugin_utils/door.py",
    "one_storage/wrapper.py",
    "tm/qcow2/clone",
    "tm/qcow2/clone.ssh",
}


def test_lays_the_whole_tree_and_then_nothing(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    assert set(build(dest)) == {f"new {name}" for name in LAID}
    assert names(dest) == LAID
    assert build(dest) == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(build: Build, tmp_path: Path, umask: int) -> None:
    dest = tmp_path / "remotes"
    before = os.umask(umask)
    try:
        build(dest)
    finally:
        os.umask(before)
    for path in [dest, *dest.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if "__pycache__" in path.parts:
            assert mode & 0o444 == 0o444, path
        elif path.is_dir() or path.parts[-3] in ("tm", "datastore"):
            assert mode == 0o755, path
        else:
            assert mode == 0o644, path


@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="the wrappers' interpreter is not there")
def test_the_core_is_compiled_for_the_wrappers_interpreter(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    build(dest)
    core = dest / "one_storage"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import plugins.module_utils.core as core; print(core.__file__)"
    command = [str(SYSTEM_PYTHON), "-I", "-v", "-c", code, str(core)]
    seen = subprocess.run(command, capture_output=True, check=True, text=True, timeout=SECONDS)
    assert seen.stdout == f"{core}/plugins/module_utils/core.py\n"
    [compiled] = (core / "plugins" / "module_utils" / "__pycache__").glob("core.*.pyc")
    assert f"{compiled} matches {core}/plugins/module_utils/core.py" in seen.stderr
    compiled.unlink()
    assert build(dest) == ["changed one_storage (not compiled)"]
    assert compiled.exists()


def test_an_update_replaces_the_core_as_a_whole(build: Build, sources: Path, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    build(dest)
    (dest / "one_storage" / "plugins" / "module_utils" / "added.py").write_text("left by somebody")
    (sources / "plugins" / "module_utils" / "core.py").write_text("VALUE = 2\n")
    (sources / "plugins" / "module_utils" / "drivers" / "fs.py").unlink()
    before = (dest / "one_storage").stat().st_ino
    assert set(build(dest)) == {
        "changed one_storage/BUILD",
        "changed one_storage/plugins/module_utils/core.py",
        "gone one_storage/plugins/module_utils/added.py",
        "gone one_storage/plugins/module_utils/drivers/fs.py",
    }
    assert (dest / "one_storage").stat().st_ino != before
    assert names(dest) == LAID - {"one_storage/plugins/module_utils/drivers/fs.py"}
    assert {path.name for path in dest.iterdir()} == {".one_storage.stock", "datastore", "etc", "one_storage", "tm"}


def test_a_change_of_the_same_size_has_another_time(build: Build, sources: Path, tmp_path: Path) -> None:
    """rsync, and Python's check of compiled files, compare size and time only."""
    dest = tmp_path / "remotes"
    core = dest / "one_storage" / "plugins" / "module_utils" / "core.py"
    build(dest)
    first = core.stat()
    (sources / "plugins" / "module_utils" / "core.py").write_text("VALUE = 2\n")
    build(dest)
    assert core.stat().st_size == first.st_size
    assert core.stat().st_mtime != first.st_mtime


def test_files_of_others_stay(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    others = ["tm/qcow2/snap_create", "tm/ceph/clone", "datastore/libfs.sh", "etc/vmm/kvm/kvmrc", "VERSION"]
    for name in others:
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_text(name)
    (dest / "tm" / "qcow2" / "clone").write_text("the stock driver\n")
    assert "changed tm/qcow2/clone" in build(dest)
    assert names(dest) == LAID | set(others)
    assert all((dest / name).read_text() == name for name in others)


def test_a_wrapper_that_an_upgrade_put_back_is_replaced(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    build(dest)
    (dest / "tm" / "qcow2" / "clone").write_text("the stock driver\n")
    (dest / "datastore" / "fs" / "cp").chmod(0o644)
    assert set(build(dest)) == {"changed tm/qcow2/clone", "changed datastore/fs/cp (mode)"}
    assert build(dest) == []


def test_links_are_replaced_not_followed(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    stock = dest / "tm" / "common" / "dummy.sh"
    stock.parent.mkdir(parents=True)
    stock.write_text("dummy")
    (dest / "tm" / "qcow2").mkdir()
    (dest / "tm" / "qcow2" / "clone").symlink_to("../common/dummy.sh")
    build(dest)
    assert stock.read_text() == "dummy"
    assert not (dest / "tm" / "qcow2" / "clone").is_symlink()


def test_nothing_is_written_through_a_link_that_leads_out(build: Build, sources: Path, tmp_path: Path) -> None:
    dest, outside = tmp_path / "remotes", tmp_path / "outside"
    outside.mkdir()
    (dest / "tm").mkdir(parents=True)
    (dest / "tm" / "qcow2").symlink_to(outside)
    sentence = refusal(sources / "remotes" / "one_storage" / "build.py", dest)
    assert "leads out of" in sentence and len(sentence.splitlines()) == 1
    assert names(outside) == set()


def test_wrappers_that_are_no_more_go_unless_somebody_changed_them(build: Build, sources: Path, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    build(dest)
    (dest / "datastore" / "fs" / "cp").write_text("an operator's own\n")
    (sources / "remotes" / "datastore" / "fs" / "cp").unlink()
    (sources / "remotes" / "tm" / "qcow2" / "clone.ssh").unlink()
    changes = build(dest)
    assert "gone tm/qcow2/clone.ssh" in changes
    assert not (dest / "tm" / "qcow2" / "clone.ssh").exists()
    assert (dest / "datastore" / "fs" / "cp").read_text() == "an operator's own\n"


def test_the_operators_configuration_stays(build: Build, sources: Path, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    settings = dest / "etc" / "one_storage" / "one_storage.conf"
    build(dest)
    settings.write_text('LAUNCHER="ssh"\n')
    assert build(dest) == [
        "kept etc/one_storage/one_storage.conf",
        "new etc/one_storage/one_storage.conf.new",
    ]
    assert settings.read_text() == 'LAUNCHER="ssh"\n'
    assert settings.with_name("one_storage.conf.new").read_text() == 'LAUNCHER="auto"\n'
    assert build(dest) == []
    settings.unlink()
    settings.with_name("one_storage.conf.new").unlink()
    assert build(dest, "--no-settings") == []
    assert not settings.exists()


def test_check_changes_nothing(build: Build, sources: Path, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    assert set(build(dest, "--check")) == {f"new {name}" for name in LAID}
    assert not dest.exists()
    build(dest)
    (sources / "plugins" / "module_utils" / "core.py").write_text("VALUE = 2\n")
    (sources / "remotes" / "tm" / "qcow2" / "clone.ssh").unlink()
    told = build(dest, "--check")
    assert names(dest) == LAID
    assert build(dest) == told


def test_what_a_killed_build_left_is_cleared(build: Build, sources: Path, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    build(dest)
    shutil.copytree(dest / "one_storage", dest / ".one_storage.new")
    (dest / "tm" / "qcow2" / ".clone.one_storage").write_text("half")
    (sources / "remotes" / "tm" / "qcow2" / "clone").write_text("#!/bin/sh\nexec false\n")
    build(dest)
    assert names(dest) == LAID


def test_archives_are_the_same_everywhere(build: Build, sources: Path, tmp_path: Path) -> None:
    """Neither the interpreter, nor the times and modes of the sources, nor where they lie makes a difference."""
    build("--tar", tmp_path / "first.tar", "--installer", tmp_path / "first.pyz")
    moved = sources.rename(tmp_path / "elsewhere")
    for path in moved.rglob("*"):
        os.utime(path, (0, 0))
    (moved / "remotes" / "tm" / "qcow2" / "clone").chmod(0o600)
    program = moved / "remotes" / "one_storage" / "build.py"
    python = str(SYSTEM_PYTHON) if SYSTEM_PYTHON.exists() else sys.executable
    output(program, "--tar", tmp_path / "second.tar", "--installer", tmp_path / "second.pyz", python=python)
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    assert (tmp_path / "first.pyz").read_bytes() == (tmp_path / "second.pyz").read_bytes()


def test_tar_and_installer_hold_what_build_lays(build: Build, tmp_path: Path) -> None:
    laid, packed, unpacked = tmp_path / "laid", tmp_path / "packed", tmp_path / "unpacked"
    build(laid, "--tar", tmp_path / "tree.tar", "--installer", tmp_path / "tree.pyz")
    output(tmp_path / "tree.pyz", packed)
    with tarfile.open(tmp_path / "tree.tar") as archive:
        archive.extractall(unpacked)
    assert names(laid) == names(packed) == names(unpacked) == LAID
    for name in LAID:
        wanted = (laid / name).stat()
        for other in (packed, unpacked):
            assert (other / name).read_bytes() == (laid / name).read_bytes()
            assert (other / name).stat().st_mtime == wanted.st_mtime
            assert (other / name).stat().st_mode == wanted.st_mode
    assert output(tmp_path / "tree.pyz", laid, "--check")[:-1] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gives_new_files_to_whom_dest_belongs(build: Build, tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    dest.mkdir()
    os.chown(dest, 65534, 65534)
    build(dest)
    assert {path.lstat().st_uid for path in dest.rglob("*")} == {65534}
    assert "changed tm/qcow2/clone (owner)" in build(dest, "--owner", "root")


def test_refuses_what_is_no_collection(tmp_path: Path) -> None:
    program = tmp_path / "remotes" / "one_storage" / "build.py"
    program.parent.mkdir(parents=True)
    shutil.copy(BUILD_PY, program)
    shutil.copy(BUILD_PY.with_name("kept.py"), program.parent)
    assert "is not the one_storage.drivers collection" in refusal(program, tmp_path / "dest")


def test_the_real_tree_builds(tmp_path: Path) -> None:
    dest = tmp_path / "remotes"
    output(BUILD_PY, dest)
    identity = (dest / "one_storage" / "BUILD").read_text().strip()
    assert len(identity) == 32 and int(identity, 16) > 0
    assert not (dest / "one_storage" / "build.py").exists()
