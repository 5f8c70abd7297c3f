# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stock's defects with disks of running guests (contract-tm 12), each through a real libvirt and QEMU.

``tests/unit/core/test_stock_bugs.py`` is about those at rest, and holds the list of all to the page for sites.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from tests.lab.ground import LabGround
from tests.lab.hosts import CommandFailed
from tests.lab.looking import wipe
from tests.lab.test_live import _IMAGES, _RUN, Machine
from tests.lab.virt import Hypervisor

_saved = itertools.count(1)


@pytest.fixture(scope="module")
def machine(ground: LabGround, hypervisors: dict[str, Hypervisor]) -> Iterator[Machine]:
    made = Machine(hypervisors[ground.nodes[0]])
    made.write(8)
    yield made
    made.guest.destroy()
    wipe(ground)


def saved(machine: Machine, disk: int, image_format: str) -> str:
    """The image that a running disk was saved to."""
    image = f"{_IMAGES}/saved-{next(_saved)}"
    given = {"source": f"{machine.folder}/disk.{disk}", "destination": image, "snapshot_id": -1, "format": image_format}
    machine.right("cpds", **given, target=("vda", "vdb")[disk], freeze_timeout=30)
    return image


@pytest.mark.parametrize("driver", ["local", "ssh", "qcow2", "shared"])
def test_a_snapshot_holds_the_guest_and_says_how(machine: Machine, driver: str) -> None:
    """Stock's ``local`` means to freeze the guest and never does; ``ssh`` does not try (Q4)."""
    number = max(int(name) for name in machine.files() if name.isdigit())
    result = machine.right("snap_create_live", path=machine.disk, driver=driver, snapshot_id=number, freeze_timeout=30)
    # it has no agent
    assert result["consistency"] == "suspend"
    assert machine.guest.state() == "running"
    assert machine.blocks(machine.snapshot(number)) == machine.written


def test_a_raw_disk_is_saved_as_raw_whatever_the_guest_writes_to_it(machine: Machine) -> None:
    """Stock lets libvirt choose the format, and a guest may have written a header of its own (Q20)."""
    header = f"{machine.folder}/header"
    machine.sh(f"qemu-img create -q -f qcow2 {header} 1M")
    machine.guest.io(f"write -s {header} 0 64k", "vdb")
    image = saved(machine, 1, "raw")
    found = machine.lab.path(machine.host, image).read_bytes()
    assert found[:4] == b"QFI\xfb" and len(found) == 16 << 20
    assert found == machine.lab.path(machine.host, f"{machine.folder}/disk.1").read_bytes()


def test_a_qcow2_disk_is_saved_as_qcow2_that_stands_alone(machine: Machine) -> None:
    """Onto a name that ``mkfs`` has given, where stock has made an empty file first (Q20)."""
    image = saved(machine, 0, "qcow2")
    assert machine.backing(image) == ""
    assert machine.blocks(image) == machine.written


def test_paths_need_not_be_spelt_as_libvirt_has_them(machine: Machine) -> None:
    """OpenNebula's have a double slash, which stock has to keep for libvirt to find the disk (Q21)."""
    assert "//" in "".join(machine.guest.chain())
    assert "//" not in machine.disk
    saved(machine, 0, "qcow2")


def test_names_in_tmp_are_not_followed(machine: Machine) -> None:
    """Stock writes the snapshot's document to a name that anybody can foresee (Q30)."""
    number = max(int(name) for name in machine.files() if name.isdigit())
    victim = f"{machine.folder}/victim"
    machine.sh(f"echo precious > {victim}; ln -s {victim} /tmp/snapshot-{machine.id}-0-{number}")
    before = machine.sh("ls -A /tmp /var/tmp")
    machine.right("snap_create_live", path=machine.disk, snapshot_id=number, freeze_timeout=30)
    assert machine.sh(f"cat {victim}") == "precious\n"
    assert machine.sh("ls -A /tmp /var/tmp") == before
    machine.sh(f"rm {victim} /tmp/snapshot-{machine.id}-0-{number}")


def test_a_growth_that_the_hypervisor_refuses_leaves_the_file_as_it_was(machine: Machine) -> None:
    """The driver leaves a running disk to the hypervisor: what that refuses is nowhere half-done (Q43)."""
    before = machine.sh(f"stat -Lc '%s %y %i' {machine.folder}/disk.1")
    options = {
        **machine.options(path=f"{machine.folder}/disk.1", size=32, format="raw"),
        "domain": None,
        "target": None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    argv = ["/usr/bin/python3", "-I", "-c", _RUN, "tm_resize", json.dumps(given)]
    assert json.loads(machine.lab.run(machine.host, argv).stdout)["changed"] is False
    with pytest.raises(CommandFailed):
        machine.hypervisor.virsh("blockresize", machine.guest.name, "vdz", "32M")
    assert machine.sh(f"stat -Lc '%s %y %i' {machine.folder}/disk.1") == before
    # and what it does counts: the disk of a VM that is off again is as large as it made it
    machine.hypervisor.virsh("blockresize", machine.guest.name, "vdb", "32M")
    assert machine.sh(f"stat -Lc %s {machine.folder}/disk.1") == f"{32 << 20}\n"
