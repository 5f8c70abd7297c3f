# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that the front-end does itself, against a Python that imports what any of them needs."""

from __future__ import annotations

from statistics import median

from tests.bench.crowd import datastore as crowded
from tests.bench.hands import PYTHON
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import IMAGES, SOURCES, Scene
from tests.lab.oned.messages import image_action, monitor_action, stat_action

FLOOR = 'python3 -I -c "import json, subprocess, lxml.etree"'
TARGET = 1.5
#: A datastore with so many files is monitored as fast as one with a few: nobody may list it.
FILES, FEW = 20_000, 2
CROWDED_TARGET = 1.2


def measure(scene: Scene, rounds: int) -> Findings:
    """fs/monitor has the target; the others are for information."""
    oned, runner = scene.ground.oned, scene.runner
    datastore = oned.datastore(IMAGES)
    monitor = monitor_action(oned.settings, datastore)
    many = monitor_action(oned.settings, crowded(scene, 120, FILES))
    few = monitor_action(oned.settings, crowded(scene, 121, FEW))
    stat = stat_action(f"{SOURCES}/base.qcow2", datastore)
    vm = scene.make_vm()
    place = scene.directory(vm)
    move = f"MV qcow2 {scene.node.host}:{place}/disk.0 frontend:{place}/disk.0 {vm.id} {IMAGES}"
    gone = image_action(oned.image(scene.base), datastore).replace(
        oned.image(scene.base).source, f"{datastore.base_path}/{'0' * 32}"
    )

    def action(name: str, document: str) -> float:
        return scene.checked(runner.ds_action("bench", name, "fs", 0, document))

    samples = interleaved(
        {
            "floor": lambda: scene.front.time([PYTHON, "-I", "-c", "import json, subprocess, lxml.etree"]),
            "bare": lambda: scene.front.time([PYTHON, "-I", "-c", "pass"]),
            "fs/monitor": lambda: action("monitor", monitor),
            "many files": lambda: action("monitor", many),
            "few files": lambda: action("monitor", few),
            "fs/stat": lambda: action("stat", stat),
            "fs/rm": lambda: action("rm", gone),
            "qcow2/mv": lambda: scene.line(move),
        },
        rounds,
    )
    floor = median(samples["floor"])
    notes = {
        "fs/monitor": f"floor: {FLOOR}",
        "fs/stat": "of a local qcow2 image",
        "fs/rm": "of an image that is gone",
        "qcow2/mv": "nothing to do",
    }
    rows = [
        Row(name, median(samples[name]), floor, TARGET if name == "fs/monitor" else None, note=note)
        for name, note in notes.items()
    ]
    what, note = f"fs/monitor, {FILES} files", f"floor: with {FEW} files"
    rows.append(Row(what, median(samples["many files"]), median(samples["few files"]), CROWDED_TARGET, note=note))
    rows.append(Row("python3 -I -c pass", median(samples["bare"]), floor))
    return Findings(rows, samples=samples)
