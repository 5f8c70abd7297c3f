# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's operator section and the guides of the switch, line by line, in a clean environment, on a site, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LabGround
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.looking import end_shared_connections
from tests.lab.operating import USUAL, Operator, blocks, clean_environment, commands
from tests.lab.test_deploy import REMOTES, Site, names  # noqa: F401  # a fixture

pytestmark = pytest.mark.full

ARCHIVE = "one_storage-drivers-0.1.0.tar.gz"


def section() -> tuple[str, list[str]]:
    """The commands of "Install it": all up to the inventory's end as one script, then line by line."""
    text = (repository() / "README.md").read_text(encoding="utf-8").partition("\n## Install it\n")[2]
    head, end, rest = text.partition("```\n")[2].partition("```")[0].partition("\nY\n")
    return head + end, [line for line in rest.splitlines() if line]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    with clean_environment() as folder:
        yield folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """OpenNebula's front-end and two nodes."""
    with Lab.up(tmp_path / "lab", binds=[repository()], masks=[repository()]) as lab:
        ground = LabGround(lab, USUAL)
        try:
            yield Site(ground, Path())
        finally:
            end_shared_connections(ground)
            ground.close()


def test_the_operators_section(place: Path, site: Site, names: str) -> None:  # noqa: F811
    operator, ground = Operator(site.ground, place), site.ground
    before = site.files()
    install, (check, deploy, drift, validate, absent) = section()
    operator.say(install)
    assert "new tm/os_qcow2/clone" in operator.say(check)
    assert site.files() == before
    operator.say(deploy)
    assert (ground.path(ground.frontend, f"{REMOTES}/tm/os_qcow2/clone")).is_file()
    assert {store.name for store in ground.oned.datastores.values()} >= {"images", "disks"}
    assert ground.path(ground.frontend, "/var/tmp/systemctl").read_text() == "restart opennebula\n"
    assert operator.say(drift).count("as this collection") == 3
    assert "All is in order." in operator.say(validate)
    operator.say(absent)
    assert site.files() == before


def test_the_guides_of_the_switch_and_of_the_way_back(place: Path, site: Site, names: str) -> None:  # noqa: F811
    """With oned as the inventory."""
    operator, before = Operator(site.ground, place), site.files()
    inventory, variables = blocks("switch-a-site.md", "yaml")
    install, check, deploy, drift, validate = commands("switch-a-site.md")
    (operator.folder / "dist" / ARCHIVE).rename(operator.folder / ARCHIVE)
    operator.write({"one_storage.yml": inventory, "group_vars/all.yml": variables})
    operator.say(install)
    graph = operator.say("ansible-inventory -i one_storage.yml --graph")
    assert "@one_frontend" in graph and "@one_nodes" in graph
    assert "new tm/os_qcow2/clone" in operator.say(check)
    assert site.files() == before
    operator.say(deploy)
    assert {store.name for store in site.ground.oned.datastores.values()} >= {"trial images", "trial disks"}
    assert operator.say(drift).count("as this collection") == 3
    assert "All is in order." in operator.say(validate)
    older, again, drifting, look, absent, by_hand = commands("roll-back.md")
    assert operator.say("\n".join([older, again, drifting])).count("as this collection") == 3
    present = site.files()
    assert "gone tm/os_qcow2/clone" in operator.say(look)
    assert site.files() == present
    operator.say(absent)
    assert site.files() == before
    # without Ansible, in a checkout
    laid = by_hand.replace("--remove ", "")
    operator.say(f"cd {repository()}; {laid}")
    assert site.files() != before
    operator.say(f"cd {repository()}; {by_hand}")
    assert site.files() == before
