# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage work of an action on a node, told apart from what we add to it.

An action is run once with a core that notes its commands and fsyncs (:mod:`.traced`); the same command lines are then
run alone on the node, on fresh files in a scratch folder of the same file system.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.hands import PYTHON
from tests.bench.scene import SCRATCH, Scene
from tests.bench.traced import LOG

TRACED = Path(__file__).with_name("traced.py")
INTERPRETER = f"{SCRATCH}/python"
_WORK = f"{SCRATCH}/work"


@dataclass
class Work:
    """What one run of an action did.

    :ivar syncs: paths and milliseconds of its fsyncs.
    :ivar commands: argument lists, with the sizes of files that each found.
    """

    syncs: list[tuple[str, float]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> str:
        """The commands, for people."""
        return ", ".join(" ".join(command["argv"][:2]) for command in self.commands) or "none"


def install(scene: Scene) -> None:
    """Put the stand-in for Python on the node."""
    text = f"#!{PYTHON} -I\n" + TRACED.read_text(encoding="utf-8")
    path = scene.lab.path(scene.node.host, INTERPRETER)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def trace(scene: Scene, line: str) -> Work:
    """Run a transfer line with the stand-in and read its notes."""
    log = scene.lab.path(scene.node.host, f"{SCRATCH}/{LOG}")
    log.unlink(missing_ok=True)
    scene.line(line, ONE_STORAGE_NODE_PYTHON=INTERPRETER)
    # the wrapper ends with the answer, the notes come a moment later, by rename
    until = time.monotonic() + 10
    while not log.exists() and time.monotonic() < until:
        time.sleep(0.01)
    found = json.loads(log.read_text(encoding="utf-8"))
    return Work([(path, float(spent)) for path, spent in found["syncs"]], found["commands"])


def replay(scene: Scene, work: Work) -> float:
    """Milliseconds that the commands of an action take alone, on fresh files."""
    spent = 0.0
    scene.node.call(["rm", "-rf", _WORK])
    for command in work.commands:
        argv = [moved(word) for word in command["argv"]]
        folders = {word.rpartition("/")[0] for word in argv if word.startswith(_WORK)}
        if folders:
            scene.node.call(["mkdir", "-p", *sorted(folders)])
        for path, size in command["sizes"].items():
            # what an earlier command of this action left stays; what the core made itself was an empty file
            scene.node.call(["truncate", "-s", f">{size}", moved(path)])
        spent += scene.node.time(argv)
    return spent


def moved(word: str) -> str:
    """A path in a workshop, as it is called in the scratch folder; other words as they are."""
    _datastore, found, rest = word.partition("/.one_storage/")
    return f"{_WORK}/{rest}" if found else word
