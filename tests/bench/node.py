# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on a node through the ssh launcher, against a bare Python there over an open connection."""

from __future__ import annotations

from statistics import median

from tests.bench.hands import PYTHON
from tests.bench.rows import Findings, Listing, Row, Sample, interleaved
from tests.bench.scene import SYSTEM, Scene
from tests.bench.storage import Work, install, replay, trace

FLOOR = "ssh NODE python3 -I -c pass"
TARGET = 3.0


def measure(scene: Scene, rounds: int) -> Findings:
    """All actions have the target, without the commands that do the storage work."""
    install(scene)
    vm = scene.make_vm(kept=True)
    place = f"{scene.node.host}:{scene.directory(vm)}"
    lines = scene.prolog(vm)
    # the order of a VM's life, so that each action finds what it finds there
    actions = {
        "clone": lines["clone"],
        "ln": lines["ln"],
        "mkimage": lines["mkimage"],
        "mkswap": lines["mkswap"],
        "delete": f"DELETE qcow2 {place}/disk.0 {vm.id} {SYSTEM}",
        "delete (directory)": f"DELETE qcow2 {place} {vm.id} {SYSTEM}",
    }
    works = {name: trace(scene, line) for name, line in actions.items()}
    floor = scene.ssh(PYTHON, "-I", "-c", "pass")
    samples: dict[str, Sample] = {"floor": lambda: scene.front.time(floor)}
    samples |= {name: _action(scene, line) for name, line in actions.items()}
    samples |= {f"{name}: fsync": _traced(scene, line) for name, line in actions.items()}
    samples |= {f"{name}: commands": _replayed(scene, work) for name, work in works.items() if work.commands}
    taken = interleaved(samples, rounds)
    base = median(taken["floor"])
    rows = []
    table: list[tuple[str | float, ...]] = []
    for name, work in works.items():
        total = median(taken[name])
        commands = median(taken.get(f"{name}: commands", [0.0]))
        synced = median(taken[f"{name}: fsync"])
        told = f"of {total:.1f} ms in all, {commands:.1f} ms are storage work" if commands else f"floor: {FLOOR}"
        rows.append(Row(f"qcow2/{name}", total - commands, base, TARGET, note=told))
        table.append((f"qcow2/{name}", total, commands, total - commands, synced, f"{len(work.syncs)}", work.names))
    columns = ("action", "in all, ms", "commands alone, ms", "difference, ms", "of it fsync, ms", "fsyncs", "commands")
    title = "Storage work on the node; the difference is what is compared with the target"
    return Findings(rows, [Listing(title, columns, table)], taken)


def _action(scene: Scene, line: str) -> Sample:
    return lambda: scene.line(line)


def _traced(scene: Scene, line: str) -> Sample:
    return lambda: sum(spent for _path, spent in trace(scene, line).syncs)


def _replayed(scene: Scene, work: Work) -> Sample:
    return lambda: replay(scene, work)
