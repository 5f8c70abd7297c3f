# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is told to end ends what it started, takes back what it did, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
PROGRAM = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from plugins.modules.ds_mkfs import main
with patch_module_args(json.loads(sys.argv[1])):
    main()
"""


@pytest.fixture
def slow_tool(tmp_path: Path) -> Path:
    """A directory with a mkfs.ext4 that never ends by itself; it writes its process id beside itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "mkfs.ext4"
    tool.write_text(f"#!/bin/sh\necho $$ >{folder}/new && mv {folder}/new {folder}/pid\nsleep 300\n", encoding="utf-8")
    tool.chmod(0o755)
    return folder


def wait_for(path: Path) -> str:
    """The text of a file that is about to appear."""
    until = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text(encoding="utf-8")


def is_running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_module_that_is_told_to_end(number: signal.Signals, slow_tool: Path, tmp_path: Path) -> None:
    datastore = tmp_path / "1"
    options = {
        "driver": "fs",
        "datastore": str(datastore),
        "datastore_id": 1,
        "image_id": 2,
        "regtime": 3,
        "size": 8,
        "fs": "ext4",
    }
    module = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(options)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{slow_tool}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        tool = int(wait_for(slow_tool / "pid"))
        module.send_signal(number)
        out, err = module.communicate(timeout=SECONDS)
    finally:
        module.kill()
    told = json.loads(out)
    assert module.returncode == 1, err
    assert told["failed"]
    assert told["error"]["undone"] == "nothing was changed"
    assert told["msg"].endswith("; nothing was changed")
    until = time.monotonic() + SECONDS
    while is_running(tool):
        assert time.monotonic() < until, "the tool lives on"
        time.sleep(0.02)
    assert [path.name for path in datastore.iterdir()] == [".one_storage"]
    assert [path.name for path in (datastore / ".one_storage").iterdir()] == ["locks"]
