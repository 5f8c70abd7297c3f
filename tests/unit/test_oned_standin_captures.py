# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for oned sends and answers what a real oned did, in the same circumstances.

The recorded storage life of six VMs, one per combination of drivers, is lived again by the stand-in. Every recorded
transfer file, driver document and API answer must come out the same, line by line: element order, texts, CDATA. Ids
are given to be the same; what cannot be is mapped on both sides, and only that:

* hashes in sources and UUIDs: numbered by first appearance;
* points in time: `T`, but 0 stays 0, so that which times are set is compared;
* request ids: `R`, but -1 stays -1;
* the room in datastores, which the machine of the recording had: `MB`, but 0 stays 0.

Further differences stand in the test that has them, with their reason.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.oned import (
    Completed,
    DatastoreType,
    ImageState,
    Life,
    Oned,
    Outcome,
    Runner,
    Settings,
    Vm,
    use_image,
    use_volatile,
)
from tests.lab.oned.answers import read_monitor
from tests.lab.oned.bin.onecli.pretty import pretty
from tests.lab.oned.scripted import ScriptedCall, ScriptedFrontEnd

CAPTURES = Path(__file__).resolve().parents[1] / "fixtures" / "captures"
IMPORTED_MB = {"/etc/passwd": 1}
FIRST, SECOND = "host01", "host02"


@dataclass(frozen=True)
class Pairing:
    """One VM of the recording: the drivers of its image and system datastore and the ids of its objects."""

    name: str
    vm: int
    first_image: int
    image_ds: tuple[int, str, str]
    system_ds: tuple[int, str, str]
    format: str


_QCOW2 = (100, "img_qcow2", "qcow2")
_SHARED = (102, "img_shared", "shared")
_SYS_SSH = (105, "sys_ssh", "ssh")

# In the order of the recording, which kept the first transfer file of each kind.
PAIRINGS = (
    Pairing("qcow2", 0, 0, _QCOW2, (101, "sys_qcow2", "qcow2"), "qcow2"),
    Pairing("shared", 1, 11, _SHARED, (103, "sys_shared", "shared"), "raw"),
    Pairing("ssh", 2, 22, (104, "img_ssh", "ssh"), _SYS_SSH, "raw"),
    Pairing("local", 3, 33, (106, "img_local", "local"), (107, "sys_local", "local"), "qcow2"),
    Pairing("qcow2+ssh", 4, 44, _QCOW2, _SYS_SSH, "qcow2"),
    Pairing("shared+ssh", 5, 55, _SHARED, _SYS_SSH, "raw"),
)


@dataclass
class Play:
    """One VM's life, and what came out of it, by the name of the recorded file."""

    pairing: Pairing
    produced: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.oned = Oned(Settings())
        self.front_end = ScriptedFrontEnd(self.answer)
        self.life = Life(self.oned, Runner(self.front_end, self.oned.settings))
        self.sources = 0

    # -- what the drivers of the recording answered --

    def answer(self, call: ScriptedCall) -> Completed | None:
        """Sizes, sources and the one import that was refused."""
        document = base64.b64decode(call.stdin).decode() if call.stdin else ""
        self.keep_document(call, document)
        path = _between(document, "<PATH>", "</PATH>").removeprefix("<![CDATA[").removesuffix("]]>")
        if call.action == "stat":
            return Completed(0, b"%d\n" % IMPORTED_MB.get(path, 16), b"")
        if call.action == "monitor":
            return Completed(0, b"USED_MB=27620\nFREE_MB=76278\nTOTAL_MB=258020\n", b"")
        if call.action == "cp" and path in IMPORTED_MB:
            return Completed(255, b"", b"Not allowed to copy image file /etc/passwd\n")
        if call.action in ("cp", "clone", "mkfs") and "/datastore/" in call.words[0]:
            self.sources += 1
            name = hashlib.md5(f"{self.pairing.name}{self.sources}".encode(), usedforsecurity=False).hexdigest()
            source = f"/var/lib/one//datastores/{self.pairing.image_ds[0]}/{name}"
            return Completed(0, (source if call.action == "mkfs" else f"{source} {self.pairing.format}").encode(), b"")
        return None

    def keep_document(self, call: ScriptedCall, document: str) -> None:
        """Notes what a driver was sent, under the name that the recording has for it."""
        kind, driver = call.words[0].split("/")[-3:-1]
        if kind == "datastore":
            failed = call.action == "cp" and "/etc/passwd" in document
            result = "failure" if failed else "success"
            self.keep(f"ds.{call.action}.{driver}-{self.pairing.image_ds[2]}.{result}.xml", document)
        elif call.action == "monitor":
            self.keep(f"ds.monitor.--{driver}.success.xml", document)
        elif call.action == "snap_create_live":
            vm = self.oned.vm(self.pairing.vm).element(all_records=False).render()
            self.keep(f"vmm.disksnapshotcreate.--{driver}.success.xml", vm)
        elif call.action == "premigrate":
            text = f"CMD {' '.join(call.words)}\n{document}\n"
            self.keep(f"script-stdin.tm-{driver}-premigrate.txt", text)

    def keep(self, name: str, text: str) -> None:
        """The recording kept the first of each kind."""
        self.produced.setdefault(name, text)

    # -- the life --

    def run(self) -> dict[str, str]:
        """Lives it and returns what came out."""
        self.place()
        disks = self.images()
        self.life.create_vm(
            self.pairing.name,
            disks,
            self.pairing.system_ds[0],
            FIRST,
            context={"HELLO": "world"},
            template={"SUBMIT_ON_HOLD": "YES"},
            vm_id=self.pairing.vm,
        ).check()
        self.keep_answers("running")
        self.disk_work()
        self.moves()
        self.image_snapshots()
        for text in self.life.transfer_files:
            self.keep(_transfer_name(text), text)
        return self.produced

    def place(self) -> None:
        """Two hosts, two datastores, monitored where oned does it."""
        for host in (FIRST, SECOND):
            self.oned.add_host(host)
        number, name, driver = self.pairing.image_ds
        given = {"SAFE_DIRS": "/srv/images /var/tmp", "RESTRICTED_DIRS": "/", "DRIVER": self.pairing.format}
        self.life.create_datastore(name, "fs", driver, ds_id=number, template=given)
        self.life.monitor_datastore(number).check()
        number, name, driver = self.pairing.system_ds
        system = self.life.create_datastore(name, "-", driver, DatastoreType.SYSTEM, ds_id=number)
        if system.is_shared:
            self.life.monitor_datastore(number).check()

    def images(self) -> list[dict[str, str]]:
        """Two imports, a datablock, a clone and an import that fails; the VM's disks."""
        name, ds_id, number = self.pairing.name, self.pairing.image_ds[0], self.pairing.first_image
        self.life.import_image(f"{name}-os", ds_id, "/srv/images/base.qcow2", image_id=number).check()
        self.life.import_image(
            f"{name}-pers", ds_id, "/srv/images/base.raw", persistent=True, image_id=number + 1
        ).check()
        self.life.create_datablock(f"{name}-db", ds_id, 32, image_id=number + 2).check()
        self.life.clone_image(number, f"{name}-clone", new_id=number + 3).check()
        failed = self.life.import_image(f"{name}-bad", ds_id, "/etc/passwd", image_id=number + 4)
        assert not failed.ok
        assert self.oned.image(failed.object_id).state is ImageState.ERROR
        return [use_image(number), use_image(number + 1), use_volatile(20, self.pairing.format)]

    def disk_work(self) -> None:
        """Snapshots, save as, resize, attach and detach: live once, else powered off."""
        life, vm_id, first = self.life, self.pairing.vm, self.pairing.first_image
        life.snapshot_disk(vm_id, 0, "live1").check()
        life.poweroff(vm_id, hard=True).check()
        life.snapshot_disk(vm_id, 0, "off1").check()
        life.snapshot_disk(vm_id, 0, "off2").check()
        self.keep_answers("poweroff-2-snapshots")
        life.revert_disk(vm_id, 0, 1).check()
        life.delete_snapshot(vm_id, 0, 2).check()
        saved = life.save_disk(vm_id, 0, f"{self.pairing.name}-saved").check()
        life.resize_disk(vm_id, 2, 40).check()
        life.attach(vm_id, use_image(first + 2)).check()
        life.detach(vm_id, 4).check()
        life.delete_image(first + 4).check()
        self.further_images(saved, without=first + 4)
        life.delete_image(saved.object_id).check()

    def moves(self) -> None:
        """Cold migration, live migration, stop, resume, the end. The recording did more in between."""
        life, vm = self.life, self.oned.vm(self.pairing.vm)
        life.migrate(vm.id, SECOND).check()
        life.resume(vm.id).check()
        vm.record.seq = 14
        life.live_migrate(vm.id, FIRST).check()
        vm.record.seq = 20
        life.stop(vm.id).check()
        life.resume(vm.id, SECOND).check()
        life.migrate(vm.id, FIRST).check()
        life.terminate(vm.id).check()

    def image_snapshots(self) -> None:
        """A second VM makes two snapshots of the persistent image; then the image's own actions."""
        first = self.pairing.first_image
        made = self.life.create_vm("second", [use_image(first + 1)], self.pairing.system_ds[0], FIRST).check()
        self.life.poweroff(made.object_id).check()
        self.life.snapshot_disk(made.object_id, 0, "p1").check()
        self.life.snapshot_disk(made.object_id, 0, "p2").check()
        self.life.terminate(made.object_id).check()
        members = {0, 1, 2, 3, 4, 5, 6, 9, 10}
        self.oned.datastore(self.pairing.image_ds[0]).images = {first + number for number in members}
        for action, snapshot in (("snap_revert", 0), ("snap_delete", 1), ("snap_flatten", 0)):
            self.life.image_snapshot(first + 1, action, snapshot).check()

    def further_images(self, saved: Outcome, without: int) -> None:
        """The recording had made more images by the time it removed this one; the datastore lists them."""
        first = self.pairing.first_image
        assert saved.object_id == first + 5
        members = {first + number for number in (0, 1, 2, 3, 5, 6, 9, 10)} - {without}
        self.oned.datastore(self.pairing.image_ds[0]).images = members

    def keep_answers(self, moment: str) -> None:
        """What the API answers now for the VM, its images and its datastores."""
        prefix = f"{self.pairing.name}.{moment}.show-x"
        vm: Vm = self.oned.vm(self.pairing.vm)
        self.keep(f"{prefix}.onevm.{vm.id}.xml", vm.element().render())
        for number in (self.pairing.first_image, self.pairing.first_image + 1):
            self.keep(f"{prefix}.oneimage.{number}.xml", self.oned.image(number).element().render())
        for number in (self.pairing.image_ds[0], self.pairing.system_ds[0]):
            self.keep(f"{prefix}.onedatastore.{number}.xml", self.oned.datastore(number).element().render())


@functools.cache
def produced() -> dict[str, str]:
    """Everything the stand-in sent and answered in all six lives, by the name of the recorded file."""
    result: dict[str, str] = {}
    for pairing in PAIRINGS:
        for name, text in Play(pairing).run().items():
            result.setdefault(name, text)
    return result


def recorded(pattern: str) -> list[str]:
    """Names of recorded files."""
    names = sorted(path.name for path in CAPTURES.glob(pattern))
    assert names, f"no recorded file matches {pattern}"
    return names


def mapped(text: str) -> str:
    """A text with everything mapped that cannot be the same; see above."""
    text = _numbered(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    text = _numbered(r"\b[0-9a-f]{32}\b", "HASH", text)
    text = re.sub(r"(<(?:[A-Z]*TIME|DATE|LAST_POLL)>(?:<!\[CDATA\[)?)[1-9]\d{8,}", r"\1T", text)
    text = re.sub(r"(<REQUEST_ID>)\d+", r"\1R", text)
    return re.sub(r"(<(?:TOTAL|FREE|USED)_MB>)[1-9]\d*", r"\1MB", text)


def _numbered(pattern: str, name: str, text: str) -> str:
    seen: dict[str, str] = {}
    return re.sub(pattern, lambda found: seen.setdefault(found[0], f"{name}{len(seen)}"), text)


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def _transfer_name(text: str) -> str:
    """`tm.transfer.<event>.<first action>.<drivers>.txt`, as the recording names its files."""
    comment, *lines = text.splitlines()
    drivers = dict.fromkeys(line.split()[1] for line in lines)
    return f"tm.transfer.{comment.rpartition('.')[2]}.{lines[0].split()[0].lower()}.{'+'.join(drivers)}.txt"


def differences(ours: str, theirs: str) -> Iterator[str]:
    """Lines that differ, with their number."""
    left, right = ours.splitlines(), theirs.splitlines()
    for number in range(max(len(left), len(right))):
        pair = [lines[number] if number < len(lines) else "(nothing)" for lines in (left, right)]
        if pair[0] != pair[1]:
            yield f"line {number + 1}: {pair[0]!r} instead of {pair[1]!r}"


def assert_same(name: str, ours: str, theirs: str) -> None:
    """Compares after mapping."""
    found = list(differences(mapped(ours), mapped(theirs)))
    assert not found, f"{name}:\n" + "\n".join(found[:20])


@pytest.mark.parametrize("name", recorded("tm.transfer.*.txt"))
def test_transfer_file(name: str) -> None:
    assert_same(name, produced()[name], (CAPTURES / name).read_text())


@pytest.mark.parametrize("name", recorded("ds.*.xml"))
def test_document_for_a_datastore_driver(name: str) -> None:
    # The recording's files were indented for reading, and in that lost which of two ways of being empty an element had.
    ours = re.sub(r"<(\w+)>(?:<!\[CDATA\[\]\]>)?</\1>", r"<\1/>", pretty(produced()[name]))
    assert_same(name, ours, (CAPTURES / name).read_text())


@pytest.mark.parametrize("name", recorded("*.show-x.*.xml"))
def test_answer_of_the_api(name: str) -> None:
    theirs = (CAPTURES / name).read_text()
    if "<MONITORING>" in theirs:
        # Two VMs had been seen by a monitoring probe; the stand-in has no probes.
        theirs = re.sub(r"<MONITORING>.*?</MONITORING>", "<MONITORING/>", theirs, flags=re.DOTALL)
        theirs = re.sub(r"<LAST_POLL>\d+<", "<LAST_POLL>0<", theirs)
    assert_same(name, pretty(produced()[name]), theirs)


@pytest.mark.parametrize("name", recorded("script-stdin.*-premigrate.txt"))
def test_stdin_of_premigrate(name: str) -> None:
    """Command line and document, which the recording has as it was sent: on one line."""
    command, *_, document = (CAPTURES / name).read_text().strip().splitlines()
    document = re.sub(r"<MONITORING>.*?</MONITORING>", "<MONITORING/>", document)
    document = re.sub(r"<LAST_POLL>\d+<", "<LAST_POLL>0<", document)
    assert_same(name, produced()[name], f"{command}\n{document}\n")


@pytest.mark.parametrize("name", recorded("vmm.disksnapshotcreate.*.xml"))
def test_vm_during_a_live_snapshot(name: str) -> None:
    """The VM within the VM manager's message; the rest of that message never reaches a storage driver."""
    theirs = (CAPTURES / name).read_text()
    theirs = f"<VM>{_between(theirs, '  <VM>', '  </VM>')}</VM>".replace("\n  ", "\n") + "\n"
    theirs = re.sub(r"<MONITORING>.*?</MONITORING>", "<MONITORING/>", theirs, flags=re.DOTALL)
    theirs = re.sub(r"<LAST_POLL>\d+<", "<LAST_POLL>0<", theirs)
    assert_same(name, pretty(produced()[name]), theirs)


def test_line_of_a_live_snapshot() -> None:
    """What the VM manager was told to run, before it makes the action a live one."""
    for pairing in PAIRINGS[:4]:
        theirs = (CAPTURES / f"vmm.disksnapshotcreate.--{pairing.image_ds[2]}.success.xml").read_text()
        play = Play(pairing)
        play.run()
        live = next(call for call in play.life.runner.calls if "SNAP_CREATE_LIVE" in call.line)
        assert live.line.replace("_LIVE", "") == _between(theirs, "<TM_COMMAND><![CDATA[", "]]>").strip()


@pytest.mark.parametrize("name", recorded("ds.monitor.*.reply-decoded.txt"))
def test_reply_of_monitor_is_read(name: str) -> None:
    assert read_monitor((CAPTURES / name).read_text()) == {"TOTAL_MB": 258020, "FREE_MB": 76278, "USED_MB": 27620}


def test_every_recorded_file_is_compared() -> None:
    patterns = (
        "tm.transfer.*.txt",
        "ds.*.xml",
        "*.show-x.*.xml",
        "script-stdin.*-premigrate.txt",
        "vmm.disksnapshotcreate.*.xml",
        "ds.monitor.*.reply-decoded.txt",
        # these are held against the door: see test_calls_backup.py
        "script-stdin.tm-*backup*.txt",
    )
    compared = {name for pattern in patterns for name in recorded(pattern)}
    assert {path.name for path in CAPTURES.iterdir()} - compared == {"README.md"}
