# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a large image with little data: memory, time, and whether the holes stay."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from tests.bench.hands import PYTHON, BenchError, Collecting, Job
from tests.bench.memory import Watch, watched
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SCRATCH, SOURCES, SSH_IMAGES, SSH_SYSTEM, Scene
from tests.bench.web import served
from tests.lab.oned import Life, use_image
from tests.lab.oned.transfers import prolog

GIB = 10
MB = 1 << 20
STRETCHES = 32
#: The image's data, in MB.
DATA = STRETCHES * 4
#: The most that one process of ours may have, in MB.
MOST_MEMORY = 64.0
#: Timings here are for information, and a copy takes its time.
MOST_ROUNDS = 5
BIG = f"{SOURCES}/big.raw"

#: Makes an image of random stretches: path, size, their number, the length of each.
MAKE = """
import os, sys
path, size, stretches, length = sys.argv[1], *map(int, sys.argv[2:])
with open(path, "wb") as file:
    file.truncate(size)
    for number in range(stretches):
        file.seek(size // stretches * number)
        file.write(os.urandom(length))
    file.flush()
    os.fsync(file.fileno())
"""


class Copies:
    """The copies that are measured; each makes a new file and removes it afterwards, which is not timed."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        make = [PYTHON, "-I", "-c", MAKE, BIG, str(GIB << 30), str(STRETCHES), str(DATA // STRETCHES * MB)]
        scene.front.call(make)
        kept = scene.life.import_image("big", SSH_IMAGES, BIG).check().object_id
        self.image = scene.ground.oned.image(kept)
        collecting = Life(scene.ground.oned, scene.runner_with(Collecting(scene.lab, scene.front)))
        made = collecting.create_vm("big", [use_image(kept)], SSH_SYSTEM, scene.node.host).check().object_id
        self.vm = scene.ground.oned.vm(made)
        (self.line,) = prolog(scene.ground.oned.settings, self.vm)
        self.directory = scene.ground.oned.settings.system_dir(SSH_SYSTEM, made)
        self.sender = scene.ssh("tar", "-S", "-x", "-C", SCRATCH, "-f", "-", shared=False)
        #: Megabytes that the last copy takes on disk.
        self.allocated = 0.0

    def imported(self, source: str = BIG) -> float:
        """fs/cp from a path or URL."""
        made = self.scene.life.import_image("again", SSH_IMAGES, source).check().object_id
        spent = self.scene.timed.milliseconds
        self.allocated = self._allocated(self.scene.front.host, self.scene.ground.oned.image(made).source)
        self.scene.life.delete_image(made).check()
        return spent

    def sent(self) -> float:
        """ssh/clone to the node."""
        spent = self.scene.line(self.line)
        self.allocated = self._allocated(self.scene.node.host, f"{self.directory}/disk.0")
        self.scene.node.call(["rm", "-rf", self.directory])
        return spent

    def copied_by_cp(self) -> float:
        """What cp takes, and sync for that file: ours is on disk when it ends."""
        target = f"{SCRATCH}/copy"
        spent = self.scene.front.time(["cp", "--sparse=always", BIG, target]) + self.scene.front.time(["sync", target])
        self.scene.front.call(["rm", "-f", target])
        return spent

    def sent_by_tar(self) -> float:
        """What tar takes over a connection of its own, and sync."""
        folder, _slash, name = BIG.rpartition("/")
        pack = ["tar", "-S", "-C", folder, "-c", "-f", "-", name]
        spent, (done,) = self.scene.front.all([Job(pack, into=self.sender)])
        if done.returncode:
            raise BenchError(f"tar failed: {done.stderr.decode('utf-8', 'replace')}")
        spent += self.scene.node.time(["sync", f"{SCRATCH}/{name}"])
        self.scene.node.call(["rm", "-f", f"{SCRATCH}/{name}"])
        return spent

    def _allocated(self, host: str, path: str) -> float:
        return self.scene.lab.path(host, path).stat().st_blocks * 512 / MB


def measure(scene: Scene, rounds: int) -> Findings:
    """Memory has a target, and so has the space on disk; times are for information."""
    copies = Copies(scene)
    findings = Findings()
    what = f"of a {GIB} GiB image with {DATA} MB of data"
    with served(scene.lab.path(scene.front.host, BIG), scene.lab.leader(scene.front.host)) as url:
        once: dict[str, Callable[[], float]] = {
            "fs/cp, local": copies.imported,
            "fs/cp, http": lambda: copies.imported(url),
            "ssh/clone": copies.sent,
        }
        for name, copy in once.items():
            with watched(scene.lab) as watch:
                spent = copy()
            findings.samples[f"{name}, watched"] = [spent]
            findings.rows += _memory(scene, name, watch)
            findings.rows.append(Row(f"{name}: space", copies.allocated, target=DATA * 1.02, unit="MB", note=what))
    findings.rows.append(Row("fs/cp, http", findings.samples["fs/cp, http, watched"][0], note=f"{what}, taken once"))
    samples = interleaved(
        {
            "cp": copies.copied_by_cp,
            "fs/cp, local": copies.imported,
            "tar": copies.sent_by_tar,
            "ssh/clone": copies.sent,
        },
        min(rounds, MOST_ROUNDS),
        warm_up=0,
    )
    findings.samples |= samples
    for name, floor, note in (
        ("fs/cp, local", "cp", "floor: cp --sparse=always and sync"),
        ("ssh/clone", "tar", "floor: tar -S | ssh tar -S -x and sync"),
    ):
        findings.rows.append(Row(name, median(samples[name]), median(samples[floor]), note=note))
    return findings


def _memory(scene: Scene, name: str, watch: Watch) -> list[Row]:
    rows = []
    for host in (scene.front.host, scene.node.host):
        most = watch.most(host)
        if most:
            rows.append(Row(f"{name}: memory on {host}", most, target=MOST_MEMORY, unit="MB", note="largest process"))
    if not rows:
        raise BenchError(f"no process of {name} was seen")
    return rows
