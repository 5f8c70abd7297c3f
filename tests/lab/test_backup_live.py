# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a running guest through a real libvirt and QEMU.

The guest writes to both of its disks in the moments before, while and after a backup is made. What a backup gives when
its chain is flattened has to be, byte for byte, what the guest had at the moment at which it was begun.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.backed_guest import MB, MODES, QEMU, Machine, goes_on, machine_of, one_point
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor


@pytest.fixture
def hypervisor(ground: LabGround, hypervisors: dict[str, Hypervisor]) -> Hypervisor:
    return hypervisors[ground.nodes[0]]


@pytest.fixture
def machine(hypervisor: Hypervisor) -> Iterator[Machine]:
    yield from machine_of(hypervisor)


@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_increments(machine: Machine, mode: str) -> None:
    for number in range(3):
        machine.scribble(number)
        result = machine.back_up(mode, number - 1, freeze="suspend")
        assert result["consistency"] == "suspend" and result["increment"] == number
        assert "warnings" not in result, result
    machine.check()
    assert int(machine.sh(f"stat -c %s {machine.store}/disk.0.2")) < 2 * MB
    if mode == "cbt":
        assert machine.checkpoints() == machine.marks() == [f"one-{machine.id}-{n}" for n in (1, 2)]
    else:
        assert machine.sh(f"readlink {machine.disk}").strip() == "disk.0.snap/3"
        assert machine.sh(f"ls {machine.disk}.snap").split() == ["0", "3", "disk.0.snap"]
        assert "backing file: disk.0.snap/0 " in machine.sh(f"qemu-img info -U {machine.disk}")


@pytest.mark.full
@pytest.mark.parametrize("layout", ["persistent", "file"])
@pytest.mark.parametrize("mode", MODES)
def test_a_chain_of_five_in_other_layouts(hypervisor: Hypervisor, mode: str, layout: str) -> None:
    for machine in machine_of(hypervisor, layout=layout):
        for number in range(5):
            machine.scribble(number)
            if number == 3:
                machine.power_cycle()
            assert "warnings" not in machine.back_up(mode, number - 1)
        machine.check()


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_failed_backups_do_not_break_the_chain(machine: Machine, mode: str) -> None:
    one_point(machine, mode)
    for number in range(3):
        machine.scribble(10 + number)
        machine.back_up(mode, 0, failed=True)
    if mode == "cbt":
        assert machine.marks() == [f"one-{machine.id}-0"]
    else:
        assert len(machine.guest.chain()) == 4
    goes_on(machine, mode)
    goes_on(machine, mode, 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_an_outcome_that_nobody_heard(machine: Machine, mode: str) -> None:
    one_point(machine, mode)
    machine.right("prebackup_live", last_increment=0, mode="increment", increment_mode=mode)
    machine.scribble(11)
    machine.right("prebackup_live", last_increment=0, mode="increment", increment_mode=mode)
    machine.scribble(12)
    goes_on(machine, mode)
    goes_on(machine, mode, 1)


@pytest.mark.full
def test_full_backups_with_raw_disks_leave_chains_alone(hypervisor: Hypervisor) -> None:
    for machine in machine_of(hypervisor, raw=True):
        machine.scribble(0)
        only = {"disks": ["0:qcow2"], "targets": ["0:vda"]}
        machine.right("prebackup_live", mode="increment", **only)
        machine.right("postbackup_live", mode="increment", **only)
        before = machine.marks()
        machine.back_up("")
        assert machine.marks() == before == [f"one-{machine.id}-0"]
        machine.check()
        wrong = machine.act("prebackup_live", mode="increment")
        assert wrong["code"] == "bad-call" and "raw" in wrong["sentence"]
        machine.at_rest()


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_power_cycles_and_growth(machine: Machine, mode: str) -> None:
    one_point(machine, mode)
    machine.power_cycle()
    goes_on(machine, mode)
    machine.guest.destroy()
    machine.sh(f"sleep 0.5; qemu-img resize -q $(readlink -f {machine.disk}) 24M")
    machine.golden[0].extend(bytes(8 * MB))
    machine.start_guest()
    machine.write(0, 77, 20 * MB, 100_000)
    machine.scribble(3)
    goes_on(machine, mode, 1)
    machine.hypervisor.virsh("blockresize", machine.guest.name, "vda", "32M")
    machine.golden[0].extend(bytes(8 * MB))
    machine.write(0, 78, 30 * MB, 100_000)
    goes_on(machine, mode, 2)


@pytest.mark.full
def test_a_guest_that_was_killed_has_its_disks_backed_up_whole(machine: Machine) -> None:
    one_point(machine, "cbt")
    machine.flush()
    machine.sh(f"kill -9 $(pgrep -f guest=[o]ne-{machine.id},)")
    machine.hypervisor.until("its end", lambda: machine.guest.name not in machine.hypervisor.virsh("list", "--name"))
    machine.start_guest()
    machine.scribble(3)
    result = machine.back_up("cbt", 0)
    # what QEMU had not written down when it was killed is not there, else it is marked as not to be believed
    assert len(result["warnings"]) == 2 and all("has all of disk" in line for line in result["warnings"])
    machine.check()
    goes_on(machine, "cbt", 1)


@pytest.mark.full
def test_what_stock_left_below_a_guest_comes_home(machine: Machine) -> None:
    machine.scribble(0)
    machine.sh(
        f"mkdir {machine.folder}/tmp && touch {machine.folder}/tmp/overlay_0.qcow2 {machine.folder}/tmp/overlay_1.qcow2"
    )
    specs = [f"{target},file={machine.folder}/tmp/overlay_{n}.qcow2" for n, target in enumerate(("vda", "vdb"))]
    machine.hypervisor.virsh("snapshot-create-as", machine.guest.name, f"one-{machine.id}-backup", "--disk-only",
                             "--atomic", "--diskspec", specs[0], "--diskspec", specs[1])  # fmt: skip
    machine.scribble(1)
    machine.back_up("cbt")
    machine.check()
    assert len(machine.guest.chain()) == 2


@pytest.mark.full
def test_a_chain_that_stock_begangoes_on(machine: Machine) -> None:
    """Stock's names and shapes of a first CBT backup, and its pruning."""
    machine.scribble(0)
    machine.flush()
    machine.sh(f"qemu-img convert -U -f qcow2 -O qcow2 {machine.disk} {machine.store}/disk.0.0")
    machine.sh(f"qemu-img convert -U -f qcow2 -O qcow2 {machine.folder}/disk.1 {machine.store}/disk.1.0")
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    disks = "<disks><disk name='vda'/><disk name='vdb'/></disks>"
    text = f"<domaincheckpoint><name>one-{machine.id}-0</name>{disks}</domaincheckpoint>"
    machine.lab.path(machine.host, "/var/tmp/checkpoint.xml").write_text(text, encoding="utf-8")
    machine.hypervisor.virsh("checkpoint-create", machine.guest.name, "--xmlfile", "/var/tmp/checkpoint.xml")
    goes_on(machine, "cbt")


@pytest.mark.full
def test_stock_goes_on_with_a_chain_of_ours(machine: Machine) -> None:
    """Stock's commands of a CBT increment, on what two of ours left; then ours again."""
    one_point(machine, "cbt")
    machine.back_up("cbt", 0)
    machine.scribble(3)
    machine.flush()
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    _stock_increment(machine, 2)
    goes_on(machine, "cbt", 2)


def _stock_increment(machine: Machine, number: int) -> None:
    """As contract-tm 8.3 has it: a pull backup with a checkpoint, what changed by copy on read."""
    socket, disks, marks = f"{machine.folder}/backup.socket", "", ""
    machine.sh(f"mkdir {machine.folder}/tmp")
    for target, disk in (("vda", 0), ("vdb", 1)):
        scratch = f"{machine.folder}/tmp/scracth.{disk}.qcow2"
        machine.sh(f"qemu-img create -q -f qcow2 {scratch} {len(machine.golden[disk])}")
        disks += f"<disk name='{target}' backup='yes' type='file'><scratch file='{scratch}'/></disk>"
        marks += f"<disk name='{target}'/>"
    documents = {
        "backup": f"<domainbackup mode='pull'><incremental>one-{machine.id}-{number - 1}</incremental>"
        f"<server transport='unix' socket='{socket}'/><disks>{disks}</disks></domainbackup>",
        "checkpoint": f"<domaincheckpoint><name>one-{machine.id}-{number}</name><disks>{marks}</disks>"
        "</domaincheckpoint>",
    }
    for name, text in documents.items():
        machine.lab.path(machine.host, f"{machine.folder}/tmp/{name}.xml").write_text(text, encoding="utf-8")
    words = [f"--{name}xml={machine.folder}/tmp/{name}.xml" for name in documents]
    machine.hypervisor.virsh("backup-begin", machine.guest.name, "--reuse-external", *words)
    for target, disk in (("vda", 0), ("vdb", 1)):
        export = f"driver=nbd,server.type=unix,server.path={socket},export={target}"
        wanted = f"{export},x-dirty-bitmap=qemu:dirty-bitmap:backup-{target}"
        _pull(machine, f"nbd+unix:///{target}?socket={socket}", wanted, f"{machine.store}/disk.{disk}.{number}")
    machine.hypervisor.virsh("domjobabort", machine.guest.name)
    machine.hypervisor.virsh("checkpoint-delete", machine.guest.name, f"one-{machine.id}-{number - 2}")
    machine.sh(f"rm -rf {machine.folder}/tmp")


def _pull(machine: Machine, uri: str, wanted: str, file: str) -> None:
    """What a bitmap says, by copy on read."""
    extents = json.loads(machine.sh(f"qemu-img map --output=json --image-opts {wanted}"))
    reads = " ".join(f"-c 'read -q {row['start']} {row['length']}'" for row in extents if not row["data"])
    machine.sh(f"qemu-img create -q -f qcow2 -F raw -b '{uri}' {file}")
    machine.sh(f"qemu-io -C -f qcow2 {reads} {file}; qemu-img rebase -q -u -f qcow2 -b '' {file}")


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_stock_goes_on_with_a_chain_of_a_guest_that_was_stopped(machine: Machine, mode: str) -> None:
    """Stock's commands for a VM that is off, on what two increments of ours left; then ours again, while it runs."""
    one_point(machine, mode)
    machine.back_up(mode, 0)
    machine.scribble(3)
    machine.guest.destroy()
    machine.hypervisor.until("the end of QEMU", lambda: not machine.sh(QEMU.format(machine.id)).strip())
    machine.moments.append({disk: bytes(data) for disk, data in machine.golden.items()})
    for disk in machine.golden:
        (_stock_bitmap if mode == "cbt" else _stock_layer)(machine, disk, 2)
    machine.start_guest()
    goes_on(machine, mode, 2)


def _stock_bitmap(machine: Machine, disk: int, number: int) -> None:
    path, socket, parent = f"{machine.folder}/disk.{disk}", "/var/tmp/stock.socket", f"one-{machine.id}-{number - 1}"
    # --fork ends when somebody can connect
    machine.sh(f"qemu-nbd --fork --pid-file /var/tmp/stock.pid -r -t -k {socket} -f qcow2 -B {parent} {path}")
    wanted = f"driver=nbd,server.type=unix,server.path={socket},x-dirty-bitmap=qemu:dirty-bitmap:{parent}"
    _pull(machine, f"nbd+unix:///?socket={socket}", wanted, f"{machine.store}/disk.{disk}.{number}")
    gone = "while kill -0 $(cat /var/tmp/stock.pid); do sleep 0.05; done 2>/dev/null"
    machine.sh(f"kill $(cat /var/tmp/stock.pid); {gone}; rm -f {socket}")
    known = json.loads(machine.sh(f"qemu-img info --output=json {path}"))["format-specific"]["data"]["bitmaps"]
    for name in [mark["name"] for mark in known if mark["name"] != parent]:
        machine.sh(f"qemu-img bitmap $(readlink -f {path}) {name} --remove")
    machine.sh(f"qemu-img bitmap $(readlink -f {path}) one-{machine.id}-{number} --add")


def _stock_layer(machine: Machine, disk: int, number: int) -> None:
    out, snap = f"{machine.store}/disk.{disk}.{number}", f"{machine.folder}/disk.{disk}.snap"
    machine.sh(f"cd {machine.folder}; top=$(readlink -f disk.{disk}); cp $top {out}; qemu-img commit -q $top; rm $top; "
               f"qemu-img rebase -q -u -f qcow2 -F qcow2 -b '' {out}; "
               f"qemu-img create -q -f qcow2 -o backing_fmt=qcow2 -b {snap}/0 {snap}/{number + 1}; "
               f"ln -sfn disk.{disk}.snap/{number + 1} disk.{disk}")  # fmt: skip


def test_what_is_wrong_is_said_and_changes_nothing(machine: Machine) -> None:
    machine.write(0, 1, 0, 65536)
    before = machine.sh(f"ls -lR {machine.folder}")
    for more, code in (
        ({"freeze": "agent", "require_quiesce": True}, "tool-failed"),
        ({"domain": "one-0"}, "missing"),
        ({"targets": ["0:vda"]}, "bad-call"),
        ({"targets": ["0:vda", "1:vdz"]}, "missing"),
        ({"freeze_timeout": 0}, "bad-call"),
    ):
        result = machine.act("prebackup_live", **more)
        assert result["code"] == code, (more, result)
        assert machine.sh(f"ls -lR {machine.folder}") == before
        machine.at_rest()
    result = machine.back_up("", freeze="agent")
    assert result["consistency"] == "crash" and "agent" in result["warnings"][0]
    told = json.loads(machine.sh(f"cat {machine.store}/manifest.json"))
    assert told["consistency"] == "crash" and told["warnings"] == result["warnings"]
