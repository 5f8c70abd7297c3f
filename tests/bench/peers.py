# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that the front-end leads together with a node: for information."""

from __future__ import annotations

from statistics import median

from tests.bench.hands import PYTHON, Collecting
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SCRATCH, SOURCES, SSH_IMAGES, SSH_SYSTEM, Scene
from tests.lab.oned import Life, use_image
from tests.lab.oned.transfers import context, prolog

_SMALL = f"{SOURCES}/small.raw"
_ISO = f"{SCRATCH}/context.iso"


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

    file = f"{scene.ground.oned.settings.vm_home(vm.id)}/context.sh"
    xorriso = ["xorriso", "-outdev", f"stdio:{_ISO}", "-volid", "CONTEXT", "-joliet", "on", "-map", file, "/context.sh"]

    def send() -> float:
        scene.node.call(["rm", "-rf", directory])
        return scene.line(clone)

    def iso() -> float:
        scene.front.call(["rm", "-f", _ISO])
        return scene.front.time([*xorriso, "-commit"])

    samples = interleaved(
        {
            "floor": lambda: scene.front.time(shared),
            "floor alone": lambda: scene.front.time(alone),
            "ssh/clone": send,
            "ssh/context": lambda: scene.line(build),
            "xorriso": iso,
        },
        rounds,
    )
    middle = {name: median(values) for name, values in samples.items()}
    told = f"of {middle['ssh/context']:.1f} ms in all, {middle['xorriso']:.1f} ms are xorriso, which sleeps for 100"
    rows = [
        Row("ssh/clone", middle["ssh/clone"], middle["floor alone"], note="8 MB; floor: ssh over a new connection"),
        Row("ssh/context", middle["ssh/context"] - middle["xorriso"], middle["floor"], note=told),
    ]
    return Findings(rows, samples=samples)
