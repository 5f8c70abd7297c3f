# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: a VM's whole life on real hosts, driven the way oned drives it.

The lab is started, the drivers are deployed on it with the collection's own roles, and the life runs with the image
drivers ``fs`` + ``qcow2`` and ``fs`` + ``ssh``, or with others that are named; for volumes a Ceph cluster is started
too. Without the rights to make hosts it runs on this machine alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.demo.deploy import deploy, stage
from tests.demo.screen import Screen
from tests.lab import ceph, pool
from tests.lab.ground import Ground, LabGround, LocalGround
from tests.lab.hosts import CommandFailed, Lab, can_make_hosts, repository
from tests.lab.pool import LabPool, Pool
from tests.lab.story import ALL, Chapter, Story


def main() -> int:
    """Exit code 0 when everything was right."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--drivers", nargs="+", choices=sorted(ALL), default=["qcow2", "ssh"])
    parser.add_argument("--launcher", choices=("auto", "in_process", "ssh", "ansible"), default="auto")
    parser.add_argument("--alone", action="store_true", help="run on this machine alone")
    options = parser.parse_args()
    if _volumes(options.drivers) and not ceph.is_there():
        missing = ", ".join(ceph.missing())
        parser.error(f"volumes take a Ceph cluster, and its programs are not all installed here: there is no {missing}")
    screen = Screen()
    started = time.monotonic()
    able, reason = can_make_hosts()
    if able and not options.alone:
        right = _on_the_lab(screen, options.drivers, options.launcher)
    else:
        why = "as asked" if options.alone else reason
        screen.say(f"This machine alone plays front-end and node ({why}).", "yellow")
        right = _alone(screen, options.drivers)
    seconds = time.monotonic() - started
    screen.say("")
    if right:
        screen.say(f"Every call and every check was right, in {seconds:.0f} s.", "bold green")
    else:
        screen.say(f"Something was wrong, see above ({seconds:.0f} s).", "bold red")
    return 0 if right else 1


def _on_the_lab(screen: Screen, drivers: Sequence[str], launcher: str) -> bool:
    stage()
    begun = time.monotonic()
    with Lab.up(binds=[repository()], masks=[repository()]) as lab:
        screen.say(f"The lab is up: {', '.join(lab.hosts)}, in {time.monotonic() - begun:.1f} s.")
        ground = LabGround(lab)
        with ExitStack() as ending:
            ending.callback(ground.close)
            begun = time.monotonic()
            try:
                figures = deploy(ground)
            except CommandFailed as error:
                screen.say(f"The drivers could not be deployed: {error}", "bold red")
                return False
            told = ", ".join(f"{host} {count.get('changed', 0)} changes" for host, count in figures.items())
            screen.say(f"The roles have deployed the drivers: {told}, in {time.monotonic() - begun:.1f} s.")
            environment = {"ONE_STORAGE_LAUNCHER": launcher}
            environment["ONE_STORAGE_ANSIBLE"] = str(repository() / ".venv" / "bin" / "ansible")
            if _volumes(drivers):
                cluster = _cluster(screen, ending, lab)
                ground.pool = LabPool(lab, cluster, lab.hosts)
            return _tell(screen, ground, drivers, environment)


def _volumes(drivers: Sequence[str]) -> bool:
    return any(ALL[name].images_in_pool for name in drivers)


def _cluster(screen: Screen, ending: ExitStack, lab: Lab | None = None) -> ceph.Cluster:
    """A running cluster, which ends with *ending*."""
    begun = time.monotonic()
    made = pool.begin(lab)
    ending.callback(pool.end, made)
    screen.say(f"A Ceph cluster is up: one monitor, one OSD, in {time.monotonic() - begun:.1f} s.")
    return made


def _alone(screen: Screen, drivers: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="one_storage-demo-") as folder:
        ground = LocalGround(Path(folder))
        with ExitStack() as ending:
            ending.callback(ground.close)
            if _volumes(drivers):
                cluster = _cluster(screen, ending)
                ground.pool = Pool(cluster, str(cluster.conf), ground.nodes[:1])
            return _tell(screen, ground, drivers, {"ONE_STORAGE_LAUNCHER": "in_process"})


def _label(drivers: str) -> str:
    return f"{ALL[drivers].image_mad} + {drivers}"


def _announce(screen: Screen, drivers: str, event: str) -> None:
    screen.title(f"{_label(drivers)}: {event}")


def _tell(screen: Screen, ground: Ground, drivers: Sequence[str], environment: dict[str, str]) -> bool:
    told: list[tuple[str, list[Chapter]]] = []
    right = True
    for name in drivers:
        story = Story(ground, ALL[name], {**environment, "ONE_STORAGE_TRACE": "1"}, screen.call)
        story.on_event = partial(_announce, screen, name)
        right = story.tell(screen.chapter) and right
        told.append((_label(name), story.chapters))
    screen.summary(told)
    return right


if __name__ == "__main__":
    sys.exit(main())
