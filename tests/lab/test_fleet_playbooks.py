# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over the commands of the fleet: they report, change on demand, and fail in one sentence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.demo.deploy import play, recap
from tests.lab.fleet import FROM, SYSTEM, TO, Fleet, contents, sparse
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.oned import use_image
from tests.tools.stage import stage

pytestmark = pytest.mark.full

COLLECTIONS = repository() / ".cache" / f"collections-fleet-{os.getpid()}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    # a copy of its own: what is played must not change between two runs
    stage(target=COLLECTIONS / "ansible_collections" / "one_storage" / "drivers")
    folder = tmp_path_factory.mktemp("fleet") / "lab"
    with Lab.up(folder, binds=[repository()], masks=[repository()]) as lab:
        made = Fleet(lab)
        yield made
        made.close()
        shutil.rmtree(COLLECTIONS)


def played(fleet: Fleet, name: str, right: bool = True, **variables: object) -> tuple[str, int]:
    """What a playbook said, and how many tasks changed something."""
    given = {"one_storage_endpoint": fleet.ground.server.url, **variables}
    done = play(fleet.ground, name, given, right, COLLECTIONS)
    said = done.stdout.decode()
    assert (done.returncode == 0) == right, said
    return said, recap(said)[fleet.ground.frontend]["changed"]


def test_images_are_reported_then_moved_in_batches(fleet: Fleet) -> None:
    images = fleet.images(5)
    fleet.own(FROM)
    images[4].vms.add(9)
    before = {image.name: contents(fleet.file(image)) for image in images}
    said, changed = played(fleet, "migrate_images", migrate_from=FROM, migrate_to=TO)
    assert changed == 0 and "4 to do, 1 stays, 0 failed" in said and "it is used by VM 9" in said
    said, changed = played(
        fleet, "migrate_images", migrate_from=FROM, migrate_to=TO, migrate_apply=True, migrate_batch=3
    )
    assert changed == 2 and "0 moved, 4 moved before, 0 to do, 1 stays, 0 failed" in said
    assert {image.name: contents(fleet.file(image)) for image in fleet.ground.oned.images.values()} == before
    images[4].vms.clear()
    said, _changed = played(fleet, "migrate_images", False, migrate_from=FROM)
    assert "Say which datastore they come to" in said


def test_orphans_are_reported_then_set_aside(fleet: Fleet) -> None:
    sparse(fleet.folder(TO) / ("f" * 32), 1)
    fleet.own(TO)
    said, changed = played(fleet, "orphans", orphans_min_age=0)
    assert changed == 0 and "1 orphans" in said
    said, changed = played(fleet, "orphans", orphans_min_age=0, orphans_state="quarantined")
    assert changed == 1 and not (fleet.folder(TO) / ("f" * 32)).exists()
    said, changed = played(fleet, "orphans", orphans_state="purged", orphans_keep_days=0)
    assert changed == 1
    said, changed = played(fleet, "orphans")
    assert changed == 0 and "0 orphans, 0 bytes; 0 in quarantine" in said


def test_a_host_is_left_and_chains_become_shorter(fleet: Fleet) -> None:
    image = fleet.images(1)[0]
    fleet.own(FROM)
    node, other = fleet.ground.nodes[:2]
    number = fleet.life.create_vm("db", [use_image(image.id)], SYSTEM, node).check().object_id
    fleet.life.poweroff(number).check()
    for _number in range(5):
        fleet.life.snapshot_disk(number, 0).check()
    said, changed = played(fleet, "consolidate")
    assert changed == 0 and f"disk 0 of VM {number} db: 5 snapshots: to do, without 0, 1" in said
    said, changed = played(fleet, "consolidate", consolidate_apply=True)
    assert changed == 1 and sorted(fleet.ground.oned.vm(number).snapshots[0].entries) == [2, 3, 4]
    said, changed = played(fleet, "evacuate_host", evacuate_host=[node])
    assert changed == 0 and "1 to do" in said
    said, changed = played(fleet, "evacuate_host", evacuate_host=node, evacuate_apply=True)
    assert changed == 1 and fleet.ground.oned.vm(number).record.hostname == other
    said, changed = played(fleet, "evacuate_host", False, evacuate_host="nobody")
    assert "oned knows no host nobody" in said


def test_images_are_converted(fleet: Fleet) -> None:
    fleet.life.create_datastore("qcow2", tm_mad="qcow2", ds_id=103, template={"DRIVER": "qcow2"})
    said, changed = played(fleet, "convert", convert_from=TO, convert_to=103, convert_format="qcow2")
    assert changed == 0 and "4 to do" in said
    said, changed = played(
        fleet, "convert", convert_from=TO, convert_to=103, convert_format="qcow2", convert_apply=True
    )
    assert changed == 1
    assert [image.format for image in fleet.ground.oned.images.values()].count("qcow2") == 4
