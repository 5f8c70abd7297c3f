# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many images go to another datastore or format: killed in the middle and run again, each is in one place, unharmed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.fleet import FROM, TO, Fleet, contents
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import wait_for
from tests.lab.oned import Image, ImageState
from tests.lab.oned.common import Permissions

QCOW2, RAW = 110, 111
#: Two that one node each has for itself, and is the bridge of.
BRIDGED, FAR, BRIDGE, OTHER = 114, 115, "host01", "host02"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("fleet") / "lab"
    shared = (FROM, TO, QCOW2, RAW)
    with Lab.up(folder, shared=shared, binds=[repository()], masks=[repository()]) as lab:
        made = Fleet(lab)
        made.life.create_datastore("qcow2", tm_mad="qcow2", ds_id=QCOW2, template={"DRIVER": "qcow2"})
        made.life.create_datastore("raw", tm_mad="ssh", ds_id=RAW, template={"DRIVER": "raw"})
        for number, bridge, kind in ((BRIDGED, BRIDGE, "raw"), (FAR, OTHER, "qcow2")):
            given = {"DRIVER": kind, "BRIDGE_LIST": bridge}
            made.life.create_datastore(f"behind {bridge}", tm_mad="ssh", ds_id=number, template=given)
        made.ground.oned.users.ids["anna"] = 5
        yield made
        made.close()


@pytest.fixture
def images(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[list[Image]]:
    """Images of the source datastore, of users and groups; oned knows no others. All go at the end."""
    fleet.ground.oned.images.clear()
    fleet.ground.oned.templates.clear()
    made = fleet.images(getattr(request, "param", 6))
    for image in made[::2]:
        image.uid, image.uname, image.gid = 5, "anna", 7
        image.permissions = Permissions(7, 4, 0)
        image.persistent = True
    fleet.own(FROM)
    yield made
    fleet.managing.settle()
    fleet.managing.refuse.clear()
    fleet.ground.oned.images.clear()
    for store in fleet.ground.oned.datastores.values():
        store.images.clear()
    for number in (FROM, TO, QCOW2, RAW):
        fleet.ground.run(fleet.ground.frontend, ["sh", "-c", f"rm -rf /var/lib/one/datastores/{number}/[0-9a-f]*"])
    fleet.ground.run(fleet.ground.frontend, ["rm", "-rf", "/var/lib/one/.one_storage"])


def known(fleet: Fleet, number: int) -> Image:
    return fleet.ground.oned.image(number)


def state(fleet: Fleet) -> dict[str, tuple[object, ...]]:
    """What users see of each image, by its name, its datastore aside; asserts that each is in one place."""
    found: dict[str, tuple[object, ...]] = {}
    for image in fleet.ground.oned.images.values():
        assert image.name not in found, image.name
        kept = {key: value for key, value in image.template.items() if not key.startswith("ONE_STORAGE_")}
        rights = (image.uid, image.gid, image.permissions, image.persistent, image.type)
        found[image.name] = (*rights, tuple(sorted(kept.items())), contents(fleet.file(image)))
        assert image.state is ImageState.READY
    files = sum(len([path for path in fleet.folder(number).iterdir() if path.is_file()]) for number in (FROM, TO))
    assert files == len(found)
    return found


def move(fleet: Fleet, *arguments: str, code: int = 0) -> dict[str, Any]:
    return fleet.run("images", "migrate", "--from", str(FROM), "--to", str(TO), *arguments, code=code, timeout=900)


def test_report_move_and_report(fleet: Fleet, images: list[Image]) -> None:
    before = state(fleet)
    images[1].vms.add(3)
    images[1].settle(ImageState.USED)
    images[2].snapshots.create(16, 1)
    fleet.ground.oned.templates[4] = (0, f'NAME = "web"\nDISK = [ IMAGE_ID = "{images[0].id}" ]')
    fleet.ground.oned.templates[5] = (5, f'NAME = "db"\nDISK = [ IMAGE = "{images[0].name}" ]')
    report = move(fleet)
    assert report["movable"] == [image.id for image in images if image not in images[1:3]]
    reasons = {row["id"]: row["reason"] for row in report["images"]}
    assert reasons[images[1].id] == "it is used by VM 3" and reasons[images[2].id] == "it has 1 snapshots"
    named = next(row for row in report["images"] if row["id"] == images[0].id)["templates"]
    assert named == [{"id": 4, "name": "web", "by": "id"}, {"id": 5, "name": "db", "by": "name"}]
    assert {image.datastore_id for image in fleet.ground.oned.images.values()} == {FROM}

    done = move(fleet, "--apply")
    ids = {row["id"]: row["new"] for row in done["images"] if row["state"] == "moved"}
    assert set(ids) == set(report["movable"])
    for image in (images[1], images[2]):
        assert known(fleet, image.id) is image and image.datastore_id == FROM
    images[1].vms.clear()
    images[1].settle(ImageState.READY)
    assert state(fleet) == before
    assert all(known(fleet, int(str(new))).datastore_id == TO for new in ids.values())
    again = move(fleet, "--images", f"{images[0].id}")
    assert [(row["state"], row["new"]) for row in again["images"]] == [("moved before", ids[images[0].id])]


@pytest.mark.parametrize(
    "images", [20, pytest.param(1000, marks=pytest.mark.full)], indirect=True, ids=["twenty", "thousand"]
)
def test_killed_and_run_again_each_is_in_one_place(fleet: Fleet, images: list[Image]) -> None:
    before = state(fleet)
    killed = 0
    for part in (0.1, 0.4, 0.7) if len(images) > 100 else (0.3,):
        process = fleet.start("images", "migrate", "--from", str(FROM), "--to", str(TO), "--apply", "--throttle", "8")
        wait_for("the middle", lambda part=part: there(fleet) >= part * len(images), 600)  # type: ignore[misc]
        os.kill(fleet.ground.lab.inner_pid(process), signal.SIGKILL)
        process.communicate(timeout=30)
        fleet.managing.settle()
        killed += len(fleet.ground.oned.images) > len(images)
    move(fleet, "--apply", "--throttle", "8")
    assert state(fleet) == before
    assert {image.datastore_id for image in fleet.ground.oned.images.values()} == {TO}
    assert {image.template["ONE_STORAGE_MIGRATION"] for image in fleet.ground.oned.images.values()} == {"done"}
    everything = move(fleet)
    told = {row["id"]: row["new"] for row in everything["images"]}
    # the report of the last run tells what became of each, whichever run moved it
    assert set(told) == {image.id for image in images}
    assert {str(known(fleet, int(str(new))).template["ONE_STORAGE_FROM"]) for new in told.values()} == {
        str(image.id) for image in images
    }


def there(fleet: Fleet) -> int:
    return sum(image.datastore_id == TO for image in list(fleet.ground.oned.images.values()))


#: Each call of oned's API that changes something, in the order in which a migration makes them.
CALLS = [
    "one.image.clone",
    "one.image.update",
    "one.image.enable",
    "one.image.chmod",
    "one.image.chown",
    "one.image.rename",
    "one.image.delete",
]
#: Those that a short run refuses: before the source is taken, and after everything.
QUICK = ("one.image.enable", "one.image.delete")


@pytest.mark.parametrize(
    "method", [one if one in QUICK else pytest.param(one, marks=pytest.mark.full) for one in CALLS]
)
@pytest.mark.parametrize("images", [1], indirect=True)
def test_a_call_that_oned_refuses(fleet: Fleet, images: list[Image], method: str) -> None:
    before = state(fleet)
    fleet.managing.refuse[method] = "it is refused"
    report = move(fleet, "--apply", code=2)
    assert "it is refused" in str(report["images"][0]["reason"])
    fleet.managing.refuse.clear()
    fleet.managing.settle()
    if method not in ("one.image.delete", "one.image.rename"):
        assert state(fleet) == before
        assert images[0].datastore_id == FROM and known(fleet, images[0].id) is images[0]
    move(fleet, "--apply")
    assert state(fleet) == before
    assert there(fleet) == 1


@pytest.mark.parametrize(
    "number", [one if one in (2, 8) else pytest.param(one, marks=pytest.mark.full) for one in range(9)]
)
@pytest.mark.parametrize("images", [1], indirect=True)
def test_killed_before_any_call(fleet: Fleet, images: list[Image], number: int) -> None:
    before = state(fleet)
    calls: list[str] = []
    processes: list[subprocess.Popen[bytes]] = []

    def stop(method: str) -> None:
        calls.append(method)
        if len(calls) == number + 1:
            wait_for("the process", lambda: bool(processes))
            os.kill(fleet.ground.lab.inner_pid(processes[0]), signal.SIGKILL)

    fleet.managing.before = stop
    processes.append(fleet.start("images", "migrate", "--from", str(FROM), "--to", str(TO), "--apply"))
    processes[0].communicate(timeout=60)
    fleet.managing.before = lambda method: None
    fleet.managing.settle()
    move(fleet, "--apply")
    assert state(fleet) == before
    assert there(fleet) == 1
    [row] = move(fleet)["images"]
    assert (row["id"], row["new"]) == (images[0].id, *[one.id for one in fleet.ground.oned.images.values()])


@pytest.mark.parametrize("images", [1], indirect=True)
def test_a_copy_that_differs_is_not_taken(fleet: Fleet, images: list[Image]) -> None:
    before = state(fleet)

    def spoil(method: str) -> None:
        if method == "one.image.enable" and there(fleet):
            copy = next(image for image in fleet.ground.oned.images.values() if image.datastore_id == TO)
            with open(fleet.file(copy), "r+b") as file:
                file.seek(1 << 20)
                file.write(b"x")

    fleet.managing.before = spoil
    report = move(fleet, "--apply", code=2)
    fleet.managing.before = lambda method: None
    assert "their digests differ" in str(report["images"][0]["reason"])
    assert "the image is where it was" in str(report["images"][0]["reason"])
    fleet.managing.settle()
    assert state(fleet) == before and images[0].datastore_id == FROM


@pytest.mark.full
def test_convert_there_and_back(fleet: Fleet, images: list[Image]) -> None:
    before = {image.name: contents(fleet.file(image)) for image in images}
    there = fleet.run("images", "convert", "--from", str(FROM), "--to", str(QCOW2), "--format", "qcow2", "--apply")
    assert {row["state"] for row in there["images"]} == {"moved"}
    for row in there["images"]:
        image = known(fleet, int(str(row["new"])))
        assert image.format == "qcow2" and fleet.file(image).read_bytes()[:4] == b"QFI\xfb"
    fleet.run("images", "convert", "--from", str(QCOW2), "--to", str(RAW), "--format", "raw", "--apply")
    after = {image.name: contents(fleet.file(image)) for image in fleet.ground.oned.images.values()}
    assert after == before
    assert {image.format for image in fleet.ground.oned.images.values()} == {"raw"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["migrate", "--from", "999", "--to", "102"], "oned knows no datastore 999"),
        (["migrate", "--from", "100", "--to", "105"], "Datastore 105 is a system datastore"),
        (["migrate", "--from", "100"], "The images are in datastore 100 already"),
        (["convert", "--from", "100"], "their new format has to be given"),
        (["convert", "--from", "100", "--to", "111", "--format", "qcow2"], "become raw, not qcow2"),
        (["migrate", "--from", "100", "--to", "102", "--throttle", "0"], "no whole number from 1 to 64"),
        (["migrate", "--from", "100", "--to", "102", "--limit-rate", "fast"], "'fast' is not a transfer rate"),
        (["migrate", "--from", "100", "--to", "102", "--images", "7-x"], "'7-x' is no id"),
    ],
)
def test_misuses(fleet: Fleet, arguments: list[str], sentence: str) -> None:
    assert sentence in fleet.refuses("images", *arguments)


def test_it_refuses_while_oned_does_not_answer(fleet: Fleet, images: list[Image]) -> None:
    fleet.ground.server.stop()
    try:
        for command in (["orphans"], ["images", "migrate", "--from", str(FROM), "--to", str(TO), "--apply"]):
            begun = time.monotonic()
            assert "oned does not answer" in fleet.refuses(*command)
            assert time.monotonic() - begun < 20
    finally:
        fleet.ground.server.start()


def test_orphans_refuse_a_partial_answer(fleet: Fleet, images: list[Image]) -> None:
    image = fleet.ground.oned.images.pop(images[0].id)
    assert "oned's answers do not agree" in fleet.refuses("orphans")
    fleet.ground.oned.images[image.id] = image


@pytest.mark.full
@pytest.mark.parametrize("images", [3], indirect=True)
def test_behind_a_bridge_and_back(fleet: Fleet, images: list[Image]) -> None:
    """A datastore that only its bridge sees, raw there and qcow2 behind another one."""
    before = {image.name: contents(fleet.file(image)) for image in images}
    there = fleet.run("images", "migrate", "--from", str(FROM), "--to", str(BRIDGED), "--apply")
    assert {row["state"] for row in there["images"]} == {"moved"}
    assert there["movable"] == [] and kept(fleet, fleet.ground.frontend, FROM) == {}
    assert kept(fleet, BRIDGE, BRIDGED) == before
    assert not fleet.folder(BRIDGED).exists() and not fleet.folder(BRIDGED, OTHER).exists()
    fleet.run("images", "convert", "--from", str(BRIDGED), "--to", str(FAR), "--format", "qcow2", "--apply")
    assert kept(fleet, BRIDGE, BRIDGED) == {}
    assert {image.format for image in fleet.ground.oned.images.values()} == {"qcow2"}
    for image in fleet.ground.oned.images.values():
        assert fleet.ground.path(OTHER, image.source).read_bytes()[:4] == b"QFI\xfb"
    fleet.run("images", "convert", "--from", str(FAR), "--to", str(RAW), "--format", "raw", "--apply")
    assert kept(fleet, OTHER, FAR) == {}
    assert kept(fleet, fleet.ground.frontend, RAW) == before


@pytest.mark.full
@pytest.mark.parametrize("images", [2], indirect=True)
def test_a_bridge_that_is_off(fleet: Fleet, images: list[Image]) -> None:
    """Nothing moves, one sentence says why, and the same command does it when the bridge is back."""
    before = state(fleet)
    fleet.ground.lab.stop_sshd(BRIDGE)
    try:
        report = fleet.run("images", "migrate", "--from", str(FROM), "--to", str(BRIDGED), "--apply", code=2)
    finally:
        fleet.ground.lab.start_sshd(BRIDGE)
    assert {row["state"] for row in report["images"]} == {"failed"}
    assert all("BRIDGE_LIST" in str(row["reason"]) or BRIDGE in str(row["reason"]) for row in report["images"]), report
    fleet.managing.settle()
    assert {name: before[name] for name in before} == {
        image.name: before[image.name] for image in fleet.ground.oned.images.values() if image.datastore_id == FROM
    }
    fleet.run("images", "migrate", "--from", str(FROM), "--to", str(BRIDGED), "--apply")
    assert kept(fleet, BRIDGE, BRIDGED) == {name: row[-1] for name, row in before.items()}
    assert len(fleet.ground.oned.images) == 2


def kept(fleet: Fleet, host: str, store: int) -> dict[str, str]:
    """What a datastore's folder on a host holds, by the images' names; asserts that oned knows each file."""
    known = {os.path.normpath(image.source): image.name for image in fleet.ground.oned.images.values()}
    files = [path for path in fleet.folder(store, host).iterdir() if path.is_file()]
    return {known[f"/var/lib/one/datastores/{store}/{path.name}"]: contents(path) for path in files}
