# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/ceph.md as it is written: its commands make a pool and a user, its templates datastores that a disk lives in."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab import ceph
from tests.lab.oned import Datastore, DatastoreType, Image
from tests.lab.oned.messages import encode, image_action
from tests.lab.operating import blocks, commands
from tests.unit.door.front_end import MIB, FrontEnd

pytestmark = pytest.mark.skipif(not ceph.is_there(), reason="Ceph's daemons are not installed")
PAGE = "ceph.md"
IMAGES, SYSTEM = 110, 111


@pytest.fixture(scope="module")
def cluster() -> Iterator[ceph.Cluster]:
    with ceph.running() as made:
        # the page makes them
        made.ceph("osd", "pool", "delete", "one", "one", "--yes-i-really-really-mean-it")
        made.ceph("auth", "del", "client.oneadmin")
        yield made


def templates() -> list[dict[str, str]]:
    """The templates of datastores, in the page's order."""
    return [
        {name: value.strip('"') for name, value in re.findall(r"^(\w+) = (.+)$", block, re.M)}
        for block in blocks(PAGE, "ini")
    ]


def test_the_page(cluster: ceph.Cluster, front_end: FrontEnd) -> None:
    def run(line: str) -> str:
        here = line.replace("/etc/ceph/", f"{cluster.folder}/")
        env = {**os.environ, "CEPH_CONF": str(cluster.conf)}
        return subprocess.run(
            ["sh", "-ec", here], env=env, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    packages, *made, listing, keys, after, names = commands(PAGE)
    assert packages.startswith("apt-get install") and (keys, listing) == (after, names)
    for line in made:
        run(line)
    assert run(listing) == ""

    of_images, of_disks = templates()
    for number, kind, template in ((IMAGES, "IMAGE", of_images), (SYSTEM, "SYSTEM", of_disks)):
        given = dict(template)
        assert given.pop("TYPE") == f"{kind}_DS"
        # this machine is the only host, and its cluster is not where the page says
        given |= {"BRIDGE_LIST": "localhost", "CEPH_CONF": str(cluster.conf), "SAFE_DIRS": str(front_end.sources)}
        front_end.oned.datastores[number] = Datastore(
            number,
            given.pop("NAME"),
            ds_mad=given.pop("DS_MAD", "-"),
            tm_mad=given.pop("TM_MAD"),
            base_path=f"{front_end.root}//datastores/{number}",
            type=DatastoreType[kind],
            template=given,
        )
        front_end.store(number).mkdir()
    source = front_end.raw(front_end.sources / "disk", 6 * MIB)
    image = Image(5, "new", regtime=1000, path=str(source), size=6)
    document = encode(image_action(image, front_end.oned.datastores[IMAGES]))
    said = front_end.run("datastore/ceph/cp", "1", stdin=document)
    assert (said.code, said.out.strip()) == (0, "one/one-5 raw"), said
    swap = f"localhost:{front_end.root}//datastores/{SYSTEM}/7/disk.0"
    said = front_end.run("tm/ceph/mkswap", "8", swap, "7", str(SYSTEM))
    assert said.code == 0, said

    assert cluster.content("one/one-5") == source.read_bytes()
    assert run(listing).split() == ["one-5", "one-sys-7-0"]
    assert run(keys) == ""
    # somebody who is at work is seen by the same command
    run("rados --id oneadmin -p one setomapval one_storage journal/one-5 x")
    assert run(keys).split() == ["journal/one-5"]
