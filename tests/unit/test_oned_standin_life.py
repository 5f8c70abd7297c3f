# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in lives VMs as oned does: what drivers see in the middle of a call, and what a failure leaves."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ElementTree

import pytest

from tests.lab.oned import (
    Action,
    Api,
    Completed,
    DatastoreType,
    EventFailedError,
    ImageState,
    ImageType,
    Lcm,
    Life,
    NotFoundError,
    Oned,
    Runner,
    Vm,
    VmState,
    use_image,
    use_swap,
    use_volatile,
)
from tests.lab.oned.scripted import ScriptedCall, ScriptedFrontEnd

IMAGES, SYSTEM, OTHER = 100, 101, 102


class World:
    """A life with scripted drivers: each call notes in which state the VM was; `failing` names actions that fail."""

    def __init__(self, image_tm: str = "qcow2", system_tm: str = "ssh") -> None:
        self.oned = Oned()
        self.front_end = ScriptedFrontEnd(self.answer)
        self.life = Life(self.oned, Runner(self.front_end), guest=self.guest)
        self.failing: set[str] = set()
        self.broken_hypervisor: set[str] = set()
        self.seen: list[tuple[str, Lcm, str]] = []
        self.steps: list[str] = []
        self.oned.add_host("host01")
        self.oned.add_host("host02")
        self.life.create_datastore("images", tm_mad=image_tm, ds_id=IMAGES)
        self.life.create_datastore("system", tm_mad=system_tm, type=DatastoreType.SYSTEM, ds_id=SYSTEM)
        self.life.create_datastore("other", tm_mad=system_tm, type=DatastoreType.SYSTEM, ds_id=OTHER)

    def answer(self, call: ScriptedCall) -> Completed | None:
        if "/tm/" in call.words[0] and self.oned.vms:
            vm = self.oned.vm(0)
            self.seen.append((call.action, vm.lcm_state, vm.record.hostname))
        if call.action in self.failing:
            return Completed(1, b"lost", f"INFO: {call.action}: trying\nno luck with {call.action}\n".encode())
        if call.action == "stat":
            return Completed(0, b"16\n", b"")
        if call.action in ("cp", "clone", "mkfs") and "/datastore/" in call.words[0]:
            return Completed(0, f"/var/lib/one//datastores/100/hash{call.words[1]} qcow2\n".encode(), b"")
        return None

    def guest(self, step: str, vm: Vm) -> None:
        self.steps.append(step)
        if step in self.broken_hypervisor:
            raise RuntimeError(f"the hypervisor cannot {step}")

    def image(self, persistent: bool = False, type: ImageType = ImageType.OS) -> int:
        return self.life.import_image("image", IMAGES, "/srv/x", type, persistent).check().object_id

    def vm(self) -> int:
        """A running VM with all kinds of disks and a context."""
        disks = [use_image(self.image()), use_image(self.image(True)), use_volatile(20, "qcow2", "ext4"), use_swap(8)]
        made = self.life.create_vm("vm", disks, SYSTEM, "host01", context={"HELLO": "it's"}).check()
        self.seen.clear()
        self.steps.clear()
        return made.object_id

    def state(self, vm_id: int) -> tuple[VmState, Lcm]:
        vm = self.oned.vm(vm_id)
        return vm.state, vm.lcm_state


@pytest.fixture
def world() -> World:
    return World()


def test_all_kinds_of_disks(world: World) -> None:
    world.vm()
    lines = [call.line for call in world.life.runner.calls if call.event == "create"]
    place = "host01:/var/lib/one//datastores/101/0"
    assert lines == [
        f"CLONE.ssh qcow2 frontend:/var/lib/one//datastores/100/hash0 {place}/disk.0 0 100",
        f"LN.ssh qcow2 frontend:/var/lib/one//datastores/100/hash1 {place}/disk.1 0 100",
        f"MKIMAGE ssh 20 qcow2 {place}/disk.2 0 101",
        f"MKSWAP ssh 8 {place}/disk.3 0 101",
        f"CONTEXT ssh /var/lib/one/vms/0/context.sh {place}/disk.4 0 101",
    ]
    disks = world.oned.vm(0).disks
    assert [disk.format for disk in disks] == ["qcow2", "qcow2", "qcow2", "raw"]
    assert disks[2].attributes["FS"] == "ext4"
    assert "HELLO='it'\\''s'\n" in world.front_end.files["/var/lib/one/vms/0/context.sh"]
    assert world.front_end.files["/var/lib/one/vms/0/transfer.0.prolog"].splitlines()[1:] == lines[:4]


def test_a_cdrom_is_linked_and_never_saved(world: World) -> None:
    world.life.create_vm("vm", [use_image(world.image(type=ImageType.CDROM))], SYSTEM, "host01").check()
    world.life.terminate(0).check()
    actions = [call.line.split()[0] for call in world.life.runner.calls if call.line]
    assert actions == ["LN.ssh", "DELETE.ssh", "DELETE"]


def test_states_that_drivers_see(world: World) -> None:
    vm = world.vm()
    life = world.life
    life.stop(vm).check()
    assert world.state(vm) == (VmState.STOPPED, Lcm.INIT)
    life.resume(vm, "host02").check()
    life.migrate(vm, "host01").check()
    life.live_migrate(vm, "host02").check()
    life.undeploy(vm).check()
    assert world.state(vm) == (VmState.UNDEPLOYED, Lcm.INIT)
    life.resume(vm, "host01").check()
    life.terminate(vm).check()
    assert world.state(vm) == (VmState.DONE, Lcm.INIT)
    assert list(dict.fromkeys(world.seen)) == [
        ("mv.ssh", Lcm.EPILOG_STOP, "host01"),
        ("mv", Lcm.EPILOG_STOP, "host01"),
        ("mv.ssh", Lcm.PROLOG_RESUME, "host02"),
        ("mv", Lcm.PROLOG_RESUME, "host02"),
        ("context", Lcm.BOOT_STOPPED, "host02"),
        ("mv.ssh", Lcm.PROLOG_MIGRATE, "host01"),
        ("mv", Lcm.PROLOG_MIGRATE, "host01"),
        ("context", Lcm.BOOT_MIGRATE, "host01"),
        ("premigrate", Lcm.MIGRATE, "host02"),
        ("postmigrate", Lcm.MIGRATE, "host02"),
        ("mv.ssh", Lcm.EPILOG_UNDEPLOY, "host02"),
        ("mv", Lcm.EPILOG_UNDEPLOY, "host02"),
        ("mv.ssh", Lcm.PROLOG_UNDEPLOY, "host01"),
        ("mv", Lcm.PROLOG_UNDEPLOY, "host01"),
        ("context", Lcm.BOOT_UNDEPLOY, "host01"),
        ("delete.ssh", Lcm.EPILOG, "host01"),
        ("mvds.ssh", Lcm.EPILOG, "host01"),
        ("delete", Lcm.EPILOG, "host01"),
    ]
    assert world.steps == ["save", "restore", "save", "restore", "migrate", "shutdown", "deploy", "shutdown"]


def test_images_are_taken_and_given_back(world: World) -> None:
    vm = world.vm()
    assert [world.oned.image(number).state for number in (0, 1)] == [ImageState.USED, ImageState.USED_PERS]
    with pytest.raises(ValueError, match="image 1 is USED_PERS"):
        world.life.create_vm("second", [use_image(1)], SYSTEM, "host01")
    with pytest.raises(ValueError, match="used by VM 0"):
        world.life.delete_image(0)
    world.life.terminate(vm).check()
    assert [world.oned.image(number).state for number in (0, 1)] == [ImageState.READY, ImageState.READY]
    assert not any(host.vms for host in world.oned.hosts.values())


@pytest.mark.parametrize(
    ("event", "action", "failed"),
    [
        ("stop", "mv", Lcm.EPILOG_STOP_FAILURE),
        ("undeploy", "mv", Lcm.EPILOG_UNDEPLOY_FAILURE),
        ("migrate", "mv.ssh", Lcm.PROLOG_MIGRATE_FAILURE),
        ("terminate", "mvds.ssh", Lcm.EPILOG_FAILURE),
    ],
)
def test_a_failed_transfer_waits_for_a_retry(world: World, event: str, action: str, failed: Lcm) -> None:
    vm = world.vm()
    world.failing = {action}
    arguments = ("host02",) if event == "migrate" else ()
    outcome = getattr(world.life, event)(vm, *arguments)
    assert (outcome.ok, outcome.reason) == (False, f"no luck with {action}")
    with pytest.raises(EventFailedError, match=f"{event}: no luck with"):
        outcome.check()
    assert world.state(vm) == (VmState.ACTIVE, failed)
    error = "Error executing image transfer script: "
    assert world.oned.vm(vm).user_template["ERROR"] == f"{error}no luck with {action}"
    first = len(outcome.calls)
    world.failing = set()
    again = world.life.retry(vm).check()
    assert [call.line for call in again.calls[:first]] == [call.line for call in outcome.calls]
    assert "ERROR" not in world.oned.vm(vm).user_template
    with pytest.raises(ValueError, match="no failed transfer"):
        world.life.retry(vm)


def test_prolog_that_fails_and_delete(world: World) -> None:
    world.failing = {"mkswap"}
    disks = [use_image(world.image(True)), use_swap(8), use_volatile(9)]
    outcome = world.life.create_vm("vm", disks, SYSTEM, "host01", context={})
    assert not outcome.ok
    assert world.state(0) == (VmState.ACTIVE, Lcm.PROLOG_FAILURE)
    deleted = world.life.delete(0)
    place = "host01:/var/lib/one//datastores/101/0"
    assert [call.line for call in deleted.calls] == [
        f"DELETE.ssh qcow2 {place}/disk.0 0 100",
        f"DELETE.ssh ssh {place}/disk.1 0 101",
        f"DELETE.ssh ssh {place}/disk.2 0 101",
        f"DELETE ssh {place} 0 101",
    ]
    assert world.state(0) == (VmState.DONE, Lcm.INIT)
    assert world.oned.image(0).state is ImageState.READY


def test_delete_in_the_middle_of_a_migration_cleans_both_hosts(world: World) -> None:
    vm = world.vm()
    world.failing = {"mv"}
    assert not world.life.migrate(vm, "host02").ok
    lines = [call.line for call in world.life.delete(vm).calls]
    assert [line.split()[2].partition(":")[0] for line in lines] == ["host02"] * 5 + ["host01"] * 5


def test_delete_of_a_running_vm_goes_on_after_a_failure(world: World) -> None:
    vm = world.vm()
    world.failing = {"delete.ssh"}
    calls = world.life.delete(vm).calls
    assert [call.ok for call in calls] == [False, False, False, False, True]


def test_delete_of_a_stopped_vm_is_on_the_front_end(world: World) -> None:
    vm = world.vm()
    world.life.stop(vm).check()
    assert {call.hosts for call in world.life.delete(vm).calls} == {("frontend",)}


def test_terminate_of_a_stopped_vm_is_on_the_front_end(world: World) -> None:
    vm = world.vm()
    world.life.stop(vm).check()
    assert {call.hosts for call in world.life.terminate(vm).check().calls} == {("frontend",)}


def test_context_that_fails_is_a_boot_failure(world: World) -> None:
    world.failing = {"context"}
    outcome = world.life.create_vm("vm", [use_image(world.image())], SYSTEM, "host01", context={})
    assert not outcome.ok
    assert world.state(0) == (VmState.ACTIVE, Lcm.BOOT_FAILURE)


@pytest.mark.parametrize("broken", ["premigrate", "hypervisor"])
def test_live_migration_that_fails(world: World, broken: str) -> None:
    vm = world.vm()
    world.failing = {"premigrate"} if broken == "premigrate" else set()
    world.broken_hypervisor = {"migrate"}
    outcome = world.life.live_migrate(vm, "host02")
    assert not outcome.ok
    assert [call.action for call in outcome.calls] == ["premigrate", "failmigrate"]
    assert world.state(vm) == (VmState.ACTIVE, Lcm.RUNNING)
    assert world.oned.vm(vm).record.hostname == "host01"


def test_postmigrate_that_fails_changes_nothing(world: World) -> None:
    vm = world.vm()
    world.failing = {"postmigrate"}
    assert world.life.live_migrate(vm, "host02").check().calls[-1].ok is False
    assert world.oned.vm(vm).record.hostname == "host02"


def test_migration_to_another_datastore(world: World) -> None:
    vm = world.vm()
    outcome = world.life.migrate(vm, "host01", OTHER).check()
    assert outcome.calls[2].line == (
        "MV.ssh ssh host01:/var/lib/one//datastores/101/0/disk.2 host01:/var/lib/one//datastores/102/0/disk.2 0 102"
    )
    assert world.oned.vm(vm).disk(2).datastore_id == OTHER
    with pytest.raises(ValueError, match="on host01 already"):
        world.life.migrate(vm, "host01", OTHER)


def test_attach_while_running(world: World) -> None:
    vm = world.vm()
    image = world.image()
    world.seen.clear()
    world.life.attach(vm, use_image(image)).check()
    assert world.seen == [("clone.ssh", Lcm.HOTPLUG, "host01")]
    assert world.oned.vm(vm).disk(5).attributes["TARGET"] == "vdf"
    world.broken_hypervisor = {"attach"}
    outcome = world.life.attach(vm, use_image(image))
    assert [call.action for call in outcome.calls] == ["clone.ssh", "delete.ssh"]
    assert len(world.oned.vm(vm).disks) == 5
    world.failing = {"delete.ssh"}
    assert not world.life.detach(vm, 5).ok
    assert world.oned.vm(vm).disk(5)
    world.failing = set()
    world.life.detach(vm, 5).check()
    assert world.oned.image(image).state is ImageState.READY


def test_a_volatile_disk_attached_later_has_a_suffix_when_it_goes(world: World) -> None:
    vm = world.vm()
    world.life.attach(vm, use_volatile(5)).check()
    assert world.life.detach(vm, 5).check().calls[0].line.startswith("DELETE.ssh ssh host01:")


def test_snapshot_that_fails_leaves_a_number_used_up(world: World) -> None:
    vm = world.vm()
    world.failing = {"snap_create_live.ssh"}
    assert not world.life.snapshot_disk(vm, 0).ok
    world.failing = set()
    assert world.life.snapshot_disk(vm, 0).check().calls[0].line.split()[3] == "1"
    snapshots = world.oned.vm(vm).snapshots[0]
    assert (list(snapshots.entries), snapshots.active) == ([1], 1)


def test_snapshots_of_a_persistent_disk_go_with_the_image(world: World) -> None:
    vm = world.vm()
    world.life.snapshot_disk(vm, 1, "kept").check()
    world.life.terminate(vm).check()
    assert world.oned.image(1).snapshots.entries[0].name == "kept"
    again = world.life.create_vm("again", [use_image(1)], SYSTEM, "host01").check().object_id
    assert world.oned.vm(again).snapshots[0].entries[0].name == "kept"


def test_resize_that_fails_gives_the_old_size_back(world: World) -> None:
    vm = world.vm()
    world.failing = {"resize.ssh"}
    assert not world.life.resize_disk(vm, 0, 64).ok
    assert world.oned.vm(vm).disk(0).size == 16
    world.failing = set()
    world.life.resize_disk(vm, 1, 64).check()
    world.life.terminate(vm).check()
    assert world.oned.image(1).size == 64
    with pytest.raises(ValueError, match="DONE"):
        world.life.resize_disk(vm, 1, 128)


def test_saved_disk_of_a_stopped_vm(world: World) -> None:
    vm = world.vm()
    world.life.stop(vm).check()
    outcome = world.life.save_disk(vm, 0, "saved").check()
    assert [call.action for call in outcome.calls] == ["mkfs", "cpds.ssh"]
    assert outcome.calls[1].hosts == ("frontend",)
    assert world.seen[-1][1] is Lcm.HOTPLUG_SAVEAS_STOPPED
    assert world.state(vm) == (VmState.STOPPED, Lcm.INIT)
    world.failing = {"cpds.ssh"}
    broken = world.life.save_disk(vm, 0, "broken")
    assert world.oned.image(broken.object_id).state is ImageState.ERROR


def test_history_says_what_ended_a_record(world: World) -> None:
    vm = world.vm()
    world.life.stop(vm).check()
    world.life.resume(vm, "host02").check()
    world.life.poweroff(vm)
    world.life.resume(vm).check()
    world.life.suspend(vm)
    world.life.resume(vm).check()
    records = world.oned.vm(vm).history
    assert [record.seq for record in records] == [0, 1, 2, 3]
    assert [record.action for record in records] == [Action.STOP, Action.POWEROFF, Action.SUSPEND, Action.NONE]
    assert [record.hostname for record in records] == ["host01", "host02", "host02", "host02"]
    assert all(record.etime for record in records[:-1])
    assert records[-1].etime == 0


def test_wrong_states_are_refused(world: World) -> None:
    vm = world.vm()
    with pytest.raises(ValueError, match="ACTIVE"):
        world.life.resume(vm)
    world.failing = {"mv"}
    assert not world.life.stop(vm).ok
    with pytest.raises(ValueError, match="EPILOG_STOP_FAILURE"):
        world.life.migrate(vm, "host02")
    with pytest.raises(NotFoundError):
        world.life.stop(99)


def test_a_mode_the_image_datastore_does_not_support() -> None:
    world = World("ssh", "qcow2")
    image = world.image()
    with pytest.raises(ValueError, match="does not support transfer mode qcow2"):
        world.life.create_vm("vm", [use_image(image)], SYSTEM, "host01")
    assert world.oned.image(image).state is ImageState.READY
    assert not world.oned.vms


def test_kernel_and_initrd_are_cloned_without_suffix(world: World) -> None:
    world.life.create_datastore("files", tm_mad="qcow2", type=DatastoreType.FILE, ds_id=103)
    files = [world.life.import_image(name, 103, "/srv/x").check().object_id for name in ("kernel", "initrd")]
    system = {"KERNEL_DS": str(files[0]), "INITRD_DS": str(files[1])}
    outcome = world.life.create_vm("vm", [use_image(world.image())], SYSTEM, "host01", template={"OS": system}).check()
    place = "host01:/var/lib/one//datastores/101/0"
    assert [call.line for call in outcome.calls][1:] == [
        f"CLONE qcow2 frontend:/var/lib/one//datastores/100/hash0 {place}/kernel 0 103",
        f"CLONE qcow2 frontend:/var/lib/one//datastores/100/hash1 {place}/initrd 0 103",
    ]


def test_an_image_used_by_two_disks_of_a_vm(world: World) -> None:
    image = world.image()
    world.life.create_vm("vm", [use_image(image), use_image(image)], SYSTEM, "host01").check()
    world.life.detach(0, 1).check()
    assert world.oned.image(image).state is ImageState.USED
    world.life.attach(0, use_image(image)).check()
    world.life.terminate(0).check()
    assert world.oned.image(image).state is ImageState.READY


def test_many_vms_in_many_threads(world: World) -> None:
    image = world.image()
    stop = threading.Event()
    broken: list[str] = []

    def look() -> None:
        api = Api(world.oned)
        while not stop.is_set():
            for vm in ElementTree.fromstring(
                str(api.call("one.vmpool.infoextended", ["oneadmin:oneadmin", -2, -1, -1, -2])[1])
            ):
                if vm.findtext("STATE") != "3" and vm.findtext("LCM_STATE") != "0":
                    broken.append(f"{vm.findtext('STATE')}/{vm.findtext('LCM_STATE')}")

    def live(number: int) -> None:
        made = world.life.create_vm(f"vm{number}", [use_image(image), use_swap(1)], SYSTEM, "host01").check()
        world.life.stop(made.object_id).check()
        world.life.resume(made.object_id, "host02").check()
        world.life.terminate(made.object_id).check()

    watcher = threading.Thread(target=look)
    threads = [threading.Thread(target=live, args=(number,)) for number in range(15)]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join(30)
    stop.set()
    watcher.join(30)
    assert not broken
    assert sorted(world.oned.vms) == list(range(15))
    assert all(vm.state is VmState.DONE for vm in world.oned.vms.values())
    assert world.oned.image(image).state is ImageState.READY


# -- images ------------------------------------------------------------------------------------------------------------


def test_import_that_fails(world: World) -> None:
    world.failing = {"cp"}
    outcome = world.life.import_image("bad", IMAGES, "/srv/x")
    image = world.oned.image(outcome.object_id)
    assert image.state is ImageState.ERROR
    assert image.template["ERROR"] == "Error copying image in the datastore: no luck with cp"
    assert world.life.delete_image(image.id).check().calls == []
    world.failing = {"stat"}
    outcome = world.life.import_image("bad", IMAGES, "/srv/x")
    assert (outcome.object_id, outcome.reason) == (-1, "Cannot parse image SIZE: no luck with stat")


def test_delete_of_an_image_that_fails(world: World) -> None:
    image = world.image()
    world.failing = {"rm"}
    assert not world.life.delete_image(image).ok
    assert world.oned.image(image).state is ImageState.ERROR
    world.failing = set()
    world.life.delete_image(image).check()
    assert not world.oned.images
    assert not world.oned.datastore(IMAGES).images


def test_clone_locks_its_origin(world: World) -> None:
    image = world.image()
    clone = world.life.clone_image(image, "clone").check().object_id
    assert world.oned.image(image).state is ImageState.READY
    assert world.oned.image(clone).format == "qcow2"
    document = world.front_end.calls[-1].stdin
    assert document and b"\n" not in document
    world.failing = {"clone"}
    assert not world.life.clone_image(image, "bad").ok
    assert world.oned.image(image).cloning_ops == 0


def test_datastores_that_cannot_be_monitored_or_made(world: World) -> None:
    with pytest.raises(ValueError, match="not shared"):
        world.life.monitor_datastore(SYSTEM)
    with pytest.raises(ValueError, match="RSYNC_HOST, RSYNC_USER"):
        world.life.create_datastore("backup", "rsync", type=DatastoreType.BACKUP)
    with pytest.raises(ValueError, match="no transfer driver"):
        world.life.create_datastore("odd", tm_mad="odd")
