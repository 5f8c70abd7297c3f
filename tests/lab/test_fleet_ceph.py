# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on all of a site whose images are volumes of a pool: what nobody knows there, and images that move."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo.deploy import play
from tests.lab import ceph, pool
from tests.lab.fleet import FROM, TO, Fleet, contents
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import wait_for
from tests.lab.oned import DatastoreType, Image, ImageState, use_image, use_volatile
from tests.lab.oned.allocation import Allocation
from tests.lab.pool import CONF, RING, LabPool
from tests.tools.stage import stage
from tests.unit.core.pools import qemu

pytestmark = pytest.mark.full

#: A pool's image datastore, another of the same pool, one of another pool, the system datastore.
POOL, SAME, SECOND, DISKS = 130, 131, 132, 133
MIB = 1 << 20


def data(name: str) -> bytes:
    """An image of 8 MB: data, a hole, data."""
    begin, end = (hashlib.shake_128(f"{name}{part}".encode()).digest(300_000) for part in range(2))
    return begin.ljust(8 * MIB - len(end), b"\0") + end


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    if not ceph.is_there():
        pytest.skip("Ceph's daemons are not installed")
    folder = tmp_path_factory.mktemp("fleet") / "lab"
    with Lab.up(folder, shared=(FROM, TO), binds=[repository()], masks=[repository()]) as lab:
        made = Fleet(lab)
        yield made
        made.close()


@pytest.fixture(scope="module")
def volumes(fleet: Fleet) -> Iterator[LabPool]:
    cluster = pool.begin(fleet.ground.lab)
    made = LabPool(fleet.ground.lab, cluster, fleet.ground.lab.hosts)
    fleet.ground.pool = made
    told = made.template()
    for number, name in ((POOL, "one"), (SAME, "one"), (SECOND, "one2")):
        template = {**told, "POOL_NAME": name}
        fleet.life.create_datastore(f"pool {number}", ds_mad="ceph", tm_mad="ceph", ds_id=number, template=template)
    fleet.life.create_datastore("disks", tm_mad="ceph", type=DatastoreType.SYSTEM, ds_id=DISKS, template=told)
    yield made
    fleet.ground.pool = None
    pool.end(cluster)


@pytest.fixture
def empty(fleet: Fleet, volumes: LabPool) -> Iterator[LabPool]:
    """Pools in which nothing is, at the end neither."""
    yield volumes
    fleet.ground.oned.images.clear()
    fleet.ground.oned.vms.clear()
    for store in fleet.ground.oned.datastores.values():
        store.images.clear()
    assert volumes.left() == []
    volumes.empty()


def known(fleet: Fleet, volumes: LabPool, number: int, store: int = POOL, where: str = "one") -> Image:
    """An image that oned knows."""
    volumes.cluster.rbd("import", "--no-progress", "-", f"{where}/one-{number}", given=data(str(number)))
    oned = fleet.ground.oned
    image = Image(
        id=number,
        name=f"image {number}",
        regtime=1_700_000_000,
        source=f"{where}/one-{number}",
        path="/var/tmp/source",
        format="raw",
        size=8,
        datastore_id=store,
        datastore=oned.datastore(store).name,
        template={"DEV_PREFIX": "vd"},
    )
    image.settle(ImageState.READY)
    oned.images[number] = image
    oned.datastore(store).images.add(number)
    return image


def rows(report: dict[str, Any]) -> dict[str, tuple[int, str]]:
    return {row["name"]: (row["datastore"], row["protected"]) for row in report["orphans"]}


def test_orphans_of_a_pool_that_datastores_share(fleet: Fleet, empty: LabPool) -> None:
    known(fleet, empty, 1)
    known(fleet, empty, 10, SAME)
    known(fleet, empty, 3, SECOND, "one2")
    node = fleet.ground.nodes[0]
    fleet.life.create_vm("web", [use_image(1), use_volatile(4)], DISKS, node).check()
    [vm] = fleet.ground.oned.vms
    before = empty.volumes()
    report = fleet.run("orphans", "--min-age", "0")
    assert (rows(report), report["failed"], report["quarantined"]) == ({}, [], [])

    rbd = empty.cluster.rbd
    rbd("clone", "one/one-1@snap", f"one/one-1-{vm}0-0")
    for name in ("one/one-100", f"one/one-10-{vm}-0", "one2/one-1", "one/customers"):
        rbd("create", "--size", "1M", name)
    report = fleet.run("orphans", "--min-age", "0")
    assert rows(report) == {
        f"one-1-{vm}0-0": (POOL, ""),
        "one-100": (POOL, ""),
        f"one-10-{vm}-0": (POOL, ""),
        "customers": (POOL, ""),
        "one-1": (SECOND, ""),
    }
    fleet.run("orphans", "--min-age", "0", "--quarantine")
    assert {name: told for name, told in empty.volumes().items() if "trash" not in name} == {
        **before,
        "customers": pool.described(),
    }
    report = fleet.run("orphans", "--min-age", "0")
    assert set(rows(report)) == {"customers"}
    places = {row["name"]: row["place"] for row in report["quarantined"]}
    assert set(places) == {f"one-1-{vm}0-0", "one-100", f"one-10-{vm}-0", "one-1"}
    fleet.run("orphans", "--restore", "--names", places["one-100"])
    assert "one-100" in empty.volumes()
    fleet.run("orphans", "--purge", "--keep-days", "0")
    assert not [name for name in empty.volumes() if "trash" in name]
    rbd("rm", "--no-progress", "one/one-100")
    rbd("rm", "--no-progress", "one/customers")
    assert empty.volumes() == before
    fleet.life.terminate(vm).check()


def test_images_move_to_another_pool_and_go_on_after_a_kill(fleet: Fleet, empty: LabPool) -> None:
    for number in (1, 10, 11):
        known(fleet, empty, number)
    where = ("migrate", "--from", str(POOL), "--to", str(SECOND))
    report = fleet.run("images", *where)
    assert report["movable"] == [1, 10, 11]
    process = fleet.start("images", *where, "--apply", "--throttle", "1")
    wait_for("the first copy", lambda: len(fleet.ground.oned.images) > 3, 60)
    process.kill()
    process.wait(20)
    fleet.managing.settle()
    fleet.run("images", *where, "--apply", timeout=300)
    images = fleet.ground.oned.images
    assert {image.name: image.datastore_id for image in images.values()} == {
        f"image {number}": SECOND for number in (1, 10, 11)
    }
    for image in images.values():
        assert image.state is ImageState.READY
        assert empty.cluster.content(image.source) == data(image.name.rpartition(" ")[2])
    assert sorted(empty.volumes()) == sorted(f"one2/one-{number}" for number in images)


def moved(fleet: Fleet, origin: int, place: int, *more: str, code: int = 0) -> dict[str, Any]:
    """The report of a move between two datastores."""
    where = ("--from", str(origin), "--to", str(place))
    return fleet.run("images", "migrate", *where, "--apply", *more, code=code, timeout=300)


def test_images_move_from_files_to_volumes_and_back(fleet: Fleet, empty: LabPool, tmp_path: Path) -> None:
    oned = fleet.ground.oned
    oned.allocation = Allocation(fleet.life)
    fleet.images(1)
    fleet.images(1, kind="qcow2")
    fleet.own(FROM)
    first, second = oned.images.values()
    first.persistent = True
    name = first.name
    raw = tmp_path / "raw"
    qemu("convert", "-f", "qcow2", "-O", "raw", fleet.file(second), raw)
    before = {name: contents(fleet.file(first)), second.name: contents(raw)}
    told = oned.datastore(POOL).template
    # a file comes in only where the datastore says so
    said = fleet.refuses("images", "migrate", "--from", str(FROM), "--to", str(POOL))
    assert f'let its SAFE_DIRS be "/var/tmp /var/lib/one/datastores/{FROM}"' in said
    told["SAFE_DIRS"] = f"/var/tmp /var/lib/one/datastores/{FROM}"
    try:
        report = moved(fleet, FROM, POOL)
    finally:
        told["SAFE_DIRS"] = "/var/tmp"
    assert [row["state"] for row in report["images"]] == ["moved", "moved"], report["lines"]
    assert {image.name: image.datastore_id for image in oned.images.values()} == dict.fromkeys(before, POOL)
    assert sorted(empty.volumes()) == sorted(image.source.partition("/")[2] for image in oned.images.values())
    assert [path for path in fleet.folder(FROM).iterdir() if path.is_file()] == []
    assert [image.persistent for image in oned.images.values() if image.name == name] == [True]
    for image in oned.images.values():
        assert hashlib.sha256(empty.cluster.content(image.source)).hexdigest() == before[image.name]

    report = moved(fleet, POOL, TO)
    assert [row["state"] for row in report["images"] if row["state"] != "moved before"] == ["moved", "moved"]
    assert empty.volumes() == {}
    assert {image.name: contents(fleet.file(image)) for image in oned.images.values()} == before


# ---------------------------------------------------------------- playbooks


@pytest.fixture(scope="module")
def collections() -> Iterator[Path]:
    """A copy of its own: what is played must not change between two runs."""
    made = repository() / ".cache" / f"collections-fleet-ceph-{os.getpid()}"
    stage(target=made / "ansible_collections" / "one_storage" / "drivers")
    yield made
    shutil.rmtree(made)


def played(fleet: Fleet, collections: Path, name: str, right: bool = True, **variables: object) -> str:
    """What a playbook said."""
    given = {"one_storage_endpoint": fleet.ground.server.url, **variables}
    done = play(fleet.ground, name, given, right, collections)
    assert (done.returncode == 0) == right, done.stdout.decode()[-4000:]
    return done.stdout.decode()


def test_the_capacity_report_counts_a_pool_once(fleet: Fleet, empty: LabPool, collections: Path) -> None:
    known(fleet, empty, 1)
    known(fleet, empty, 10, SAME)
    played(fleet, collections, "capacity", capacity_file="/var/tmp/capacity.html")
    report = json.loads(fleet.ground.path(fleet.ground.frontend, "/var/tmp/capacity.json").read_text())
    pools = {one["key"]: one["datastores"] for one in report["pools"] if one["key"].startswith("Ceph ")}
    assert sorted(pools.values()) == [[POOL, SAME, DISKS], [SECOND]]
    rows = {row["id"]: (row["error"], row["items"]) for row in report["datastores"] if row["id"] >= POOL}
    assert rows == {POOL: ("", 1), SAME: ("", 1), SECOND: ("", 0), DISKS: ("", 0)}
    told = {one["path"]: one["name"] for one in report["consumers"]}
    assert told["one/one-1"] == "image 1" and told["one/one-10"] == "image 10"


def test_validate_names_the_host_that_lacks_the_key(fleet: Fleet, empty: LabPool, collections: Path) -> None:
    store = {
        "id": POOL, "name": "pool", "type": "image", "shared": True, "bridges": fleet.ground.nodes, "clusters": [0],
        "tm_mad": "ceph", "ds_mad": "ceph", "path": f"/var/lib/one/datastores/{POOL}", "ceph_secret": "",
        "settings": {"pool": "one", "ceph_user": "oneadmin", "ceph_conf": CONF},
    }  # fmt: skip
    given: dict[str, Any] = {
        "one_datastores": [store],
        "one_storage_datastores": [],
        "validate_libvirt_uri": "",
        "validate_min_free_percent": 1,
    }
    assert "All is in order." in played(fleet, collections, "validate", **given)
    broken = fleet.ground.nodes[1]
    ring = fleet.ground.path(broken, RING)
    kept = ring.read_text()
    fleet.ground.lab.run(broken, ["rm", RING], user="root")
    try:
        said = played(fleet, collections, "validate", False, **given)
    finally:
        ring.write_text(kept)
    assert f"{broken}: datastore {POOL}: " in said and "bring the keyring of client.oneadmin" in said
    assert "1 thing is broken." in said
    assert empty.volumes() == {}


def test_orphans_by_the_playbook(fleet: Fleet, empty: LabPool, collections: Path) -> None:
    known(fleet, empty, 1)
    empty.cluster.rbd("create", "--size", "1M", "one/one-100")
    before = empty.volumes()
    where: dict[str, Any] = {"orphans_min_age": 0, "orphans_datastores": str(POOL)}
    assert "1 orphans" in played(fleet, collections, "orphans", **where)
    assert empty.volumes() == before
    played(fleet, collections, "orphans", orphans_state="quarantined", **where)
    played(fleet, collections, "orphans", orphans_state="purged", orphans_keep_days=0, **where)
    del before["one-100"]
    assert empty.volumes() == before
