# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores between three hosts: the front-end reads the repository of one, the disks are those of another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LabGround
from tests.lab.oned import Datastore, DatastoreType, Image, ImageState, ImageType, Vm
from tests.lab.oned.allocation import Allocation
from tests.lab.oned.disk import Disk
from tests.lab.oned.images import ImageLife
from tests.lab.oned.messages import restore_action
from tests.lab.oned.runner import Call
from tests.unit.core.stored import Rsync, tpm_state
from tests.unit.core.support import bytes_of

BACKUPS, SYSTEM, IMAGES, VM, BACKUP = 230, 231, 232, 9230, 9231
DOCUMENT = f"<VM><ID>{VM}</ID><TEMPLATE>" + "".join(
    f"<DISK><DISK_ID>{disk}</DISK_ID><SIZE>4</SIZE><TYPE>FILE</TYPE><IMAGE_ID>0</IMAGE_ID></DISK>" for disk in (0, 1)
) + "</TEMPLATE><USER_TEMPLATE/></VM>"  # fmt: skip


class Place:
    """A VM on the first node, its backups on the second one, an image datastore on the front-end."""

    def __init__(self, ground: LabGround, scratch: Path) -> None:
        self.ground, self.oned = ground, ground.oned
        self.node, self.server = ground.nodes
        self.kept = Rsync(scratch, self.folder(self.server, BACKUPS), VM, DOCUMENT)
        for _turn in range(3):
            self.kept.write(0)
            self.kept.write(1)
            self.kept.backup(tpm=tpm_state({"tpm/a": b"state"}))
        self.folder(self.node, SYSTEM).joinpath(str(VM)).mkdir(parents=True)
        self.folder(ground.frontend, IMAGES).mkdir()
        for host in (self.node, self.server, ground.frontend):
            ground.own(host, ground.oned.settings.datastore_location)
        self._documents()
        self.allocation = self.oned.allocation = Allocation(ImageLife(self.oned, ground.runner()))

    def _documents(self) -> None:
        base = self.oned.settings.datastore_location
        given = {"RSYNC_HOST": self.server, "RSYNC_USER": "oneadmin"}
        kinds = {
            BACKUPS: ("rsync", "-", DatastoreType.BACKUP, given),
            SYSTEM: ("-", "ssh", DatastoreType.SYSTEM, {}),
            IMAGES: ("fs", "ssh", DatastoreType.IMAGE, {"DRIVER": "qcow2"}),
        }
        for number, (ds_mad, tm_mad, kind, template) in kinds.items():
            self.oned.datastores[number] = Datastore(
                number, f"ds{number}", ds_mad=ds_mad, tm_mad=tm_mad, base_path=f"{base}/{number}", type=kind,
                template=template,
            )  # fmt: skip
        disks = [
            Disk({"DISK_ID": str(disk), "FORMAT": image_format, "SIZE": "4", "CLONE": "YES"})
            for disk, image_format in ((0, "qcow2"), (1, "raw"))
        ]
        self.oned.vms[VM] = Vm(VM, "restored", disks=disks)
        self.image = Image(
            BACKUP, "the backup", type=ImageType.BACKUP, state=ImageState.READY, source=self.kept.chain[0][1],
            datastore_id=BACKUPS, format="raw", vms={VM}, increments=self.kept.chain, uid=7, uname="bob",
        )  # fmt: skip
        self.oned.images[BACKUP] = self.image
        self.oned.users.ids["bob"] = 7

    def folder(self, host: str, number: int) -> Path:
        """A datastore's folder as it is on a host."""
        return self.ground.path(host, f"{self.oned.settings.datastore_location}/{number}")

    def restore(self, increment: int = -1) -> Call:
        """TM restore of the whole VM."""
        place = f"{self.node}:{self.oned.settings.system_dir(SYSTEM, VM)}"
        return self.ground.runner().tm_line("restore", f"RESTORE ssh {place} {VM} {BACKUP} {increment} -1", b"", False)

    def disk(self, number: int) -> Path:
        return self.folder(self.node, SYSTEM) / str(VM) / f"disk.{number}"

    def close(self) -> None:
        """Take everything away."""
        self.oned.allocation = None
        for number in (BACKUPS, SYSTEM, IMAGES):
            for host in (self.node, self.server, self.ground.frontend):
                shutil.rmtree(self.folder(host, number), ignore_errors=True)
            self.oned.datastores.pop(number)
        self.oned.vms.pop(VM)
        for number in [one.id for one in self.oned.images.values() if one.datastore_id in (BACKUPS, IMAGES)]:
            self.oned.images.pop(number)


@pytest.fixture
def place(tidy: LabGround, tmp_path: Path) -> Iterator[Place]:
    made = Place(tidy, tmp_path)
    yield made
    made.close()


def test_in_place_over_three_hosts(place: Place) -> None:
    before = place.kept.files()
    call = place.restore()
    assert call.ok, call.stderr
    assert bytes_of(place.disk(0), "qcow2") == place.kept.kept[2][0]
    assert place.disk(1).read_bytes() == place.kept.kept[2][1]
    assert place.disk(0).parent.joinpath("tpm", "a").read_bytes() == b"state"
    assert place.kept.files() == before
    assert place.restore(0).ok
    assert bytes_of(place.disk(0), "qcow2") == place.kept.kept[0][0]


def test_an_altered_file_leaves_the_disks_alone(place: Place) -> None:
    assert place.restore().ok
    whole = {path: path.read_bytes() for path in place.disk(0).parent.rglob("*") if path.is_file()}
    place.kept.change(1, "disk.1.1", lambda data: data.__setitem__(70_000, data[70_000] ^ 1))
    call = place.restore()
    assert not call.ok and "is not what was backed up" in call.reason and "nothing was changed" in call.reason
    assert {path: path.read_bytes() for path in place.disk(0).parent.rglob("*") if path.is_file()} == whole


def test_as_new_images(place: Place) -> None:
    auth = place.ground.path(place.ground.frontend, "/var/lib/one/.one/onegate_auth")
    auth.parent.mkdir(exist_ok=True)
    auth.write_text(f"{place.oned.users.account}:{place.oned.users.password}\n")
    place.ground.own(place.ground.frontend, "/var/lib/one/.one")
    document = restore_action(place.image, place.oned.datastores[BACKUPS], IMAGES, {"USERNAME": "bob", "NAME": "n"})
    call = place.ground.runner().ds_action("restore", "restore", "rsync", 1, document)
    auth.unlink()
    assert call.ok, call.stderr
    _template, *images = map(int, call.stdout.split())
    place.allocation.settle()
    for number, disk in zip(images, (0, 1), strict=True):
        image = place.oned.images[number]
        assert image.state is ImageState.READY, image.template
        path = place.ground.path(place.ground.frontend, image.source)
        assert bytes_of(path, "qcow2") == place.kept.kept[2][disk]
