# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/daily-work.md, command by command, on a site with images, a VM, and something that nobody knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fleet import FROM, SYSTEM, TO, Fleet, contents, sparse
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import end_shared_connections
from tests.lab.oned import DatastoreType, use_image
from tests.lab.operating import USUAL, Operator, blocks, checkout, clean_environment, commands
from tests.lab.test_deploy import Site
from tests.lab.test_readme import ARCHIVE

BACKUPS = 108
NODE, OTHER = "host01", "host02"
PLAY = "ansible-playbook -i one_storage.yml one_storage.drivers."
MIGRATE = f"{PLAY}migrate_images -e migrate_from=100 -e migrate_to=102"
EVACUATE = f"{PLAY}evacuate_host -e evacuate_host=host01"
#: The page's commands in its order, and what each has to say.
DAILY = [
    (f"{PLAY}drift -e one_storage_drift_fatal=true", "as this collection"),
    (f"{PLAY}validate -e fleet_report_file=/var/tmp/validate.json", "All is in order."),
    (f"{PLAY}capacity -e capacity_file=/var/tmp/capacity.html", "nothing is wrong"),
    (
        f"{PLAY}verify_backups -e '{{\"verify_backups_datastores\": [108]}}'",
        "Datastore 108: 0 backups, 0 with",
    ),
    ("ansible-galaxy collection install --force one_storage-drivers-0.1.0.tar.gz", "was installed successfully"),
    (f"{PLAY}deploy --check --diff", "failed=0"),
    (f"{PLAY}deploy", "failed=0"),
    ("/var/lib/one/remotes/one_storage/progress --watch --hosts all", "nothing"),
    (f"{PLAY}orphans", "1 orphans"),
    (f"{PLAY}orphans -e orphans_datastores=100,102", "1 orphans"),
    (f"{PLAY}orphans -e orphans_state=quarantined", "1 orphans"),
    (MIGRATE, "2 to do, 1 stays, 0 failed"),
    (f"{MIGRATE} -e migrate_apply=true -e migrate_limit_rate=50M -e fleet_report_file=/var/tmp/moved.json", "2 moved"),
    ("onehost disable host01", ""),
    (EVACUATE, "1 to do"),
    (f"{EVACUATE} -e evacuate_apply=true", "1 moved"),
    ("ansible-playbook one_storage.drivers.disk_life --check --diff", "failed=0"),
    ("ansible-playbook one_storage.drivers.disk_life", "failed=0"),
    ("ansible-playbook one_storage.drivers.disk_life --tags delete", "failed=0"),
]
#: What proves most in a short time: oned as the inventory, all hosts looked at, a command over images.
SHORT = (2, 11)


def test_the_page_has_these_commands() -> None:
    assert [" ".join(line.split()) for line in commands("daily-work.md")] == [line for line, _said in DAILY]


@pytest.fixture(params=["short", pytest.param("whole", marks=pytest.mark.full)])
def daily(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Fleet, Operator, bool]]:
    """A site, somebody who operates it, and whether all of the page is to be done."""
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    whole = request.param == "whole"
    shared = (FROM, TO, 101, 103)
    with Lab.up(tmp_path / "lab", shared=shared, binds=[repository()], masks=[repository()]) as lab:
        fleet = Fleet(lab, deploy=not whole, port=USUAL)
        try:
            with clean_environment() if whole else checkout() as place:
                operator = Operator(fleet.ground, place)
                operator.write({"one_storage.yml": blocks("switch-a-site.md", "yaml")[0]})
                if whole:
                    Site(fleet.ground, Path())
                    (operator.folder / "dist" / ARCHIVE).rename(operator.folder / ARCHIVE)
                    operator.say(commands("switch-a-site.md")[0])
                    operator.say(f"{PLAY}deploy")
                yield fleet, operator, whole
        finally:
            end_shared_connections(fleet.ground)
            fleet.close()


def test_daily_work(daily: tuple[Fleet, Operator, bool]) -> None:
    fleet, operator, whole = daily
    images = fleet.images(3)
    sparse(fleet.folder(FROM) / ("f" * 32), 1)
    fleet.own(FROM)
    for node in fleet.ground.nodes:
        fleet.folder(SYSTEM, node).mkdir(exist_ok=True)
        fleet.own(SYSTEM, node)
    number = fleet.life.create_vm("db", [use_image(images[2].id)], SYSTEM, NODE).check().object_id
    fleet.life.poweroff(number).check()
    before = {image.name: contents(fleet.file(image)) for image in images}
    fleet.life.create_datastore(
        "backups",
        ds_mad="rsync",
        tm_mad="-",
        type=DatastoreType.BACKUP,
        ds_id=BACKUPS,
        template={"RSYNC_HOST": fleet.ground.frontend, "RSYNC_USER": "oneadmin"},
    )
    operator.tool("onehost", '#!/bin/sh\necho "$@" >>/var/tmp/onehost\n')
    for place, (command, said) in enumerate(DAILY):
        if not whole and place not in SHORT:
            continue
        # what goes on until somebody ends it, and a day that a test does not have
        code, line = (124, f"timeout 8 {command}") if "--watch" in command else (0, command)
        line += " -e orphans_min_age=0" if "quarantined" in command else ""
        text = operator.say(line, code)
        assert said in text, f"{command}\nhas not said: {said}\n{text}"
    report = json.loads(fleet.ground.path(fleet.ground.frontend, "/var/tmp/capacity.json").read_text())
    assert report["problems"] == []
    if whole:
        assert not (fleet.folder(FROM) / ("f" * 32)).exists()
        assert {image.name: contents(fleet.file(image)) for image in fleet.ground.oned.images.values()} == before
        assert fleet.ground.oned.vm(number).record.hostname == OTHER
        assert fleet.ground.path(fleet.ground.frontend, "/var/tmp/onehost").read_text() == "disable host01\n"
