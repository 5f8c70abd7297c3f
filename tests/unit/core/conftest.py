# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the core have in common."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from plugins.module_utils.tools.rbd.cluster import Cluster as Connection
from tests.lab.ceph import Cluster, is_there
from tests.unit.core.pools import Pools, connection
from tests.unit.core.support import CHAINED, OVERLAID, PLAIN, World
from tests.unit.core.vm_volumes import Disks
from tests.unit.door.wrapped import front_end, remotes  # noqa: F401  # fixtures


def new_folder() -> Path:
    """A folder in memory where there is one: these tests flush to disk hundreds of times."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="one_storage-", dir=memory)).resolve()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder, in memory where that can be."""
    path = new_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def world(folder: Path) -> World:
    """Datastores in memory."""
    return World(folder)


@pytest.fixture
def images(world: World) -> World:
    """A world with a raw image, a qcow2 image and one with layers."""
    world.raw(PLAIN)
    world.qcow2(OVERLAID)
    world.layered(CHAINED)
    return world


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of the machine that is no datastore."""
    path = folder / "outside"
    path.mkdir()
    return path


@pytest.fixture
def disk_world(tmp_path: Path) -> World:
    """Datastores on disk, for what a file system in memory does differently."""
    return World(tmp_path.resolve())


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test of the core may hang: each has half a minute."""

    def over(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the test took longer than 30 seconds")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def ceph_cluster() -> Iterator[Cluster]:
    """A Ceph cluster for all tests of this process that ask for one; they share its pools."""
    if not is_there():
        pytest.skip("Ceph's daemons are not installed")
    place = new_folder()
    made = Cluster(place / "ceph")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def _looking(ceph_cluster: Cluster) -> Iterator[Connection]:
    made = connection(ceph_cluster)
    yield made
    made.close()


@pytest.fixture
def pools(ceph_cluster: Cluster, _looking: Connection, folder: Path) -> Pools:
    """Empty pools."""
    return Pools(ceph_cluster, _looking, folder)


@pytest.fixture
def disks(pools: Pools, world: World) -> Disks:
    """A VM's directory that is not there yet, and empty pools."""
    return Disks(pools, world)
