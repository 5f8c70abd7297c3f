# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that were made to do harm: each is refused with one sentence, and nothing is left (docs/untrusted-images.md).

Archives and bombs are in test_packed.py, servers in test_http.py, links out of safe directories in test_images.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, NoSpace, Refused, StorageError, ToolFailed
from plugins.module_utils.tools import image_header, intake
from plugins.module_utils.tools.host import Host
from tests.unit.core.packing import PACKERS
from tests.unit.core.support import MIB, World, act, bytes_of, pattern, tool
from tests.unit.core.test_images import made, new
from tests.unit.core.test_packed import failed

ROOT = Path(__file__).resolve().parents[3]
SECRET = "/etc/passwd"


def qcow2(folder: Path, *more: str, size: str = "1M", name: str = "x") -> Path:
    tool("qemu-img", "create", "-q", "-f", "qcow2", *more, folder / name, size, cwd=folder)
    return folder / name


def backed(folder: Path) -> None:
    qcow2(folder, "-F", "raw", "-b", SECRET)


def looped(folder: Path) -> None:
    """A chain of two that name each other."""
    qcow2(folder, name="y")
    qcow2(folder, "-F", "qcow2", "-b", str(folder / "y"))
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", folder / "x", folder / "y")


def with_data_file(folder: Path) -> None:
    qcow2(folder, "-o", "data_file=data,data_file_raw=on")


def with_fake_size(folder: Path) -> None:
    patched(qcow2(folder), 24, struct.pack(">Q", (1 << 64) - 512))


def with_large_size(folder: Path) -> None:
    patched(qcow2(folder), 24, struct.pack(">Q", 1 << 50))


def cut_off(folder: Path) -> None:
    full(folder)
    os.truncate(folder / "x", 300_000)


def header_only(folder: Path) -> None:
    full(folder)
    os.truncate(folder / "x", 60)


def damaged(folder: Path) -> None:
    """Two clusters of the guest lie at one place in the file."""
    full(folder)
    table = struct.unpack(">Q", (folder / "x").read_bytes()[40:48])[0]
    second = struct.unpack(">Q", (folder / "x").read_bytes()[table : table + 8])[0] & ((1 << 56) - 512)
    entry = (folder / "x").read_bytes()[second : second + 8]
    patched(folder / "x", second + 8, entry)


def full(folder: Path) -> None:
    (folder / "raw").write_bytes(pattern("x", MIB))
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", folder / "raw", folder / "x")


def patched(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


def vmdk_descriptor(folder: Path) -> None:
    (folder / "x").write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2048 FLAT "{SECRET}" 0\n'
    )


def vmdk(folder: Path, *more: str) -> Path:
    tool("qemu-img", "create", "-q", "-f", "vmdk", *more, folder / "x", "1M")
    return folder / "x"


def vmdk_with_extents(folder: Path) -> None:
    """A sparse VMDK whose size is 0 is opened by its description alone, with the extents in that."""
    text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW 2048 FLAT "{SECRET}" 0\n'.encode()
    path = vmdk(folder)
    patched(path, 12, bytes(8))
    patched(path, 512, text.ljust(2000, b"\0"))


def vmdk_described_far_away(folder: Path) -> None:
    path = vmdk(folder)
    patched(path, 28, struct.pack("<QQ", 4096, 20))


def vmdk_with_extents_in_its_description(folder: Path) -> None:
    patched(vmdk(folder), 512, f'# Disk DescriptorFile\r\n \tRW 2048 FLAT "{SECRET}" 0\r\n\0'.encode())


def vmdk_with_parent(folder: Path) -> None:
    patched(vmdk(folder), 512, f'# Disk DescriptorFile\nparentCID=1\nparentFileNameHint="{SECRET}"\n\0'.encode())


def of_format(image_format: str) -> Callable[[Path], None]:
    return lambda folder: (tool("qemu-img", "create", "-q", "-f", image_format, folder / "x", "1M"), None)[1]


IMAGES: dict[str, tuple[Callable[[Path], None], type[StorageError], str]] = {
    "backing file": (backed, Refused, "x has a backing file"),
    "chain in a loop": (looped, Refused, "x has a backing file"),
    "data file": (with_data_file, Refused, "x keeps its data in another file"),
    "16 EiB": (with_fake_size, Refused, "x has a virtual size of 17592186044416 MB, more than the 64 MB"),
    "1 PiB": (with_large_size, Refused, "x has a virtual size of 1073741824 MB, more than the 64 MB"),
    "cut off": (cut_off, Corrupt, "x is a damaged qcow2 image"),
    "header cut off": (header_only, Corrupt, "x is a qcow2 image whose header is cut off"),
    "damaged": (damaged, Corrupt, "x is a damaged qcow2 image"),
    "VMDK description": (vmdk_descriptor, Refused, "x is a VMDK descriptor whose data lies in other files"),
    "VMDK with extents": (vmdk_with_extents, Refused, "x is a VMDK without a size, whose data lies in other files"),
    "VMDK described far away": (vmdk_described_far_away, Refused, "description does not stand at its beginning"),
    "VMDK, hidden extents": (vmdk_with_extents_in_its_description, Refused, "x keeps its data in another file"),
    "VMDK with a parent": (vmdk_with_parent, Refused, "x has a parent image"),
    "QED": (of_format("qed"), Refused, "x has the format qed, which is not accepted"),
    "Parallels": (of_format("parallels"), Refused, "x has the format parallels, which is not accepted"),
}


@pytest.mark.parametrize("packer", ["", "gzip", "ova", "zip"])
@pytest.mark.parametrize("what", IMAGES)
def test_hostile_images(world: World, outside: Path, what: str, packer: str) -> None:
    """Plain or packed, to be converted or not."""
    make, kind, said = IMAGES[what]
    make(outside)
    if packer:
        (outside / "x").write_bytes(PACKERS[packer]((outside / "x").read_bytes()))
    for wanted in ("", "raw"):
        failed(world, outside / "x", kind, said, size=64, convert_to=wanted)
    assert b"root:" not in b"".join(path.read_bytes() for path in world.images.rglob("*") if path.is_file())


@pytest.mark.parametrize("what", [name for name in IMAGES if name not in ("cut off", "damaged", "1 PiB", "16 EiB")])
def test_a_size_is_not_told_of_them_either(outside: Path, what: str) -> None:
    make, kind, said = IMAGES[what]
    make(outside)
    with pytest.raises(kind, match=said):
        act("ds_stat", driver="fs", source=outside / "x")


def test_sizes_are_held_against_what_was_counted(world: World, outside: Path) -> None:
    tool("qemu-img", "create", "-q", "-f", "qcow2", outside / "x", "1T")
    failed(world, outside / "x", Refused, "has a virtual size of 1048576 MB, more than the 64 MB", size=64)


def test_a_size_that_no_disk_has(world: World, outside: Path) -> None:
    """Also where the datastore limits nothing; and oned's quota never hears of it."""
    with_fake_size(outside)
    failed(world, outside / "x", Refused, "x claims a size of 17592186044416 MB, which no disk has", size=0)
    with pytest.raises(StorageError, match="Cannot determine the size"):
        act("ds_stat", driver="fs", source=outside / "x")


def test_clusters_that_nobody_uses_do_no_harm(world: World, outside: Path) -> None:
    """qemu-img calls them leaks; an interrupted snapshot leaves some."""
    full(outside)
    with (outside / "x").open("r+b") as file:
        head = file.read(104)
        table = struct.unpack(">Q", head[48:56])[0]
        file.seek(table)
        block = struct.unpack(">Q", file.read(8))[0]
        count = (outside / "x").stat().st_size // 65536
        file.seek(block + 2 * count)
        file.write(b"\0\1")
        file.truncate((count + 1) * 65536)
    act("ds_cp", **new(world), source=outside / "x", size=1)
    assert bytes_of(made(world), "qcow2") == pattern("x", MIB)


def test_a_refused_header_is_not_fetched_to_its_end(
    world: World, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen in the first bytes is said then."""
    written = []
    monkeypatch.setattr(intake.File, "write", lambda _self, data: written.append(len(data)))
    backed(outside)
    (outside / "x").write_bytes(PACKERS["gzip"]((outside / "x").read_bytes() + bytes(20 * MIB)))
    failed(world, outside / "x", Refused, "has a backing file", size=64)
    assert not written


# ---------------------------------------------------------------- sources that are not what they were


def changing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes to the source while it is read."""
    from plugins.module_utils.tools.sources import base

    real = base.Source.chunks

    def chunks(self: base.Source) -> Iterator[bytes]:
        for data in real(self):
            with source.open("ab") as file:
                file.write(b"more")
            yield data

    monkeypatch.setattr(base.Source, "chunks", chunks)


@pytest.mark.parametrize("packer", ["gzip", "tar", "zip, stored"])
def test_a_source_that_changes_while_it_is_read(
    world: World, outside: Path, packer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outside / "x").write_bytes(PACKERS[packer](pattern("x", 3 * MIB)))
    changing(outside / "x", monkeypatch)
    failed(world, outside / "x", Corrupt, "x changed while it was read")


@pytest.mark.parametrize("rate", ["", "1G"])
def test_a_plain_source_that_changes_while_it_is_read(
    world: World, outside: Path, rate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.module_utils.tools import copying, host

    (outside / "x").write_bytes(pattern("x", 3 * MIB))
    real = copying.copy_data

    def copy(*given: object) -> dict[str, str]:
        taken = real(*given)  # type: ignore[arg-type]
        with (outside / "x").open("ab") as file:
            file.write(b"more")
        return taken

    monkeypatch.setattr(host, "copy_data", copy)
    changing(outside / "x", monkeypatch)
    failed(world, outside / "x", StorageError, "changed while it was read", limit_rate=rate)


# ---------------------------------------------------------------- a disk that is full


@pytest.mark.parametrize("packer", ["gzip", "zstd", "zip"])
def test_no_room(world: World, outside: Path, packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing limits an image, the file system does; what was written goes."""
    import errno

    real = intake.File._at

    def at(self: intake.File, data: bytes | memoryview, place: int) -> None:
        if place > MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, data, place)

    monkeypatch.setattr(intake.File, "_at", at)
    (outside / "x").write_bytes(PACKERS[packer](pattern("x", 3 * MIB)))
    failed(world, outside / "x", NoSpace, "No space left.*free some space", size=0)


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("gib", "seconds"), [(0, 120), (1, 130), (300, 3120), (1 << 20, 86400)])
def test_the_time_for_qemu_img_follows_the_size(
    world: World, outside: Path, gib: int, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check or a conversion of a large image takes its time; one of a small image, or of a header, may not."""
    given: list[tuple[str, list[str]]] = []
    real = Host.run

    def run(self: Host, argv: list[str], deadline: float, limits: list[str]) -> dict[str, object]:
        given.append((argv[1], list(limits)))
        # the conversion of a PiB would take a while
        done = {"rc": 0, "out": "", "err": ""} if argv[1] == "convert" else real(self, argv, deadline, limits)
        if argv[1] == "convert":
            Path(argv[-1]).write_bytes(b"x")
        return done

    monkeypatch.setattr(Host, "run", run)
    image = qcow2(outside, "-o", "cluster_size=2M", size=f"{gib or 0.5}G")
    act("ds_cp", **new(world), source=image, convert_to="raw")
    fixed = ["--as=2147483648", "--core=0"]
    assert [(word, [limit for limit in limits if limit not in fixed]) for word, limits in given] == [
        ("info", ["--cpu=120"]),
        ("check", [f"--cpu={seconds}"]),
        ("convert", [f"--cpu={seconds}"]),
    ]
    assert all(set(fixed) < set(limits) for _word, limits in given)


def test_a_check_that_is_killed_tells_nothing_of_the_image(
    world: World, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Host.run

    def run(self: Host, argv: list[str], deadline: float, limits: list[str]) -> dict[str, object]:
        words = ["sh", "-c", "kill -XCPU $$"] if argv[1] == "check" else argv
        return real(self, words, deadline, limits)

    monkeypatch.setattr(Host, "run", run)
    failed(world, qcow2(outside), ToolFailed, "x cannot be checked: qemu-img was killed by signal 24", size=1)


# ---------------------------------------------------------------- secrets


def test_passwords_and_keys_stay_out_of_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.module_utils.steps import journal
    from plugins.module_utils.tools import sources
    from plugins.module_utils.tools.sources import Options, Source

    planned: list[str] = []
    asked: list[tuple[str, dict[str, str]]] = []
    real = journal.Journal.plan

    def plan(self: journal.Journal, steps: list[object]) -> None:
        real(self, steps)  # type: ignore[arg-type]
        planned.append(Path(self.path).read_text())

    def refuse(url: str, options: Options) -> Source:
        asked.append((url, options.secrets))
        raise BadCall("no")

    monkeypatch.setattr(journal.Journal, "plan", plan)
    monkeypatch.setattr(sources, "open_source", refuse)
    url = "https://me:hunter2@h.example/x?X-Amz-Signature=hunter3"
    with pytest.raises(BadCall):
        act("ds_cp", **new(world), source=url, s3_access_key_id="hunter4", s3_secret_access_key="hunter5")
    assert planned and "h.example/x" in planned[0] and "hunter" not in planned[0]
    assert asked == [(url, {"ACCESS_KEY_ID": "hunter4", "SECRET_ACCESS_KEY": "hunter5"})]


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx"])
@pytest.mark.parametrize("size", [1, 1000, 5 * 1024])
def test_the_size_in_a_header(tmp_path: Path, image_format: str, size: int) -> None:
    tool("qemu-img", "create", "-q", "-f", image_format, tmp_path / "x", f"{size}M")
    with (tmp_path / "x").open("rb") as file:
        head = file.read(image_header.size_bytes(image_format))
    assert image_header.virtual_size(head) == size * MIB
    assert image_header.virtual_size(head[:19]) is None


def test_rubbish_has_no_size() -> None:
    rubbish = hashlib.shake_128(b"x").digest(9 * MIB)
    assert image_header.virtual_size(b"vhdxfile" + rubbish) is None
    assert image_header.virtual_size(b"vhdxfile" + rubbish[: 196608 - 8] + b"regi" + rubbish) is None


def test_the_table_names_its_tests() -> None:
    """Each row of the table names a test that is there."""
    text = (ROOT / "docs" / "untrusted-images.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 25
    for file, name in named:
        found = [path for path in (ROOT / "tests").rglob(file) if f"def {name}(" in path.read_text()]
        assert found, f"{file}::{name}"
