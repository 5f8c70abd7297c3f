# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as rbd exports them, without a cluster: what is read is what was written, and what is none of them is told."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Corrupt, StorageError
from plugins.module_utils.tools import exports, exports_write, manifest
from tests.unit.core.stored import Rsync, shown
from tests.unit.core.support import MIB, pattern

V1, V2, ONE = b"rbd diff v1\n", b"rbd diff v2\n", struct.pack("<Q", 1)
SIZE = 2 * MIB


def pieces(data: bytes, step: int = 1000) -> Iterator[bytes]:
    """Data as it may come."""
    return (data[place : place + step] for place in range(0, len(data), step))


def raw(number: int) -> bytes:
    """What a disk is: each time one piece more, and one less."""
    data = bytearray(SIZE)
    for place in range(number + 1):
        data[place * 70000 : place * 70000 + 50000] = pattern(f"{place}", 50000)
    data[:100] = bytes(100)
    return bytes(data[: number * 200] + bytes(number * 200) + data[number * 400 :])


def name(snapshot: bytes) -> bytes:
    return struct.pack("<I", len(snapshot)) + snapshot


def whole(folder: Path, number: int = 0) -> bytes:
    """A whole image with the snapshot of an increment."""
    return written(folder, lambda source, path: exports_write.full(source, path, exports.wanted_of(number)), number)


def changed(folder: Path, number: int) -> bytes:
    """The difference between two."""
    parts = [("copy", 0, 300000), ("zero", 300000, 40000), ("copy", 340000, SIZE - 340000)]
    before, now = exports.wanted_of(number - 1), exports.wanted_of(number)
    return written(folder, lambda source, path: exports_write.changes(source, path, before, now, parts), number)


def written(folder: Path, how: Any, number: int) -> bytes:
    source, path = folder / "source.raw", folder / "written"
    content = bytearray(raw(number))
    if number:
        content[300000:340000] = bytes(40000)
    source.write_bytes(content)
    how(str(source), str(path))
    data = path.read_bytes()
    path.unlink()
    return data


def content(number: int) -> bytes:
    """What increment *number* shows."""
    data = bytearray(raw(number))
    if number:
        data[300000:340000] = bytes(40000)
    return bytes(data)


@pytest.mark.parametrize("step", [97, 1 << 20])
def test_what_is_written_is_read_however_it_comes(folder: Path, step: int) -> None:
    laid = exports.Laid(str(folder / "laid"))
    files = [whole(folder)] + [changed(folder, number) for number in range(1, 3 if step == 97 else 12)]
    for number, data in enumerate(files):
        laid.add(pieces(data, step), exports.wanted_of(number))
        assert laid.snapshot == f"one_backup_{number}"
        assert (folder / "laid").read_bytes() == content(number)
    laid.close()


def test_a_whole_image_begins_anew_and_only_as_far_as_its_snapshot(folder: Path) -> None:
    later = pattern("later", 4096)
    moving = whole(folder)[:-1] + b"w" + struct.pack("<QQQ", 16 + len(later), 5000, len(later)) + later + b"e"
    for wanted, shows in ((exports.wanted_of(0), content(0)), ("", None), ("other", None)):
        laid = exports.Laid(str(folder / f"laid{wanted}"))
        laid.add(pieces(whole(folder, 3)), "")
        laid.add(pieces(moving), wanted)
        laid.close()
        found = (folder / f"laid{wanted}").read_bytes()
        assert found == shows if shows else found[5000 : 5000 + 4096] == later


def test_both_ways_to_write_a_protection(folder: Path) -> None:
    """rbd announces eight bytes and writes one; one that would write what it announces is read as well."""
    data = whole(folder)
    mark = b"p" + struct.pack("<Q", 8) + b"\1"
    assert mark in data
    assert exports.size_of(pieces(data)) == exports.size_of(pieces(data.replace(mark, mark + bytes(7)))) == SIZE


def diff(more: bytes, frm: bytes = b"one_backup_0") -> bytes:
    return V1 + b"f" + name(frm) + b"t" + name(b"x") + b"s" + struct.pack("<Q", SIZE) + more + b"e"


WRONG = [
    (b"", "it ends early"),
    (b"QFI\xfb" * 100, "it is not what rbd exports"),
    (b"rbd image v2\n" + b"x" * 100, "it is not what rbd exports|it ends early"),
    (V2 + b"t" + struct.pack("<Q", 1 << 40), "ends early|not what rbd"),
    (V1 + b"f" + struct.pack("<I", 1 << 30), "it is not what rbd exports"),
    (diff(b"")[:-1], "it ends early"),
    (diff(b"") + b"x", "something follows its end"),
    (diff(b"w" + struct.pack("<QQ", 0, 100) + b"x" * 50), "it ends early"),
    (diff(b"w" + struct.pack("<QQ", SIZE - 10, 20) + b"x" * 20), "it has data behind its end"),
    (diff(b"w" + struct.pack("<QQ", (1 << 64) - 1, 1) + b"x"), "it has data behind its end"),
    (diff(b"z" + struct.pack("<QQ", SIZE + 1, 20)), "it has data behind its end"),
    (diff(b"q"), "it is not what rbd exports"),
    (V1 + b"s" + struct.pack("<Q", 1 << 60) + b"e", "is that of no volume"),
    (
        diff(b"", b"one_backup_7"),
        "it goes on from the snapshot one_backup_7, and the file before ends with one_backup_0",
    ),
    (V1 + b"e", r"it goes on from the snapshot \(none\), and the file before ends with one_backup_0"),
]


@pytest.mark.parametrize(("data", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_none_of_them(folder: Path, data: bytes, said: str) -> None:
    laid = exports.Laid(str(folder / "laid"))
    laid.add(pieces(whole(folder)), exports.wanted_of(0))
    with pytest.raises(exports.Malformed, match=said):
        laid.add(pieces(data))
    laid.close()


# ---------------------------------------------------------------- in a repository


def kept(folder: Path, files: list[dict[str, bytes]], described: bool = True) -> Rsync:
    """A repository with these files in its increments."""
    made = Rsync(folder)
    made.write(0)
    for number, found in enumerate(files):
        made.backup(described=False)
        place = made.base / "5" / made.chain[number][1]
        (place / f"disk.0.{number}").unlink()
        for one, data in found.items():
            (place / one).write_bytes(data)
        if described:
            told = manifest.build(str(place), "run", 5, disks={}, increment=number)
            assert all(told["files"][one]["virtual_size"] == SIZE for one in found)
            manifest.write(str(place), told)
    return made


def read(made: Rsync, last: str) -> bytes:
    chain = ",".join(f"{number}:{reference}" for number, reference in made.chain)
    return shown(made.read(f"rsync+rbd://100//{chain}/{made.base}/5/{made.chain[-1][1]}/{last}"), made.root)


def test_a_chain_in_a_repository(folder: Path) -> None:
    files = [{"disk.0.rbd2": whole(folder)}] + [{f"disk.0.{n}.rbdiff": changed(folder, n)} for n in range(1, 12)]
    assert read(kept(folder, files), "disk.0.11.rbdiff") == content(11)


FAULTS: dict[str, tuple[Callable[[bytes], bytes], bool, str]] = {
    "altered": (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], True, "SHA-256|is not what was backed up"),
    "cut off": (lambda data: data[:-9], False, "abc001 cannot be put together with the others: it ends early"),
    "another": (lambda data: b"x" * 100, False, "abc001 cannot be put together with the others: it is not what rbd"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_damaged(folder: Path, fault: str) -> None:
    how, described, said = FAULTS[fault]
    made = kept(folder, [{"disk.0.rbd2": whole(folder)}, {"disk.0.1.rbdiff": changed(folder, 1)}], described)
    path = made.base / "5" / made.chain[1][1] / "disk.0.1.rbdiff"
    path.write_bytes(how(path.read_bytes()))
    with pytest.raises(Corrupt, match=said):
        read(made, "disk.0.1.rbdiff")
    assert list(made.scratch.iterdir()) == []


def test_two_forms_do_not_stand_on_each_other(folder: Path) -> None:
    made = kept(folder, [{"disk.0.rbd2": whole(folder)}, {"disk.0.1": b"QFI\xfb" + bytes(200)}], False)
    with pytest.raises(StorageError, match="has files of two forms"):
        read(made, "disk.0.1")
