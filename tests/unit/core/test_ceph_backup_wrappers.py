# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrappers around a backup of volumes, called as oned calls them, with the VM's document on stdin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.support import bytes_of
from tests.unit.core.vm_volumes import VM, Disks
from tests.unit.door.front_end import FrontEnd, Said, laid_out, started

HOST = os.uname().nodename
DOCUMENT = """<VM><ID>42</ID><BACKUPS><BACKUP_CONFIG><MODE>INCREMENT</MODE><LAST_INCREMENT_ID>{last}</LAST_INCREMENT_ID>
</BACKUP_CONFIG></BACKUPS><BACKUP_RESULT>{result}</BACKUP_RESULT><TEMPLATE><DISK><DISK_ID>0</DISK_ID><TM_MAD>{mad}</TM_MAD>
<FORMAT>raw</FORMAT><SOURCE>one/one-5</SOURCE><CLONE>YES</CLONE><CEPH_USER>oneadmin</CEPH_USER>
<CEPH_CONF>{conf}</CEPH_CONF></DISK></TEMPLATE></VM>"""


@pytest.fixture
def front_end() -> Iterator[FrontEnd]:
    with laid_out() as tree, started(tree) as made:
        yield made


class Site:
    """A front-end that runs the VM as well."""

    def __init__(self, front_end: FrontEnd, disks: Disks) -> None:
        self.front_end = front_end
        self.disks = disks
        self.folder = disks.vm / "backup"

    def call(self, action: str, last: int = -1, result: str = "SUCCESS", mad: str = "ceph", disk: str = "0") -> Said:
        """A call around a backup."""
        document = DOCUMENT.format(last=last, result=result, mad=mad, conf=self.disks.pools.cluster.conf)
        given = [f"{HOST}:{self.disks.vm}", f"{disk}:", "-", "-", str(VM), "100"]
        return self.front_end.run(f"tm/ceph/{action}", *given, stdin=document.encode())

    def right(self, action: str, last: int = -1, result: str = "SUCCESS") -> None:
        said = self.call(action, last, result)
        assert said.code == 0, said

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
