# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports of packed disks: what comes out, what it may be, and what is refused with nothing left."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Corrupt, Missing, Refused, StorageError
from plugins.module_utils.drivers import fs_import
from plugins.module_utils.tools import intake, unpack
from plugins.module_utils.tools.reader import Reader
from tests.unit.core.packing import OVF, PACKERS, special, tar, zipped, zstd
from tests.unit.core.support import MIB, World, act, bytes_of, pattern, tool
from tests.unit.core.test_images import made, new
from tests.unit.core.web import Site, serving

EVERY = pytest.mark.parametrize("packer", PACKERS)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server on loopback, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        yield site


def disk(size: int = 2 * MIB + 77) -> bytes:
    """Data, a stretch of zeros, data, and a size that is odd."""
    return pattern("x", size - 300_000) + bytes(200_000) + pattern("y", 100_000)


def failed(world: World, source: Path | str, kind: type[StorageError], said: str, **more: Any) -> None:
    """An import that has to fail with one sentence, and leaves nothing."""
    with pytest.raises(kind, match=said) as caught:
        act("ds_cp", **new(world), **{"source": source, "size": 4, **more})
    assert "\n" not in str(caught.value) and "nothing was changed" in str(caught.value)
    assert [path.name for path in world.images.iterdir()] == [".one_storage"] and world.is_tidy()


@EVERY
def test_a_packed_disk_comes_out(world: World, outside: Path, packer: str) -> None:
    source = outside / "x"
    source.write_bytes(PACKERS[packer](disk()))
    digests = {name: hashlib.new(name, source.read_bytes()).hexdigest() for name in ("md5", "sha1", "sha256")}
    result = act("ds_cp", **new(world), source=source, size=3, **digests)
    assert result["format"] == "raw"
    assert made(world).read_bytes() == disk()
    assert (result["fetched"], result["written"]) == (source.stat().st_size, len(disk()))
    assert world.is_tidy() and not Path("/tmp/climbed").exists()


@EVERY
def test_a_packed_disk_comes_out_of_the_web_too(world: World, web: Site, packer: str) -> None:
    act("ds_cp", **new(world), source=web.put("/x", PACKERS[packer](disk())), size=3)
    assert made(world).read_bytes() == disk()
    assert len(web.asked) == 1


@EVERY
def test_the_size_of_a_packed_disk(web: Site, outside: Path, packer: str) -> None:
    source = outside / "x"
    source.write_bytes(PACKERS[packer](disk()))
    assert act("ds_stat", driver="fs", source=source)["size"] == 3
    assert act("ds_stat", driver="fs", source=web.put("/x", source.read_bytes()))["size"] == 3


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx"])
@pytest.mark.parametrize("packer", ["gzip", "zip, streamed", "ova with a compressed disk"])
def test_a_packed_image_tells_its_virtual_size(web: Site, outside: Path, image_format: str, packer: str) -> None:
    tool("qemu-img", "create", "-q", "-f", image_format, outside / "x", "3G")
    address = web.put("/x", PACKERS[packer]((outside / "x").read_bytes()))
    assert act("ds_stat", driver="fs", source=address)["size"] == 3072


@pytest.mark.parametrize("options", [[], ["-o", "subformat=streamOptimized"]])
def test_an_ova_becomes_a_qcow2_image(world: World, outside: Path, options: list[str]) -> None:
    (outside / "raw").write_bytes(disk(2 * MIB))
    tool("qemu-img", "convert", "-f", "raw", "-O", "vmdk", *options, outside / "raw", outside / "d.vmdk")
    (outside / "x").write_bytes(tar(OVF, ("d.vmdk", (outside / "d.vmdk").read_bytes())))
    assert act("ds_cp", **new(world), source=outside / "x", size=2, convert_to="qcow2")["format"] == "qcow2"
    assert bytes_of(made(world), "qcow2") == disk(2 * MIB)


def test_holes_of_a_packed_disk_are_holes(disk_world: World, tmp_path: Path) -> None:
    source, data = tmp_path / "x.gz", b"x" * 5000 + bytes(20 * MIB) + b"y"
    source.write_bytes(gzip.compress(data))
    for sparse, most in ((True, MIB), (False, 32 * MIB)):
        act("ds_cp", **new(disk_world), source=source, size=21, sparse=sparse)
        assert made(disk_world).read_bytes() == data
        allocated = made(disk_world).stat().st_blocks * 512
        assert allocated < most if sparse else allocated >= len(data)
        made(disk_world).unlink()


def test_a_sparse_tar(disk_world: World, tmp_path: Path) -> None:
    """As `tar -S` makes it: the holes are in a map, and stay holes."""
    with (tmp_path / "disk").open("wb") as file:
        for place in (5 * MIB, 200 * MIB):
            file.seek(place)
            file.write(pattern(str(place), 70_000))
        file.truncate(300 * MIB + 1)
    for form in ("gnu", "pax"):
        tool("tar", "-S", f"--format={form}", "-czf", tmp_path / "x.tgz", "-C", tmp_path, "disk")
        assert act("ds_stat", driver="fs", source=tmp_path / "x.tgz")["size"] == 301
        act("ds_cp", **new(disk_world), source=tmp_path / "x.tgz", size=301)
        tool("cmp", made(disk_world), tmp_path / "disk")
        assert made(disk_world).stat().st_blocks * 512 < 2 * MIB
        made(disk_world).unlink()


@pytest.mark.parametrize("name", ["disk", pytest.param("x.zst", marks=pytest.mark.full)])
def test_five_gigabytes_of_hole(disk_world: World, tmp_path: Path, name: str) -> None:
    with (tmp_path / "disk").open("wb") as file:
        file.write(b"begin")
        file.seek((5 << 30) - 3)
        file.write(b"end")
    if name != "disk":
        tool("sh", "-c", f"zstd -qc disk >{name}", cwd=tmp_path)
    assert act("ds_stat", driver="fs", source=tmp_path / name)["size"] == 5120
    act("ds_cp", **new(disk_world), source=tmp_path / name, size=5120)
    with made(disk_world).open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek((5 << 30) - 4)
        assert file.read() == b"\0end"
    assert made(disk_world).stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("size", [1, 511, 512, 513, MIB - 1, MIB, MIB + 1])
@pytest.mark.parametrize("packer", ["", "gzip", "tar.gz", "zip, streamed"])
def test_odd_sizes(world: World, outside: Path, size: int, packer: str) -> None:
    data = b"\1" + pattern("x", size)[1:]
    (outside / "x").write_bytes(PACKERS[packer](data) if packer else data)
    act("ds_cp", **new(world), source=outside / "x", size=2)
    assert made(world).read_bytes() == data


@pytest.mark.parametrize("packer", ["", "gzip", "tar", "zip, stored"])
def test_nothing_is_no_disk(world: World, outside: Path, packer: str) -> None:
    (outside / "x").write_bytes(PACKERS[packer](b"") if packer else b"")
    failed(world, outside / "x", Refused, "is empty")
    with pytest.raises(StorageError, match="Cannot determine the size"):
        act("ds_stat", driver="fs", source=outside / "x")


def test_an_empty_file_may_be_a_file(world: World, outside: Path) -> None:
    (outside / "x").touch()
    assert act("ds_cp", **new(world), source=outside / "x", plain=True)["format"] == "raw"
    assert made(world).read_bytes() == b""


def test_a_file_is_unpacked_but_no_archive_taken_apart(world: World, outside: Path) -> None:
    packed = tar(("a", b"1"), ("b", b"2"))
    (outside / "x").write_bytes(gzip.compress(packed))
    act("ds_cp", **new(world), source=outside / "x", plain=True)
    assert made(world).read_bytes() == packed


# ---------------------------------------------------------------- refused

LINK = special("disk", tarfile.SYMTYPE, "/etc/passwd")
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "two disks": (tar(("a.img", b"1"), ("b.img", b"2")), "tar with more than one disk: a.img, b.img"),
    "two disks, zip": (zipped(("a.img", b"1"), ("b.img", b"2")), "zip with more than one disk: a.img, b.img"),
    "two disks, ova": (tar(OVF, ("a.vmdk", b"1"), ("b.vmdk", b"2")), "more than one disk: a.vmdk, b.vmdk"),
    "no disk": (tar(OVF, ("README", b"x")), "tar without a disk; in it is box.ovf, README"),
    "no disk, zip": (zipped(("README", b"x")), "zip without a disk; in it is README"),
    "empty zip": (zipped(), "zip without a disk; in it is nothing"),
    "a link": (tar(LINK), "tar with a link in it: disk"),
    "a hard link": (tar(special("disk", tarfile.LNKTYPE, "/etc/passwd")), "tar with a link in it: disk"),
    "a device": (tar(special("disk", tarfile.BLKTYPE)), "tar with a device in it: disk"),
    "a pipe": (tar(special("disk", tarfile.FIFOTYPE)), "tar with a device in it: disk"),
    "a link beside the disk": (tar(("a", b"1"), special("b", tarfile.SYMTYPE, "a")), "tar with a link in it: b"),
    "a link in a zip": (zipped(("disk", b"/etc/passwd"), mode=0o120777), "zip with a link in it: disk"),
    "bzip2 in a zip": (zipped(("disk", b"x" * 99), method=zipfile.ZIP_BZIP2), "compression method 12"),
    "stored and streamed": (zipped(("disk", b"x"), method=0, streamed=True), "does not say where its entry disk ends"),
    "a text of 9 MB": (tar(("README", bytes(9 * MIB)), ("disk", b"x")), "whose entry README has 9437184 bytes"),
    "a text of 9 MB in a zip": (zipped(("README", bytes(9 * MIB)), streamed=True), "README is too large"),
    "a thousand texts": (tar(*[(f"{n}.txt", b"") for n in range(1001)]), "with more than 1000 entries"),
    "packed too often": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(
        b"x")))))), "packed more than 5 times"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARCHIVES)
def test_archives_that_are_refused(world: World, outside: Path, what: str) -> None:
    data, said = ARCHIVES[what]
    (outside / "x").write_bytes(data)
    failed(world, outside / "x", Refused, said)


def encrypted() -> bytes:
    data = bytearray(zipped(("disk", b"x" * 50)))
    data[6] |= 1
    return bytes(data)


def test_an_encrypted_zip(world: World, outside: Path) -> None:
    (outside / "x").write_bytes(encrypted())
    failed(world, outside / "x", Refused, "is an encrypted zip")


def test_headers_that_would_fill_the_memory(world: World, outside: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(outside / "x", "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _block in range(64):
            file.write(bytes(MIB))
    failed(world, outside / "x", Refused, "archive with headers that no archive needs")


def test_a_zip_whose_directory_tells_something_else(world: World, outside: Path) -> None:
    data = zipped(("disk", b"x" * 50))
    (outside / "x").write_bytes(data[: data.index(b"PK\1\2")] + zipped(("other", b"x" * 50))[-73:])
    failed(world, outside / "x", Corrupt, "directory does not list what is in it")


BOMBS = {
    "gzip": lambda: gzip.compress(bytes(100 * MIB), 1),
    "bzip2": lambda: bz2.compress(bytes(100 * MIB)),
    "xz": lambda: lzma.compress(bytes(100 * MIB), preset=0),
    "zstd": lambda: zstd(bytes(100 * MIB)),
    "zip": lambda: zipped(("disk", bytes(100 * MIB))),
    "zip, streamed": lambda: zipped(("disk", bytes(100 * MIB)), streamed=True),
    "gzip in gzip": lambda: gzip.compress(gzip.compress(bytes(100 * MIB), 1)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_ends_at_the_limit(world: World, outside: Path, bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is written no further than what was counted for it, whatever the packing says."""
    (outside / "x").write_bytes(BOMBS[bomb]())
    assert (outside / "x").stat().st_size < 2 * MIB
    failed(world, outside / "x", Refused, "larger than the 68 MB that may come", size=4)


def test_a_sparse_tar_that_claims_too_much(world: World, outside: Path) -> None:
    with (outside / "disk").open("wb") as file:
        file.truncate(1 << 40)
    tool("tar", "-S", "-cf", outside / "x", "-C", outside, "disk")
    for size, most in ((4, 68), (1 << 19, 526400)):
        failed(world, outside / "x", Refused, f"larger than the {most} MB", size=size)


def test_members_with_nothing_in_them_do_not_go_on_for_ever(
    world: World,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is ever written, so what is fetched has a limit too."""
    monkeypatch.setattr(fs_import, "most_bytes", lambda _size, _format: 1 << 20)
    monkeypatch.setattr(intake, "_PACKING", 0)
    (outside / "x").write_bytes(gzip.compress(b"") * 200_000)
    failed(world, outside / "x", Refused, "larger than the 1 MB that may come")


def test_no_more_than_a_few_chunks_are_in_memory() -> None:
    bomb = lzma.compress(bytes(500 * MIB), preset=0)
    packed = unpack.Unpacked(iter([bomb]), "bomb")
    assert max(len(data) for data in packed.chunks()) <= 2 * MIB


# ---------------------------------------------------------------- broken

BREAKS = ["gzip", "bzip2", "xz", "zstd", "tar", "tar.gz", "zip", "zip, stored", "zip, streamed"]


#: Nothing in a tar tells of a bit that changed; a zip's end is a list of names that nobody needs.
UNSEEN = [("bit", "tar"), *(("cut at the end", packer) for packer in BREAKS if packer.startswith("zip"))]


@pytest.mark.parametrize(
    ("way", "packer"),
    [pair for pair in itertools.product(["cut", "bit", "cut at the end"], BREAKS) if pair not in UNSEEN],
)
def test_a_broken_packing(world: World, outside: Path, packer: str, way: str) -> None:
    data = bytearray(PACKERS[packer](disk()))
    if way == "cut":
        del data[len(data) // 2 :]
    elif way == "cut at the end":
        # tar ends with blocks of zeros that nobody misses
        del data[-3 if packer != "tar" else len(disk()) - 9 :]
    else:
        data[len(data) // 2] ^= 0x10
    (outside / "x").write_bytes(data)
    failed(world, outside / "x", Corrupt, "is broken|ends in the middle")


def test_something_behind_the_packing(world: World, outside: Path) -> None:
    (outside / "x").write_bytes(gzip.compress(b"disk") + b"rubbish")
    failed(world, outside / "x", Corrupt, "something else follows its gzip data")


def test_without_zstd(world: World, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.module_utils.tools import command

    (outside / "x").write_bytes(zstd(b"disk"))
    (outside / "bin").mkdir()
    for name in ("setpriv", "qemu-img", "prlimit"):
        (outside / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(outside / "bin"))
    monkeypatch.setattr(command, "_SBIN", ())
    failed(world, outside / "x", Missing, "zstd is not installed.*nothing was changed .install zstd on this host.")


def test_zstd_does_not_outlive_who_gives_up(world: World, outside: Path) -> None:
    (outside / "x").write_bytes(BOMBS["zstd"]())
    failed(world, outside / "x", Refused, "larger than", size=4)
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_our_zstd(pid)]


def _is_our_zstd(pid: str) -> bool:
    try:
        status = Path("/proc", pid, "stat").read_text()
    except OSError:
        return False
    return "(zstd)" in status and status.rsplit(")", 1)[1].split()[1] == str(os.getpid())


def test_a_disk_that_only_looks_packed_by_its_middle(world: World, outside: Path) -> None:
    """tar's magic number alone is no tar: the sum of its header has to be right."""
    data = bytearray(pattern("x", MIB))
    data[257:262] = b"ustar"
    (outside / "x").write_bytes(data)
    act("ds_cp", **new(world), source=outside / "x", size=1)
    assert made(world).read_bytes() == data


# ---------------------------------------------------------------- digests


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("packer", ["", "gzip", "tar", "zip", "zstd"])
def test_each_digest_counts_and_is_of_what_came(world: World, outside: Path, name: str, packer: str) -> None:
    data = PACKERS[packer](disk()) if packer else disk()
    (outside / "x").write_bytes(data)
    right = {kind: hashlib.new(kind, data).hexdigest() for kind in ("md5", "sha1", "sha256")}
    wrong = {**right, name: hashlib.new(name, disk() if packer else b"").hexdigest()}
    failed(world, outside / "x", Corrupt, f"The {name} of .* is {right[name]}, not {wrong[name]}", **wrong)
    act("ds_cp", **new(world), source=outside / "x", size=3, **{name: f" {right[name].upper()} "})
    assert made(world).read_bytes() == disk()


# ---------------------------------------------------------------- the reader


def test_looking_ahead_takes_nothing_away() -> None:
    reader = Reader(iter([b"ab", b"cd", b"ef"]), "x")
    assert reader.peek(3) == b"abc"
    assert reader.read(2) == b"ab"
    assert reader.peek(99) == b"cdef"
    reader.back(b"ab")
    assert list(reader) == [b"abcdef"]
    assert reader.peek(1) == b"" and reader.read(5) == b""


def test_a_zip_of_more_than_four_gigabytes_tells_its_sizes_elsewhere() -> None:
    from plugins.module_utils.tools.zipstream import _long_sizes

    extra = struct.pack("<HHQQ", 1, 16, 5 << 30, 6 << 30)
    assert _long_sizes(b"\x55\x54\x01\x00\x03" + extra, 0xFFFFFFFF, 0xFFFFFFFF) == (5 << 30, 6 << 30)
    assert _long_sizes(struct.pack("<HHQ", 1, 8, 6 << 30), 77, 0xFFFFFFFF) == (77, 6 << 30)
    assert _long_sizes(b"\1", 1, 2) == (1, 2)
    with zipfile.ZipFile(io.BytesIO(), "w") as archive, archive.open("x", "w", force_zip64=True) as file:
        file.write(b"x")
