# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is deleted, renamed or written lies in its datastore, wherever links and dots may point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.module_utils.tools.files import confine
from plugins.module_utils.tools.host import Host

FINE = [
    ("{r}/ds/1", "{r}/ds/1/image", "{r}/ds/1/image"),
    ("{r}/ds/1", "{r}/ds/1/5/disk.0", "{r}/ds/1/5/disk.0"),
    ("{r}/ds/1/", "{r}/ds/1/5/disk.0", "{r}/ds/1/5/disk.0"),
    ("{r}/ds/1", "{r}/ds//1///5//disk.0", "{r}/ds/1/5/disk.0"),
    ("{r}/ds/1", "{r}/ds/1/5/../image", "{r}/ds/1/image"),
    ("{r}/ds/1", "{r}/ds/2/../1/image", "{r}/ds/1/image"),
    ("{r}/ds/1", "{r}/ds/1/leads-out", "{r}/ds/1/leads-out"),
    ("{r}/ds/1", "{r}/ds/1/leads-in/disk.0", "{r}/ds/1/5/disk.0"),
    ("{r}/ds/mounted", "{r}/ds/mounted/image", "{r}/elsewhere/image"),
    ("{r}/ds/mounted", "{r}/elsewhere/image", "{r}/elsewhere/image"),
    ("{r}/ds/1", "{r}/ds/1/not-there/yet", "{r}/ds/1/not-there/yet"),
]
REFUSED = [
    ("{r}/ds/1", "{r}/ds/10/image"),
    ("{r}/ds/10", "{r}/ds/1/image"),
    ("{r}/ds/1", "{r}/ds/1"),
    ("{r}/ds/1", "{r}/ds/1/"),
    ("{r}/ds/1", "{r}/ds/1/5/"),
    ("{r}/ds/1", "{r}/ds/1/."),
    ("{r}/ds/1", "{r}/ds/1/.."),
    ("{r}/ds/1", "{r}/ds/1/5/.."),
    ("{r}/ds/1", "{r}/ds/1/../2/image"),
    ("{r}/ds/1", "{r}/ds/1/leads-out/file"),
    ("{r}/ds/1", "{r}/ds/1/leads-up/image"),
    ("{r}/ds/1", "{r}/ds/1/leads-out/../image"),
    ("{r}/ds/1", "{r}/ds/mounted/image"),
    ("{r}/ds/1", "ds/1/image"),
    ("{r}/ds/1", ""),
    ("{r}/ds/1", "/"),
    ("{r}/ds/1", "/etc/passwd"),
    ("/", "/etc/passwd"),
    ("//", "/etc/passwd"),
    ("{r}/ds/root", "/etc/passwd"),
    ("", "{r}/ds/1/image"),
]


@pytest.fixture
def places(folder: Path) -> Path:
    """Datastores with links of all sorts."""
    for name in ("ds/1/5", "ds/2", "ds/10", "elsewhere"):
        (folder / name).mkdir(parents=True)
    (folder / "ds/1/leads-out").symlink_to("../../elsewhere")
    (folder / "ds/1/leads-up").symlink_to("..")
    (folder / "ds/1/leads-in").symlink_to("5")
    (folder / "ds/mounted").symlink_to("../elsewhere")
    (folder / "ds/root").symlink_to("/")
    return folder


@pytest.mark.parametrize(("root", "path", "expected"), FINE)
def test_paths_inside(places: Path, root: str, path: str, expected: str) -> None:
    assert confine(root.format(r=places), path.format(r=places)) == expected.format(r=places)


@pytest.mark.parametrize(("root", "path"), REFUSED)
def test_paths_outside(places: Path, root: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    with pytest.raises(PermissionError) as caught:
        confine(root.format(r=places), path.format(r=places))
    assert caught.value.filename == path.format(r=places)


@pytest.mark.parametrize(
    "change",
    [
        lambda host, path, root: host.remove(path, root),
        lambda host, path, root: host.remove_if_empty(path, root),
        lambda host, path, root: host.rename(path, f"{root}/new", root),
        lambda host, path, root: host.rename(f"{root}/mine", path, root),
        lambda host, path, root: host.publish(path, f"{root}/new", root),
        lambda host, path, root: host.publish(f"{root}/mine", path, root),
        lambda host, path, root: host.write(path, "x", root),
        lambda host, path, root: host.link("x", path, root),
        lambda host, path, root: host.truncate(path, 0, root),
        lambda host, path, root: host.copy(f"{root}/mine", path, root),
        lambda host, path, root: host.copy_tree(f"{root}/mine", path, root),
    ],
    ids="remove remove-empty rename-from rename-to publish-from publish-to write link truncate copy copy-tree".split(),
)
def test_no_change_reaches_out(places: Path, change: Callable[[Host, str, str], object]) -> None:
    root = places / "ds/1"
    (root / "mine").write_text("mine")
    victim = places / "elsewhere/victim"
    victim.write_text("victim")
    for path in (victim, root / "leads-out/victim", root / "5/../../2/../../elsewhere/victim"):
        with pytest.raises(PermissionError):
            change(Host("here"), str(path), str(root))
    assert victim.read_text() == "victim" and (root / "mine").read_text() == "mine"
    assert sorted(path.name for path in root.iterdir()) == ["5", "leads-in", "leads-out", "leads-up", "mine"]


def test_a_link_is_removed_as_a_link(places: Path) -> None:
    (places / "elsewhere/victim").write_text("victim")
    Host("here").remove(str(places / "ds/1/leads-out"), str(places / "ds/1"))
    assert (places / "elsewhere/victim").exists() and not (places / "ds/1/leads-out").is_symlink()


def test_a_directory_is_removed_without_what_its_links_lead_to(places: Path) -> None:
    (places / "elsewhere/victim").write_text("victim")
    (places / "ds/1/5/deep").mkdir()
    (places / "ds/1/5/deep/link").symlink_to(places / "elsewhere")
    Host("here").remove(str(places / "ds/1/5"), str(places / "ds/1"))
    assert (places / "elsewhere/victim").exists() and not (places / "ds/1/5").exists()


def test_what_is_written_does_not_go_through_a_link(places: Path) -> None:
    victim = places / "elsewhere/victim"
    victim.write_text("victim")
    root = places / "ds/1"
    (root / "link").symlink_to(victim)
    host = Host("here")
    for change in (
        lambda: host.truncate(str(root / "link"), 10, str(root)),
        lambda: host.copy(str(places / "ds/1/source"), str(root / "link"), str(root)),
    ):
        (root / "source").write_text("data")
        with pytest.raises(OSError):
            change()
        assert victim.read_text() == "victim"
    host.write(str(root / "link"), "new", str(root))
    assert victim.read_text() == "victim" and (root / "link").read_text() == "new"
