# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifteen wrappers at once, as many as oned starts, against one."""

from __future__ import annotations

from statistics import median

from tests.bench.hands import BenchError, Collecting
from tests.bench.report import cores
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import Scene

COUNT = 15


def measure(scene: Scene, rounds: int) -> Findings:
    """Clones for that many VMs; every disk is a new one each time."""
    vms = [scene.make_vm() for _number in range(COUNT)]
    lines = [scene.prolog(vm)["clone"] for vm in vms]
    single = scene.make_vm()
    line = scene.prolog(single)["clone"]
    folders = [scene.directory(vm) for vm in (*vms, single)]

    def clear() -> None:
        scene.node.call(["rm", "-rf", *folders])

    def one() -> float:
        clear()
        return scene.line(line)

    def all_at_once() -> float:
        clear()
        collecting = Collecting(scene.lab, scene.front)
        runner = scene.runner_with(collecting)
        for each in lines:
            runner.tm_line("bench", each)
        spent, done = scene.front.all(collecting.jobs)
        for result in done:
            if result.returncode:
                raise BenchError(f"a clone failed: {result.stderr.decode('utf-8', 'replace')}")
        return spent

    samples = interleaved({"one": one, "all": all_at_once}, rounds)
    floor = median(samples["one"]) * COUNT / cores()
    alone = f"{median(samples['one']):.0f} ms"
    note = f"{COUNT} times one ({alone}) divided by {cores()} cores is the floor, plus half is the target"
    return Findings([Row(f"{COUNT} × qcow2/clone", median(samples["all"]), floor, 1.5, note=note)], samples=samples)
