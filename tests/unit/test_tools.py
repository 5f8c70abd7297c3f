# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/tools: the staged copy follows its sources, and the small finders find what they should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tools.shell_files import is_shell
from tests.tools.stage import ROOT, git, source_files, stage


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "plugins").mkdir(parents=True)
    (root / "plugins" / "one.py").write_text("ONE = 1\n")
    (root / "plugins" / "new.py").write_text("NEW = 1\n")
    (root / "left.pyc").write_text("compiled")
    (root / ".gitignore").write_text("*.pyc\n")
    (root / "link").symlink_to("plugins/one.py")
    git(root, "init", "--quiet")
    git(root, "add", "plugins/one.py", ".gitignore")
    return root


def test_source_files_are_what_git_would_commit(repository: Path) -> None:
    names = {".gitignore", "link", "plugins/one.py", "plugins/new.py"}
    assert {name.as_posix() for name in source_files(repository)} == names
    (repository / "plugins" / "one.py").unlink()
    assert {name.as_posix() for name in source_files(repository)} == names - {"plugins/one.py"}


def test_stage_follows_its_sources(repository: Path, tmp_path: Path) -> None:
    target = stage(repository, tmp_path / "stage")
    before = (target / "plugins" / "new.py").stat()
    assert (target / "link").is_symlink()
    assert (target / ".git").is_dir()
    (target / "plugins" / "__pycache__").mkdir()
    (target / "plugins" / "other.py").write_text("left by a tool")
    (target / "tests" / "output").mkdir(parents=True)

    (repository / "plugins" / "one.py").write_text("ONE = 2\n")
    (repository / "link").unlink()
    (repository / "link").write_text("a file now")
    (repository / "plugins" / "new.py").chmod(0o755)
    stage(repository, target)

    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if ".git" not in path.parts}
    assert found == {".gitignore", "link", "plugins", "plugins/one.py", "plugins/new.py"}
    assert (target / "plugins" / "one.py").read_text() == "ONE = 2\n"
    assert (target / "link").read_text() == "a file now"
    assert (target / "plugins" / "new.py").stat().st_mode & 0o777 == 0o755

    unchanged = (target / "plugins" / "one.py").stat()
    stage(repository, target)
    assert (target / "plugins" / "one.py").stat().st_ino == unchanged.st_ino
    assert before.st_size == (target / "plugins" / "new.py").stat().st_size


@pytest.mark.parametrize(
    ("first", "shell"),
    [
        ("#!/bin/sh\n", True),
        ("#!/usr/bin/env bash\n", True),
        ("#! /bin/bash -e\n", True),
        ("#!/usr/bin/env python3\n", False),
        ("#!/usr/bin/fish\n", False),
        ("", False),
    ],
)
def test_shell_scripts_are_known_by_their_first_line(tmp_path: Path, first: str, shell: bool) -> None:
    (tmp_path / "script").write_text(first + "true\n")
    assert is_shell(tmp_path / "script") is shell


def test_packages_that_are_there_are_left_alone(tmp_path: Path) -> None:
    """Neither root nor a network is needed when nothing is missing."""
    (tmp_path / "list").write_text("# what every Debian has\n\nbase-files and a remark\ndpkg\n")
    command = ["bash", str(ROOT / "tests" / "tools" / "system-packages.sh"), str(tmp_path / "list")]
    result = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    if Path("/usr/bin/dpkg-query").exists():
        assert (result.stdout, result.stderr) == ("", "")
    else:
        assert "base-files dpkg" in result.stderr
