# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``backups`` and its playbooks, with real repositories: what it finds, says and answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runs import Ansible
from tests.integration.test_wrappers_backup import VM, Site
from tests.lab.oned import Datastore, DatastoreType, Image, ImageType, Vm
from tests.lab.oned.disk import Disk
from tests.lab.oned.states import ImageState, Lcm, VmState
from tests.lab.oned.vm import History
from tests.unit.door.front_end import Said, started

PLAYED = {"one_storage_become": False}


class Kept(Site):
    """A backup datastore that oned knows, with images of chains."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        oned = self.front_end.oned
        store = Datastore(108, "kept", ds_mad=self.kind, base_path=str(self.store), type=DatastoreType.BACKUP)
        store.template = dict(self.attributes)
        oned.datastores[108] = store

    def chain(self, image: int, count: int, state: ImageState = ImageState.READY) -> list[str]:
        references = []
        for number in range(count):
            self.prepare(number)
            said = self.backup()
            assert said.code == 0, said.err
            references.append(said.out.split()[0])
        made = Image(image, f"backup {image}", type=ImageType.BACKUP, datastore_id=108, vms={VM}, format="raw")
        made.source = references[-1] if references else ""
        made.increments = list(enumerate(references))
        made.settle(state)
        self.front_end.oned.images[image] = made
        return references

    def ask(self, *words: str) -> Said:
        return self.front_end.run("one_storage/backups", *words)

    def told(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(*words, "--json").out)
        return found


@pytest.fixture
def kept(remotes: Path, request: pytest.FixtureRequest) -> Iterator[Kept]:
    with started(remotes) as made:
        yield Kept(made, getattr(request, "param", "rsync"))


def test_a_datastore_is_verified(kept: Kept) -> None:
    first = kept.chain(7, 2)
    kept.chain(8, 1)
    kept.chain(9, 0, ImageState.ERROR)
    kept.chain(10, 0, ImageState.LOCKED)
    kept.front_end.oned.images[3] = Image(3, "no backup", datastore_id=100)
    del kept.front_end.oned.images[9]
    said = kept.ask("verify", "kept", "--restore", "last", "--at-once", "2")
    assert said.code == 0 and said.err == "", said.err + said.out
    assert said.out.splitlines() == [
        f"sound  image 7 backup 7, VM {VM}, 2 backups",
        *[f"       (increment {n} ({ref}): the backup was prepared by other drivers, which do not tell what state it "
          "is of)" for n, ref in enumerate(first)],
        f"sound  image 8 backup 8, VM {VM}, 1 backup",
        f"       (increment 0 ({kept.front_end.oned.images[8].source}): the backup was prepared by other drivers, "
        "which do not tell what state it is of)",
        f"sound  image 10 backup 10, VM {VM}, 0 backups",
        "       (A backup is being made, so it was not looked at)",
        "3 backups, 0 with problems",
    ]  # fmt: skip
    report = kept.told("verify", "108", "--restore", "last")
    assert report["sound"] and report["datastore"] == 108
    assert [one["restored"] for one in report["images"][0]["backups"]] == [[], ["0"]]
    assert list((kept.front_end.root / "home").glob("one_storage-*")) == []

    # something is wrong: it is named, the others are looked at, and the exit code says so
    path = kept.store / str(VM) / first[1] / "disk.0.1"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    kept.chain(9, 0, ImageState.ERROR)
    assert kept.ask("verify", "108", "--quick").code == 1, "the failed one"
    said = kept.ask("verify", "108")
    assert said.code == 1
    assert f"       increment 1 ({first[1]}): The backup's file disk.0.1 is not what was backed up" in said.out
    assert "WRONG  image 9" in said.out and "as the one that was made failed" in said.out
    assert said.out.splitlines()[-1] == "4 backups, 2 with problems"
    only = kept.told("verify", "108", "--image", "7", "--quick")
    assert only["sound"] and len(only["images"]) == 1


@pytest.mark.full
@pytest.mark.parametrize("kept", ["restic"], indirect=True)
def test_a_restic_datastore_is_verified(kept: Kept) -> None:
    kept.chain(7, 1)
    kept.chain(8, 1)
    assert kept.told("verify", "kept", "--restore", "all")["sound"]
    kept.front_end.oned.datastores[108].template["RESTIC_PASSWORD"] = "another"
    report = kept.told("verify", "kept")
    assert not report["sound"]
    for row in report["images"]:
        assert "RESTIC_PASSWORD is not the password" in row["problems"][0] and "another" not in json.dumps(report)


MISUSE = [
    (("verify", "nobody"), "No datastores are named 'nobody'"),
    (("verify", "100"), "Datastore 100 is not one for backups"),
    (("verify", "108", "--at-once", "0"), "0 images cannot be looked at at once"),
]


def test_misuse(kept: Kept) -> None:
    for words, sentence in MISUSE:
        said = kept.ask(*words)
        assert said.code == 1 and said.out == "" and sentence in said.err and len(said.err.splitlines()) == 1, said.err
    assert kept.ask().code == 2 and kept.ask("verify").code == 2
    kept.chain(7, 0)
    assert "OpenNebula knows of no backup in it" in kept.ask("verify", "108").out
    kept.front_end.oned.images[3] = Image(3, "no backup", datastore_id=100)
    assert "Image 3 is not in this datastore" in kept.ask("verify", "108", "--image", "3").out
    assert "WRONG  VM 4711" in kept.ask("doctor", "4711").out


# ---------------------------------------------------------------- doctor


def machine(kept: Kept) -> Vm:
    """A VM that is powered off on this machine, in the middle of a chain."""
    folder = kept.front_end.store(101) / str(VM)
    folder.mkdir(exist_ok=True)
    disk = kept.front_end.qcow2(folder / "disk.0")
    for name in (f"one-{VM}-0", f"one-{VM}-1", f"one-{VM}-2"):
        subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", disk, name], check=True, timeout=30)
    made = Vm(VM, "seven", state=VmState.POWEROFF, lcm_state=Lcm.INIT, deploy_id="one-22")
    made.disks = [
        Disk({"DISK_ID": "0", "FORMAT": "qcow2", "SIZE": "1", "TM_MAD": "qcow2"}),
        Disk({"DISK_ID": "1", "FORMAT": "raw", "SIZE": "1", "TYPE": "swap"}),
    ]
    made.history = [History(VM, 0, os.uname().nodename, 0, 101, "qcow2")]
    made.backup_config = {
        "MODE": "INCREMENT", "INCREMENT_MODE": "CBT", "LAST_INCREMENT_ID": "1", "INCREMENTAL_BACKUP_ID": "7",
    }  # fmt: skip
    kept.front_end.oned.vms[VM] = made
    return made


def test_the_doctor(kept: Kept) -> None:
    kept.chain(7, 2)
    vm = machine(kept)
    said = kept.ask("doctor", str(VM))
    assert said.code == 1, said.out + said.err
    assert said.out.splitlines() == [
        f"WRONG  VM {VM} seven",
        f"       problem: Disk 0 has the bitmap one-{VM}-2, which no increment will be made from. What to do: remove "
        "it: it makes every write dearer (--repair does it)",
        f"       problem: The backup directory {kept.folder}/backup is there, and no backup is being made. What to do: "
        "remove it: it takes room (--repair does it)",
    ]
    said = kept.ask("doctor", str(VM), "--repair")
    assert said.code == 0 and re.search(rf"done: .*remove the bitmaps one-{VM}-2 of ", said.out), said.out
    assert kept.told("doctor", str(VM))["vms"][0]["findings"] == []
    # what OpenNebula says in two places
    kept.front_end.oned.images[7].increments.pop()
    found = kept.told("doctor", str(VM))["vms"][0]["findings"]
    assert [row["code"] for row in found] == ["other-chain"] and "image 7 ends with 0" in found[0]["sentence"]
    del kept.front_end.oned.images[7]
    assert kept.told("doctor", str(VM))["vms"][0]["findings"][0]["code"] == "no-image"
    vm.state, vm.lcm_state = VmState.ACTIVE, Lcm.BACKUP
    assert kept.told("doctor", str(VM))["vms"][0]["findings"][0]["code"] == "backing-up"
    vm.state, vm.lcm_state = VmState.UNDEPLOYED, Lcm.INIT
    assert "on no host now" in kept.ask("doctor", str(VM)).out


@pytest.mark.full
def test_the_playbook_of_the_doctor(kept: Kept, ansible: Ansible) -> None:
    kept.chain(7, 2)
    machine(kept)
    words = ("one_storage.drivers.backup_doctor", "-i", f"{os.uname().nodename},", "-c", "local")
    given = {**PLAYED, "one_storage_remotes_dir": str(kept.front_end.remotes), "one_frontend_hosts": "all"}
    environment = kept.front_end.environment(PATH=os.environ["PATH"])
    said = ansible.playbook(*words, variables=given, **environment)
    assert said.code != 0 and "Name the virtual machines by their ids" in said.out
    given["backup_doctor_vms"] = [VM]
    said = ansible.playbook(*words, variables=given, **environment)
    assert said.code != 0 and f"one-{VM}-2, which no increment" in said.out and said.count("changed") == 0
    said = ansible.playbook(*words, variables={**given, "backup_doctor_repair": True}, **environment)
    assert said.code == 0 and f"done: {os.uname().nodename}: remove the bitmaps one-{VM}-2" in said.out, said.out
    assert said.count("changed") == 1
    assert (
        ansible.playbook(*words, variables={**given, "backup_doctor_repair": True}, **environment).count("changed") == 0
    )


@pytest.mark.full
def test_the_playbook_verifies(kept: Kept, ansible: Ansible, tmp_path: Path) -> None:
    references = kept.chain(7, 1)
    given = {**PLAYED, "verify_backups_datastores": ["kept"], "one_storage_remotes_dir": str(kept.front_end.remotes)}
    words = ("one_storage.drivers.verify_backups", "-i", f"{os.uname().nodename},", "-c", "local")
    where = tmp_path / "report.json"
    environment = kept.front_end.environment(PATH=os.environ["PATH"])
    more = {"one_frontend_hosts": "all", "verify_backups_report": str(where)}
    said = ansible.playbook(*words, variables={**given, **more}, **environment)
    assert said.code == 0 and said.count("changed") == 0 and "1 backups, 0 with problems" in said.out, (
        said.out + said.err
    )
    assert json.loads(where.read_text())[0]["images"][0]["backups"][0]["reference"] == references[0]
    (kept.store / str(VM) / references[0] / "vm.xml").unlink()
    said = ansible.playbook(*words, variables={**given, **more}, **environment)
    assert said.code != 0 and "vm.xml" in said.out and said.count("failed") == 1
    assert json.loads(where.read_text())[0]["sound"] is False
