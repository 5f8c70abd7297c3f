# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies within a host: contents, holes, digests, limits, memory, and files that change meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.tools import copying, host
from plugins.module_utils.tools.files import extents
from plugins.module_utils.tools.host import Host
from tests.unit.core.support import MIB, pattern

REPOSITORY = Path(__file__).resolve().parents[3]

#: (offset, bytes) of the data in a file, and its size.
SHAPES: dict[str, tuple[list[tuple[int, bytes]], int]] = {
    "empty": ([], 0),
    "one byte": ([(0, b"x")], 1),
    "all hole": ([], 8 * MIB),
    "all data": ([(0, pattern("x", 3 * MIB + 17))], 3 * MIB + 17),
    "data, hole": ([(0, pattern("x", 4096))], 8 * MIB),
    "hole, data": ([(8 * MIB, pattern("x", 4097))], 8 * MIB + 4097),
    "hole in the middle": ([(0, b"begin"), (5 * MIB, b"end")], 5 * MIB + 3),
    "many": ([(number * MIB, pattern(str(number), 5000)) for number in range(9)], 10 * MIB + 1),
    "odd size": ([(12345, b"data")], 6 * MIB + 12345),
}


def shaped(path: Path, name: str) -> Path:
    """A file of one of the shapes."""
    parts, size = SHAPES[name]
    with path.open("wb") as file:
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    return path


def most_allocated(name: str) -> int:
    """How much a file of that shape may occupy."""
    return sum(len(data) + 2 * 65536 for _offset, data in SHAPES[name][0])


def without_reflink(_reader: int, _writer: int) -> bool:
    return False


def no_copy_file_range(*_arguments: object) -> int:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("way", ["best", "in kernel", "by hand", "hashing"])
def test_contents_and_holes(tmp_path: Path, name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way != "best":
        monkeypatch.setattr(copying, "_reflink", without_reflink)
    if way == "by hand":
        monkeypatch.setattr(os, "copy_file_range", no_copy_file_range)
    source, part = shaped(tmp_path / "source", name), tmp_path / "part"
    names = ["md5", "sha1", "sha256"] if way == "hashing" else []
    result = Host("here").copy(str(source), str(part), str(tmp_path), 0, names)
    data = source.read_bytes()
    assert part.read_bytes() == data
    assert result == {"size": len(data), "digests": {one: hashlib.new(one, data).hexdigest() for one in names}}
    assert part.stat().st_blocks * 512 <= most_allocated(name)


def test_from_one_file_system_to_another(tmp_path: Path, folder: Path) -> None:
    if tmp_path.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is one file system only")
    source = shaped(tmp_path / "source", "many")
    Host("here").copy(str(source), str(folder / "part"), str(folder))
    assert (folder / "part").read_bytes() == source.read_bytes()
    Host("here").copy(str(folder / "part"), str(tmp_path / "back"), str(tmp_path))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (tmp_path / "back").stat().st_blocks * 512 <= most_allocated("many")


def test_a_file_system_that_cannot_tell_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shaped(tmp_path / "source", "hole in the middle")
    real = os.lseek

    def cannot(handle: int, position: int, how: int) -> int:
        if how in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(handle, position, how)

    monkeypatch.setattr(os, "lseek", cannot)
    monkeypatch.setattr(copying, "_reflink", without_reflink)
    with source.open("rb") as file:
        assert extents(file.fileno(), 100) == [(0, 100)]
    for names in ([], ["md5"]):
        Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path), 0, names)
        assert (tmp_path / "part").read_bytes() == source.read_bytes()


def test_a_copy_over_a_longer_file_leaves_nothing_of_it(tmp_path: Path) -> None:
    source = shaped(tmp_path / "source", "data, hole")
    (tmp_path / "part").write_bytes(b"y" * 20 * MIB)
    Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path))
    assert (tmp_path / "part").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("limit", "fine"), [(0, True), (1000, True), (1001, True), (999, False), (1, False)])
def test_a_limit(tmp_path: Path, limit: int, fine: bool) -> None:
    (tmp_path / "source").write_bytes(b"x" * 1000)

    def copy() -> dict[str, Any]:
        return Host("here").copy(str(tmp_path / "source"), str(tmp_path / "part"), str(tmp_path), limit)

    if fine:
        assert copy()["size"] == 1000
    else:
        with pytest.raises(OSError, match="larger than allowed") as caught:
            copy()
        assert caught.value.errno == errno.EFBIG
        assert not (tmp_path / "part").exists()


CHANGES: dict[str, Callable[[Path], object]] = {
    "grown": lambda path: os.truncate(path, path.stat().st_size + 1),
    "shrunk": lambda path: os.truncate(path, path.stat().st_size - 5),
    "written": lambda path: os.utime(path, ns=(0, 1)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("names", [[], ["md5"]])
def test_a_file_that_changes_while_it_is_copied(
    tmp_path: Path, change: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shaped(tmp_path / "source", "all data")
    real = copying.copy_data

    def meanwhile(
        reader: int, writer: int, size: int, digests: Sequence[str], passed: Callable[[int], None]
    ) -> dict[str, str]:
        taken = real(reader, writer, size, digests, passed)
        CHANGES[change](source)
        return taken

    monkeypatch.setattr(host, "copy_data", meanwhile)
    with pytest.raises(OSError, match="the file changed while it was read"):
        Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path), 0, names)


@pytest.mark.parametrize("way", ["in kernel", "by hand", "hashing"])
def test_a_file_that_becomes_shorter_before_it_is_read(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes were looked at, then the end is gone: an error, and no endless loop."""
    source = shaped(tmp_path / "source", "all data")
    monkeypatch.setattr(copying, "_reflink", without_reflink)
    if way == "by hand":
        monkeypatch.setattr(os, "copy_file_range", no_copy_file_range)
    real = extents

    def meanwhile(handle: int, size: int) -> list[tuple[int, int]]:
        found = real(handle, size)
        os.truncate(source, 1000)
        return found

    monkeypatch.setattr(copying, "extents", meanwhile)
    with pytest.raises(OSError, match="shorter while it was read"):
        Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path), 0, ["md5"] if way == "hashing" else [])


@pytest.mark.parametrize("what", ["directory", "fifo", "socket", "nothing", "device"])
def test_what_is_no_file(tmp_path: Path, what: str) -> None:
    source = tmp_path / "source"
    if what == "directory":
        source.mkdir()
    elif what == "fifo":
        os.mkfifo(source)
    elif what == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(source))
        server.close()
    elif what == "device":
        source = Path("/dev/zero")
    with pytest.raises(OSError):
        Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path))
    assert not (tmp_path / "part").exists()


def test_a_tree(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "empty").mkdir(parents=True)
    shaped(source / "deep" / "file", "hole in the middle")
    (source / "link").symlink_to("deep/file")
    (source / "dangling").symlink_to("/nothing/at all")
    (source / "up").symlink_to("..")
    (source / "name with\nnewline").write_text("x")
    Host("here").copy_tree(str(source), str(tmp_path / "part"), str(tmp_path))
    part = tmp_path / "part"
    found = sorted(str(path.relative_to(part)) for path in part.rglob("*"))
    assert found == sorted(str(path.relative_to(source)) for path in source.rglob("*"))
    assert (part / "deep" / "file").read_bytes() == (source / "deep" / "file").read_bytes()
    assert [os.readlink(part / name) for name in ("link", "dangling", "up")] == ["deep/file", "/nothing/at all", ".."]


def test_sockets_in_a_tree_stay_behind(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "agent.sock"))
        (source / "disk.0").write_text("x")
        Host("here").copy_tree(str(source), str(tmp_path / "part"), str(tmp_path))
    assert os.listdir(tmp_path / "part") == ["disk.0"]


# ---------------------------------------------------------------- memory

_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from module_utils import _run
folder = sys.argv[2]
given = {"driver": sys.argv[3], "datastore": folder + "/100", "source": folder + "/1/image",
         "destination": folder + "/100/5/disk.0", "format": "raw"}
_run.run("tm_clone", given, _run.Mode()).close()
# not ru_maxrss: that begins with the size of the process that started this one
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.parametrize("driver", ["qcow2", "ssh"])
def test_an_image_is_never_held_in_memory(tmp_path: Path, driver: str) -> None:
    """10 GiB with 200 MiB of data: less than 64 MB, holes kept."""
    for name in ("1", "100"):
        (tmp_path / name).mkdir()
    image = tmp_path / "1" / "image"
    chunk = pattern("x", MIB)
    with image.open("wb") as file:
        for number in range(200):
            file.seek(number * 50 * MIB)
            file.write(chunk)
        file.truncate(10 << 30)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _SCRIPT, str(REPOSITORY / "plugins"), str(tmp_path), driver],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024
    disk = tmp_path / "100" / "5" / "disk.0"
    assert disk.stat().st_size == 10 << 30
    assert disk.stat().st_blocks * 512 < 230 * MIB
    with disk.open("rb") as file:
        for number in (0, 7, 199):
            file.seek(number * 50 * MIB)
            assert file.read(MIB) == chunk
    image.unlink()
    disk.unlink()


@pytest.mark.parametrize("digests", [[], ["md5"]], ids=["in the kernel", "hashed"])
def test_how_far_it_is_is_told(tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_SLICE", MIB)
    monkeypatch.setattr(copying, "_reflink", without_reflink)
    source = tmp_path / "source"
    with open(source, "wb") as file:
        file.write(pattern("begin", 2 * MIB))
        file.seek(6 * MIB)
        file.write(pattern("end", 3 * MIB))
    told: list[int] = []
    Host("here").copy(str(source), str(tmp_path / "part"), str(tmp_path), 0, digests, told.append)
    assert told == sorted(told) and len(told) >= 5
    assert told[-1] >= 8 * MIB and all(place <= 9 * MIB for place in told)
    assert (tmp_path / "part").read_bytes() == source.read_bytes()
