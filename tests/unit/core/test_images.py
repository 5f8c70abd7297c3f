# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of datastores, really made: imports and what is refused, empty images, clones, removal, sizes."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, NoAccess, Refused, StorageError
from plugins.module_utils.drivers import fs_import
from plugins.module_utils.tools.host import Host
from tests.unit.core.support import (
    CHAINED,
    MIB,
    OVERLAID,
    PLAIN,
    World,
    act,
    bytes_of,
    explained,
    info,
    kinds,
    pattern,
    plan,
    tool,
    words,
)

#: Who the new image is; its name is the md5 of `1:7:1700000000`.
NEW = {"driver": "fs", "datastore_id": 1, "image_id": 7, "regtime": 1700000000}
NAME = hashlib.md5(b"1:7:1700000000", usedforsecurity=False).hexdigest()


def new(world: World) -> dict[str, Any]:
    """The options that say which image is made."""
    return {**NEW, "datastore": world.images}


def made(world: World) -> Path:
    """Where the new image belongs."""
    return world.images / NAME


# ---------------------------------------------------------------- cp


def test_a_raw_file_becomes_an_image(world: World, outside: Path) -> None:
    source = outside / "disk.img"
    source.write_bytes(pattern("x", 3 * MIB))
    result = act("ds_cp", **new(world), source=source, size=3)
    assert (result["source"], result["format"]) == (str(made(world)), "raw")
    assert made(world).read_bytes() == pattern("x", 3 * MIB)
    assert [path.name for path in world.images.iterdir() if not path.name.startswith(".")] == [NAME]
    assert world.is_tidy()


def test_the_same_import_again_finds_its_image(world: World, outside: Path) -> None:
    (outside / "disk.img").write_bytes(b"one")
    first = act("ds_cp", **new(world), source=outside / "disk.img", size=1)
    (outside / "disk.img").write_bytes(b"two")
    again = act("ds_cp", **new(world), source=outside / "disk.img", size=1)
    assert not again["changed"]
    assert (again["source"], again["format"]) == (first["source"], first["format"])
    assert made(world).read_bytes() == b"one"


def test_the_answer_keeps_oneds_own_spelling(world: World, outside: Path) -> None:
    (outside / "disk.img").write_bytes(b"one")
    given = {**new(world), "datastore": f"{world.root}//1//"}
    assert act("ds_cp", **given, source=outside / "disk.img", size=1)["source"] == f"{world.root}//1/{NAME}"


@pytest.mark.parametrize(
    ("source_format", "wanted", "found"),
    [
        ("qcow2", "", "qcow2"),
        ("qcow2", "raw", "raw"),
        ("raw", "qcow2", "qcow2"),
        ("raw", "raw", "raw"),
        ("vmdk", "qcow2", "qcow2"),
        ("vmdk", "", "vmdk"),
        ("vdi", "raw", "raw"),
        ("vhdx", "qcow2", "qcow2"),
        ("vpc", "raw", "raw"),
    ],
)
def test_formats_and_conversion(world: World, outside: Path, source_format: str, wanted: str, found: str) -> None:
    raw = outside / "raw"
    raw.write_bytes(pattern("x", 2 * MIB) + bytes(6 * MIB))
    source = outside / "image"
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", source_format, raw, source)
    # vpc knows only sizes of whole cylinders
    size = -(-info(source)["virtual-size"] // MIB)
    result = act("ds_cp", **new(world), source=source, size=size, convert_to=wanted)
    assert result["format"] == found
    assert info(made(world))["format"] == found
    assert bytes_of(made(world), found, 8 * MIB) == raw.read_bytes()
    assert world.is_tidy()


def test_an_image_that_is_full_of_data_fits_its_own_size(world: World, outside: Path) -> None:
    """oned counts the virtual size; a qcow2 file that is full is a little larger than that."""
    raw = outside / "raw"
    raw.write_bytes(pattern("x", 4 * MIB))
    source = outside / "image"
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, source)
    assert source.stat().st_size > 4 * MIB
    size = act("ds_stat", driver="fs", source=source)["size"]
    assert size == 4
    assert act("ds_cp", **new(world), source=source, size=size)["format"] == "qcow2"
    assert bytes_of(made(world), "qcow2") == raw.read_bytes()


@pytest.mark.parametrize("size", [0, 4])
def test_more_bytes_than_were_counted(world: World, outside: Path, size: int) -> None:
    source = outside / "disk.img"
    source.touch()
    os.truncate(source, 4 * MIB + 1)
    if size:
        with pytest.raises(Refused, match="larger than the 4 MB that were counted.*nothing was changed"):
            act("ds_cp", **new(world), source=source, size=size)
        assert not made(world).exists()
    else:
        act("ds_cp", **new(world), source=source, size=size)
        assert made(world).stat().st_size == 4 * MIB + 1
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vhdx"])
def test_a_virtual_size_larger_than_counted(world: World, outside: Path, image_format: str) -> None:
    tool("qemu-img", "create", "-q", "-f", image_format, outside / "image", "100G")
    with pytest.raises(Refused, match="a virtual size of 102400 MB, more than the 8 MB"):
        act("ds_cp", **new(world), source=outside / "image", size=8)
    assert not made(world).exists()
    assert world.is_tidy()


def test_holes_stay(disk_world: World, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.write(b"x" * 4096)
        file.seek(32 * MIB)
        file.write(b"y" * 4096)
        file.truncate(64 * MIB)
    for digests in ({}, {"md5": hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest()}):
        given = {**new(disk_world), "image_id": len(digests)}
        result = act("ds_cp", **given, source=source, size=64, **digests)
        assert Path(result["source"]).read_bytes() == source.read_bytes()
        assert Path(result["source"]).stat().st_blocks * 512 < MIB


def digests(data: bytes) -> dict[str, str]:
    return {
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    }


def test_digests_of_the_source_are_checked_before_it_is_converted(world: World, outside: Path) -> None:
    data = pattern("x", MIB)
    (outside / "disk.img").write_bytes(data)
    act("ds_cp", **new(world), source=outside / "disk.img", size=1, convert_to="qcow2", **digests(data))
    assert info(made(world))["format"] == "qcow2"


@pytest.mark.parametrize("name", ["md5", "sha1"])
@pytest.mark.parametrize("upper", [False, True])
def test_digests(world: World, outside: Path, name: str, upper: bool) -> None:
    data = pattern("x", MIB)
    (outside / "disk.img").write_bytes(data)
    right = digests(data)[name]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(Corrupt, match=f"The {name} of .* is {right}, not {wrong}"):
        act("ds_cp", **new(world), source=outside / "disk.img", size=1, **{name: wrong})
    assert not made(world).exists() and world.is_tidy()
    spelled = f" {right.upper() if upper else right}\n"
    act("ds_cp", **new(world), source=outside / "disk.img", size=1, **{name: spelled})
    assert made(world).read_bytes() == data


def unsafe(kind: str, outside: Path) -> Path:
    """An image that refers to another file."""
    secret, image = outside / "secret", outside / "image"
    secret.write_bytes(b"secret" * 1000)
    os.truncate(secret, MIB)
    if kind == "backing":
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, image)
    elif kind == "backing compat=0.10":
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-F", "raw", "-b", secret, image)
    elif kind == "data file":
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={secret}", image, "1M")
    elif kind == "vmdk descriptor":
        tool("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", image, "1M")
    elif kind == "vmdk parent":
        parent = outside / "parent"
        tool("qemu-img", "create", "-q", "-f", "vmdk", parent, "1M")
        tool("qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", parent, image)
    elif kind == "qed":
        image.write_bytes(b"QED\0" + bytes(MIB))
    elif kind == "version 9":
        image.write_bytes(b"QFI\xfb" + (9).to_bytes(4, "big") + bytes(MIB))
    elif kind == "short":
        image.write_bytes(b"QFI\xfb\0\0\0\3")
    elif kind == "broken":
        image.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(8) + b"\xff" * 1000)
    return image


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("backing", "has a backing file"),
        ("backing compat=0.10", "has a backing file"),
        ("data file", "keeps its data in another file"),
        ("vmdk descriptor", "VMDK descriptor"),
        ("vmdk parent", "has a parent image"),
        ("qed", "the format qed, which is not accepted"),
        ("version 9", "unknown version 9"),
        ("short", "header is cut off"),
        ("broken", ""),
    ],
)
@pytest.mark.parametrize("wanted", ["", "raw"])
def test_images_that_refer_to_other_files_are_refused(
    world: World, outside: Path, kind: str, said: str, wanted: str
) -> None:
    with pytest.raises(StorageError, match=f"{said}.*nothing was changed"):
        act("ds_cp", **new(world), source=unsafe(kind, outside), size=8, convert_to=wanted)
    assert not made(world).exists()
    assert world.is_tidy()


@pytest.mark.parametrize("kind", ["backing", "data file", "vmdk parent"])
def test_qemu_img_never_opens_what_refers_to_other_files(
    world: World, outside: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = unsafe(kind, outside)
    trap = outside / "bin"
    trap.mkdir()
    (trap / "qemu-img").write_text(f"#!/bin/sh\necho opened >>{outside}/opened\nexit 1\n")
    (trap / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{trap}:{os.environ['PATH']}")
    for action, more in (("ds_cp", new(world)), ("ds_stat", {"driver": "fs"})):
        with pytest.raises(Refused):
            act(action, **more, source=image)
    assert not (outside / "opened").exists()


def test_a_plain_file_is_never_opened_as_a_disk(world: World, outside: Path) -> None:
    """Kernels and context files: their bytes do not matter."""
    image = unsafe("backing", outside)
    result = act("ds_cp", **new(world), source=image, size=8, plain=True)
    assert result["format"] == "raw"
    assert made(world).read_bytes() == image.read_bytes()


def test_a_compressed_source_may_stay_as_it_is(world: World, outside: Path) -> None:
    source = outside / "image.gz"
    source.write_bytes(gzip.compress(pattern("x", MIB)))
    act("ds_cp", **new(world), source=source, size=8, decompress=False)
    assert made(world).read_bytes() == source.read_bytes()
    assert act("ds_stat", driver="fs", source=source, decompress=False)["size"] == 2
    assert act("ds_stat", driver="fs", source=source)["size"] == 1


# ---------------------------------------------------------------- safe and restricted directories


@pytest.mark.parametrize(
    ("path", "safe", "restricted", "fine"),
    [
        ("{o}/a/file", [], [], True),
        ("{o}/a/file", [], ["{o}/a"], False),
        ("{o}/a/file", [], ["{o}/a/"], False),
        ("{o}/a/file", [], ["{o}//a"], False),
        ("{o}/a/file", [], ["{o}/a/file"], False),
        ("{o}/a/file", [], ["/"], False),
        ("{o}/a/file", ["/"], ["/"], True),
        ("{o}/a/file", ["{o}/a"], ["{o}"], True),
        ("{o}/a/file", ["{o}/ab"], ["{o}"], False),
        ("{o}/ab/file", ["{o}/a"], ["{o}"], False),
        ("{o}/a/../b/file", ["{o}/a"], ["{o}"], False),
        ("{o}//a///file", ["{o}/a"], ["{o}"], True),
        ("{o}/a/out", ["{o}/a"], ["{o}"], False),
        ("{o}/link/file", ["{o}/link"], ["{o}"], True),
        ("{o}/link/file", ["{o}/b"], ["{o}"], True),
        ("{o}/link/file", ["{o}/a"], ["{o}"], False),
        ("{o}/b/file", ["relative", ""], ["{o}"], False),
        ("{o}/a b/file", ["{o}/a b"], ["{o}"], True),
        ("{o}/a b/file", ["{o}/a"], ["{o}"], False),
        ("file://{o}/a/file", ["{o}/a"], ["{o}"], True),
        ("FILE://localhost{o}/a%20b/file", ["{o}/a b"], ["{o}"], True),
        ("file://{o}/a/out", ["{o}/a"], ["{o}"], False),
        ("file://{o}/a/../b/file", ["{o}/a"], ["{o}"], False),
    ],
)
@pytest.mark.parametrize("action", ["ds_cp", "ds_stat"])
def test_directories(
    world: World, outside: Path, action: str, path: str, safe: list[str], restricted: list[str], fine: bool
) -> None:
    for name in ("a", "ab", "b", "a b"):
        (outside / name).mkdir()
        (outside / name / "file").write_text(name)
    (outside / "a" / "out").symlink_to("../b/file")
    (outside / "link").symlink_to("b")
    given = {
        "source": path.format(o=outside),
        "safe_dirs": [item.format(o=outside) for item in safe],
        "restricted_dirs": [item.format(o=outside) for item in restricted],
        **(new(world) if action == "ds_cp" else {"driver": "fs"}),
    }
    if fine:
        act(action, **given)
    else:
        with pytest.raises(Refused, match="Not allowed to copy image from .*, check RESTRICTED_DIRS"):
            act(action, **given)
        assert not made(world).exists()


@pytest.mark.parametrize("how", ["in between", "before the copy", "with a digest", "for the size"])
def test_a_link_that_is_swapped_in_after_the_look(
    world: World, outside: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held against the directories is what is read: another file under its name is refused, or not seen."""
    secret, source = outside / "closed" / "secret", outside / "open" / "disk"
    for path, content in ((secret, b"secret"), (source, b"image")):
        path.parent.mkdir()
        path.write_bytes(content)

    def swap() -> None:
        if not source.is_symlink():
            source.unlink()
            source.symlink_to(secret)

    options: dict[str, Any] = {"source": source, "restricted_dirs": [str(outside)], "safe_dirs": [str(source.parent)]}
    if how == "before the copy":
        real = Host.copy

        def copy(self: Host, *given: Any) -> dict[str, Any]:
            swap()
            return real(self, *given)

        monkeypatch.setattr(Host, "copy", copy)
        act("ds_cp", **new(world), **options, size=1)
        assert source.is_symlink() and made(world).read_bytes() == b"image"
        return
    check = fs_import.allowed

    def allowed(*given: Any) -> str:
        real_path = check(*given)
        swap()
        return real_path

    monkeypatch.setattr(fs_import, "allowed", allowed)
    with pytest.raises(Refused, match=f"The source {source} was replaced while it was looked at"):
        if how == "for the size":
            act("ds_stat", driver="fs", **options)
        else:
            digest = {"md5": hashlib.md5(b"secret").hexdigest()} if how == "with a digest" else {}
            act("ds_cp", **new(world), **options, size=1, **digest)
    assert not made(world).exists()


def test_what_is_always_restricted(world: World, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (outside / "one").mkdir()
    (outside / "one" / "secret").write_text("x")
    (outside / "var").symlink_to("one")
    home = outside / "home"
    home.mkdir()
    (home / "secret").write_text("x")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(fs_import, "ALWAYS_RESTRICTED", (str(outside / "var"),))
    for path in (outside / "one/secret", outside / "var/secret", home / "secret"):
        with pytest.raises(Refused, match="Not allowed"):
            act("ds_cp", **new(world), source=path)
        act("ds_stat", driver="fs", source=path, safe_dirs=[str(path.parent)])


@pytest.mark.parametrize("place", ["/var/lib/one/x", "/etc/one/oned.conf", "/var/lib/one", "/etc/one/../one/x"])
def test_oneds_own_folders_are_restricted_before_anything_is_looked_at(world: World, place: str) -> None:
    with pytest.raises(Refused, match="Not allowed to copy image"):
        act("ds_cp", **new(world), source=place)


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("{o}/nothing", Missing, "No such file"),
        ("{o}", BadCall, "is a directory"),
        ("relative/path", BadCall, "neither an absolute path nor a URL"),
        ("", BadCall, "neither an absolute path nor a URL"),
        ("{o}/a\0b", BadCall, "neither an absolute path nor a URL"),
        ("file:///etc/one/oned.conf", Refused, "Not allowed to copy image"),
        ("file://localhost/etc/one/%6fned.conf", Refused, "Not allowed to copy image"),
        ("file://elsewhere/x", BadCall, "is a file of another host"),
        ("ssh://h/x", BadCall, "is not a source"),
        ("rsync://100/x", Missing, "cannot be imported from"),
        ("http://h/a b", BadCall, "is not a URL"),
        ("http://h/a\nb", BadCall, "is not a URL"),
        ("/dev/null", BadCall, "is not a regular file"),
        ("/dev/zero", BadCall, "is not a regular file"),
    ],
)
@pytest.mark.parametrize("action", ["ds_cp", "ds_stat"])
def test_sources_that_are_none(
    world: World, outside: Path, action: str, source: str, kind: type[StorageError], said: str
) -> None:
    given = new(world) if action == "ds_cp" else {"driver": "fs"}
    with pytest.raises(kind, match=said):
        act(action, **given, source=source.format(o=outside))
    assert not made(world).exists()


@pytest.mark.parametrize("action", ["ds_cp", "ds_stat"])
def test_a_pipe_with_nobody_at_its_end_is_no_source(world: World, outside: Path, action: str) -> None:
    """Any user of the front-end can make one: who opens it waits for good."""
    os.mkfifo(outside / "pipe")
    given = new(world) if action == "ds_cp" else {"driver": "fs"}
    with pytest.raises(BadCall, match="is not a regular file"):
        act(action, **given, source=outside / "pipe")


def test_a_source_that_may_not_be_read(world: World, outside: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    source = outside / "secret"
    source.write_text("x")
    source.chmod(0o600)
    for path in (world.root, outside):
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(NoAccess, match=f"Cannot read {source}: Permission denied"):
            act("ds_stat", driver="fs", source=source)
    finally:
        os.seteuid(0)


# ---------------------------------------------------------------- plans


def test_what_an_import_plans(world: World, outside: Path) -> None:
    (outside / "x").write_text("x")
    assert words(plan("ds_cp", **new(world), source=outside / "x"), world) == [f"copy {outside}/x".replace(
        str(world.root), "")]  # fmt: skip
    assert kinds(plan("ds_cp", **new(world), source="http://127.0.0.1:1/x")) == ["fetch"]


def test_check_mode_of_an_import_says_what_it_can(world: World, outside: Path) -> None:
    (outside / "x").write_text("x")
    said = explained("ds_cp", **new(world), source=outside / "x")
    assert said["changed"]
    assert [(row["path"], row["before"], row["after"]) for row in said["changes"]] == [
        (str(made(world)), "absent", "image")
    ]
    assert list(world.images.iterdir()) == []


# ---------------------------------------------------------------- mkfs


@pytest.mark.parametrize(
    ("image_format", "fs_type", "found"),
    [("raw", "", "raw"), ("qcow2", "", "qcow2"), ("raw", "ext4", "raw"), ("qcow2", "ext4", "qcow2"), ("swap", "", "")],
)
def test_an_empty_image(world: World, image_format: str, fs_type: str, found: str) -> None:
    for _again in range(2):
        result = act("ds_mkfs", **new(world), format=image_format, size=8, fs=fs_type)
        assert result["source"] == str(made(world))
        assert "format" not in result
    assert not result["changed"]
    if found:
        assert info(made(world))["format"] == found
        assert info(made(world))["virtual-size"] == 8 * MIB
    if fs_type and found == "raw":
        assert tool("blkid", "-p", "-o", "value", "-s", "TYPE", made(world)).strip() == fs_type
    if image_format == "swap":
        assert tool("blkid", "-p", "-o", "value", "-s", "TYPE", made(world)).strip() == "swap"
    assert world.is_tidy()


def test_save_as_is_a_name_only(world: World) -> None:
    result = act("ds_mkfs", **new(world), format="save_as", size=0)
    assert result["source"] == str(made(world)) and not result["changed"]
    assert not made(world).exists()
    assert world.is_tidy()


@pytest.mark.parametrize("more", [{"size": 0}, {"size": -5}, {"size": 8, "fs": "ntfs"}, {"size": 8, "fs": "ext4;id"}])
def test_empty_images_that_cannot_be(world: World, more: dict[str, Any]) -> None:
    with pytest.raises(BadCall, match="nothing was changed"):
        act("ds_mkfs", **new(world), format="raw", **more)
    assert not made(world).exists() and world.is_tidy()


def test_an_image_that_mkfs_finds_too_small(world: World) -> None:
    with pytest.raises(StorageError, match="Cannot format the image with xfs.*nothing was changed"):
        act("ds_mkfs", **new(world), format="raw", size=1, fs="xfs")
    assert not made(world).exists() and world.is_tidy()


def test_names_follow_from_who_the_image_is(world: World) -> None:
    names = set()
    for change in ({}, {"datastore_id": 2}, {"image_id": 8}, {"regtime": 1700000001}):
        names.add(act("ds_mkfs", **{**new(world), **change}, format="save_as", size=0)["source"])
    assert len(names) == 4
    assert all(len(Path(name).name) == 32 for name in names)


# ---------------------------------------------------------------- clone


@pytest.mark.parametrize("image", [PLAIN, OVERLAID, CHAINED])
@pytest.mark.parametrize("wanted", ["", "raw", "qcow2"])
def test_a_clone_of_an_image(world: World, image: str, wanted: str) -> None:
    source = {PLAIN: world.raw, OVERLAID: world.qcow2, CHAINED: world.layered}[image](image)
    given_format = "raw" if image == PLAIN else "qcow2"
    before = bytes_of(source, given_format)
    given = {**new(world), "datastore": world.root / "2"}
    for _again in range(2):
        result = act("ds_clone", **given, source=source, format=given_format, convert_to=wanted)
        assert result["format"] == (wanted or given_format)
    assert not result["changed"]
    copy = Path(result["source"])
    assert copy.parent == world.root / "2" and not copy.is_symlink()
    found = info(copy)
    assert found["format"] == (wanted or given_format)
    assert "backing-filename" not in found
    assert bytes_of(copy, found["format"]) == before
    assert bytes_of(source, given_format) == before
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["vmdk", "vdi", "vhdx", "vpc"])
@pytest.mark.parametrize("wanted", ["", "raw", "qcow2"])
def test_a_clone_of_an_image_that_kept_its_format(world: World, image_format: str, wanted: str) -> None:
    """A datastore without DRIVER imports them as they are, so it clones them, too."""
    raw, source = world.root / "raw", world.images / PLAIN
    raw.write_bytes(pattern("x", 2 * MIB) + bytes(6 * MIB))
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", image_format, raw, source)
    result = act("ds_clone", **new(world), source=source, format=image_format, convert_to=wanted)
    assert result["format"] == (wanted or image_format)
    assert bytes_of(made(world), wanted or image_format, 8 * MIB) == raw.read_bytes()
    assert wanted or made(world).read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('# Disk DescriptorFile\nRW 2048 FLAT "/etc/passwd" 0\n', Refused, "is a VMDK descriptor"),
        ("no image at all", Corrupt, "is raw, not vmdk"),
    ],
)
def test_a_clone_of_an_image_that_names_other_files(
    world: World, text: str, kind: type[StorageError], said: str
) -> None:
    (world.images / PLAIN).write_text(text)
    with pytest.raises(kind, match=f"{PLAIN} {said}"):
        act("ds_clone", **new(world), source=world.images / PLAIN, format="vmdk", convert_to="raw")
    assert not made(world).exists() and world.is_tidy()


def test_a_clone_of_nothing(world: World) -> None:
    with pytest.raises(Missing, match=f"The image {world.images}/{PLAIN} is not there"):
        act("ds_clone", **new(world), source=world.images / PLAIN, format="raw")
    assert world.is_tidy()


# ---------------------------------------------------------------- rm


def removed(world: World, source: str | Path, **more: Any) -> dict[str, Any]:
    return act("ds_rm", driver="fs", datastore=more.get("datastore", world.images), source=source)


def test_rm_takes_the_image_with_its_snapshots_and_digest(world: World) -> None:
    world.raw()
    world.layered()
    (world.images / f"{PLAIN}.md5sum").write_text("x")
    (world.images / f"{PLAIN}.snap").mkdir()
    (world.images / f"{PLAIN}.snap" / "0").write_text("x")
    result = removed(world, world.images / PLAIN)
    assert result["changed"] and len(result["actions"]) == 3
    assert sorted(path.name for path in world.images.iterdir()) == [".one_storage", CHAINED, f"{CHAINED}.snap"]
    assert not removed(world, world.images / PLAIN)["changed"]
    removed(world, world.images / CHAINED)
    assert [path.name for path in world.images.iterdir()] == [".one_storage"]
    assert world.is_tidy()


def test_rm_takes_a_dangling_link(world: World) -> None:
    (world.images / PLAIN).symlink_to(f"{PLAIN}.snap/1")
    assert removed(world, world.images / PLAIN)["changed"]
    assert not (world.images / PLAIN).is_symlink()


@pytest.mark.parametrize("spelling", ["{ds}//{name}", "{ds}/./{name}", "{ds}/{name}/"])
def test_rm_knows_the_image_in_any_spelling(world: World, spelling: str) -> None:
    world.raw()
    assert removed(world, spelling.format(ds=world.images, name=PLAIN))["changed"]
    assert not (world.images / PLAIN).exists()


@pytest.mark.parametrize(
    "source", ["", "/", "{ds}", "{ds}/", "{ds}/..", "{ds}/../2/x", "{root}/2/x", "{ds}/.one_storage", "{ds}/a/b", "x"]
)
def test_rm_touches_only_images_of_its_datastore(world: World, source: str) -> None:
    world.raw()
    (world.root / "2" / "x").write_text("x")
    (world.images / "a").mkdir()
    (world.images / "a" / "b").write_text("x")
    before = world.tree()
    with pytest.raises((Refused, BadCall)):
        removed(world, source.format(ds=world.images, root=world.root))
    assert world.tree() == before


# ---------------------------------------------------------------- stat, monitor


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 5 * MIB])
def test_the_size_of_a_raw_file_is_rounded_up(outside: Path, size: int) -> None:
    (outside / "x").touch()
    os.truncate(outside / "x", size)
    assert act("ds_stat", driver="fs", source=outside / "x")["size"] == -(-size // MIB)


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx"])
def test_the_size_of_an_image_is_its_virtual_one(outside: Path, image_format: str) -> None:
    tool("qemu-img", "create", "-q", "-f", image_format, outside / "x", "3G")
    assert act("ds_stat", driver="fs", source=outside / "x")["size"] == 3072
    assert act("ds_stat", driver="fs", source=outside / "x", plain=True)["size"] < 20


def test_an_empty_file_has_no_size(outside: Path) -> None:
    (outside / "x").touch()
    with pytest.raises(StorageError, match="Cannot determine the size"):
        act("ds_stat", driver="fs", source=outside / "x")


def test_a_size_that_no_disk_has(outside: Path) -> None:
    """A header can claim anything; the number goes to oned's quota."""
    tool("qemu-img", "create", "-q", "-f", "qcow2", outside / "x", "1M")
    with (outside / "x").open("r+b") as file:
        file.seek(24)
        file.write((1 << 63).to_bytes(8, "big"))
    with pytest.raises(StorageError):
        act("ds_cp", **NEW, datastore=outside, source=outside / "x", size=10)


def test_monitor_agrees_with_df(disk_world: World) -> None:
    result = act("ds_monitor", driver="fs", datastore=disk_world.images)
    said = subprocess.run(["df", "-B1M", "-P", str(disk_world.images)], capture_output=True, text=True, check=True)
    total, used, free = (int(word) for word in said.stdout.splitlines()[1].split()[1:4])
    assert result["total_mb"] == total
    # others write on this disk, too
    assert abs(result["used_mb"] - used) < 512 and abs(result["free_mb"] - free) < 512


def test_monitor_makes_a_datastore_that_is_not_there(world: World) -> None:
    result = act("ds_monitor", driver="fs", datastore=world.root / "9")
    assert result["total_mb"] > 0 and (world.root / "9").is_dir()
    assert not (world.root / "9" / ".one_storage").exists()


def test_monitor_of_a_path_that_is_a_file(world: World) -> None:
    (world.root / "9").write_text("x")
    with pytest.raises(StorageError, match=f"{world.root}/9"):
        act("ds_monitor", driver="fs", datastore=world.root / "9" / "x")
