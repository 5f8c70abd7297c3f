# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is backed up by oned's own calls, running or not, and every point that its backups have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours
from tests.lab.moving import FIRST, LAST, Moving
from tests.lab.oned import DatastoreType, ImageState, Outcome, Vm, use_image
from tests.lab.oned.allocation import Allocation
from tests.lab.story import MB, PAIRINGS, Pairing
from tests.lab.virt import Hypervisor
from tests.lab.writer import SECTOR, row
from tests.unit.core.cheap_keys import cheapen

DRIVERS = ("shared", "qcow2", "ssh", "local")
KINDS = ("rsync", "restic")
#: Full backups, and both ways in which an increment learns what changed.
WAYS = ("full", "cbt", "snapshot")
#: A password that says everything to a shell, and a name that says it to a template.
PASSWORD = 'it\'s a "quoted" $(id) & <blank> one\\'
NAME = "a 'name' \"with\" {{ quotes }} & blanks"
BACKUPS = {"rsync": 240, "restic": 241}
#: Images of an ssh datastore are raw, unless the datastore says otherwise; this one does.
_QCOW2_OF_SSH = 242
_FRONTEND_AUTH = "/var/lib/one/.one/onegate_auth"


def pairing_of(driver: str, way: str) -> Pairing:
    """Datastores of a driver; increments need qcow2, which *shared* and *ssh* have when the image is of it."""
    found = PAIRINGS[driver]
    if way == "full" or found.disk_format == "qcow2":
        return found
    store = _QCOW2_OF_SSH if driver == "ssh" else found.image_ds
    return replace(found, name=f"{driver}-qcow2", image_ds=store, disk_format="qcow2")


@dataclass
class Point:
    """What one backup must have.

    :ivar image: the backup that has it, :ivar increment: its number in it, -1 for a full one.
    :ivar disks: content by disk; what the guest itself wrote to the first disk is noted when it is first seen.
    :ivar tpm: its TPM's state; empty for a VM without one.
    :ivar between: how many sectors the guest had written before and after; None when it did not run.
    """

    image: int
    increment: int
    disks: dict[int, bytes]
    between: tuple[int, int] | None = None
    tpm: bytes = b""


class Backing(Moving):
    """A VM on the first node, whose repository is on the second one.

    Its disks: one of its own, a persistent one, a volatile one, swap. All but swap are backed up.

    :ivar points: of all backups that are there, the oldest first.
    """

    ground: LabGround

    def __init__(
        self,
        ground: LabGround,
        driver: str,
        kind: str,
        way: str,
        hypervisors: dict[str, Hypervisor] | None = None,
        **attributes: str,
    ) -> None:
        super().__init__(ground, pairing_of(driver, way), hypervisors or {})
        self.kind, self.way = kind, way
        self.live = hypervisors is not None
        self.points: list[Point] = []
        self.store = BACKUPS[kind]
        self._make_store(attributes)
        self._may_speak_for_users()
        self.allocation = self.ground.oned.allocation = Allocation(self.life)
        self._turn = 0
        self._leaving = -1
        self._tpm = b""

    def _make_store(self, attributes: dict[str, str]) -> None:
        oned, server = self.ground.oned, self.ground.nodes[1]
        given = {"RSYNC_HOST": server, "RSYNC_USER": "oneadmin"}
        if self.kind == "restic":
            given = {"RESTIC_SFTP_SERVER": server, "RESTIC_SFTP_USER": "oneadmin", "RESTIC_PASSWORD": PASSWORD}
        oned.datastores.pop(self.store, None)
        self.life.create_datastore(
            f"backups 'of' \"{self.kind}\"",
            ds_mad=self.kind,
            type=DatastoreType.BACKUP,
            ds_id=self.store,
            template={**given, **attributes},
        )

    def _may_speak_for_users(self) -> None:
        """The front-end has the account by which DS restore acts as a user."""
        oned, frontend = self.ground.oned, self.ground.frontend
        auth = self.ground.path(frontend, _FRONTEND_AUTH)
        auth.parent.mkdir(exist_ok=True)
        auth.write_text(f"{oned.users.account}:{oned.users.password}\n")
        self.ground.run(
            frontend, ["sudo", "chown", "-R", "oneadmin:oneadmin", str(PurePosixPath(_FRONTEND_AUTH).parent)]
        )

    # ------------------------------------------------------------ its life

    def begin(self) -> None:
        """Until the VM runs on the first node, or is powered off there."""
        super().begin()
        self._vm().name = NAME
        self.golden[2] = bytearray(self.bytes_of(self._where(), self._disk(2), self._format(2)))
        mode = {"full": {"MODE": "FULL"}}.get(self.way, {"MODE": "INCREMENT", "INCREMENT_MODE": self.way.upper()})
        self.life.configure_backups(self.vm, BACKUP_VOLATILE="YES", **mode)
        if not self.live:
            self.life.poweroff(self.vm).check()

    def _guest(self, step: str, vm: Vm) -> None:
        if self.live and step in ("attach", "detach", "resize"):
            if self.machine is not None:
                self._change(step, vm)
        elif self.live:
            super()._guest(step, vm)
        elif step == "deploy":
            super(Moving, self)._guest(step, vm)

    def _change(self, step: str, vm: Vm) -> None:
        """What happens to the disks of a machine that runs."""
        machine, place = self.running(), self._directory().replace("/datastores/", "//datastores/")
        if step == "attach":
            disk = vm.disks[-1]
            machine.attach(self.target(disk.id), f"{place}/disk.{disk.id}", disk.format)
        elif step == "detach":
            machine.detach(self.target(self._leaving))
        else:
            for disk in vm.disks:
                if len(self.golden.get(disk.id, b"")) not in (0, disk.size * MB):
                    machine.on.virsh("blockresize", machine.name, self.target(disk.id), f"{disk.size}M")

    def target(self, disk: int) -> str:
        """A disk's name in the guest."""
        return self._vm().disk(disk).attributes["TARGET"]

    # ------------------------------------------------------------ what happens to its disks

    def grow(self, disk: int = 0, more: int = 4) -> None:
        """The disk gets so many MB more."""
        self.life.resize_disk(self.vm, disk, len(self.golden[disk]) // MB + more).check()
        self.golden[disk] += bytes(more * MB)

    def attach(self) -> int:
        """A disk of an image comes; its number."""
        image = self.life.import_image(f"late-{len(self._images)}-{self.vm}", self.pairing.image_ds, self._base())
        self._images.append(image.check().object_id)
        target = f"sd{chr(ord('b') + self._vm().next_disk_id)}"
        self.life.attach(self.vm, use_image(image.object_id, TARGET=target)).check()
        number = self._vm().disks[-1].id
        self.golden[number] = bytearray(self.base)
        return number

    def detach(self, disk: int) -> None:
        """A disk goes."""
        self._leaving = disk
        self.life.detach(self.vm, disk).check()
        del self.golden[disk]

    def has_tpm(self, state: bytes = b"new") -> None:
        """The VM has a TPM, whose state is this now; libvirt has it in the VM's folder."""
        self._tpm = state
        self._vm().template["TPM"] = {"MODEL": "tpm-crb"}
        folder = self.ground.path(self._where(), self._directory()) / "tpm" / "tpm2"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tpm2-00.permall").write_bytes(state)
        self.ground.run(self._where(), ["sudo", "chown", "-R", "oneadmin:oneadmin", f"{self._directory()}/tpm"])

    def _base(self) -> str:
        return f"{self.sources}/base.{self.pairing.disk_format}"

    def disks(self) -> list[int]:
        """Those that are backed up."""
        return sorted(self.golden)

    def write(self, disk: int, pattern: int, offset: int, size: int) -> None:
        """The guest writes; 0 as zeros."""
        word = f"write -q -P {pattern}" if pattern else "write -q -z"
        command = f"{word} {offset} {size}"
        if self.machine is not None:
            self.machine.io(command.replace(" -q", ""), self.target(disk))
        else:
            where, kind = self._where(), self._format(disk)
            self.ground.run(where, ["qemu-io", "-f", kind, "-c", command, self._disk(disk)])
        self.golden[disk][offset : offset + size] = bytes([pattern]) * size

    def scribble(self) -> None:
        """Some writes to every disk: new ones, over old ones, across clusters, zeros over data."""
        self._turn += 1
        for disk in self.disks():
            turn = self._turn
            self.write(disk, turn % 200 + 1, turn * 3 % 9 * MB + disk * 4096, 200 * 1024)
            self.write(disk, turn % 200 + 40, 9 * MB + 512 * 1024, 65536)
            self.write(disk, 0, (turn - 1) * 3 % 9 * MB, 65536)
        if self._tpm:
            self.has_tpm(b"turn %d" % self._turn)

    # ------------------------------------------------------------ backups

    def back_up(self, whole: Collection[int] = (), **more: bool) -> Outcome:
        """One backup while the guest writes; each call is right, and says not a word too much.

        :param whole: disks of which nobody can tell what changed, so that the increment has all of them, and says so.
        """
        begun = self.moment()
        outcome = self.life.back_up(self.vm, self.store, **more)
        self.note(outcome, begun)
        names = ["prebackup", "backup", "postbackup"]
        if begun.between:
            names = ["prebackup_live", "backup", "postbackup_live"]
        assert [call.action for call in outcome.calls] == names, outcome.calls
        self.quiet(outcome, *(f"has all of disk {disk}" for disk in whole))
        self.at_rest()
        return outcome

    def moment(self) -> Point:
        """The disks as they are now."""
        between = (self.written(),) * 2 if self.machine is not None else None
        disks = {disk: bytes(self.golden[disk]) for disk in self.disks()}
        return Point(-1, -1, disks, between, self._tpm)

    def note(self, outcome: Outcome, begun: Point) -> None:
        """A backup was made, of a moment that came after *begun* and is over."""
        assert outcome.ok, outcome.reason
        if self.kind == "restic":
            cheapen(self.ground.path(self.ground.nodes[1], f"{self.root()}/{self.vm}"), PASSWORD)
        image = self.ground.oned.image(outcome.object_id)
        number = image.increments[-1][0] if image.increments else -1
        between = (begun.between[0], self.written()) if begun.between else None
        self.points.append(replace(begun, image=image.id, increment=number, between=between))

    @staticmethod
    def quiet(outcome: Outcome, *warnings: str) -> None:
        """No call failed, or said anything but progress, and these warnings."""
        loud = []
        for call in outcome.calls:
            assert call.ok and call.reason == "-", f"{call.action}: {call.stderr}"
            loud += [line.text for line in call.logs if line.severity in ("WARN", "ERROR")]
        assert len(loud) == len(warnings) and all(any(word in line for line in loud) for word in warnings), loud

    def at_rest(self) -> None:
        """Nothing of the backup is left, and a guest that ran runs, with no job."""
        if self.machine is not None:
            assert self.machine.state() == "running"
            assert "None" in self.machine.on.virsh("domjobinfo", self.machine.name)
        folder = self.ground.path(self._where(), self._directory())
        names = {path.name for path in folder.iterdir()}
        allowed = {f"disk.{number}{end}" for number in range(8) for end in ("", ".snap")} | {"tpm"}
        assert names <= allowed, names
        assert left_of_ours(self.ground) == []

    def flatten(self, keep: int) -> Outcome:
        """As oned does by KEEP_LAST: increments are merged, or images of full backups go."""
        images = sorted({point.image for point in self.points})
        if self.way == "full":
            outcome = Outcome("rm")
            for old in images[:-keep]:
                outcome.calls += self.life.delete_image(old).check().calls
        else:
            outcome = self.life.flatten(images[-1], keep)
        assert outcome.ok and outcome.calls, outcome.reason
        self.quiet(outcome)
        del self.points[:-keep]
        return outcome

    # ------------------------------------------------------------ what the backups have

    def off(self) -> None:
        """Power the VM off, as a restore in place needs it."""
        if self.machine is not None:
            self.life.poweroff(self.vm).check()
            self._note_row()

    def same(self, point: Point, disk: int, found: bytes) -> None:
        """A restored disk is what it was at that point; the guest's own row has a beginning, and no gap."""
        wanted, what = point.disks[disk], f"disk {disk} of increment {point.increment} of image {point.image}"
        if disk == 0 and point.between is not None:
            count = row(found, FIRST, LAST)
            assert point.between[0] <= count <= point.between[1], f"{what}: {count} sectors, not {point.between}"
            wanted = wanted[: FIRST * SECTOR] + found[FIRST * SECTOR : LAST * SECTOR] + wanted[LAST * SECTOR :]
            # the same point may be restored again, and then it has to be this one
            point.disks[disk], point.between = wanted, None
        assert len(found) == len(wanted), f"{what}: {len(found)} bytes, not {len(wanted)}"
        if found != wanted:
            at = next(
                place
                for place in range(0, len(wanted), 512)
                if found[place : place + 512] != wanted[place : place + 512]
            )
            raise AssertionError(f"{what} is another one from byte {at} on")

    def restore(self, point: Point, disk: int = -1) -> Outcome:
        """In place; the disks that are asked for are what they were, the others stay."""
        others = {one: bytes(self.golden[one]) for one in self.disks() if disk not in (-1, one)}
        outcome = self.life.restore_in_place(self.vm, point.image, point.increment, disk)
        assert outcome.ok, outcome.reason
        for one in point.disks if disk < 0 else [disk]:
            if one in self.golden:
                found = self.bytes_of(self._where(), self._disk(one), self._format(one))
                grown = bytes(len(self.golden[one]) - len(point.disks[one]))
                self.same(point, one, found[: len(found) - len(grown)] if grown else found)
                assert not grown or found.endswith(grown)
                self.golden[one] = bytearray(found)
        if point.tpm and disk in (-1, 0):
            state = self.ground.path(self._where(), self._directory()) / "tpm" / "tpm2" / "tpm2-00.permall"
            assert state.read_bytes() == point.tpm
        for one, content in others.items():
            assert self.bytes_of(self._where(), self._disk(one), self._format(one)) == content, f"disk {one}"
        assert left_of_ours(self.ground) == []
        return outcome

    def restore_as_new(self, point: Point) -> Outcome:
        """As new images and a template; they go again."""
        oned = self.ground.oned
        base = f"new {point.image} {point.increment}"
        number = {"INCREMENT_ID": str(point.increment)} if point.increment >= 0 else {}
        outcome = self.life.restore_as_new(point.image, self.pairing.image_ds, NAME=base, **number)
        assert outcome.ok, outcome.reason
        self.quiet(outcome)
        template, *images = map(int, outcome.calls[0].stdout.split())
        self.allocation.settle()
        for disk, number_of in zip(sorted(point.disks), images, strict=True):
            image = oned.image(number_of)
            assert image.state is ImageState.READY, image.template
            self.same(point, disk, self.bytes_of(self.ground.frontend, image.source, image.format))
            self.life.delete_image(number_of).check()
        oned.templates.pop(template)
        assert left_of_ours(self.ground) == []
        return outcome

    def check(self, as_new: bool = True) -> None:
        """Every point there is, by both ways."""
        for point in self.points:
            self.restore(point)
            if as_new:
                self.restore_as_new(point)

    def root(self) -> str:
        """The repository's folder on its server."""
        return f"{self.ground.oned.settings.datastore_location}/{self.store}"

    def stored(self) -> list[Path]:
        """Every file of the repository, hidden ones too, without lock files of ours."""
        root = self.ground.path(self.ground.nodes[1], self.root())
        return [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "locks"]

    def repository(self) -> list[str]:
        """The names of these files."""
        root = self.ground.path(self.ground.nodes[1], self.root())
        return [str(path.relative_to(root)) for path in self.stored()]

    def finish(self) -> None:
        """The VM ends, its backups go, and nothing is left but an empty repository of restic."""
        oned = self.ground.oned
        for outcome in self._shutdown():
            assert outcome.ok, outcome.reason
        for number in [one.id for one in oned.images.values() if one.datastore_id == self.store]:
            self.quiet(self.life.delete_image(number).check())
        left = [name for name in self.repository() if self.kind == "rsync" or "/snapshots/" in name or "/data/" in name]
        assert left == [], left
        for outcome in self._clean_up():
            assert outcome.ok, outcome.reason
        wrong = [check for check in self._look_empty() if not check.ok]
        assert not wrong, wrong
