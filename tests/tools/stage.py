# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the collection to where Ansible's own tools look for it: ansible_collections/one_storage/drivers.

ansible-test refuses to work elsewhere and does not follow symbolic links, so this is a real copy. It holds what git
would commit (tracked files, and new ones that are not ignored). Unchanged files keep their place and time, so that the
caches of the tools stay good. The copy is a git repository of its own, without a commit: the tools ask git for their
files, and the repository around it would tell them that all of this is ignored.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / ".cache" / "stage"
STAGE = TREE / "ansible_collections" / "one_storage" / "drivers"
GIT_SECONDS = 60


def git(folder: Path, *arguments: str) -> bytes:
    """What git says in folder; CalledProcessError when it fails, TimeoutExpired after a minute."""
    # A git hook's variables would point git at another repository.
    env = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
    }
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=env, check=True, stdout=subprocess.PIPE, timeout=GIT_SECONDS
    ).stdout


def source_files(root: Path = ROOT) -> set[Path]:
    """Names, relative to root, of the files that git tracks or would track."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = {Path(os.fsdecode(name)) for name in listed.split(b"\0") if name}
    # A tracked file that was just removed is listed too; a folder is a repository inside this one.
    return {name for name in names if (root / name).is_symlink() or (root / name).is_file()}


def same(source: Path, target: Path) -> bool:
    """Whether target is already a true copy of source."""
    if source.is_symlink() or target.is_symlink():
        return source.is_symlink() and target.is_symlink() and os.readlink(source) == os.readlink(target)
    if not target.is_file() or source.stat().st_mode != target.stat().st_mode:
        return False
    return filecmp.cmp(source, target, shallow=False)


def remove_others(stage: Path, wanted: set[Path]) -> None:
    """Remove from stage what is not wanted: files of an earlier copy, and what tools left behind."""
    folders = {parent for name in wanted for parent in name.parents}
    for where, names, files in os.walk(stage, topdown=True):
        here = Path(where).relative_to(stage)
        # Not ours to clean: the repository, and where ansible-test keeps its results.
        names[:] = [name for name in names if (here / name).as_posix() not in (".git", "tests/output")]
        for name in list(names):
            path = Path(where, name)
            if here / name not in folders:
                names.remove(name)
                path.unlink() if path.is_symlink() else shutil.rmtree(path)
        for name in files:
            if here / name not in wanted:
                Path(where, name).unlink()


def stage(root: Path = ROOT, target: Path = STAGE) -> Path:
    """Bring target up to date with the sources below root and return it."""
    wanted = source_files(root)
    target.mkdir(parents=True, exist_ok=True)
    if not (target / ".git").is_dir():
        git(target, "init", "--quiet")
    remove_others(target, wanted)
    for name in sorted(wanted):
        if same(root / name, target / name):
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.unlink(missing_ok=True)
        shutil.copy2(root / name, copy, follow_symlinks=False)
    return target


if __name__ == "__main__":
    if sys.argv[1:] == ["--names"]:
        sys.stdout.buffer.write(b"".join(os.fsencode(name) + b"\0" for name in sorted(source_files())))
    else:
        stage()
