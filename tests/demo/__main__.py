# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: a VM's whole life on real hosts, driven the way oned drives it.

The lab is started, the drivers are deployed on it with the collection's own roles, and the life runs with the image
drivers ``fs`` + ``qcow2`` and ``fs`` + ``ssh``. Without the rights to make hosts it runs on this machine alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.demo.deploy import deploy, stage
from tests.demo.screen import Screen
from tests.lab.ground import Ground, LabGround, LocalGround
from tests.lab.hosts import CommandFailed, Lab, can_make_hosts, repository
from tests.lab.story import PAIRINGS, Chapter, Story


def main() -> int:
    """Exit code 0 when everything was right."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--drivers", nargs="+", choices=sorted(PAIRINGS), default=["qcow2", "ssh"])
    parser.add_argument("--launcher", choices=("auto", "in_process", "ssh", "ansible"), default="auto")
    parser.add_argument("--alone", action="store_true", help="run on this machine alone")
    options = parser.parse_args()
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
        try:
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
            return _tell(screen, ground, drivers, environment)
        finally:
            ground.close()


def _alone(screen: Screen, drivers: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="one_storage-demo-") as folder:
        ground = LocalGround(Path(folder))
        try:
            return _tell(screen, ground, drivers, {"ONE_STORAGE_LAUNCHER": "in_process"})
        finally:
            ground.close()


def _announce(screen: Screen, drivers: str, event: str) -> None:
    screen.title(f"fs + {drivers}: {event}")


def _tell(screen: Screen, ground: Ground, drivers: Sequence[str], environment: dict[str, str]) -> bool:
    told: list[tuple[str, list[Chapter]]] = []
    right = True
    for name in drivers:
        story = Story(ground, PAIRINGS[name], {**environment, "ONE_STORAGE_TRACE": "1"}, screen.call)
        story.on_event = partial(_announce, screen, name)
        right = story.tell(screen.chapter) and right
        told.append((f"fs + {name}", story.chapters))
    screen.summary(told)
    return right


if __name__ == "__main__":
    sys.exit(main())
