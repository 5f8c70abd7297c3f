# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab, and those that run on it, have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import ceph, pool
from tests.lab.cases import Cases
from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts import DEFAULT_SHARED, Lab, can_make_hosts, repository
from tests.lab.looking import all_running, end_shared_connections, left_of_ours, wait_for, wipe_hidden
from tests.lab.pairings import ALL, Pairing
from tests.lab.pool import LabPool
from tests.lab.scene import Scene
from tests.lab.virt import Hypervisor

#: Two system datastores more than a lab has by itself, for moves between such ones, and one for kernels.
SHARED = (*DEFAULT_SHARED, 108, 109, 113)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A front-end and two nodes, for all tests of this run; a test that changes one has to put it right again.

    The front-end sees this checkout, the nodes do not: what they run has to be deployed on them.
    """
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    with Lab.up(tie=True, shared=SHARED, binds=[repository()], masks=[repository()]) as made:
        yield made


@pytest.fixture(scope="session")
def _deployed(lab: Lab) -> Iterator[LabGround]:
    made = LabGround(lab)
    made.deploy()
    yield made
    made.close()


@pytest.fixture(scope="module")
def ground(_deployed: LabGround) -> Iterator[LabGround]:
    """The lab with the drivers on all hosts and an oned. All tests share it: ids go on from test to test."""
    yield _deployed
    end_shared_connections(_deployed)


@pytest.fixture
def tidy(ground: LabGround) -> Iterator[LabGround]:
    """The ground; at the end of the test nothing of ours may run on any host or be left, lock files aside."""
    yield ground
    wait_for("idle", lambda: not all_running(ground))
    assert left_of_ours(ground) == []


@pytest.fixture
def bare_nodes(ground: LabGround) -> Iterator[LabGround]:
    """The ground with nothing of ours on the nodes."""
    for node in ground.nodes:
        ground.run(node, ["mv", REMOTE, f"{REMOTE}.away"])
    yield ground
    for node in ground.nodes:
        ground.run(node, ["rm", "-rf", REMOTE])
        ground.run(node, ["mv", f"{REMOTE}.away", REMOTE])


@pytest.fixture(scope="session")
def ceph_cluster(lab: Lab) -> Iterator[ceph.Cluster]:
    """A Ceph cluster in the lab's network, which no host knows yet: 15 seconds when the first test asks for it."""
    if not ceph.is_there():
        pytest.skip("Ceph's daemons are not installed")
    made = pool.begin(lab)
    yield made
    pool.end(made)


@pytest.fixture(scope="module")
def ceph_pool(ground: LabGround, ceph_cluster: ceph.Cluster) -> Iterator[LabPool]:
    """Its pools, known to the front-end and all nodes; whoever uses them leaves them empty."""
    made = LabPool(ground.lab, ceph_cluster, ground.lab.hosts)
    ground.pool = made
    yield made
    ground.pool = None
    made.hide()
    found = made.volumes(), made.left()
    made.empty()
    assert found == ({}, [])
    wait_for("all objects gone", lambda: not made.strays(), 30)


@pytest.fixture
def stored(request: pytest.FixtureRequest) -> Pairing:
    """The pairing that the test's parameter names, with the cluster that it takes."""
    found = ALL[request.node.callspec.params["pairing"]]
    if found.images_in_pool:
        request.getfixturevalue("ceph_pool")
    return found


@pytest.fixture(scope="module")
def scene(ground: LabGround) -> Iterator[Scene]:
    """Calls of wrappers one by one; all datastores are emptied when the module ends."""
    made = Scene(ground)
    yield made
    made.close()


@pytest.fixture(scope="session")
def _all_cases(_deployed: LabGround) -> Cases:
    return Cases(Scene(_deployed))


@pytest.fixture(scope="module")
def _cases(_all_cases: Cases) -> Iterator[Cases]:
    yield _all_cases
    _all_cases.scene.close()


@pytest.fixture
def cases(_cases: Cases) -> Cases:
    """Calls with what they find and what they leave; nothing of earlier tests is left."""
    wipe_hidden(_cases.scene.ground)
    return _cases


@pytest.fixture(scope="module")
def hypervisors(ground: LabGround) -> Iterator[dict[str, Hypervisor]]:
    """libvirt on both nodes; the lab is other tests' too, so nothing of it stays."""
    made = {node: Hypervisor(ground.lab, node) for node in ground.nodes[:2]}
    yield made
    for hypervisor in made.values():
        hypervisor.stop()
    wait_for("libvirt to end", lambda: not all_running(ground), 20)


@pytest.fixture
def lent(stored: Pairing, ground: LabGround, hypervisors: dict[str, Hypervisor]) -> dict[str, Hypervisor]:
    """libvirt on both nodes, which may open the volumes that the pairing has."""
    if ground.pool and stored.images_in_pool:
        for hypervisor in hypervisors.values():
            ground.pool.lend(hypervisor)
    return hypervisors


@pytest.fixture
def quiet(ground: LabGround, hypervisors: dict[str, Hypervisor]) -> Iterator[LabGround]:
    """The ground; at the end of the test no machine may run and nothing of ours be left, lock files aside."""
    yield ground
    assert [hypervisor.virsh("list", "--all", "--name").split() for hypervisor in hypervisors.values()] == [[], []]
    assert left_of_ours(ground) == []
