# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook validate names the one broken thing on the one broken host, and leaves nothing behind.

Every fault is a real one of that host: mounts, files of its own, routes, and a clock that lies to its programs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo.deploy import play
from tests.lab.ground import LabGround
from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.tools.stage import stage

STORES = "/var/lib/one/datastores"
REPORT = "/var/tmp/report.json"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Site:
    """A front-end and two nodes."""

    def __init__(self, ground: LabGround, collections: Path) -> None:
        self.ground = ground
        self.collections = collections
        self.node, self.other = ground.nodes

    def root(self, host: str, *argv: str) -> None:
        """A command of the host's root."""
        self.ground.lab.run(host, argv, user="root")

    def write(self, host: str, path: str, text: str) -> None:
        """A file of the host's own, that can be run."""
        seen = self.ground.path(host, path)
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.unlink(missing_ok=True)
        seen.write_text(text)
        seen.chmod(0o755)

    def validate(self, **more: object) -> tuple[int, dict[str, Any]]:
        """The playbook's exit code and its report. Nothing of the check may be left in a datastore."""
        before = self.left()
        given = {"fleet_report_file": REPORT, "validate_min_free_percent": 1, **more}
        done = play(self.ground, "validate", given, check=False, collections=self.collections)
        seen = self.ground.path(self.ground.frontend, REPORT)
        assert seen.exists(), done.stdout.decode()[-4000:]
        report: dict[str, Any] = json.loads(seen.read_text())
        seen.unlink()
        said = done.stdout.decode()
        assert all(line in said for line in report["lines"])
        assert self.left() == before
        return done.returncode, report

    def left(self) -> list[str]:
        """What lies in datastores, the drivers' files of locks aside."""
        found = []
        for host in (self.ground.frontend, *self.ground.nodes):
            store = self.ground.path(host, STORES)
            for path in store.rglob("*"):
                if path.is_file() and path.parent.name != ".one_storage":
                    found.append(f"{host}:{path.relative_to(store)}")
        return found

    def broken(self, **more: object) -> list[tuple[str, str, str]]:
        """Host, check and sentence of each thing that is broken; the exit code says so, too."""
        code, report = self.validate(**more)
        assert code != 0 and not report["ok"]
        return [(one["host"], one["check"], one["sentence"]) for one in report["problems"]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    able, reason = can_make_hosts()
    if not able:
        pytest.skip(reason)
    collections = repository() / ".cache" / f"collections-validate-{os.getpid()}"
    stage(target=collections / "ansible_collections" / "one_storage" / "drivers")
    folder = tmp_path_factory.mktemp("validate") / "lab"
    with Lab.up(folder, binds=[repository()], masks=[repository()]) as lab:
        ground = LabGround(lab)
        try:
            for host in lab.hosts:
                # this datastore is not one that hosts share
                lab.run(host, ["mkdir", "-p", f"{STORES}/105"])
            yield Site(ground, collections)
        finally:
            ground.close()
            shutil.rmtree(collections)


IN_ORDER = ("mesh", "mounts", "tools", "space", "time", "sudo")


def test_faults_on_both_nodes_are_told_once_each(site: Site) -> None:
    """The short form: several faults at once, and a front-end on which all is in order."""
    fix = [break_mount(site), break_read_only(site), break_qemu_img(site)]
    try:
        code, report = site.validate(one_storage_sudo=["/usr/bin/true"])
    finally:
        for mend in fix:
            mend()
    assert code != 0 and report["lines"][-1] == "3 things are broken."
    assert [(one["host"], one["check"]) for one in report["problems"]] == [
        (site.node, "mounts"),
        (site.node, "tools"),
        (site.other, "mounts"),
    ], report["lines"]
    rows = {row["host"]: row for row in report["rows"]}
    assert [rows[site.ground.frontend][check] for check in IN_ORDER] == ["ok"] * len(IN_ORDER)
    assert [rows[site.node][check] for check in IN_ORDER] == ["ok", "1 BROKEN", "1 BROKEN", "ok", "ok", "ok"]
    assert [rows[site.other][check] for check in IN_ORDER] == ["ok", "1 BROKEN", "ok", "ok", "ok", "ok"]
    assert all(row["probe"].endswith(" ms") for row in rows.values())


@pytest.mark.full
def test_all_in_order(site: Site) -> None:
    code, report = site.validate(one_storage_sudo=["/usr/bin/true"], validate_mesh="full")
    assert (code, report["ok"], report["problems"]) == (0, True, []), report["lines"]
    assert {row["host"] for row in report["rows"]} == {site.ground.frontend, site.node, site.other}
    for row in report["rows"]:
        assert [row[check] for check in IN_ORDER] == ["ok"] * len(IN_ORDER)
        assert row["probe"].endswith(" ms")
    assert report["lines"][-1] == "All is in order."


def break_mount(site: Site) -> Any:
    """The folder is there, and what should be mounted on it is not."""
    site.ground.lab.tiny(site.node, f"{STORES}/101", 16)
    return lambda: site.ground.lab.untiny(site.node, f"{STORES}/101")


def break_read_only(site: Site) -> Any:
    store = f"{STORES}/102"
    site.root(site.other, "mount", "--bind", store, store)
    site.root(site.other, "mount", "-o", "remount,bind,ro", store)
    return lambda: site.root(site.other, "umount", "-l", store)


def break_qemu_img(site: Site) -> Any:
    site.write(site.node, "/usr/local/bin/qemu-img", "#!/bin/sh\necho 'qemu-img version 2.12.0'\n")
    return lambda: site.root(site.node, "rm", "/usr/local/bin/qemu-img")


def break_full(site: Site) -> Any:
    seen = site.ground.lab.tiny(site.node, f"{STORES}/105", 1)
    (seen / "disk").write_bytes(bytes(1 << 20))
    return lambda: site.ground.lab.untiny(site.node, f"{STORES}/105")


def break_folder(site: Site) -> Any:
    site.root(site.node, "mv", f"{STORES}/105", f"{STORES}/aside")
    return lambda: site.root(site.node, "mv", f"{STORES}/aside", f"{STORES}/105")


def break_route(site: Site) -> Any:
    way = ["route", "add", "unreachable", site.ground.lab.address(site.other)]
    site.root(site.node, "ip", *way)
    return lambda: site.root(site.node, "ip", "route", "del", *way[2:])


def break_clock(site: Site) -> Any:
    """Programs of the node see another time; the machine's clock is everybody's and stays."""
    assert FAKETIME.exists()
    python = site.ground.run(site.other, ["readlink", "-f", "/usr/bin/python3"]).strip()
    there = f"LD_PRELOAD={FAKETIME} FAKETIME=+1h"
    site.write(site.other, "/usr/bin/python3", f'#!/bin/sh\nexec env {there} {python} "$@"\n')
    return lambda: site.root(site.other, "ln", "-sfn", python, "/usr/bin/python3")


FAULTS = {
    "a missing mount": (break_mount, 0, "mounts", "datastore 101: it is not the storage of 2 other hosts, frontend"),
    "a missing folder": (break_folder, 0, "mounts", "/datastores/105 is not there; mount it"),
    "a read-only mount": (break_read_only, 1, "mounts", "/datastores/102 is mounted read-only"),
    "a wrong qemu-img": (break_qemu_img, 0, "tools", "/usr/local/bin/qemu-img is version 2.12.0; install 5.1 or newer"),
    "a full disk": (break_full, 0, "space", "datastore 105 is full: 0 of 1 MB are free on"),
    "no route between two nodes": (break_route, 0, "mesh", "Cannot log in to host02: "),
    "a clock off by an hour": (break_clock, 1, "time", "Its clock is 60 min ahead of that of the front-end; set it"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_the_one_broken_thing_on_the_one_broken_host(site: Site, name: str) -> None:
    breaks, number, check, sentence = FAULTS[name]
    mend = breaks(site)
    try:
        found = site.broken()
    finally:
        mend()
    assert [(host, kind) for host, kind, _told in found] == [(site.ground.nodes[number], check)], found
    assert sentence in found[0][2]


@pytest.mark.full
def test_a_node_that_is_off_is_told_once_and_an_agent_is_needed(site: Site) -> None:
    site.ground.lab.stop_sshd(site.other)
    try:
        found = site.broken()
    finally:
        site.ground.lab.start_sshd(site.other)
    assert [(host, check) for host, check, _told in found] == [(site.ground.frontend, "mesh")], found
    assert found[0][2].startswith(f"Cannot log in to {site.other}: ")

    [(host, check, told)] = site.broken(validate_agent="/no/such/agent")
    assert (host, check) == (site.ground.frontend, "mesh")
    assert told.startswith("It could not be checked: There is no SSH agent at /no/such/agent")
