# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of images through real wrappers, with the documents that oned really sent."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.door.front_end import FrontEnd, refused
from tests.unit.door.support import CAPTURES

NAME = "image"
MIB = 1 << 20
SHAPES = ("fs-qcow2", "fs-shared", "fs-ssh", "fs-local")


def document(front_end: FrontEnd, action: str, shape: str, **changes: str) -> bytes:
    """What oned sent, for the image here."""
    text = (CAPTURES / f"ds.{action}.{shape}.success.xml").read_text()
    base = f"{front_end.root}//datastores/100"
    text = re.sub(r"(<BASE_PATH><!\[CDATA\[)[^\]]*", lambda found: found[1] + base, text)
    text = re.sub(r"(<SOURCE><!\[CDATA\[)[^\]]*", lambda found: f"{found[1]}{base}/{NAME}", text)
    for element, value in changes.items():
        text = re.sub(rf"<{element}>[^<]*</{element}>", value and f"<{element}>{value}</{element}>", text)
    return text.encode()


def qemu(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)


def write(path: Path, image_format: str, number: int) -> None:
    """Each snapshot has a byte of its own in each of the first places, and zeros behind."""
    qemu("qemu-io", "-f", image_format, "-c", f"write -q -P {0x40 + number} {number * 64}k 64k", path)


def prepare(front_end: FrontEnd, shape: str) -> tuple[Path, str, dict[int, bytes]]:
    """The image as that driver leaves it, with snapshots 0 and 1 beside each other; its format and what is in each.

    ``-1`` is what the image holds now.
    """
    store = front_end.store(100)
    source, snap = store / NAME, store / f"{NAME}.snap"
    snap.mkdir()
    golden = {0: filled(0), 1: filled(0, 1), -1: filled(0, 2)}
    if shape in ("fs-shared", "fs-ssh"):
        source.write_bytes(bytes(MIB))
        write(source, "raw", 0)
        shutil.copy(source, snap / "0")
        shutil.copy(source, snap / "1")
        write(snap / "1", "raw", 1)
        write(source, "raw", 2)
        return source, "raw", golden
    (snap / f"{NAME}.snap").symlink_to(".")
    local = shape == "fs-local"
    bottom = snap / "0" if local else source
    qemu("qemu-img", "create", "-q", "-f", "qcow2", bottom, str(MIB))
    if not local:
        (snap / "0").symlink_to(source)
    write(bottom, "qcow2", 0)
    for number in (1, 2):
        name = "0" if local else str(snap / "0")
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", name, snap / str(number))
        write(snap / str(number), "qcow2", number)
    if local:
        source.symlink_to(f"{NAME}.snap/2")
    return source, "qcow2", golden


def filled(*numbers: int) -> bytes:
    data = bytearray(MIB)
    for number in numbers:
        data[number << 16 : (number + 1) << 16] = bytes([0x40 + number]) * 65536
    return bytes(data)


def view(path: Path, image_format: str) -> bytes:
    target = path.parent / "view"
    qemu("qemu-img", "convert", "-f", image_format, "-O", "raw", path.resolve(), target)
    data = target.read_bytes()
    target.unlink()
    return data


@pytest.mark.parametrize("shape", SHAPES)
def test_a_deleted_snapshot(front_end: FrontEnd, shape: str) -> None:
    source, image_format, golden = prepare(front_end, shape)
    for _again in range(2):
        said = front_end.run("datastore/fs/snap_delete", "1", stdin=document(front_end, "snap_delete", shape))
        assert (said.code, said.out, said.err) == (0, "", "")
    assert not Path(f"{source}.snap/1").exists()
    assert view(Path(f"{source}.snap/0"), image_format) == golden[0]
    assert view(source if image_format == "raw" else Path(f"{source}.snap/2"), image_format) == golden[-1]
    assert front_end.hidden() == []


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reverted_image(front_end: FrontEnd, shape: str) -> None:
    source, image_format, golden = prepare(front_end, shape)
    stdin = document(front_end, "snap_revert", shape, TARGET_SNAPSHOT="1")
    said = front_end.run("datastore/fs/snap_revert", "1", stdin=stdin)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert view(source if image_format == "raw" else Path(f"{source}.snap/2"), image_format) == golden[1]
    assert [view(Path(f"{source}.snap/{number}"), image_format) for number in (0, 1)] == [golden[0], golden[1]]
    assert front_end.hidden() == []


@pytest.mark.parametrize("shape", SHAPES)
def test_a_flattened_image(front_end: FrontEnd, shape: str) -> None:
    source, image_format, golden = prepare(front_end, shape)
    stdin = document(front_end, "snap_flatten", shape, TARGET_SNAPSHOT="1")
    said = front_end.run("datastore/fs/snap_flatten", "1", stdin=stdin)
    assert (said.code, said.out, said.err) == (0, "", "")
    assert sorted(path.name for path in source.parent.iterdir()) == [".one_storage", NAME]
    assert not source.is_symlink()
    assert view(source, image_format) == golden[1]


@pytest.mark.parametrize(
    ("action", "changes", "wanted"),
    [
        ("snap_revert", {"TARGET_SNAPSHOT": "-1"}, "The document on stdin names no snapshot in TARGET_SNAPSHOT"),
        ("snap_delete", {"TARGET_SNAPSHOT": ""}, "The document on stdin names no snapshot in TARGET_SNAPSHOT"),
        ("snap_flatten", {"TARGET_SNAPSHOT": "7"}, r"Snapshot 7 of \S+ is not there on \S+"),
        ("snap_revert", {"TARGET_SNAPSHOT": "2"}, r"Snapshot 2 of \S+ would be \S+, which the image is written to .*"),
        ("snap_delete", {"TARGET_SNAPSHOT": "0"}, r"Snapshot 0 of \S+ is needed by layer 1, 2 on \S+ \(.*\)"),
    ],
)  # fmt: skip
def test_what_is_refused(front_end: FrontEnd, action: str, changes: dict[str, str], wanted: str) -> None:
    prepare(front_end, "fs-qcow2")
    before = front_end.state()
    stdin = document(front_end, action, "fs-qcow2", **changes)
    refused(front_end, front_end.run(f"datastore/fs/{action}", "1", stdin=stdin), wanted, before)


def test_what_would_be_done(front_end: FrontEnd) -> None:
    prepare(front_end, "fs-qcow2")
    before = front_end.state()
    stdin = document(front_end, "snap_flatten", "fs-qcow2")
    said = front_end.run("datastore/fs/snap_flatten", "1", stdin=stdin, env={"ONE_STORAGE_EXPLAIN": "1"})
    assert said.code == 0 and "in place of the old one" in said.out and "remove the snapshots" in said.out
    assert front_end.state() == before
