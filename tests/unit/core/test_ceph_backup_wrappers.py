# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrappers around a backup of volumes, called as oned calls them, with the VM's document on stdin."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.lab.oned import Datastore, DatastoreType, Image, ImageType
from tests.lab.oned.messages import backup_action, encode, flatten_action, image_action
from tests.unit.core.old_chains import Old
from tests.unit.core.stored import PASSWORD
from tests.unit.core.support import bytes_of
from tests.unit.core.vm_volumes import VM, Disks
from tests.unit.door.front_end import FrontEnd, Said

HOST = os.uname().nodename
DOCUMENT = """<VM><ID>42</ID><BACKUPS><BACKUP_CONFIG><MODE>INCREMENT</MODE><LAST_INCREMENT_ID>{last}</LAST_INCREMENT_ID>
</BACKUP_CONFIG><BACKUP_IDS>{ids}</BACKUP_IDS></BACKUPS><BACKUP_RESULT>{result}</BACKUP_RESULT><TEMPLATE><DISK><DISK_ID>0</DISK_ID><TM_MAD>{mad}</TM_MAD>
<FORMAT>raw</FORMAT><SOURCE>one/one-5</SOURCE><CLONE>YES</CLONE><CEPH_USER>oneadmin</CEPH_USER>
<CEPH_CONF>{conf}</CEPH_CONF></DISK></TEMPLATE></VM>"""


class Site:
    """A front-end that runs the VM as well."""

    def __init__(self, front_end: FrontEnd, disks: Disks) -> None:
        self.front_end = front_end
        self.disks = disks
        self.folder = disks.vm / "backup"
        #: Images that oned has of its backups.
        self.backups: list[int] = []

    def document(self, last: int = -1, result: str = "SUCCESS", mad: str = "ceph") -> str:
        """The VM as oned sends it."""
        conf, ids = self.disks.pools.cluster.conf, "".join(f"<ID>{number}</ID>" for number in self.backups)
        return DOCUMENT.format(last=last, result=result, mad=mad, conf=conf, ids=ids)

    def call(self, action: str, last: int = -1, result: str = "SUCCESS", mad: str = "ceph", disk: str = "0") -> Said:
        """A call around a backup."""
        document = self.document(last, result, mad)
        given = [f"{HOST}:{self.disks.vm}", f"{disk}:", "-", "-", str(VM), "100"]
        return self.front_end.run(f"tm/ceph/{action}", *given, stdin=document.encode())

    def right(self, action: str, last: int = -1, result: str = "SUCCESS") -> None:
        said = self.call(action, last, result)
        assert said.code == 0, said

    def store(self, number: int, kind: DatastoreType, mad: str, base: Path, **template: str) -> Datastore:
        """A datastore that oned knows."""
        tm = "-" if kind is DatastoreType.BACKUP else mad
        made = Datastore(number, mad, ds_mad=mad, tm_mad=tm, base_path=str(base), type=kind, template=template)
        self.front_end.oned.datastores[number] = made
        return made

    def told(self, action: str, *given: str, stdin: str | bytes) -> str:
        """What oned reads of a call that goes well."""
        said = self.front_end.run(action, *given, stdin=stdin if isinstance(stdin, bytes) else encode(stdin))
        assert said.code == 0, said
        return said.out

    def snapshots(self) -> list[str]:
        found = self.disks.pools.look.look("one", "one-5-42-0")
        assert found
        return [snapshot["name"] for snapshot in found["snapshots"]]


def reason(said: Said) -> str:
    assert said.code != 0, said
    return f"{said}"


def test_a_chain_and_three_misuses(front_end: FrontEnd, disks: Disks) -> None:
    disks.pools.volume("one-5")
    disks.clone()
    disks.vm.mkdir(parents=True)
    site = Site(front_end, disks)
    site.right("prebackup")
    shown: Path = site.folder / "disk.0.0"
    assert bytes_of(shown, "qcow2") == disks.pools.content("one/one-5-42-0")
    site.right("postbackup")
    assert not site.folder.exists()
    assert site.snapshots() == ["one_backup_0"]
    disks.pools.patch("one-5-42-0", "guest")
    site.right("prebackup", 0)
    assert sorted(os.listdir(site.folder)) == ["disk.0.1", "manifest.json", "vm.xml"]
    site.right("postbackup", 0, "FAILURE")
    assert site.snapshots() == ["one_backup_0"]
    assert "is kept by the driver qcow2, and is no volume" in reason(site.call("prebackup", mad="qcow2"))
    assert "has no disk 7" in reason(site.call("prebackup", disk="7"))
    assert "is not the number of an increment" in reason(site.call("prebackup", -2))
    assert site.snapshots() == ["one_backup_0"]
    assert disks.pools.left() == []


@pytest.mark.full
def test_a_chain_that_stock_began_goes_on_and_comes_back(front_end: FrontEnd, disks: Disks) -> None:
    """All calls that oned makes of it: increment, list, restore in place, new images of two kinds, merge."""
    signal.alarm(240)
    old, site = Old(disks, (0,), "restic"), Site(front_end, disks)
    pools, conf = disks.pools, str(disks.pools.cluster.conf)
    old.write()
    old.stock()
    more = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_BACKEND": "local", "RESTIC_TMP_DIR": str(old.store.scratch)}
    kept = site.store(108, DatastoreType.BACKUP, "restic", old.store.base, **more)
    image = Image(9, "backup", type=ImageType.BACKUP, format="rbd", datastore_id=108, backup_disks={0}, vms={VM})
    image.increments = list(old.store.chain)
    image.source = image.increments[0][1]
    front_end.oned.images[9] = image
    site.backups = [7, 9]
    old.write()
    old.kept[1] = old.now()
    site.right("prebackup", 0)
    assert sorted(os.listdir(site.folder)) == ["disk.0.1.rbdiff", "manifest.json", "vm.xml"]
    place = f"{HOST}:{disks.vm}"
    vm = site.document(0)
    said = site.told(
        "datastore/restic/backup", place, "0", "-", "-", str(VM), "100", stdin=backup_action(kept, vm).encode()
    )
    reference, _size, kind = said.split()
    assert kind == "rbd"
    site.right("postbackup", 0)
    image.increments.append((1, reference))
    parts = (kept.element(plain=True).render(), vm, image.element().render())
    listed = f"<DS_DRIVER_ACTION_DATA>{''.join(parts)}</DS_DRIVER_ACTION_DATA>"
    urls = [json.loads(site.told("datastore/restic/ls", "-i", n, stdin=listed.encode()))["0"] for n in ("0", "1")]
    assert all(url.startswith("restic+rbd://108//0:") for url in urls)
    # new images, as volumes and as files
    where = {"BRIDGE_LIST": HOST, "CEPH_USER": "oneadmin", "CEPH_CONF": conf, "STAGING_DIR": str(pools.staging)}
    volumes = site.store(120, DatastoreType.IMAGE, "ceph", disks.world.root / "120", **where)
    for number, url in enumerate(urls):
        new = Image(20 + number, "new", regtime=1000, path=url, size=6, template={"FROM_BACKUP_DS": "108"})
        assert (
            site.told("datastore/ceph/cp", str(new.id), stdin=image_action(new, volumes)).split()[0]
            == f"one/one-{new.id}"
        )
        assert pools.content(f"one/one-{new.id}") == old.kept[number][0]
        files = front_end.oned.datastores[100]
        path = site.told("datastore/fs/cp", str(new.id), stdin=image_action(new, files)).split()[0]
        assert bytes_of(Path(path), "qcow2") == old.kept[number][0]
    # in place
    machine = front_end.vm(
        TM_MAD="ceph", SOURCE="one/one-5", CLONE="YES", SIZE="6", CEPH_USER="oneadmin", CEPH_CONF=conf
    )
    machine.id = VM
    front_end.oned.vms[VM] = machine
    for number in (0, 1):
        old.write()
        site.told("tm/ceph/restore", place, str(VM), "9", str(number), "-1", stdin=b"")
        assert old.now() == old.kept[number]
    # merged, it still comes back
    said = site.told("datastore/restic/increment_flatten", "9", stdin=flatten_action(image, kept, 1))
    image.increments = [(1, said.split(":")[1].strip())]
    assert said.split()[1].startswith("1:")
    old.write()
    site.told("tm/ceph/restore", place, str(VM), "9", "-1", "-1", stdin=b"")
    assert old.now() == old.kept[1]
    assert pools.left() == []
    assert list(old.store.scratch.iterdir()) == []
