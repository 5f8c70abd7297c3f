# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that the front-end leads together with a node: for information."""

from __future__ import annotations

from statistics import median

from tests.bench.hands import PYTHON, Collecting, Job
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SOURCES, SSH_IMAGES, SSH_SYSTEM, Scene
from tests.lab.oned import Life, use_image
from tests.lab.oned.transfers import context, prolog

_SMALL = f"{SOURCES}/small.raw"


def measure(scene: Scene, rounds: int) -> Findings:
    """A context image goes along with the calls; a disk has a connection of its own, so its floor is a new one."""
    scene.front.call(["truncate", "-s", "8M", _SMALL])
    small = scene.life.import_image("small", SSH_IMAGES, _SMALL).check().object_id
    life = Life(scene.ground.oned, scene.runner_with(Collecting(scene.lab, scene.front)))
    made = life.create_vm("small", [use_image(small)], SSH_SYSTEM, scene.node.host, context={"HELLO": "world"})
    vm = scene.ground.oned.vm(made.check().object_id)
    (clone,) = prolog(scene.ground.oned.settings, vm)
    build = context(scene.ground.oned.settings, vm) or ""
    directory = scene.ground.oned.settings.system_dir(SSH_SYSTEM, vm.id)
    bare = [PYTHON, "-I", "-c", "pass"]
    shared, alone = scene.ssh(*bare), scene.ssh(*bare, shared=False)

    def clear() -> float:
        return scene.node.all([Job(["rm", "-rf", directory])])[0]

    samples = interleaved(
        {
            "floor": lambda: scene.front.time(shared),
            "floor alone": lambda: scene.front.time(alone),
            "clear": clear,
            "ssh/clone": lambda: scene.line(clone),
            "ssh/context": lambda: scene.line(build),
        },
        rounds,
    )
    del samples["clear"]
    rows = [
        Row(name, median(samples[name]), median(samples[floor]), note=note)
        for name, floor, note in (
            ("ssh/clone", "floor alone", "8 MB, empty; floor: ssh NODE python3 -I -c pass over a new connection"),
            ("ssh/context", "floor", "xorriso on the front-end; floor: the same over the open connection"),
        )
    ]
    return Findings(rows, samples=samples)
