# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of what a volume holds: that of a file with the same contents, and of no other."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Missing
from tests.unit.core.pools import Pools, image
from tests.unit.core.support import MIB, World, act


def of_volume(pools: Pools, source: str, **more: Any) -> tuple[str, int, int]:
    found = act("ds_digest", **pools.options(source=source, **more))
    return found["digest"], found["data"], found["size"]


def of_file(world: World, content: bytes) -> tuple[str, int, int]:
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (world.images / name).write_bytes(content)
    found = act("ds_digest", driver="fs", datastore=world.images, source=world.images / name)
    return found["digest"], found["data"], found["size"]


@pytest.mark.parametrize(
    "content",
    [image("a"), b"\0" * MIB, image("b")[: 3 * MIB] + b"\0" * MIB, (b"\0" * 700 * 1024 + b"x" * 512) * 6],
    ids=["holes", "zeros", "zeros at the end", "across blocks"],
)
def test_a_volume_has_the_digest_of_a_file(pools: Pools, world: World, content: bytes) -> None:
    content = content[: len(content) // 512 * 512]
    pools.volume("one-5", content)
    assert of_volume(pools, "one/one-5") == of_file(world, content)
    assert pools.left() == []


def test_what_stands_on_an_image_is_read_through(pools: Pools, world: World) -> None:
    held = pools.reverted("one-5")
    assert of_volume(pools, "one/one-5") == of_file(world, held["now"])
    assert of_volume(pools, "one/one-5-1:2:3") != of_volume(pools, "one/one-5")


def test_one_byte_counts(pools: Pools) -> None:
    pools.volume("one-5", image("a"))
    pools.volume("one-6", image("a")[:-1] + b"!")
    assert of_volume(pools, "one/one-5")[0] != of_volume(pools, "one/one-6")[0]


def test_misuse(pools: Pools) -> None:
    with pytest.raises(Missing, match="one/one-5 is not there"):
        of_volume(pools, "one/one-5")
    with pytest.raises(BadCall, match="is raw, not qcow2"):
        of_volume(pools, "one/one-5", format="qcow2")
    with pytest.raises(BadCall, match="is not the name of a volume"):
        of_volume(pools, "/var/lib/one/datastores/1/abc")
    pools.volume("one-5")
    pools.look.ask("begin", pool="one", name="one-5")
    try:
        with pytest.raises(Busy, match="one/one-5 is open at"):
            of_volume(pools, "one/one-5")
    finally:
        pools.look.ask("leave")
