# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores in place: contents and layout by driver, proofs before anything is touched, kills at every step."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError, Unsupported
from tests.unit.core.stored import VM, Rsync, tpm_state
from tests.unit.core.support import MIB, World, act, bytes_of, explained, info, killed_at, pattern, tool

STATE = {"tpm2-00.permall": b"the new state", "log/a": b"b"}


class Scene:
    """A VM with a plain disk 0 and a persistent disk 1, a TPM, and backups of all of it."""

    def __init__(self, root: Path, driver: str = "qcow2", image_format: str = "qcow2", turns: int = 3) -> None:
        self.world = World(root)
        self.driver = driver
        self.format = image_format
        self.directory = root / "100" / str(VM)
        self.image = root / "1" / "persistent"
        self.stored = Rsync(root)
        for _turn in range(turns):
            self.stored.write(0)
            self.stored.write(1)
            self.stored.backup(tpm=tpm_state({f"tpm/{name}": data for name, data in STATE.items()}))
        self._live()

    def _live(self) -> None:
        self.directory.mkdir()
        (self.directory / "tpm").mkdir()
        (self.directory / "tpm" / "old").write_bytes(b"the old state")
        (self.directory / "other").write_bytes(b"of the VM")
        for disk, path in ((0, self.directory / "disk.0"), (1, self.image)):
            self.world.qcow2(path.name, pattern(f"live {disk}", 70_000), folder=path.parent)
            if self.format == "raw":
                tool("qemu-img", "convert", "-O", "raw", path, f"{path}.raw")
                os.rename(f"{path}.raw", path)
        (self.directory / "disk.0.snap").mkdir()
        (self.directory / "disk.0.snap" / "3").write_bytes(b"a snapshot")
        (self.root_of_image / "persistent.md5sum").write_bytes(b"cached")
        if self.in_place:
            (self.directory / "disk.1").symlink_to(self.image)
        else:
            self.world.qcow2("disk.1", pattern("live 1", 70_000), folder=self.directory)

    @property
    def root_of_image(self) -> Path:
        return self.image.parent

    @property
    def in_place(self) -> bool:
        return self.driver in ("qcow2", "shared")

    def options(self, disks: tuple[int, ...] = (0, 1), upto: int = -1, tpm: bool = True, **more: Any) -> dict[str, Any]:
        """Of a restore of these disks."""
        sources = [f"{disk}:{self.stored.url(disk, upto)}" for disk in disks]
        return {
            "driver": self.driver,
            "datastore": self.world.system,
            "path": self.directory,
            "disks": [f"{disk}:{self.format}" for disk in disks],
            "images": [f"1:{self.image}"],
            "persistent": ["1"],
            "sizes": [f"{disk}:4" for disk in disks],
            "sources": sources + ([f"tpm:{self.stored.url('tpm', upto)}"] if tpm else []),
            "repository_path": str(self.stored.base),
            "repository_tmp_dir": str(self.stored.scratch),
            "lock_timeout": 5,
            **more,
        }

    def restore(self, **more: Any) -> dict[str, Any]:
        """Restore; the result."""
        return act("tm_restore", **self.options(**more))

    def shows(self, disk: int) -> bytes:
        """What the VM sees of a disk."""
        return bytes_of(self.directory / f"disk.{disk}", self.format)

    def state(self) -> dict[str, tuple[str, ...]]:
        """Everything but the repository."""
        return {key: value for key, value in self.world.tree().items() if not key.startswith(("repository", "0/"))}


@pytest.fixture
def scene(folder: Path) -> Scene:
    return Scene(folder)


# ---------------------------------------------------------------- contents and layout


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
@pytest.mark.parametrize("driver", ["qcow2", "shared", "ssh", "local"])
def test_the_vm_sees_what_was_backed_up(folder: Path, driver: str, image_format: str) -> None:
    signal.alarm(90)
    scene = Scene(folder, driver, image_format)
    result = scene.restore()
    assert result["restored"] == ["disk.0", "disk.1", "tpm"]
    assert "warnings" not in result
    for disk in (0, 1):
        assert scene.shows(disk) == scene.stored.kept[2][disk], f"disk {disk}"
    assert layout(scene) == LAYOUTS[(driver if driver != "shared" else "qcow2", image_format)]
    assert {str(path.relative_to(scene.directory / "tpm")): path.read_bytes()
            for path in (scene.directory / "tpm").rglob("*") if path.is_file()} == STATE  # fmt: skip
    assert (scene.directory / "other").read_bytes() == b"of the VM"
    assert scene.world.is_tidy()
    assert os.listdir(scene.stored.scratch) == []


def layout(scene: Scene) -> dict[str, str]:
    """Disks with what belongs to them: links with their targets, formats of files."""
    found = {}
    for top in (scene.directory, scene.root_of_image):
        for path in sorted(top.rglob("*")):
            key = path.name if path.parent == top else f"{path.parent.name}/{path.name}"
            if not key.startswith(("disk", "persistent")) or (path.is_dir() and not path.is_symlink()):
                continue
            kind = f"-> {os.readlink(path)}".replace(str(scene.world.root), "") if path.is_symlink() else ""
            found[key] = kind or str(info(path)["format"])
    return found


LAYERS = {"disk.0": "-> disk.0.snap/0", "disk.0.snap/0": "qcow2", "disk.0.snap/disk.0.snap": "-> ."}
IMAGE = {"persistent": "qcow2", "persistent.md5sum": "raw"}
LAYOUTS = {
    ("qcow2", "qcow2"): {
        **LAYERS,
        "disk.1": "-> /1/persistent.snap/0",
        "persistent": "qcow2",
        "persistent.snap/0": "-> /1/persistent",
        "persistent.snap/persistent.snap": "-> .",
    },
    ("qcow2", "raw"): {"disk.0": "raw", "disk.1": "-> /1/persistent", "persistent": "raw"},
    ("ssh", "qcow2"): {"disk.0": "qcow2", "disk.1": "qcow2", **IMAGE},
    ("ssh", "raw"): {"disk.0": "raw", "disk.1": "raw", "persistent": "raw", "persistent.md5sum": "raw"},
    ("local", "qcow2"): {
        **LAYERS,
        **{key.replace("0", "1", 1).replace("p/disk.0", "p/disk.1"): value.replace("disk.0", "disk.1")
           for key, value in LAYERS.items()},
        **IMAGE,
    },
    ("local", "raw"): {"disk.0": "raw", "disk.1": "raw", "persistent": "raw", "persistent.md5sum": "raw"},
}  # fmt: skip


@pytest.mark.parametrize("upto", [0, 1])
def test_an_earlier_increment_of_one_disk(scene: Scene, upto: int) -> None:
    before = bytes_of(scene.image, "qcow2")
    scene.restore(disks=(0,), upto=upto, tpm=False)
    assert scene.shows(0) == scene.stored.kept[upto][0]
    assert bytes_of(scene.image, "qcow2") == before
    assert (scene.directory / "tpm" / "old").exists()


def test_a_disk_that_grew_since_keeps_its_size(scene: Scene) -> None:
    scene.restore(disks=(0,), tpm=False, sizes=["0:16"])
    shown = scene.shows(0)
    assert len(shown) == 16 * MIB
    assert shown[: 4 * MIB] == scene.stored.kept[2][0] and not any(shown[4 * MIB :])


def test_bitmaps_go(scene: Scene) -> None:
    scene.stored.kept.append(dict(scene.stored.kept[-1]))
    path = scene.stored.base / str(VM) / scene.stored.chain[0][1] / "disk.0.0"
    tool("qemu-img", "bitmap", "--add", path, "one-5-0")
    (path.parent / "manifest.json").unlink()
    scene.restore(disks=(0,), upto=0, tpm=False)
    assert "bitmaps" not in info(scene.directory / "disk.0")["format-specific"]["data"]
    assert scene.shows(0) == scene.stored.kept[0][0]


@pytest.mark.parametrize("what", ["gone", "a dangling link", "cut off"])
def test_a_broken_disk_is_what_restores_are_for(scene: Scene, what: str) -> None:
    path = scene.directory / "disk.0"
    path.unlink()
    if what == "a dangling link":
        path.symlink_to("disk.0.snap/9")
    elif what == "cut off":
        path.write_bytes(b"QFI\xfb")
    scene.restore()
    assert scene.shows(0) == scene.stored.kept[2][0]


def test_a_disk_that_a_driver_for_images_layered_stays_so(folder: Path) -> None:
    scene = Scene(folder, "ssh")
    disk = scene.directory / "disk.0"
    os.rename(disk, scene.directory / "disk.0.snap" / "0")
    disk.symlink_to("disk.0.snap/0")
    scene.restore(disks=(0,), tpm=False)
    assert os.readlink(disk) == "disk.0.snap/0"
    assert scene.shows(0) == scene.stored.kept[2][0]


def test_the_same_again(scene: Scene) -> None:
    scene.restore()
    once = scene.state()
    scene.restore()
    assert scene.state() == once and scene.world.is_tidy()


def test_check_mode_changes_nothing(scene: Scene) -> None:
    before = scene.state()
    result = explained("tm_restore", **scene.options())
    assert [line.partition(": ")[2].partition("rsync")[0] for line in result["actions"]] == ["copy "] * 3
    assert scene.state() == before and scene.world.hidden() == {}


# ---------------------------------------------------------------- nothing is touched before all is proven


def spoiled(scene: Scene, name: str, text: bytes) -> None:
    """Put something else in the place of a file of the last increment, and into its manifest."""
    from plugins.module_utils.tools import manifest

    folder = scene.stored.base / str(VM) / scene.stored.chain[-1][1]
    (folder / name).write_bytes(text)
    manifest.write(str(folder), manifest.build(str(folder), "run", VM, disks={}, increment=len(scene.stored.chain) - 1))


def altered(scene: Scene) -> None:
    scene.stored.change(1, "disk.1.1", lambda data: data.__setitem__(len(data) // 2, data[len(data) // 2] ^ 1))


def too_large(scene: Scene) -> None:
    # only the second of the disks: the first is whole by then
    scene.stored.write(1, size=8)
    scene.stored.write(0)
    scene.stored.backup()


REFUSALS = {
    "altered": (altered, Corrupt, "disk.1.1 is not what was backed up"),
    "larger than counted": (too_large, Refused, "The backup of disk.1 has 8 MB, more than the 4 MB"),
    "no qcow2": (lambda scene: spoiled(scene, "disk.1.2", bytes(65536)), StorageError, "is not a qcow2 image"),
    "a link in the TPM's state": (
        lambda scene: spoiled(scene, "disk.tpm.0", tpm_state({}, {"tpm/a": "/etc/passwd"})),
        Refused, "has 'tpm/a', which is not a file"),
    "a way out of the TPM's state": (
        lambda scene: spoiled(scene, "disk.tpm.0", tpm_state({"tpm/../../a": b""})), Refused, "which is not a file"),
    "a TPM's state that is none": (
        lambda scene: spoiled(scene, "disk.tpm.0", b"nothing packed"), Corrupt, "cannot be unpacked"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSALS))
def test_nothing_is_touched(scene: Scene, name: str) -> None:
    spoil, kind, said = REFUSALS[name]
    spoil(scene)
    before = scene.state()
    with pytest.raises(kind, match=said) as caught:
        scene.restore(tpm="TPM" in name)
    assert "nothing was changed" in str(caught.value)
    assert scene.state() == before and scene.world.is_tidy()
    assert os.listdir(scene.stored.scratch) == []


MISUSES: dict[str, tuple[dict[str, Any], type[StorageError], str]] = {
    "running": ({"running": True}, Unsupported, "restore of a disk of a running VM is not supported"),
    "nothing": ({"sources": []}, BadCall, "There is nothing to restore"),
    "no id": ({"sources": ["x:/a"]}, BadCall, "'x:/a' of sources is not <disk id>:<source>"),
    "twice": ({"sources": ["0:/a", "00:/b"]}, BadCall, "Disk 0 stands twice in sources"),
    "unknown disk": ({"sources": ["7:/a"]}, BadCall, "Disk 7 stands in sources and not in disks"),
    "size": ({"sizes": ["0:x"]}, BadCall, "'x' is not the size of disk 0 in MB"),
    "no file": ({"sources": ["0:/nowhere/disk"]}, Missing, "The source /nowhere/disk is not there"),
    "elsewhere": ({"path": "/etc/5"}, Refused, "The path /etc/5 is not inside"),
}


@pytest.mark.parametrize("name", list(MISUSES))
def test_misuse_is_one_sentence(scene: Scene, name: str) -> None:
    given, kind, said = MISUSES[name]
    before = scene.state()
    with pytest.raises(kind, match=said):
        act("tm_restore", **{**scene.options(), **given})
    assert scene.state() == before


def test_the_source_of_another_disk(scene: Scene) -> None:
    with pytest.raises(BadCall, match="is not the source of disk 0, but of 1"):
        act("tm_restore", **{**scene.options(), "sources": [f"0:{scene.stored.url(1)}"]})


def test_a_vm_that_is_not_here(scene: Scene) -> None:
    with pytest.raises(Missing, match="The directory .*/100/6 is not there"):
        act("tm_restore", **{**scene.options(), "path": scene.world.system / "6"})


# ---------------------------------------------------------------- kills


@pytest.mark.parametrize(
    ("driver", "points"),
    [
        # where disks are put in place, which is what there is to lose
        pytest.param("qcow2", [*range(14, 25, 2), "end"], id="qcow2"),
        pytest.param("qcow2", [*range(40), "end"], id="qcow2, all", marks=pytest.mark.full),
        pytest.param("ssh", [*range(40), "end"], id="ssh, all", marks=pytest.mark.full),
    ],
)
def test_killed_at_every_step_it_has_all_old_disks_or_all_new_ones(
    folder: Path, driver: str, points: list[int | str]
) -> None:
    signal.alarm(280)
    scene = Scene(folder, driver, turns=1)
    before = scene.state()
    scene.restore()
    whole = scene.state()
    kept = {disk: scene.shows(disk) for disk in (0, 1)}
    seen = set()
    for number in points:
        again(scene)
        assert scene.state() == before
        if not killed_at(f"{number}+" if number != "end" else "end", "tm_restore", scene.options()):
            continue
        # any action on the VM brings it to rest, one that fails too
        with pytest.raises(StorageError):
            act("tm_restore", **{**scene.options(), "sources": ["0:/nowhere/disk"]})
        now = scene.state()
        assert now in (before, whole), f"killed at {number}"
        seen.add(now == whole)
        assert scene.world.is_tidy(), f"killed at {number}: {scene.world.hidden()}"
        scene.restore()
        assert scene.state() == whole, f"killed at {number}"
        assert {disk: scene.shows(disk) for disk in (0, 1)} == kept
    assert seen == {False, True}


def test_killed_and_another_image_of_the_datastore_is_worked_on(folder: Path) -> None:
    """What is set aside of the image lies in another datastore than the journal, and nobody may clear it away."""
    signal.alarm(120)
    scene = Scene(folder, "qcow2", turns=1)
    before = scene.state()
    for number in range(10, 40):
        again(scene)
        dead = killed_at(f"{number}+", "tm_restore", scene.options())
        if dead and (folder / "1" / "persistent.snap").exists():
            break
    assert dead, "there is a step that puts the image's layers in place"
    assert any("image-persistent/" in name for name in scene.world.hidden()["1"])
    new = {"datastore_id": 1, "image_id": 9, "regtime": 9, "size": 1, "format": "raw"}
    act("ds_mkfs", driver="fs", datastore=scene.root_of_image, **new)
    now = {key: value for key, value in scene.state().items() if key in before}
    assert now == before, f"killed at {number}"
    assert scene.world.is_tidy()
    assert scene.shows(1)[:70_000] == pattern("live 1", 70_000)


def again(scene: Scene) -> None:
    """The VM and its image as they were."""
    import shutil

    shutil.rmtree(scene.directory)
    for path in scene.root_of_image.glob("persistent*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    scene._live()
