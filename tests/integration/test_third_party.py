# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver of somebody else, as docs/writing-a-driver.md describes it: added to a build, called by its wrappers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.oned import Image
from tests.lab.oned.messages import encode, image_action, monitor_action
from tests.unit.door.front_end import MIB, FrontEnd, refused
from tests.unit.door.support import PYTHON, ROOT

BUILD = ROOT / "remotes" / "one_storage" / "build.py"
FOLDER = ROOT / "tests" / "fixtures" / "folders"


def built(dest: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, "-I", str(BUILD), str(dest), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with the driver in it."""
    tree = tmp_path_factory.mktemp("tree") / "remotes"
    done = built(tree, "--with", FOLDER)
    assert done.returncode == 0, done.stderr
    for name in ("datastore/folders/cp", "one_storage/plugins/module_utils/drivers/folders.py"):
        assert f"new {name}" in done.stdout.splitlines()
    return tree


class Images:
    """The image datastore 100 of a front-end, which has the driver folders now."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self.store = front_end.oned.datastores[100]
        self.store.ds_mad = "folders"

    def cp(self, source: Path, size: int = 8) -> bytes:
        return encode(image_action(Image(1, "new", regtime=1001, path=str(source), size=size), self.store))

    def rm(self, source: str) -> bytes:
        return encode(image_action(Image(1, "old", source=source), self.store))

    def monitor(self) -> bytes:
        return encode(monitor_action(self.front_end.oned.settings, self.store))


@pytest.fixture
def images(front_end: FrontEnd) -> Images:
    return Images(front_end)


def test_the_whole_life_of_an_image(front_end: FrontEnd, images: Images) -> None:
    source = front_end.raw(front_end.sources / "a.img")
    said = front_end.run("datastore/folders/cp", "1", stdin=images.cp(source))
    assert said.code == 0 and said.plain == [], said.err
    path, image_format = said.out.split()
    folder = Path(path).parent
    assert image_format == "raw" and Path(path).name == "image" and folder.parent == front_end.store(100)
    assert Path(path).read_bytes() == source.read_bytes()
    assert front_end.hidden() == []
    # what oned sends again is the same image
    assert front_end.run("datastore/folders/cp", "1", stdin=images.cp(source)).out == said.out
    said = front_end.run("datastore/folders/monitor", "1", stdin=images.monitor())
    assert [line.split("=")[0] for line in said.out.split()] == ["USED_MB", "FREE_MB", "TOTAL_MB"]
    for _time in (1, 2):
        said = front_end.run("datastore/folders/rm", "1", stdin=images.rm(path))
        assert (said.code, said.out, said.plain) == (0, "", []), said.err
        assert [name for name in os.listdir(front_end.store(100)) if not name.startswith(".")] == []
    assert front_end.hidden() == []


def test_it_can_be_explained(front_end: FrontEnd, images: Images) -> None:
    source = front_end.raw(front_end.sources / "a.img")
    before = front_end.state()
    said = front_end.run("datastore/folders/cp", "1", stdin=images.cp(source), env={"ONE_STORAGE_EXPLAIN": "1"})
    assert said.out.startswith("folders on ") and "put the image" in said.out
    assert front_end.state() == before


def test_bad_calls_change_nothing(front_end: FrontEnd, images: Images) -> None:
    other = front_end.raw(front_end.store(100) / "abc" / "image")
    before = front_end.state()
    for path, wanted in (
        (f"{front_end.store(100)}/abc", ".*abc is not an image of .*"),
        (f"{front_end.store(101)}/abc/image", "The image .* is not inside .*"),
        (f"{front_end.store(100)}/../100/abc/image", "The image '.*' contains '..'"),
    ):
        refused(front_end, front_end.run("datastore/folders/rm", "1", stdin=images.rm(path)), wanted, before)
    large = front_end.raw(front_end.sources / "large.img", 3 * MIB)
    before = front_end.state()
    said = front_end.run("datastore/folders/cp", "1", stdin=images.cp(large, size=2))
    refused(front_end, said, ".*larger than.*", before)
    assert other.exists()


# the second step, the datastore's own directory, is there already
@pytest.mark.parametrize("step", ["0", "0+", "1", "2", "2+", "3", "3+"])
def test_killed_and_run_again(front_end: FrontEnd, images: Images, step: str) -> None:
    source = front_end.raw(front_end.sources / "a.img")
    fault = {"ONE_STORAGE_FAULT": step}
    assert front_end.run("datastore/folders/cp", "1", stdin=images.cp(source), env=fault).code != 0
    said = front_end.run("datastore/folders/cp", "1", stdin=images.cp(source))
    assert said.code == 0, said.err
    assert Path(said.out.split()[0]).read_bytes() == source.read_bytes()
    assert front_end.hidden() == []
    assert len([name for name in os.listdir(front_end.store(100)) if not name.startswith(".")]) == 1


def test_it_goes_through_ansible(front_end: FrontEnd, images: Images) -> None:
    """Ansible's packer finds it by the registry's literal imports."""
    source = front_end.raw(front_end.sources / "a.img")
    ansible = {"ONE_STORAGE_LAUNCHER": "ansible", "ONE_STORAGE_ANSIBLE": str(Path(sys.executable).with_name("ansible"))}
    said = front_end.run(
        "datastore/folders/cp", "1", stdin=images.cp(source), env={**ansible, "ONE_STORAGE_TRACE": "1"}
    )
    assert said.code == 0 and "launcher ansible" in said.err, said.err
    assert Path(said.out.split()[0]).read_bytes() == source.read_bytes()


def test_an_action_that_it_has_not(front_end: FrontEnd, images: Images) -> None:
    wrapper = front_end.remotes / "datastore" / "folders" / "mkfs"
    shutil.copy(front_end.remotes / "datastore" / "folders" / "cp", wrapper)
    try:
        said = front_end.run("datastore/folders/mkfs", "1", stdin=images.rm("/x"))
    finally:
        wrapper.unlink()
    assert said.code != 0 and said.reason == "ds/folders mkfs: Operation not supported"


# ---------------------------------------------------------------- the build


def test_a_build_with_it_is_another_build(remotes: Path, tmp_path: Path) -> None:
    assert built(tmp_path / "plain").returncode == 0
    assert (tmp_path / "plain" / "one_storage" / "BUILD").read_text() != (remotes / "one_storage" / "BUILD").read_text()
    # laid without it, it is gone, wrappers and all
    done = built(tmp_path / "plain", "--with", FOLDER)
    assert "new datastore/folders/rm" in done.stdout
    done = built(tmp_path / "plain")
    assert "gone datastore/folders/rm" in done.stdout and (tmp_path / "plain" / "datastore" / "fs" / "rm").exists()
    assert not (tmp_path / "plain" / "one_storage" / "plugins" / "module_utils" / "drivers" / "folders.py").exists()


def test_an_installer_carries_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(BUILD), "--with", str(FOLDER), "--installer", str(tmp_path / "tree.pyz")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    subprocess.run([PYTHON, str(tmp_path / "tree.pyz"), str(tmp_path / "dest")], check=True, timeout=60)
    assert (tmp_path / "dest" / "datastore" / "folders" / "cp").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plugins/module_utils/drivers/fs.py", "brings one_storage/plugins/module_utils/drivers/fs.py"),
        ("remotes/datastore/fs/cp", "brings datastore/fs/cp, which is there already"),
        ("elsewhere/x", "has no drivers"),
    ],
)
def test_folders_that_are_not_laid(name: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "more" / name
    path.parent.mkdir(parents=True)
    path.write_text("x\n")
    done = built(tmp_path / "dest", "--with", tmp_path / "more")
    assert done.returncode == 1 and wanted in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "dest").exists()


def test_a_playbook_sees_it_too(remotes: Path, tmp_path: Path) -> None:
    """The core asks one registry, whichever door the action came through."""
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from plugins.module_utils import _run; "
        "outcome = _run.run('ds_monitor', {'driver': 'folders', 'datastore': sys.argv[2]}, _run.Mode()); "
        "print(json.dumps(outcome.result)); outcome.close()"
    )
    command = [PYTHON, "-I", "-c", program, str(remotes / "one_storage"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total_mb"] > 0
