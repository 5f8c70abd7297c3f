# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastores that only some hosts can reach: every action happens there, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours, wait_for
from tests.lab.oned import Life, Runner
from tests.lab.oned.messages import image_action
from tests.lab.oned.states import HostState
from tests.lab.scene import ANSIBLE

SOURCES = "/var/lib/one/sources"
#: Folders of each host's own: what is in one is not in the others.
BRIDGED, OTHER, PLAIN = 210, 211, 212
MIB = 1 << 20


class Place:
    """An oned with datastores behind bridges."""

    def __init__(self, ground: LabGround) -> None:
        self.ground = ground
        self.front = ground.frontend
        self.first, self.second = ground.nodes
        self.life = Life(ground.oned, ground.runner())
        allowed = {"SAFE_DIRS": SOURCES, "RESTRICTED_DIRS": "/"}
        for number, bridges in ((BRIDGED, self.first), (OTHER, self.second), (PLAIN, "")):
            given = {**allowed, "BRIDGE_LIST": bridges} if bridges else allowed
            if number not in ground.oned.datastores:
                self.life.create_datastore(f"ds{number}", tm_mad="ssh", ds_id=number, template=given)

    def with_environment(self, **environment: str) -> Life:
        """The same oned with other settings for the drivers."""
        runner: Runner = self.ground.runner(environment)
        return Life(self.ground.oned, runner)

    def folder(self, host: str, number: int) -> Path:
        """A datastore's folder as it is on a host."""
        return self.ground.path(host, f"{self.ground.oned.settings.datastore_location}/{number}")

    def names(self, host: str, number: int) -> list[str]:
        """What is in it, ours aside."""
        folder = self.folder(host, number)
        return (
            sorted(entry.name for entry in folder.iterdir() if entry.name != ".one_storage") if folder.exists() else []
        )

    def source(self, name: str, data: bytes, size: int = 0) -> str:
        """A file on the front-end."""
        path = self.ground.path(self.front, f"{SOURCES}/{name}")
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(max(size, len(data)))
        self.ground.own(self.front, SOURCES)
        return f"{SOURCES}/{name}"

    def import_of(self, image: int, path: str) -> str:
        """The document of an import of a path, as if this image of the bridged datastore had another one to come."""
        oned = self.ground.oned
        new = replace(oned.image(image), path=path, source="", regtime=oned.image(image).regtime + 1)
        return image_action(new, oned.datastore(BRIDGED))

    def only(self, host: str, number: int) -> Path:
        """The one image of a datastore, which must be on this host alone."""
        for other in (self.front, self.first, self.second):
            found = self.names(other, number)
            assert len(found) == (1 if other == host else 0), (other, found)
        return self.folder(host, number) / self.names(host, number)[0]


@pytest.fixture
def place(tidy: LabGround) -> Iterator[Place]:
    made = Place(tidy)
    yield made
    for number in [one.id for one in tidy.oned.images.values() if one.datastore_id in (BRIDGED, OTHER, PLAIN)]:
        made.life.delete_image(number).check()
    for host in (made.front, made.first, made.second):
        for number in (BRIDGED, OTHER, PLAIN):
            assert made.names(host, number) == []
    assert left_of_ours(tidy) == []


def test_an_empty_image(place: Place) -> None:
    place.life.create_datablock("empty", BRIDGED, 20, format="qcow2", fs="ext4").check()
    assert place.only(place.first, BRIDGED).read_bytes()[:4] == b"QFI\xfb"


def test_the_room_of_the_bridge(place: Place) -> None:
    place.life.monitor_datastore(BRIDGED).check()
    assert place.ground.oned.datastore(BRIDGED).total_mb > 0
    assert place.folder(place.first, BRIDGED).is_dir() and not place.folder(place.front, BRIDGED).exists()


@pytest.mark.parametrize("launcher", ["ssh", "ansible"])
def test_a_file_of_the_front_end(place: Place, launcher: str) -> None:
    data = bytes(range(256)) * 4096
    path = place.source("image.raw", data, 64 * MIB)
    life = place.with_environment(ONE_STORAGE_LAUNCHER=launcher, ONE_STORAGE_ANSIBLE=ANSIBLE)
    life.import_image("local", BRIDGED, path).check()
    image = place.only(place.first, BRIDGED)
    assert image.stat().st_size == 64 * MIB and image.stat().st_blocks * 512 < 4 * MIB
    with open(image, "rb") as file:
        assert file.read(len(data)) == data and file.read().count(0) == 64 * MIB - len(data)
    assert not [entry for entry in place.ground.path(place.first, "/tmp").iterdir() if "one_storage-" in entry.name]


def test_explain_says_what_the_bridge_would_do(place: Place) -> None:
    life = place.with_environment(ONE_STORAGE_EXPLAIN="1")
    path = place.source("explained.raw", b"x" * MIB)
    image = place.life.create_datablock("known", BRIDGED, 8).check().object_id
    place.only(place.first, BRIDGED)
    document = place.import_of(image, path)
    call = life.runner.ds_action("import", "cp", "fs", image, document)
    assert call.ok, call.stderr
    assert call.stdout.splitlines()[0] == f"fs on {place.first} would:"
    assert f"copy {path}" in call.stdout
    place.only(place.first, BRIDGED)


def test_an_import_on_a_bridge_ends_with_its_wrapper(place: Place) -> None:
    """Killed while it reads slowly: on the bridge nothing is left, not even of the relay."""
    path = place.source("slow.raw", b"slow" * MIB)
    lab, oned = place.ground.lab, place.ground.oned
    image = place.life.create_datablock("slow", BRIDGED, 8).check().object_id
    place.life.oned.datastore(BRIDGED).template["LIMIT_TRANSFER_BW"] = "256K"
    try:
        document = place.import_of(image, path)
        argv = [f"{oned.settings.remotes}/datastore/fs/cp", str(image)]
        wrapper = lab.popen(place.front, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert wrapper.stdin
        wrapper.stdin.write(document.encode())
        wrapper.stdin.close()
        hidden = place.folder(place.first, BRIDGED) / ".one_storage"
        wait_for("the import", lambda: list(hidden.glob("image-*/*/fetched")), 20)
        relays = place.ground.path(place.first, "/tmp")
        assert [entry for entry in relays.iterdir() if entry.name.startswith("one_storage-")]
        os.kill(lab.inner_pid(wrapper), signal.SIGKILL)
        wrapper.wait(10)
        wait_for("the bridge to tidy up", lambda: not list(hidden.glob("image-*")), 10)
        wait_for("the relay", lambda: not [one for one in relays.iterdir() if one.name.startswith("one_storage-")], 10)
    finally:
        del place.life.oned.datastore(BRIDGED).template["LIMIT_TRANSFER_BW"]


def test_a_url_is_fetched_by_the_bridge_itself(place: Place) -> None:
    place.source("served.raw", b"served" * MIB)
    lab = place.ground.lab
    address = lab.address(place.front)
    argv = ["/usr/bin/python3", "-m", "http.server", "8099", "--directory", SOURCES]
    with lab.popen(place.front, argv, stderr=None) as server:
        try:
            url = f"http://{address}:8099/served.raw"
            until = time.monotonic() + 10
            while place.ground.lab.run(place.front, ["curl", "-sfI", url], check=False).returncode:
                assert time.monotonic() < until
                time.sleep(0.05)
            place.life.import_image("served", BRIDGED, url).check()
        finally:
            server.kill()
    assert place.only(place.first, BRIDGED).read_bytes() == b"served" * MIB


def test_the_same_checks_hold_on_the_bridge(place: Place) -> None:
    place.source("base.raw", b"", MIB)
    overlay = f"{SOURCES}/overlay.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{SOURCES}/base.raw", "-F", "raw", overlay]
    place.ground.run(place.front, argv)
    with pytest.raises(Exception, match="backing file"):
        place.life.import_image("overlay", BRIDGED, overlay).check()
    outcome = place.life.import_image("closed", BRIDGED, "/etc/passwd")
    assert not outcome.ok and "Not allowed to copy image from /etc/passwd" in outcome.reason
    for image in [one.id for one in place.ground.oned.images.values() if one.datastore_id == BRIDGED]:
        place.life.delete_image(image)
    assert place.names(place.first, BRIDGED) == [] and not place.folder(place.front, BRIDGED).exists()


def test_no_bridge_is_up(place: Place) -> None:
    host = next(one for one in place.ground.oned.hosts.values() if one.name == place.first)
    before, host.state = host.state, HostState.OFFLINE
    try:
        outcome = place.life.create_datablock("nowhere", BRIDGED, 8)
        assert not outcome.ok and "All hosts of BRIDGE_LIST are offline" in outcome.reason
        assert not place.folder(place.front, BRIDGED).exists()
    finally:
        host.state = before
    place.life.delete_image(outcome.object_id).check()


@pytest.mark.parametrize(("origin", "target"), [(BRIDGED, BRIDGED), (BRIDGED, OTHER), (BRIDGED, PLAIN), (PLAIN, PLAIN)])
def test_clones(place: Place, origin: int, target: int) -> None:
    hosts = {BRIDGED: place.first, OTHER: place.second, PLAIN: place.front}
    data = b"clone me" * 1000
    path = place.source("origin.raw", data, 8 * MIB)
    made = place.life.import_image("origin", origin, path).check()
    clone = place.life.clone_image(made.object_id, "clone", target).check()
    image = place.ground.oned.image(clone.object_id)
    found = place.folder(hosts[target], target) / image.source.rsplit("/", 1)[1]
    assert found.read_bytes() == data + bytes(8 * MIB - len(data))
    assert len(place.names(hosts[target], target)) == (2 if origin == target else 1)


def test_an_export_can_be_imported_where_there_is_no_bridge(place: Place) -> None:
    """The marketplace's way: what export prints is a source of another import, over real SSH."""
    oned = place.ground.oned
    data = b"exported" * 2000
    made = place.life.import_image("shop", BRIDGED, place.source("shop.raw", data, 4 * MIB)).check()
    document = image_action(oned.image(made.object_id), oned.datastore(BRIDGED))
    call = place.life.runner.ds_action("export", "export", "fs", 1, document)
    assert call.ok, call.stderr
    told = etree.fromstring(call.stdout)
    image = place.only(place.first, BRIDGED)
    assert told.findtext("IMPORT_SOURCE") == f"ssh://{place.first}:{oned.image(made.object_id).source}"
    assert told.findtext("MD5") == hashlib.md5(image.read_bytes()).hexdigest()
    digests = {"MD5": str(told.findtext("MD5"))}
    again = place.life.import_image("back", PLAIN, str(told.findtext("IMPORT_SOURCE")), template=digests).check()
    name = oned.image(again.object_id).source.rsplit("/", 1)[1]
    assert (place.folder(place.front, PLAIN) / name).read_bytes() == image.read_bytes()


def test_snapshots_and_removal_again(place: Place) -> None:
    made = place.life.create_datablock("gone", BRIDGED, 8).check()
    place.only(place.first, BRIDGED)
    place.life.delete_image(made.object_id).check()
    assert place.names(place.first, BRIDGED) == []
