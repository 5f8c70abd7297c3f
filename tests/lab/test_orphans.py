# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody knows is found on four nodes, nothing else, and can be set aside, put back and purged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.lab.fleet import FROM, SYSTEM, TO, Fleet, contents, sparse
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.oned import use_image

NODES = ["host01", "host02", "host03", "host04"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("fleet") / "lab"
    with Lab.up(folder, names=["frontend", *NODES], binds=[repository()], masks=[repository()]) as lab:
        made = Fleet(lab)
        yield made
        made.close()


def plant(fleet: Fleet) -> set[tuple[str, int, str]]:
    """Orphans of every kind: host, datastore and name of each."""
    frontend = fleet.ground.frontend
    found: set[tuple[str, int, str]] = set()

    def file(host: str, store: int, name: str) -> None:
        path = fleet.folder(store, host) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sparse(path, len(found))
        found.add((host, store, name))

    file(frontend, FROM, "a" * 32)
    file(frontend, FROM, "b" * 32 + ".md5sum")
    file(frontend, TO, "c" * 32)
    file(frontend, TO, "notes.txt")
    snap = fleet.folder(FROM) / ("d" * 32 + ".snap")
    snap.mkdir()
    sparse(snap / "0", 99)
    found.add((frontend, FROM, snap.name))
    for number, node in enumerate(NODES):
        place = fleet.folder(SYSTEM, node) / str(9000 + number)
        place.mkdir(parents=True)
        sparse(place / "disk.0", number)
        found.add((node, SYSTEM, place.name))
    hidden = fleet.folder(FROM) / ".one_storage"
    hidden.mkdir(exist_ok=True)
    (hidden / "vm-77.receipt").write_text("{}")
    found.add((frontend, FROM, ".one_storage/vm-77.receipt"))
    workshop = hidden / ("image-" + "e" * 32) / "0123456789ab"
    workshop.mkdir(parents=True)
    sparse(workshop / "image", 98)
    found.add((frontend, FROM, f".one_storage/image-{'e' * 32}"))
    for store in (FROM, TO):
        fleet.own(store)
    for node in NODES:
        fleet.own(SYSTEM, node)
    return found


def places(rows: list[dict[str, object]]) -> set[tuple[object, object, object]]:
    return {(row["host"], row["datastore"], row["name"]) for row in rows}


def vms(fleet: Fleet) -> None:
    """A VM on each node, one of them at the front-end and one with a disk that it does not have."""
    image = fleet.images(1)[0]
    fleet.own(FROM)
    for node in NODES:
        fleet.life.create_vm(f"vm on {node}", [use_image(image.id)], SYSTEM, node).check()
    last = max(fleet.ground.oned.vms)
    fleet.life.poweroff(last).check()
    fleet.life.undeploy(last - 1).check()


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.full)])
def test_the_report_is_exact_and_quick(fleet: Fleet, count: int) -> None:
    fleet.images(count)
    vms(fleet)
    planted = plant(fleet)
    fleet.own(FROM)
    time.sleep(1.1)
    begun = time.monotonic()
    report = fleet.run("orphans", "--min-age", "1")
    spent = time.monotonic() - begun
    assert places(report["orphans"]) == planted
    assert not report["failed"] and not report["quarantined"]
    assert {row["protected"] for row in report["orphans"]} == {""}
    assert spent < 30
    # younger ones are protected; nothing was changed by looking
    young = fleet.run("orphans", "--quarantine", "--min-age", "3600")
    assert places(young["orphans"]) == planted and not young["done"]
    assert {row["protected"] for row in young["orphans"]} == {"it changed a short while ago"}

    before = {path.name: contents(path) for path in fleet.folder(FROM).iterdir() if path.is_file()}
    done = fleet.run("orphans", "--quarantine", "--min-age", "1")
    named = {row["name"] for row in done["orphans"] if row["state"] == "quarantined"}
    # what has no name of OpenNebula's may be somebody's
    assert named == {name for _host, _store, name in planted} - {"notes.txt"}
    assert not (fleet.folder(FROM) / ("a" * 32)).exists()
    after = fleet.run("orphans", "--min-age", "1")
    assert places(after["orphans"]) == {(fleet.ground.frontend, TO, "notes.txt")}
    held = {row["name"]: row["place"] for row in after["quarantined"]}
    # a workshop is cleared by the action that takes its lock
    assert set(held) == named - {f".one_storage/image-{'e' * 32}"}

    too_early = fleet.run("orphans", "--purge")
    assert not too_early["done"]
    back = fleet.run("orphans", "--restore", "--names", str(held["a" * 32]))
    assert len(back["done"]) == 1
    assert {path.name: contents(path) for path in fleet.folder(FROM).iterdir() if path.is_file()}["a" * 32] == before[
        "a" * 32
    ]
    purged = fleet.run("orphans", "--purge", "--keep-days", "0")
    assert len(purged["done"]) == len(held) - 1
    last = fleet.run("orphans", "--min-age", "1")
    assert not last["quarantined"]
    assert places(last["orphans"]) == {
        (fleet.ground.frontend, TO, "notes.txt"),
        (fleet.ground.frontend, FROM, "a" * 32),
    }
    for host, store in [(fleet.ground.frontend, FROM), (fleet.ground.frontend, TO)]:
        left = os.listdir(fleet.folder(store, host) / ".one_storage")
        assert set(left) <= {"locks"} | {"quarantine"}, left
    for image in fleet.ground.oned.images.values():
        assert fleet.file(image).is_file()
    (fleet.folder(TO) / "notes.txt").unlink()
    (fleet.folder(FROM) / ("a" * 32)).unlink()
