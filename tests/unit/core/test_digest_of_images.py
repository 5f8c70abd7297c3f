# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of what an image holds: the same for the same contents in any format, another one for any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Missing, Refused, StorageError
from tests.unit.core.support import CHAINED, MIB, PLAIN, World, act, bytes_of, pattern, tool

SIZE = 5 * MIB


def digest(path: Path, image_format: str) -> dict[str, Any]:
    result = act("ds_digest", driver="fs", datastore=str(path.parent), source=str(path), format=image_format)
    return {key: result[key] for key in ("digest", "size")}


@pytest.fixture
def origin(world: World) -> Path:
    """A raw image with data at its beginning, across a block's end, and at its very end."""
    path = world.raw(content=pattern("a", 70000), size=SIZE)
    with open(path, "r+b") as file:
        file.seek(2 * MIB - 1000)
        file.write(pattern("b", 3000))
        file.seek(SIZE - 10)
        file.write(b"0123456789")
    return path


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("raw", ["-S", "0"]),
        ("qcow2", []),
        ("qcow2", ["-o", "cluster_size=512"]),
        ("qcow2", ["-c"]),
        ("vmdk", []),
        ("vhdx", []),
        ("vdi", []),
    ],
)
def test_same_contents_same_digest(origin: Path, image_format: str, options: list[str]) -> None:
    other = origin.with_name("f" * 32)
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", image_format, *options, origin, other)
    assert digest(other, image_format) == digest(origin, "raw")
    assert digest(origin, "raw")["size"] == SIZE


@pytest.mark.parametrize("place", [0, 69999, 70000, MIB - 1, MIB, 2 * MIB, SIZE - 1])
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_one_byte_more_is_another_digest(origin: Path, image_format: str, place: int) -> None:
    before = digest(origin, "raw")["digest"]
    with open(origin, "r+b") as file:
        file.seek(place)
        old = file.read(1)
        file.seek(place)
        file.write(bytes([old[0] ^ 1]))
    other = origin.with_name("f" * 32)
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", image_format, origin, other)
    assert digest(other, image_format)["digest"] != before


def test_data_that_moved_is_another_digest(world: World) -> None:
    first = world.raw("a" * 32, content=b"x" * MIB + bytes(MIB), size=4 * MIB)
    second = world.raw("b" * 32, content=bytes(MIB) + b"x" * MIB, size=4 * MIB)
    assert digest(first, "raw")["digest"] != digest(second, "raw")["digest"]


def test_of_a_chain_it_is_what_the_guest_reads(world: World) -> None:
    path = world.layered()
    flat = world.raw("a" * 32, content=bytes_of(path.parent / f"{CHAINED}.snap" / "1", "qcow2"))
    assert digest(path, "qcow2")["digest"] == digest(flat, "raw")["digest"]


def test_a_size_that_is_no_whole_sector(world: World) -> None:
    path = world.raw(content=b"y" * 1000, size=1000)
    other = path.with_name("f" * 32)
    tool("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", path, other)
    assert digest(other, "qcow2")["digest"] == digest(path, "raw")["digest"]


def test_what_is_refused(world: World, outside: Path) -> None:
    with pytest.raises(Missing):
        digest(world.images / PLAIN, "raw")
    secret = outside / "secret"
    secret.write_bytes(b"x" * 4096)
    evil = world.images / ("e" * 32)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, evil)
    with pytest.raises(Refused):
        digest(evil, "qcow2")
    (world.images / PLAIN).write_bytes(os.urandom(100_000))
    with pytest.raises(StorageError):
        digest(world.images / PLAIN, "qcow2")
