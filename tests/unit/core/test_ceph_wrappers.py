# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrappers of DS ``ceph``, called as oned calls them: documents in, answers and sentences out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from lxml import etree

from tests.lab.oned import Datastore, Image
from tests.lab.oned.answers import read_clone, read_cp, read_mkfs, read_monitor, read_stat
from tests.lab.oned.messages import clone_action, encode, image_action, monitor_action, stat_action
from tests.unit.core.pools import Pools, digest, image, qemu
from tests.unit.core.support import MIB
from tests.unit.door.front_end import FrontEnd, Said

BRIDGE = os.uname().nodename


class Site:
    """A front-end that is a bridge of a Ceph datastore as well."""

    def __init__(self, front_end: FrontEnd, pools: Pools) -> None:
        self.front_end = front_end
        self.pools = pools
        self.template = {
            "BRIDGE_LIST": BRIDGE,
            "POOL_NAME": "one",
            "CEPH_USER": "oneadmin",
            "CEPH_CONF": str(pools.cluster.conf),
            "STAGING_DIR": str(pools.staging),
            "SAFE_DIRS": str(pools.folder),
            "DISK_TYPE": "RBD",
        }

    def store(self, more: Mapping[str, str]) -> Datastore:
        given = {name: value for name, value in {**self.template, **more}.items() if value}
        base = "/var/lib/one//datastores/120"
        return Datastore(120, "ceph", ds_mad="ceph", tm_mad="ceph", base_path=base, template=given)

    def run(self, action: str, image: Image, **more: str) -> Said:
        """An action on an image."""
        return self._call(action, str(image.id), image_action(image, self.store(more)))

    def clone(self, image: Image, **more: str) -> Said:
        return self._call("clone", str(image.id), clone_action(image, self.store(more), BRIDGE))

    def stat(self, path: Path) -> Said:
        return self._call("stat", "1", stat_action(str(path), self.store({})))

    def monitor(self, **more: str) -> Said:
        return self._call("monitor", "120", monitor_action(self.front_end.oned.settings, self.store(more)))

    def _call(self, action: str, number: str, document: str) -> Said:
        return self.front_end.run(f"datastore/ceph/{action}", number, stdin=encode(document))


@pytest.fixture
def site(front_end: FrontEnd, pools: Pools) -> Site:
    return Site(front_end, pools)


def well(said: Said) -> str:
    assert (said.code, said.plain) == (0, []), said
    return said.out


def test_an_images_life(site: Site) -> None:
    pools = site.pools
    qemu("convert", "-f", "raw", "-O", "qcow2", pools.file(), pools.folder / "q")
    assert read_stat(well(site.stat(pools.folder / "q"))) == 6
    new = Image(5, "new", regtime=1000, path=str(pools.folder / "q"), size=6)
    assert read_cp(well(site.run("cp", new))) == ("one/one-5", "raw")
    assert pools.content("one/one-5") == image("source")
    copy = Image(6, "copy", regtime=1001, path="one/one-5", size=6, format="raw")
    assert read_clone(well(site.clone(copy, POOL_NAME="one2")), "raw") == ("one2/one-6", "raw")
    assert (
        read_mkfs(well(site.run("mkfs", Image(7, "empty", regtime=1002, format="raw", fs="ext4", size=8))))
        == "one/one-7"
    )
    told = read_monitor(well(site.monitor()))
    assert told
    root = etree.fromstring(well(site.run("export", Image(5, "old", source="one/one-5", size=6))).encode())
    assert (
        root.findtext("IMPORT_SOURCE") == f"rbd://{BRIDGE}/one/one-5?CEPH_USER=oneadmin&CEPH_CONF={pools.cluster.conf}"
    )
    assert root.findtext("MD5") == digest(image("source"))
    for source in ("one/one-5", "one2/one-6", "one/one-7"):
        assert well(site.run("rm", Image(5, "old", source=source))) == ""
    assert pools.names() == pools.names("one2") == []
    assert pools.left() == []


def test_snapshots_of_an_image(site: Site) -> None:
    pools = site.pools
    held = pools.branched()
    old = Image(5, "old", source="one/one-5", size=6, format="raw", target_snapshot=2)
    assert well(site.run("snap_revert", old)) == ""
    assert pools.content("one/one-5") == held["2"]
    assert well(site.run("snap_delete", Image(5, "old", source="one/one-5", target_snapshot=1))) == ""
    assert pools.names() == ["one-5", "one-5-2:3"]
    assert well(site.run("snap_flatten", Image(5, "old", source="one/one-5", target_snapshot=3))) == ""
    assert pools.names() == ["one-5"]
    assert pools.content("one/one-5") == held["3"]
    assert pools.left() == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"BRIDGE_LIST": ""}, "Datastore template missing 'BRIDGE_LIST' attribute."),
        ({"RBD_FORMAT": "3"}, "Datastore 120 has RBD_FORMAT=3: it must be 1 or 2"),
        ({"DRIVER": "qcow2"}, "An image in a Ceph pool is raw, it cannot be qcow2; nothing was changed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_datastore_that_cannot_be_worked_with_is_told(site: Site, more: dict[str, str], sentence: str) -> None:
    new = Image(5, "new", regtime=1000, path=str(site.pools.file()), size=6)
    said = site.run("cp", new, **more)
    assert (said.code, said.out, said.reason) == (1, "", sentence)
    assert site.pools.names() == []


def test_what_fails_is_told_where_oned_reads_it(site: Site) -> None:
    """On stderr, one sentence; nothing is on stdout, which would be taken for the answer."""
    for action in ("export", "snap_revert"):
        said = site.run(action, Image(5, "old", source="one/one-99", size=6, target_snapshot=1))
        assert (said.code, said.out) == (1, "")
        assert said.reason.startswith("The volume one/one-99 is not there"), said
    said = site.monitor(POOL_NAME="nix")
    assert (said.code, said.out) == (1, "")
    assert "there is no pool 'nix'" in said.reason


def test_what_the_datastore_does_not_say_stands_in_stocks_file(site: Site) -> None:
    """The trash and the pool."""
    folder = site.front_end.remotes / "etc/datastore/ceph"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ceph.conf"
    file.write_text('POOL_NAME="one2"\nCEPH_TRASH="yes"\n')
    try:
        well(site.run("mkfs", Image(7, "empty", regtime=1002, format="raw", size=8), POOL_NAME=""))
        assert site.pools.names("one2") == ["one-7"]
        assert info_size(site.pools, "one-7") == 8 * MIB
        well(site.run("rm", Image(7, "old", source="one2/one-7"), POOL_NAME=""))
        assert site.pools.trash("one2") == ["one-7"]
    finally:
        file.unlink()


def info_size(pools: Pools, name: str) -> int:
    found = pools.look.look("one2", name)
    assert found
    return int(found["size"])
