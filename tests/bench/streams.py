# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk of 8 GiB from host to host, with little data and full of it, in memory and on disk, against tar over ssh."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.hands import PYTHON, BenchError, Collecting, Job
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SOURCES, SSH_IMAGES, SSH_SYSTEM, Scene
from tests.lab.oned import Life, use_image
from tests.lab.oned.transfers import prolog

GIB = 1 << 30
SIZE = 8 * GIB
STRETCHES = 409
#: Of a full one in memory there are two: so much has to be free beside them.
SPARE = 3 * GIB
MOST_ROUNDS = 5
#: Where, per cent of data, most of tar's time that ours may take.
CASES = [("memory", 10, 0.6), ("memory", 100, 0.8), ("disk", 10, 1.0), ("disk", 100, 1.0)]

#: Fills an image: path, size, stretches, bytes of each.
FILL = """
import os, sys
path, size, stretches, length = sys.argv[1], *map(int, sys.argv[2:])
some = os.urandom(16 << 20)
with open(path, "wb", buffering=0) as file:
    file.truncate(size)
    for number in range(stretches):
        file.seek(size // stretches * number)
        left = length
        while left:
            left -= file.write(some[:left])
    os.fsync(file.fileno())
"""


class Streams:
    """The copies of one image, which is filled anew for every case."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        small = f"{SOURCES}/stream.raw"
        scene.front.call(["truncate", "-s", "4M", small])
        kept = scene.life.import_image("stream", SSH_IMAGES, small).check().object_id
        self.image = scene.ground.oned.image(kept).source
        collecting = Life(scene.ground.oned, scene.runner_with(Collecting(scene.lab, scene.front)))
        made = collecting.create_vm("stream", [use_image(kept)], SSH_SYSTEM, scene.node.host).check().object_id
        (self.line,) = prolog(scene.ground.oned.settings, scene.ground.oned.vm(made))
        self.directory = scene.ground.oned.settings.system_dir(SSH_SYSTEM, made)
        self.system = os.path.dirname(self.directory)
        self.unpack = scene.ssh("tar", "-x", "-S", "-C", self.system, "-f", "-", shared=False)

    @contextmanager
    def place(self, where: str, size: int) -> Iterator[None]:
        """Both datastores, in memory or on disk."""
        ends = [(self.scene.front.host, os.path.dirname(self.image)), (self.scene.node.host, self.system)]
        mounted = []
        try:
            for host, path in ends if where == "memory" else []:
                self.scene.lab.tiny(host, path, (size >> 20) + 64)
                mounted.append((host, path))
            yield
            self.scene.front.call(["rm", "-f", self.image])
        finally:
            for host, path in mounted:
                self.scene.lab.untiny(host, path)

    def fill(self, size: int, share: int) -> None:
        """Write the image: *share* per cent of it data, in stretches, the rest holes."""
        stretches = STRETCHES if share < 100 else 1
        length = size * share // 100 // stretches >> 12 << 12
        self.scene.front.call([PYTHON, "-I", "-c", FILL, self.image, str(size), str(stretches), str(length)])

    def ours(self) -> float:
        """ssh/clone to the node; what it made is on disk when it ends."""
        spent = self.scene.line(self.line)
        self.scene.node.call(["rm", "-rf", self.directory])
        return spent

    def tar(self) -> float:
        """tar with holes at both ends, over ssh as it is configured, and sync for that file."""
        folder, _slash, name = self.image.rpartition("/")
        pack = ["tar", "-c", "-S", "-C", folder, "-f", "-", name]
        spent, (done,) = self.scene.front.all([Job(pack, into=self.unpack)])
        if done.returncode:
            raise BenchError(f"tar failed: {done.stderr.decode('utf-8', 'replace')}")
        target = f"{self.system}/{name}"
        spent += self.scene.node.time(["sync", target])
        self.scene.node.call(["rm", "-f", target])
        return spent


def measure(scene: Scene, rounds: int) -> Findings:
    """A row for each case; what memory is too small for is measured with a smaller disk, and says so."""
    streams = Streams(scene)
    findings = Findings()
    for where, share, target in CASES:
        size = _fitting(SIZE, share) if where == "memory" else SIZE
        with streams.place(where, size):
            streams.fill(size, share)
            both: dict[str, Callable[[], float]] = {"tar": streams.tar, "ours": streams.ours}
            found = interleaved(both, min(rounds, MOST_ROUNDS), warm_up=0)
        name = f"ssh/clone, {share} % data, {where}"
        findings.samples |= {f"{name}: {which}": values for which, values in found.items()}
        note = f"{size / GIB:g} GiB; floor: tar -S | ssh tar -S" + (" and sync" if where == "disk" else "")
        findings.rows.append(Row(name, median(found["ours"]), median(found["tar"]), target, note=note))
    return findings


def _fitting(size: int, share: int) -> int:
    """The size, halved until two such disks fit into memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    while size > GIB and 2 * size * share // 100 + SPARE > free:
        size //= 2
    return size
