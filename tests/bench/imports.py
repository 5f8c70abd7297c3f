# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which modules the start-up of a wrapper, and of the core on a node, is spent on."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from statistics import median

from tests.bench.hands import PYTHON, BenchError
from tests.bench.rows import Findings, Listing, Row
from tests.bench.scene import IMAGES, SCRATCH, Scene
from tests.lab.oned.messages import encode, monitor_action

MOST = 10
#: Lines of -X importtime: microseconds of the module alone, with what it imports, and its name.
_LINE = re.compile(rb"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)$", re.MULTILINE)
_LOG = f"{SCRATCH}/imports"
_INTERPRETER = f"{SCRATCH}/python-imports"

Times = dict[str, tuple[float, float]]


def measure(scene: Scene, rounds: int) -> Findings:
    """For information: where start-up can be saved. No module of Ansible may be there.

    What a bare Python imports is left out; and timing the imports makes them slower than they are.
    """
    monitor = [f"{scene.ground.oned.settings.remotes}/datastore/fs/monitor", "0"]
    document = encode(monitor_action(scene.ground.oned.settings, scene.ground.oned.datastore(IMAGES)))
    vm = scene.make_vm()
    line = scene.prolog(vm)["clone"]
    words = line.split()
    clone = [f"{scene.ground.oned.settings.remotes}/tm/{words[1]}/clone", *words[2:]]
    _stand_in(scene)
    paths: dict[str, Callable[[], bytes]] = {
        "wrapper of fs/monitor": lambda: _wrapper(scene, monitor, document),
        "wrapper of qcow2/clone": lambda: _wrapper(scene, clone),
        "node of qcow2/clone": lambda: _node(scene, line),
    }
    bare = set(_times([scene.front.call([PYTHON, "-I", "-X", "importtime", "-c", "pass"])[1].stderr]))
    findings = Findings()
    for name, sample in paths.items():
        texts = [sample() for _round in range(rounds + 1)][1:]
        times = {module: spent for module, spent in _times(texts).items() if module not in bare}
        foreign = [module for module in times if module.split(".")[0] in ("ansible", "ansible_collections")]
        if foreign:
            raise BenchError(f"the {name} imports {', '.join(foreign)}")
        findings.rows.append(Row(f"imports, {name}", sum(alone for alone, _all in times.values()), note=_note(times)))
        findings.listings.append(_listing(name, times))
    scene.node.call(["rm", "-rf", scene.directory(vm)])
    return findings


def _wrapper(scene: Scene, call: list[str], document: bytes = b"") -> bytes:
    entry = f"{scene.ground.oned.settings.remotes}/one_storage/wrapper.py"
    environment = {"ONE_XMLRPC": scene.ground.server.url}
    argv = [PYTHON, "-I", "-S", "-X", "importtime", entry, *call]
    return scene.front.call(argv, stdin=document, env=environment)[1].stderr


def _stand_in(scene: Scene) -> None:
    """On the node, an interpreter that writes down its imports."""
    path = scene.lab.path(scene.node.host, _INTERPRETER)
    path.write_text(f'#!/bin/sh\nexec {PYTHON} -X importtime "$@" 2>{shlex.quote(_LOG)}\n', encoding="utf-8")
    path.chmod(0o755)


def _node(scene: Scene, line: str) -> bytes:
    scene.line(line, ONE_STORAGE_NODE_PYTHON=_INTERPRETER)
    return scene.lab.path(scene.node.host, _LOG).read_bytes()


def _times(texts: list[bytes]) -> Times:
    """By module the milliseconds for itself and with all it imports: medians over several runs."""
    alone: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    for text in texts:
        for own, cumulative, name in _LINE.findall(text):
            module = name.decode()
            alone.setdefault(module, []).append(int(own) / 1000)
            whole.setdefault(module, []).append(int(cumulative) / 1000)
    return {module: (median(values), median(whole[module])) for module, values in alone.items()}


def _note(times: Times) -> str:
    by_origin: Counter[str] = Counter()
    for module, (alone, _whole) in times.items():
        by_origin["ours" if module.startswith("plugins") else "lxml" if module.startswith("lxml") else "Python's"] += (
            round(alone * 1000)
        )
    told = ", ".join(f"{origin} {spent / 1000:.1f} ms" for origin, spent in by_origin.most_common())
    return f"{len(times)} modules; {told}"


def _listing(name: str, times: Times) -> Listing:
    dearest = sorted(times.items(), key=lambda item: -item[1][0])[:MOST]
    lines: list[tuple[str | float, ...]] = [(module, alone, whole) for module, (alone, whole) in dearest]
    title = f"Dearest imports, {name}"
    return Listing(title, ("module", "alone, ms", "with its imports, ms"), lines)
