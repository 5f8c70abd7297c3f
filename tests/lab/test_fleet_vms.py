# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that are off leave a host with their disks; chains of snapshots become shorter. oned's API does it all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.lab.fleet import FROM, SYSTEM, Fleet, contents
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import wait_for
from tests.lab.oned import DatastoreType, Lcm, Vm, VmState, use_image

LEFT, OTHERS = "host01", ["host02", "host03"]
SHARED, QCOW2, PLAIN, PLAIN_SYSTEM, BRIDGED = 101, 110, 111, 112, 114


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("fleet") / "lab"
    names, shared = ["frontend", LEFT, *OTHERS], (FROM, SHARED, QCOW2, PLAIN, PLAIN_SYSTEM, BRIDGED)
    with Lab.up(folder, names=names, shared=shared, binds=[repository()], masks=[repository()]) as lab:
        made = Fleet(lab)
        made.life.create_datastore("qcow2", tm_mad="qcow2", ds_id=QCOW2, template={"DRIVER": "qcow2"})
        made.life.create_datastore("layers", tm_mad="qcow2", type=DatastoreType.SYSTEM, ds_id=SHARED)
        made.life.create_datastore("plain", tm_mad="shared", ds_id=PLAIN)
        made.life.create_datastore("plain disks", tm_mad="shared", type=DatastoreType.SYSTEM, ds_id=PLAIN_SYSTEM)
        yield made
        made.close()


@pytest.fixture
def clean(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet; its VMs and images go at the end."""
    yield fleet
    fleet.managing.before = lambda method: None
    fleet.managing.refuse.clear()
    fleet.managing.settle()
    for vm in list(fleet.ground.oned.vms.values()):
        if vm.state is not VmState.DONE:
            fleet.life.delete(vm.id)
    fleet.ground.oned.vms.clear()


def off(fleet: Fleet, count: int) -> list[Vm]:
    """VMs on the host that is left, with a disk of their own each, powered off."""
    images = fleet.images(count, size=4 << 20)
    fleet.own(FROM)
    made = []
    for image in images:
        number = fleet.life.create_vm(f"vm {image.id}", [use_image(image.id)], SYSTEM, LEFT).check().object_id
        fleet.life.poweroff(number).check()
        made.append(fleet.ground.oned.vm(number))
    return made


def disk(fleet: Fleet, vm: Vm) -> str:
    """What a VM's disk holds where oned says that it is; asserts that it is nowhere else."""
    for host in [LEFT, *OTHERS]:
        assert (fleet.folder(SYSTEM, host) / str(vm.id)).exists() == (host == vm.record.hostname), (vm.id, host)
    return contents(fleet.folder(SYSTEM, vm.record.hostname) / str(vm.id) / "disk.0")


def test_evacuation_killed_and_run_again(clean: Fleet) -> None:
    fleet = clean
    vms = off(fleet, 4)
    fleet.life.undeploy(vms[3].id).check()
    before = [disk(fleet, vm) for vm in vms[:3]]
    report = fleet.run("evacuate", "--host", LEFT)
    assert report["movable"] == [vm.id for vm in vms[:3]]
    assert [row["reason"] for row in report["vms"]][3] == "it is undeployed: its disks are at the front-end"
    assert {vm.record.hostname for vm in vms[:3]} == {LEFT}

    process = fleet.start("evacuate", "--host", LEFT, "--apply")
    wait_for("the middle", lambda: sum(vm.record.hostname != LEFT for vm in vms[:3]) >= 1, 120)
    os.kill(fleet.ground.lab.inner_pid(process), signal.SIGKILL)
    process.communicate(timeout=30)
    fleet.run("evacuate", "--host", LEFT, "--apply", "--throttle", "2")
    assert [disk(fleet, vm) for vm in vms[:3]] == before
    assert {vm.record.hostname for vm in vms[:3]} <= set(OTHERS) and len({vm.record.hostname for vm in vms[:3]}) == 2
    assert {vm.state for vm in vms[:3]} == {VmState.POWEROFF}
    assert fleet.run("evacuate", "--host", LEFT)["movable"] == []
    assert [path for path in fleet.folder(SYSTEM, LEFT).iterdir() if path.name.isdigit()] == []


@pytest.mark.full
def test_a_migration_that_failed_is_retried(clean: Fleet) -> None:
    fleet = clean
    [vm] = off(fleet, 1)
    before = disk(fleet, vm)
    fleet.ground.lab.stop_sshd(OTHERS[0])
    try:
        report = fleet.run("evacuate", "--host", LEFT, "--to", OTHERS[0], "--apply", code=2)
    finally:
        fleet.ground.lab.start_sshd(OTHERS[0])
    assert "did not come to host02" in str(report["vms"][0]["reason"])
    assert vm.lcm_state is Lcm.PROLOG_MIGRATE_POWEROFF_FAILURE
    fleet.run("evacuate", "--host", LEFT, "--apply")
    assert vm.record.hostname == OTHERS[0] and vm.state is VmState.POWEROFF
    assert disk(fleet, vm) == before


@pytest.mark.full
def test_disks_over_images_behind_a_bridge(clean: Fleet) -> None:
    """Nodes share the images, the front-end does not see them: the VM goes, and its disk holds what it held."""
    fleet = clean
    front, place = fleet.ground.frontend, f"/var/lib/one/datastores/{BRIDGED}"
    fleet.ground.lab.run(front, ["umount", place], user="root")
    given = {"DRIVER": "qcow2", "BRIDGE_LIST": OTHERS[1]}
    fleet.life.create_datastore("bridged", tm_mad="qcow2", ds_id=BRIDGED, template=given)
    made = fleet.life.create_datablock("data", BRIDGED, 4, format="qcow2").check().object_id
    number = fleet.life.create_vm("bridged", [use_image(made)], SHARED, LEFT).check().object_id
    fleet.life.poweroff(number).check()
    vm, path = fleet.ground.oned.vm(number), f"/var/lib/one/datastores/{SHARED}/{number}/disk.0"
    fleet.ground.run(LEFT, ["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", path])
    before = held(fleet, LEFT, path, "qcow2")
    only = ("evacuate", "--host", LEFT, "--vms", str(number), "--to", OTHERS[0])
    [row] = fleet.run(*only)["vms"]
    assert row["state"] == "stays" and "share" in str(row["reason"])
    fleet.run(*only, "--shared", "--apply")
    assert vm.record.hostname == OTHERS[0] and vm.state is VmState.POWEROFF
    assert held(fleet, OTHERS[0], path, "qcow2") == before
    fleet.life.delete(number)
    fleet.life.delete_image(made).check()
    assert [path.name for path in fleet.folder(BRIDGED, OTHERS[1]).iterdir()] == [".one_storage"]
    assert not list(fleet.folder(BRIDGED).iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "nobody"], "oned knows no host nobody"),
        (["--host", LEFT, "--to", "nobody"], "nobody is no host that VMs of host01 can go to"),
        (["--host", LEFT, "--to", LEFT], "host01 is no host that VMs of host01 can go to"),
        (["--host", LEFT, "--limit-rate", "fast"], "'fast' is not a transfer rate"),
    ],
)
def test_misuses(clean: Fleet, arguments: list[str], sentence: str) -> None:
    assert sentence in clean.refuses("evacuate", *arguments)


@pytest.mark.full
def test_chains_become_shorter(clean: Fleet) -> None:
    fleet = clean
    [vm] = off(fleet, 1)
    for _number in range(6):
        fleet.life.snapshot_disk(vm.id, 0).check()
    folder = fleet.folder(SYSTEM, LEFT) / str(vm.id)
    before = contents(folder / "disk.0")
    report = fleet.run("consolidate")
    assert [(row["what"], row["depth"], row["delete"]) for row in report["chains"]] == [
        (f"disk 0 of VM {vm.id}", 6, [0, 1, 2])
    ]
    assert not fleet.run("consolidate", "--depth", "7")["chains"]
    done = fleet.run("consolidate", "--apply")
    assert [(row["state"], row["deleted"]) for row in done["chains"]] == [("shorter", [0, 1, 2])]
    assert sorted(vm.snapshots[0].entries) == [3, 4, 5]
    assert contents(folder / "disk.0") == before
    fleet.managing.refuse["one.vm.disksnapshotdelete"] = "it is wanted"
    kept = fleet.run("consolidate", "--depth", "1", "--keep", "0", "--apply")
    assert kept["chains"][0]["state"] == "stays" and "it is wanted" in str(kept["chains"][0]["reason"])
    assert sorted(vm.snapshots[0].entries) == [3, 4, 5]
    assert "has no snapshot 3" in fleet.refuses("consolidate", "--flatten", f"{min(fleet.ground.oned.images)}:3")
    assert "as 7:2" in fleet.refuses("consolidate", "--flatten", "all")


def held(fleet: Fleet, host: str, path: str, kind: str) -> str:
    """The digest of what a guest would read from a disk."""
    script = 'qemu-img convert -f "$1" -O raw "$2" /var/tmp/held && sha256sum </var/tmp/held; rm -f /var/tmp/held'
    return fleet.ground.run(host, ["sh", "-euc", script, "sh", kind, path])


@pytest.mark.parametrize(
    ("image_ds", "system_ds", "kind", "orphans"),
    [
        (QCOW2, SHARED, "qcow2", "YES"),
        pytest.param(QCOW2, SHARED, "qcow2", "NO", marks=pytest.mark.full),
        pytest.param(QCOW2, SYSTEM, "qcow2", "YES", marks=pytest.mark.full),
        pytest.param(PLAIN, PLAIN_SYSTEM, "qcow2", "YES", marks=pytest.mark.full),
        pytest.param(PLAIN, PLAIN_SYSTEM, "raw", "YES", marks=pytest.mark.full),
    ],
)
def test_layers_and_copies_become_fewer(clean: Fleet, image_ds: int, system_ds: int, kind: str, orphans: str) -> None:
    """Each snapshot that stays, and the disk, hold what they held; where orphans are not allowed oned keeps a fork."""
    fleet = clean
    fleet.ground.oned.datastore(system_ds).template["ALLOW_ORPHANS"] = orphans
    [image] = fleet.images(1, image_ds, 4 << 20, kind)
    fleet.own(image_ds)
    number = fleet.life.create_vm("layers", [use_image(image.id)], system_ds, LEFT).check().object_id
    fleet.life.poweroff(number).check()
    disk = f"/var/lib/one/datastores/{system_ds}/{number}/disk.0"
    for round_ in range(5):
        fleet.life.snapshot_disk(number, 0).check()
        write = f"write -P {round_ + 1} {round_ << 16} 64k"
        fleet.ground.run(LEFT, ["qemu-io", "-f", kind, "-c", write, disk])
    goes, stays = [0, 1], [2, 3, 4]
    if orphans == "NO":
        fleet.life.revert_disk(number, 0, 1).check()
        fleet.life.snapshot_disk(number, 0).check()
        fleet.ground.run(LEFT, ["qemu-io", "-f", kind, "-c", "write -P 9 0 64k", disk])
        goes, stays = [0, 2], [1, 3, 4, 5]
    places = [f"{disk}.snap/{ident}" for ident in stays] + [disk]
    before = [held(fleet, LEFT, place, kind) for place in places]
    assert len(set(before)) == 4

    [row] = fleet.run("consolidate", "--vms", str(number), "--apply")["chains"]
    assert (row["state"], row["deleted"]) == ("shorter", goes)
    assert row["reason"].endswith("Cannot delete a snapshot with several children" if orphans == "NO" else "")
    assert row["reason"].startswith("1: ") == (orphans == "NO")
    assert sorted(fleet.ground.oned.vm(number).snapshots[0].entries) == stays
    assert not any(fleet.ground.path(LEFT, f"{disk}.snap/{ident}").exists() for ident in goes)
    assert [held(fleet, LEFT, place, kind) for place in places] == before
    fleet.life.revert_disk(number, 0, 3).check()
    assert held(fleet, LEFT, disk, kind) == before[stays.index(3)]
