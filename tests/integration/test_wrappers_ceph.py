# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a VM on a real Ceph cluster through the wrappers that oned calls, for ceph and for ceph with ssh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import ceph
from tests.lab.oned import Datastore, DatastoreType, Image, Vm
from tests.lab.oned.disk import Disk
from tests.lab.oned.messages import encode, image_action, monitor_action
from tests.unit.door.front_end import MIB, VM, FrontEnd, Said, started

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not ceph.is_there(), reason="Ceph's daemons are not installed"),
]

IMAGES, SYSTEM = 110, 111


@pytest.fixture(scope="module")
def cluster() -> Iterator[ceph.Cluster]:
    with ceph.running() as made:
        yield made


@pytest.fixture
def site(remotes: Path, cluster: ceph.Cluster) -> Iterator[Site]:
    with started(remotes) as made:
        yield Site(made, cluster)


class Site:
    """A front-end that is its own node and bridge, a VM of a non-persistent, a persistent and a volatile disk."""

    def __init__(self, front_end: FrontEnd, cluster: ceph.Cluster) -> None:
        self.front_end, self.cluster = front_end, cluster
        self.reached = {"CEPH_USER": "oneadmin", "CEPH_CONF": str(cluster.conf), "POOL_NAME": "one"}
        for number, kind in ((IMAGES, DatastoreType.IMAGE), (SYSTEM, DatastoreType.SYSTEM)):
            more = {"SAFE_DIRS": str(front_end.sources), "BRIDGE_LIST": "localhost"} if number == IMAGES else {}
            front_end.oned.datastores[number] = Datastore(
                number,
                f"ceph{number}",
                ds_mad="ceph" if number == IMAGES else "-",
                tm_mad="ceph",
                base_path=f"{front_end.root}//datastores/{number}",
                type=kind,
                template={**self.reached, **more},
            )
            front_end.store(number).mkdir()
        self.vm = Vm(VM, "seven", disks=[self._disk(0, "YES"), self._disk(1, "NO"), self._volatile(2)])
        front_end.oned.vms[VM] = self.vm

    def _disk(self, number: int, clone: str) -> Disk:
        source = {"SOURCE": f"one/one-{number + 5}", "CLONE": clone, "DATASTORE_ID": str(IMAGES)}
        size = {"SIZE": "6", "ORIGINAL_SIZE": "6", "FORMAT": "raw", "TYPE": "RBD"}
        return Disk({"DISK_ID": str(number), "TM_MAD": "ceph", **source, **size, **self.reached})

    @staticmethod
    def _volatile(number: int) -> Disk:
        return Disk({"DISK_ID": str(number), "FORMAT": "raw", "SIZE": "8", "TYPE": "swap"})

    def content(self, name: str) -> bytes:
        """What a volume of the pool holds."""
        return self.cluster.content(f"one/{name}")

    def names(self) -> list[str]:
        """The volumes of the pool."""
        return self.cluster.rbd("ls", "one").split()

    def place(self, disk: str = "", host: str = "localhost", system: int = SYSTEM) -> str:
        """A disk, or the VM's directory, in oned's spelling."""
        return f"{host}:{self.front_end.root}//datastores/{system}/{VM}{'/' if disk else ''}{disk}"

    def tm(self, line: str, *words: str) -> Said:
        """A transfer wrapper, which has to succeed and say nothing."""
        self.explained(f"tm/ceph/{line}", *words)
        said = self.front_end.run(f"tm/ceph/{line}", *words)
        assert (said.code, said.out, said.plain) == (0, "", []), (line, said)
        return said

    def explained(self, wrapper: str, *words: str, stdin: bytes = b"") -> None:
        """What a wrapper would do is said, and nothing is done."""
        before = self.names(), self.front_end.state()
        said = self.front_end.run(wrapper, *words, stdin=stdin, env={"ONE_STORAGE_EXPLAIN": "1"})
        assert (said.code, said.err) == (0, ""), (wrapper, said)
        head, *steps = said.out.splitlines()
        assert head.endswith(": nothing to do") if not steps else head.endswith(" would:"), (wrapper, said.out)
        assert (self.names(), self.front_end.state()) == before, wrapper

    def ds(self, action: str, image: Image) -> str:
        """A datastore wrapper, which has to succeed; its answer."""
        store = self.front_end.oned.datastores[IMAGES]
        document = encode(image_action(image, store))
        self.explained(f"datastore/ceph/{action}", "1", stdin=document)
        said = self.front_end.run(f"datastore/ceph/{action}", "1", stdin=document)
        assert said.code == 0, said
        return said.out.strip()

    def images(self) -> bytes:
        """Import the images 5 and 6; what they hold."""
        source = self.front_end.raw(self.front_end.sources / "disk", 6 * MIB)
        for number in (5, 6):
            image = Image(number, "new", regtime=1000, path=str(source), size=6)
            assert self.ds("cp", image) == f"one/one-{number} raw"
        return source.read_bytes()


def test_the_life_of_a_machine(site: Site) -> None:
    held = site.images()
    home = site.front_end.store(SYSTEM) / str(VM)
    vm, images, system = str(VM), str(IMAGES), str(SYSTEM)
    fe = site.front_end.oned.settings.frontend
    disk, persistent, swap = (site.place(f"disk.{number}") for number in range(3))
    # it starts
    site.tm("clone", f"{fe}:one/one-5", disk, vm, images)
    site.tm("ln", f"{fe}:one/one-6", persistent, vm, images)
    site.tm("mkswap", "8", swap, vm, system)
    context = site.front_end.root / "home" / "context.sh"
    context.write_text("X=1")
    site.tm("context", str(context), site.place("disk.3"), vm, system)
    assert site.names() == ["one-5", "one-5-7-0", "one-6", "one-sys-7-2"]
    assert site.content("one-5-7-0") == held
    assert site.content("one-sys-7-2")[4086:4096] == b"SWAPSPACE2"
    assert sorted(path.name for path in home.iterdir()) == ["disk.3"]
    # snapshots, a revert, a disk that is saved, and one that grows
    for snapshot in ("0", "1"):
        site.tm("snap_create", disk, snapshot, vm, images)
    site.tm("snap_revert", disk, "0", vm, images)
    site.tm("snap_delete", disk, "1", vm, images)
    assert "one-5-7-0-0" in site.names()
    save = Image(9, "saved", regtime=1000, format="save_as", size=6)
    assert site.ds("mkfs", save) == "one/one-9"
    site.tm("cpds", disk, "one/one-9", "0", vm, images)
    assert site.content("one-9") == held
    site.tm("resize", disk, "10", vm, images)
    assert site.content("one-5-7-0") == held + bytes(4 * MIB)
    # oned asks for room and sizes
    document = encode(monitor_action(site.front_end.oned.settings, site.front_end.oned.datastores[SYSTEM]))
    said = site.front_end.run("tm/ceph/monitor", system, stdin=document)
    assert said.code == 0 and [line.split("=")[0] for line in said.out.split()] == ["USED_MB", "FREE_MB", "TOTAL_MB"]
    # it is stopped and resumed: only the directory goes, here from one name of this host to another
    for number in range(3):
        site.tm("mv", site.place(f"disk.{number}"), site.place(f"disk.{number}", fe), vm, images)
    site.tm("mv", site.place(), site.place(host=fe), vm, system)
    # another driver calls the hooks of this one, too
    for name in ("premigrate", "postmigrate", "failmigrate"):
        site.tm(name, "localhost", "localhost", site.place().partition(":")[2], vm, system, "ssh")
    # it ends
    site.tm("delete", disk, vm, images)
    site.tm("mvds", persistent, "one/one-6", vm, images)
    site.tm("delete", persistent, vm, images)
    site.tm("delete", swap, vm, system)
    site.tm("delete", site.place(), vm, system)
    assert not home.exists()
    assert site.names() == ["one-5", "one-6", "one-9"]
    assert [site.content(name) for name in ("one-5", "one-6", "one-9")] == [held] * 3
    for number in (5, 6, 9):
        site.ds("rm", Image(number, "old", source=f"one/one-{number}"))
    assert site.names() == [] and site.cluster.rbd("trash", "ls", "one") == ""
    assert site.front_end.hidden() == []


def test_the_life_of_a_machine_with_files_of_its_own(site: Site) -> None:
    held = site.images()
    home = site.front_end.store(SYSTEM) / str(VM)
    vm, images = str(VM), str(IMAGES)
    fe = site.front_end.oned.settings.frontend
    disk, persistent = site.place("disk.0"), site.place("disk.1")
    site.tm("clone.ssh", f"{fe}:one/one-5", disk, vm, images)
    site.tm("ln.ssh", f"{fe}:one/one-6", persistent, vm, images)
    assert [(home / f"disk.{number}").read_bytes() for number in (0, 1)] == [held, held]
    for name in ("snap_create", "snap_create_live", "snap_delete", "snap_revert"):
        said = site.front_end.run(f"tm/ceph/{name}.ssh", disk, "0", vm, images)
        assert said.code == 1 and said.reason.startswith(f"{name}: disks of Ceph images in a system datastore of the")
    (home / "disk.1").write_bytes(b"guest" + held[5:])
    site.tm("resize.ssh", disk, "8", vm, images)
    site.tm("cpds.ssh", disk, "one/one-9", "-1", vm, images)
    site.tm("mvds.ssh", persistent, "one/one-6", vm, images)
    site.tm("delete.ssh", disk, vm, images)
    assert sorted(path.name for path in home.iterdir()) == ["disk.1"]
    assert site.names() == ["one-5", "one-6", "one-9"]
    assert site.content("one-5") == held
    assert site.content("one-6") == b"guest" + held[5:]
    assert site.content("one-9") == held + bytes(2 * MIB)
    for name in site.names():
        site.ds("rm", Image(1, "old", source=f"one/{name}"))
    assert site.front_end.hidden() == []


def test_what_oned_should_not_ask_is_one_sentence(site: Site) -> None:
    site.images()
    vm, images = str(VM), str(IMAGES)
    for line, words, wanted in (
        ("clone", ["one/one-8", site.place("disk.0"), vm, images], "The volume one/one-8 is not there"),
        ("snap_revert", [site.place("disk.0"), "3", vm, images], "The volume one/one-5-7-0 is not there"),
        ("delete", [site.place("disk.9"), vm, images], "VM 7 has no disk 9"),
        ("restart", [], ""),
    ):
        if not wanted:
            assert not (site.front_end.remotes / "tm" / "ceph" / line).exists()
            continue
        said = site.front_end.run(f"tm/ceph/{line}", *words)
        assert said.code == 1 and said.reason.startswith(wanted), said
    assert site.names() == ["one-5", "one-6"]
    for name in site.names():
        site.ds("rm", Image(1, "old", source=f"one/{name}"))
