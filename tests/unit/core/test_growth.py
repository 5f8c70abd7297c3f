# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What writes a file and does not tell how far it is, is told of by the room that the file takes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from plugins.module_utils.steps.base import LEAD, Site, Timeouts
from plugins.module_utils.steps.images import Convert
from plugins.module_utils.steps.transfer import CopyFile
from plugins.module_utils.tools import growth, progress
from plugins.module_utils.tools.growth import Growth, room_of
from plugins.module_utils.tools.host import Host
from plugins.module_utils.tools.progress import Progress

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_EVERY", 0.01)
    monkeypatch.setattr(progress, "_FILE_EVERY", 0.0)


def write(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.write(os.urandom(size))


def test_what_a_file_grew_is_told_and_no_more_at_the_end(tmp_path: Path) -> None:
    part, status = tmp_path / "part", tmp_path / "it.status"
    write(part, MIB)

    def tell() -> Progress:
        return Progress(str(status), f"{status}.new", "r", "write it", 4 * MIB)

    with Growth(str(part), tell):
        write(part, 2 * MIB)
        until = time.monotonic() + 5
        while not status.exists() or json.loads(status.read_text())["done"] < 2 * MIB:
            assert time.monotonic() < until
            time.sleep(0.005)
        told = json.loads(status.read_text())
        assert (told["done"], told["total"], told["what"]) == (2 * MIB, 4 * MIB, "write it")
    assert os.listdir(tmp_path) == ["part"]


def test_what_is_over_at_once_is_not_told(tmp_path: Path) -> None:
    def tell() -> Progress:
        raise AssertionError("nobody wants to know")

    growth._EVERY = 5.0
    begun = time.monotonic()
    with Growth(str(tmp_path), tell):
        pass
    with pytest.raises(ValueError, match="broken"), Growth(str(tmp_path), tell):
        raise ValueError("broken")
    assert time.monotonic() - begun < 1


def test_the_room_of_a_directory_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b" / "x", MIB)
    write(tmp_path / "y", MIB)
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    assert 2 * MIB <= room_of(str(tmp_path)) < 3 * MIB
    assert room_of(str(tmp_path / "nothing")) == 0


@pytest.mark.parametrize("kind", ["copy", "convert"])
def test_long_steps_tell_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    source, part = tmp_path / "source", tmp_path / "shop" / "part"
    write(source, 96 * MIB)
    seen: list[int] = []
    monkeypatch.setattr(Progress, "_write", lambda told: seen.append(told.done))
    site = Site(Host("here"), None, "r", Timeouts(60, 60, 60))
    step = {
        "copy": CopyFile(LEAD, str(source), str(part), str(tmp_path)),
        "convert": Convert(LEAD, str(source), "raw", str(part), "qcow2"),
    }[kind]
    step.do(site)
    assert seen and seen == sorted(seen) and 0 <= seen[-1] <= 97 * MIB
    assert seen[-1] > 0, "it is told more than that it runs"
