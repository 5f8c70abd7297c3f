# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory is deleted with all in it, and nothing that a link in it points to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.module_utils.tools.host import Host
from tests.lab.hosts import repository


def test_everything_in_it_goes_and_nothing_else(folder: Path) -> None:
    kept, gone = folder / "kept", folder / "ds" / "gone"
    kept.mkdir()
    (kept / "file").write_text("stays", encoding="utf-8")
    deep = gone.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "file").write_text("goes", encoding="utf-8")
    (gone / "to-folder").symlink_to(kept)
    (gone / "to-file").symlink_to(kept / "file")
    (gone / "to-nothing").symlink_to("nowhere")
    (gone / "d" / "loop").symlink_to("..")
    os.mkfifo(gone / "pipe")
    os.link(kept / "file", gone / "second name")
    Host("here").remove(str(gone), str(folder / "ds"))
    assert os.listdir(folder / "ds") == []
    assert (kept / "file").read_text(encoding="utf-8") == "stays"


def test_what_cannot_go_is_named(folder: Path) -> None:
    fixed = folder / "gone" / "fixed"
    fixed.mkdir(parents=True)
    (fixed / "file").touch()
    fixed.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.chown(folder / "gone", 65534, 65534)
        os.chown(fixed, 65534, 65534)
        folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as caught:
            Host("here").remove(str(folder / "gone"), str(folder))
    finally:
        os.seteuid(user)
    assert caught.value.filename == str(fixed / "file")
    fixed.chmod(0o755)


def test_nothing_dear_is_loaded_for_it(folder: Path) -> None:
    (folder / "gone" / "folder").mkdir(parents=True)
    (folder / "gone" / "folder" / "file").touch()
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from plugins.module_utils.tools.host import Host
Host("here").remove(sys.argv[2], sys.argv[3])
print(*sys.modules)
"""
    argv = [sys.executable, "-I", "-S", "-c", code, str(repository()), str(folder / "gone"), str(folder)]
    loaded = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert not (folder / "gone").exists()
    assert not {"shutil", "subprocess", "threading", "re", "enum", "json"} & set(loaded)
