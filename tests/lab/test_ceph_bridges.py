# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in a Ceph pool that the front-end cannot reach: bridges do what oned asks for, one after the other's death."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import ceph
from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours
from tests.lab.oned import Datastore, Image, Runner
from tests.lab.oned.messages import image_action, stat_action
from tests.lab.pool import LabPool
from tests.lab.scene import ANSIBLE

pytestmark = pytest.mark.full

SOURCES = "/var/lib/one/sources"
MIB = 1 << 20
DATA = hashlib.shake_128(b"data").digest(3 * MIB).ljust(32 * MIB, b"\0")


@pytest.fixture(scope="module")
def pool(ground: LabGround, ceph_cluster: ceph.Cluster) -> Iterator[LabPool]:
    """Pools that both nodes know and the front-end does not."""
    made = LabPool(ground.lab, ceph_cluster, ground.nodes)
    yield made
    made.hide()


class Place:
    """Calls of the wrappers on the front-end.

    :param bridges: BRIDGE_LIST.
    """

    def __init__(self, ground: LabGround, pool: LabPool) -> None:
        self.ground, self.pool, self.cluster = ground, pool, pool.cluster

    def source(self, name: str, data: bytes) -> str:
        """A file on the front-end."""
        path = self.ground.path(self.ground.frontend, f"{SOURCES}/{name}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self.ground.own(self.ground.frontend, SOURCES)
        return f"{SOURCES}/{name}"

    def store(self, bridges: str) -> Datastore:
        template = {**self.pool.template(), "BRIDGE_LIST": bridges, "SAFE_DIRS": SOURCES, "RESTRICTED_DIRS": "/"}
        base = "/var/lib/one//datastores/220"
        return Datastore(220, "ceph", ds_mad="ceph", tm_mad="ceph", base_path=base, template=template)

    def call(self, action: str, image: Image, bridge: str, **environment: str) -> Any:
        """An action of the driver, as oned calls it."""
        runner: Runner = self.ground.runner(environment)
        if action == "stat":
            return runner.ds_action(action, action, "ceph", 1, stat_action(image.path, self.store(bridge)))
        return runner.ds_action(action, action, "ceph", image.id, image_action(image, self.store(bridge)))


@pytest.fixture
def place(tidy: LabGround, pool: LabPool) -> Iterator[Place]:
    made = Place(tidy, pool)
    yield made
    assert (pool.volumes(), pool.left()) == ({}, [])
    assert left_of_ours(tidy) == []


@pytest.mark.parametrize("launcher", ["ssh", "ansible"])
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_file_of_the_front_end(place: Place, launcher: str, kind: str) -> None:
    path = place.source("image.raw", DATA)
    if kind == "qcow2":
        place.ground.run(place.ground.frontend, ["qemu-img", "convert", "-O", "qcow2", path, f"{SOURCES}/image.qcow2"])
        path = f"{SOURCES}/image.qcow2"
    new = Image(5, "new", regtime=1000, path=path, size=32)
    how = {"ONE_STORAGE_LAUNCHER": launcher, "ONE_STORAGE_ANSIBLE": ANSIBLE}
    bridge = place.ground.nodes[1]
    assert place.call("stat", new, bridge, **how).stdout == "32\n"
    said = place.call("cp", new, bridge, **how)
    assert (said.ok, said.stdout) == (True, "one/one-5 raw\n"), said.stderr
    assert place.cluster.content("one/one-5") == DATA
    said = place.call("rm", Image(5, "old", source="one/one-5"), bridge, **how)
    assert said.ok, said.stderr


def test_what_one_bridge_died_of_another_settles(place: Place) -> None:
    """Its lock is nobody's after half a minute: then the call that was waiting for it goes on."""
    first, second = place.ground.nodes[:2]
    new = Image(5, "new", regtime=1000, path=place.source("image.raw", DATA), size=32)
    said = place.call("cp", new, first, ONE_STORAGE_FAULT="0+")
    assert not said.ok
    assert [name for name in place.cluster.rbd("ls", "one").split() if name.endswith(".one-5")]
    said = place.call("cp", new, second)
    assert said.ok, said.stderr
    assert place.cluster.rbd("ls", "one").split() == ["one-5"]
    assert place.cluster.content("one/one-5") == DATA
    assert place.call("rm", Image(5, "old", source="one/one-5"), first).ok
