# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/writing-a-driver.md: its examples run, and its table names the helpers that there are."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from plugins.plugin_utils import authors
from tests.unit.door.support import ROOT

PAGE = (ROOT / "docs" / "writing-a-driver.md").read_text()
EXAMPLE = ROOT / "tests" / "fixtures" / "folders" / "plugins" / "module_utils" / "drivers"


def helpers(column: int) -> set[str]:
    """Names of the table that have a yes in a column."""
    table = PAGE.split("### The helpers")[1].split("Left out:")[0]
    found: set[str] = set()
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 3 and cells[column] == "yes":
            found |= set(re.findall(r"`(\w+)`", cells[0]))
    return found


def test_the_table_names_the_helpers_in_python() -> None:
    assert helpers(1) == set(authors.__all__)
    assert all(getattr(authors, name).__doc__ for name in authors.__all__)


def test_the_table_names_the_helpers_in_bash() -> None:
    library = (ROOT / "remotes" / "one_storage" / "common.sh").read_text()
    assert helpers(2) == set(re.findall(r"^([a-z]\w*)\(\) \{", library, re.MULTILINE))


def test_what_is_left_out_is_not_there() -> None:
    left = set(re.findall(r"`(\w+)`", PAGE.split("Left out:")[1]))
    assert not left & (helpers(1) | helpers(2))


def test_the_excerpts_are_the_examples() -> None:
    drivers = (EXAMPLE / "folders.py").read_text()
    method = re.search(r"```python\n(def rm.*?)```", PAGE, re.DOTALL)
    assert method
    assert "".join(f"    {line}\n" for line in method[1].rstrip().split("\n")) in drivers
    assert "def _ds_folders() -> Driver:\n    from .folders import Folders\n" in (EXAMPLE / "others.py").read_text()


@pytest.mark.parametrize("language", ["python", "bash"])
def test_the_scripts_run(language: str, remotes: Path, tmp_path: Path) -> None:
    script = re.search(rf"```{language}\n(#!.*?)```", PAGE, re.DOTALL)
    assert script
    path = remotes / "datastore" / language / "monitor"
    path.parent.mkdir()
    path.write_text(script[1])
    path.chmod(0o755)
    folder = tmp_path / "a b'$(touch canary)"
    folder.mkdir()

    def run(document: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(path), "1"], input=document, capture_output=True, text=True, cwd=tmp_path, timeout=30
        )

    document = "<DS_DRIVER_ACTION_DATA><DATASTORE><BASE_PATH>{}</BASE_PATH></DATASTORE></DS_DRIVER_ACTION_DATA>"
    done = run(document.format(folder))
    assert (done.returncode, done.stderr) == (0, "")
    values = dict(line.split("=") for line in done.stdout.splitlines())
    space = os.statvfs(folder)
    assert list(values) == ["USED_MB", "FREE_MB", "TOTAL_MB"]
    assert abs(int(values["TOTAL_MB"]) - (space.f_blocks * space.f_frsize >> 20)) <= 1
    for wrong in (document.format("/nowhere"), document.format(""), "", "<X"):
        done = run(wrong)
        assert done.returncode != 0 and done.stdout == ""
        assert [line for line in done.stderr.splitlines() if not re.match("(ERROR|INFO|WARN|DEBUG): ", line)]
    assert os.listdir(tmp_path) == [folder.name]


def test_the_bash_script_is_clean(tmp_path: Path) -> None:
    script = re.search(r"```bash\n(#!.*?)```", PAGE, re.DOTALL)
    assert script
    path = tmp_path / "monitor"
    path.write_text(script[1])
    command = ["shellcheck", "--exclude=SC1091,SC2016", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
