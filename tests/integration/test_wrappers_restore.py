# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores through the real wrappers, against a stand-in for oned that calls the other drivers as the real one does."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.lab.oned import Datastore, DatastoreType, Image, ImageState, ImageType, Runner, ThisMachine
from tests.lab.oned.allocation import Allocation
from tests.lab.oned.images import ImageLife
from tests.lab.oned.messages import encode, restore_action
from tests.unit.core.stored import PASSWORD, Restic, tpm_state
from tests.unit.core.support import bytes_of
from tests.unit.door.front_end import VM, FrontEnd, Said, quick_folder, started

BACKUPS, BACKUP = 108, 40
DOCUMENT = (
    f"<VM><ID>{VM}</ID><NAME>seven</NAME><TEMPLATE><CPU>1</CPU><VMID>{VM}</VMID>"
    "<DISK><DISK_ID>0</DISK_ID><SIZE>4</SIZE><TYPE>FILE</TYPE><IMAGE_ID>3</IMAGE_ID><TM_MAD>qcow2</TM_MAD></DISK>"
    "<DISK><DISK_ID>1</DISK_ID><SIZE>4</SIZE><TYPE>fs</TYPE></DISK>"
    "<DISK><DISK_ID>2</DISK_ID><SIZE>9</SIZE><TYPE>swap</TYPE></DISK>"
    "<NIC><IP>10.0.0.1</IP><MAC>02:00</MAC><NETWORK>net</NETWORK><NIC_ID>0</NIC_ID></NIC>"
    '</TEMPLATE><USER_TEMPLATE><NOTE>it\'s a "note" &amp; more</NOTE></USER_TEMPLATE></VM>'
)


class Scene:
    """A front-end with a backup of its VM in a restic repository."""

    def __init__(self, front_end: FrontEnd, kept: Restic) -> None:
        self.front_end = front_end
        self.oned = front_end.oned
        root = front_end.root
        (root / "remotes").symlink_to(front_end.remotes)
        self.oned.datastores[BACKUPS] = Datastore(
            BACKUPS,
            "backups",
            ds_mad="restic",
            tm_mad="-",
            base_path=f"{root}//datastores/{BACKUPS}",
            type=DatastoreType.BACKUP,
            template={
                "RESTIC_BACKEND": "LOCAL",
                "RESTIC_PASSWORD": PASSWORD,
                "RESTIC_TMP_DIR": str(root / "scratch"),
            },
        )
        self.stored = kept
        shutil.copytree(kept.base, front_end.store(BACKUPS))
        (root / "scratch").mkdir()
        self.image = Image(
            BACKUP,
            "the backup",
            type=ImageType.BACKUP,
            state=ImageState.READY,
            source=self.stored.chain[0][1],
            datastore_id=BACKUPS,
            format="raw",
            vms={VM},
            increments=self.stored.chain,
            uid=7,
            uname="bob",
        )
        self.oned.images[BACKUP] = self.image
        self.oned.users.ids["bob"] = 7
        (root / "onegate_auth").write_text(f"{self.oned.users.account}:{self.oned.users.password}\n")
        self.environment = {"ONE_CIPHER_AUTH": str(root / "onegate_auth")}
        runner = Runner(ThisMachine(), self.oned.settings, environment={**front_end.environment(), **self.environment})
        self.allocation = self.oned.allocation = Allocation(ImageLife(self.oned, runner))
        front_end.store(101).joinpath(str(VM)).mkdir()

    def ds(self, **wishes: str) -> Said:
        """DS restore for bob."""
        given = {"USERNAME": "bob", **wishes}
        document = restore_action(self.image, self.oned.datastores[BACKUPS], 100, given)
        return self.front_end.run("datastore/restic/restore", "0", stdin=encode(document), env=self.environment)

    def tm(self, mad: str = "qcow2", increment: int = -1, disk: int = -1, **more: str) -> Said:
        """TM restore."""
        words = [self.front_end.disk(mad, ""), str(VM), str(BACKUP), str(increment), str(disk)]
        return self.front_end.run(f"tm/{mad}/restore", *words, env={**self.environment, **more})

    def disk(self, number: int) -> Path:
        return self.front_end.store(101) / str(VM) / f"disk.{number}"


@pytest.fixture(scope="module")
def kept() -> Iterator[Restic]:
    """A repository, made once."""
    with tempfile.TemporaryDirectory(prefix="one_storage-", dir=quick_folder()) as folder:
        found = Restic(Path(folder), vm=VM, document=DOCUMENT)
        for _turn in range(2):
            found.write(0)
            found.write(1)
            found.backup(tpm=tpm_state({"tpm/a": b"state"}))
        yield found


@pytest.fixture
def scene(remotes: Path, kept: Restic) -> Iterator[Scene]:
    with started(remotes) as made:
        made.vm("qcow2", SIZE="4")
        found = Scene(made, kept)
        found.oned.vms[VM].disks[1].attributes["SIZE"] = "4"
        yield found


def told(scene: Scene) -> dict[str, tuple[object, ...]]:
    """Everything but what restic remembers for itself, and its locks of a moment."""
    return {
        key: value
        for key, value in scene.front_end.state().items()
        if not key.startswith("home/.cache") and f"datastores/{BACKUPS}" not in key
    }


# ---------------------------------------------------------------- in place


def test_in_place(scene: Scene) -> None:
    said = scene.tm()
    assert (said.code, said.out) == (0, ""), said.err
    for disk in (0, 1):
        assert bytes_of(scene.disk(disk), "qcow2") == scene.stored.kept[1][disk]
    assert scene.disk(0).parent.joinpath("tpm", "a").read_bytes() == b"state"
    assert PASSWORD not in said.err
    assert scene.front_end.hidden() == [] and list((scene.front_end.root / "scratch").iterdir()) == []


def test_one_disk_of_an_earlier_increment(scene: Scene) -> None:
    said = scene.tm(increment=0, disk=1)
    assert said.code == 0, said.err
    assert bytes_of(scene.disk(1), "qcow2") == scene.stored.kept[0][1]
    assert not scene.disk(0).exists() and not scene.disk(0).parent.joinpath("tpm").exists()


@pytest.mark.full
def test_a_disk_that_is_gone_from_the_vm_is_told(scene: Scene) -> None:
    scene.oned.vms[VM].disks.pop()
    said = scene.tm()
    assert said.code == 0, said.err
    assert re.search(f"^WARN: restore: VM {VM} has no disk 1 any more", said.err, re.MULTILINE)
    assert scene.disk(0).exists() and not scene.disk(1).exists()


def test_explained(scene: Scene) -> None:
    told_before = told(scene)
    said = scene.tm(ONE_STORAGE_EXPLAIN="1")
    assert said.code == 0, said.err
    assert "copy restic://108//" in said.out and told(scene) == told_before


def test_misuse_in_place(scene: Scene) -> None:
    before = told(scene)
    place = scene.front_end.disk("qcow2", "")
    for words, wanted in (
        ([place, str(VM)], "restore takes 3 to 5 arguments"),
        ([place, str(VM), "x"], "'x' is not the id of a backup"),
        ([place, "8", str(BACKUP)], "belongs to VM 7, the call to VM 8"),
        ([place, str(VM), "3", "-1", "-1"], "image 3"),
        ([place, str(VM), str(BACKUP), "7", "-1"], "The backup has no increment 7"),
        ([place, str(VM), str(BACKUP), "-1", "5"], "The backup 40 has no disk 5"),
    ):
        said = scene.front_end.run("tm/qcow2/restore", *words, env=scene.environment)
        assert said.code != 0 and said.out == "" and wanted in said.reason, said.err
    scene.image.vms = {99}
    assert "Image 40 is a backup of VM 99, not of VM 7" in scene.tm().reason
    assert told(scene) == before


# ---------------------------------------------------------------- as new objects


def test_as_new_images_and_a_template(scene: Scene) -> None:
    said = scene.ds(NAME="new 'one'", NO_IP="YES")
    assert said.code == 0, said.err
    template, *images = map(int, said.out.split())
    scene.allocation.settle()
    assert all(scene.allocation.outcomes[number].ok for number in images)
    for number, disk in zip(images, (0, 1), strict=True):
        image = scene.oned.images[number]
        assert (image.uid, image.state, image.size) == (7, ImageState.READY, 4)
        assert image.name == f"new 'one'-disk-{disk}"
        assert bytes_of(Path(image.source), "qcow2") == scene.stored.kept[1][disk]
    uid, text = scene.oned.templates[template]
    root = etree.fromstring(text)
    assert uid == 7 and root.findtext("NAME") == "new 'one'" and root.findtext("VMID") is None
    assert [disk.findtext("IMAGE_ID") for disk in root.findall("DISK")] == [*map(str, images), None]
    assert root.findtext("DISK[3]/TYPE") == "swap" and root.findtext("DISK[3]/SIZE") == "9"
    assert root.findtext("NIC/IP") is None and root.findtext("NIC/NETWORK") == "net"
    assert root.findtext("NOTE") == 'it\'s a "note" & more' and root.findtext("TPM_STATE")
    assert PASSWORD not in said.err


@pytest.mark.full
def test_one_disk_as_a_new_image(scene: Scene) -> None:
    said = scene.ds(DISK_ID="1", INCREMENT_ID="0")
    assert said.code == 0, said.err
    scene.allocation.settle()
    template, image = map(int, said.out.split())
    assert template == -1 and scene.oned.templates == {}
    assert scene.oned.images[image].name == f"{VM}-{scene.stored.chain[0][1]}-disk-1"
    assert bytes_of(Path(scene.oned.images[image].source), "qcow2") == scene.stored.kept[0][1]


@pytest.mark.parametrize("refused", ["n-disk-1", pytest.param("n", marks=pytest.mark.full)])
def test_all_objects_or_none(scene: Scene, refused: str) -> None:
    scene.allocation.refuse.add(refused)
    said = scene.ds(NAME="n")
    assert said.code != 0 and said.out == ""
    what = "Error creating VM template" if refused == "n" else "Error restoring disk image"
    assert said.reason.startswith(f"{what}: oned does not create"), said.err
    assert said.reason.endswith("the images that were made are deleted again")
    assert set(scene.oned.images) == {BACKUP} and scene.oned.templates == {}


def test_misuse_of_new_objects(scene: Scene) -> None:
    for wishes, wanted in (
        ({"USERNAME": ""}, "Cannot find USERNAME"),
        ({"USERNAME": "nobody"}, "User couldn't be authenticated"),
        ({"INCREMENT_ID": "9"}, "The backup has no increment 9"),
        ({"DISK_ID": "9"}, "The backup has no disk 9: there are 0, 1"),
        ({"DISK_ID": "x"}, "which is not a number"),
    ):
        said = scene.ds(**wishes)
        assert said.code != 0 and said.out == "" and wanted in said.reason, said.err
    assert set(scene.oned.images) == {BACKUP} and scene.oned.templates == {}


def test_the_downloader_reads_a_backup(scene: Scene) -> None:
    target = scene.front_end.root / "fetched"
    said = scene.front_end.run("one_storage/downloader", "--nodecomp", scene.stored.url(0).replace("100", "108", 1),
                               str(target))  # fmt: skip
    assert said.code == 0, said.err
    assert bytes_of(target, "qcow2") == scene.stored.kept[1][0]


def test_nobody_reads_the_backups_of_others(scene: Scene) -> None:
    """Another user writes the URL of bob's backup into an image of its own, and has a driver of stock's fetch it."""
    scene.oned.users.ids["eve"] = 8
    url = scene.stored.url(0).replace("100", "108", 1)
    made = scene.allocation.image(f'NAME = "mine"\nPATH = "{url}"\nFROM_BACKUP_DS = "108"', 100, 8)
    scene.allocation.settle()
    wanted = "eve may not make an image of backup 40: oned does not give image 40"
    assert not scene.allocation.outcomes[made].ok and wanted in scene.allocation.outcomes[made].reason
    target = scene.front_end.root / "fetched"
    document = f"<DS_DRIVER_ACTION_DATA>{scene.oned.images[made].element().render()}</DS_DRIVER_ACTION_DATA>"
    given = {**scene.environment, "DRV_ACTION": encode(document).decode()}
    said = scene.front_end.run("one_storage/downloader", "--nodecomp", url, str(target), env=given)
    assert said.code == 255 and wanted in said.err and not target.exists(), said.err
    assert scene.front_end.hidden() == []


def test_ls_names_what_is_restored(scene: Scene) -> None:
    """What TM restore asks the datastore's own driver for."""
    store = scene.oned.datastores[BACKUPS].element().render()
    document = f"<DS_DRIVER_ACTION_DATA>{store}{scene.image.element().render()}</DS_DRIVER_ACTION_DATA>"
    said = scene.front_end.run("datastore/restic/ls", "-i", "0", stdin=document.encode())
    assert said.code == 0, said.err
    assert sorted(json.loads(said.out)) == ["0", "1", "tpm"]
