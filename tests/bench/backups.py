# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs that are off, from a node to another host, against rsync and restic alone on the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from tests.bench.copies import MAKE
from tests.bench.hands import PYTHON, BenchError, Timed
from tests.bench.rows import Findings, Listing, Row, interleaved
from tests.bench.scene import IMAGES, SCRATCH, SOURCES, SYSTEM, Scene
from tests.lab.hosts.commands import AGENT_SOCKET
from tests.lab.oned import DatastoreType, Life, use_image
from tests.lab.oned.execute import Completed

GIB = 8
MB = 1 << 20
STRETCHES = 16
#: A tenth of the disk, in MB.
DATA = GIB * 1024 // 10 // STRETCHES * STRETCHES
#: What is written between two increments, in MB.
CHANGED = 64
#: The greatest ratio to the tool alone, the greatest part of what changed that is sent, and milliseconds.
WHOLE, SENT, FIXED = 1.5, 1.2, 500.0
#: Of the disk's unchanged data so much may be read, in MB: headers, tables, and what the kernel reads ahead of them.
UNCHANGED = 8.0
MOST_ROUNDS = 3
STORES = {"rsync": 140, "restic": 141}
PASSWORD = "bench"
_TIMED = """
import os, subprocess, time
begun = time.monotonic()
subprocess.run(RUN, check=True, stdin=subprocess.DEVNULL, env={**os.environ, "RESTIC_PASSWORD": PASSWORD})
print(1000 * (time.monotonic() - begun))
"""
#: The calls of a backup; those that have another's name in theirs come first.
_CALLS = ("prebackup", "postbackup", "backup")


class Steps(Timed):
    """A front-end that notes what each call of a backup took, by action."""

    spent: dict[str, float]

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """Run one driver."""
        done = super().run(argv, stdin=stdin, env=env, cwd=cwd, timeout=timeout)
        told = next((action for action in _CALLS if any(f"/{action}" in word for word in argv)), " ".join(argv)[:80])
        if told in self.spent:
            raise BenchError(f"{told} was called twice")
        self.spent[told] = self.milliseconds
        if done.returncode:
            raise BenchError(f"{argv[0]} failed: {done.stderr.decode('utf-8', 'replace')}")
        return done


class Kept:
    """A VM on the node, and its repository on another host.

    :ivar image: the file with its data, as the node sees it.
    """

    def __init__(self, scene: Scene, kind: str, name: str, size: int, data: int) -> None:
        self.scene, self.kind = scene, kind
        self.server = scene.lab.nodes[1]
        self.steps = Steps(scene.lab, scene.front)
        self.steps.spent = {}
        #: What the action of the repository alone took, each time.
        self.sent: list[float] = []
        self.life = Life(scene.ground.oned, scene.runner_with(self.steps, SSH_AUTH_SOCK=AGENT_SOCKET))
        raw, source = f"{SOURCES}/{name}.raw", f"{SOURCES}/{name}.qcow2"
        scene.front.call([PYTHON, "-I", "-c", MAKE, raw, str(size), str(STRETCHES), str(data // STRETCHES)])
        scene.front.call(["qemu-img", "convert", "-O", "qcow2", raw, source])
        scene.front.call(["rm", raw])
        kept = self.life.import_image(name, IMAGES, source).check().object_id
        self.image = scene.ground.oned.image(kept).source
        self.vm = self.life.create_vm(name, [use_image(kept)], SYSTEM, scene.node.host).check().object_id
        self.life.poweroff(self.vm).check()
        self.disk = f"{scene.directory(scene.ground.oned.vm(self.vm))}/disk.0"
        self.base = scene.ground.oned.datastore(STORES[kind]).base_path

    def sh(self, line: str) -> str:
        """Run something on the server."""
        return self.scene.ground.run(self.server, ["sh", "-ec", line])

    def fresh(self, where: str) -> str:
        """An empty repository; its path on the server."""
        path = f"{self.base}/{where}"
        self.sh(f"rm -rf {path}; mkdir -p {path}")
        if self.kind == "restic":
            self.sh(f"RESTIC_PASSWORD={PASSWORD} restic init -q --repo {path}")
        # what the sample before left on its way to the disk would be this one's to wait for
        self.sh("sync")
        return path

    def back_up(self) -> float:
        """Milliseconds of prebackup, backup and postbackup."""
        self.steps.spent.clear()
        self.life.back_up(self.vm, STORES[self.kind]).check()
        return sum(self.steps.spent.values())

    def ours(self) -> float:
        """A full backup to an empty repository."""
        self.fresh(str(self.vm))
        spent = self.back_up()
        self.sent.append(self.steps.spent["backup"])
        return spent

    def alone(self) -> float:
        """The tool alone, on the same bytes, from the same host to the same one."""
        path = self.fresh("alone")
        prepared = f"{SCRATCH}/alone"
        self.scene.node.call(["mkdir", "-p", prepared])
        self.scene.node.call(["cp", "--reflink=never", self.image, f"{prepared}/disk.0.0"])
        self.scene.node.call(["sync", f"{prepared}/disk.0.0"])
        if self.kind == "rsync":
            argv = ["rsync", "-aS", "-e", "ssh", f"{prepared}/disk.0.0", f"{self.server}:{path}/"]
        else:
            argv = ["restic", "-q", f"--repo=sftp:{self.server}:{path}", "backup", "--force", prepared]
        # the node has no key: it is lent the front-end's agent, and only the tool itself is timed
        reach = ["ssh", "-A", "-o", "ControlPath=none", self.scene.node.host, PYTHON, "-I", "-"]
        line = f"RUN = {argv!r}\nPASSWORD = {PASSWORD!r}\n{_TIMED}"
        _spent, done = self.scene.front.call(reach, stdin=line.encode(), env={"SSH_AUTH_SOCK": AGENT_SOCKET})
        spent = float(done.stdout)
        if self.kind == "rsync":
            # restic has it on disk when it ends, and so have we
            begun = time.monotonic()
            self.sh(f"sync {path}/disk.0.0")
            spent += 1000 * (time.monotonic() - begun)
        return spent

    # ------------------------------------------------------------ increments

    def increment(self) -> tuple[float, float]:
        """Megabytes that an increment sends, and megabytes of the unchanged data that are read for it."""
        piece, lines = CHANGED // 8, []
        for place in range(8):
            # restic knows what it has seen
            seed = f"{SCRATCH}/seed.{place}"
            self.scene.node.call(["dd", "if=/dev/urandom", f"of={seed}", "bs=1M", f"count={piece}"])
            lines.append(f"write -q -s {seed} {place * 100 + 50}M {piece}M")
        writes = [word for line in lines for word in ("-c", line)]
        self.scene.node.call(["qemu-io", "-f", "qcow2", *writes, self.disk])
        self.scene.node.call(["sync"])
        forget = "import os, sys; os.posix_fadvise(os.open(sys.argv[1], 0), 0, 0, os.POSIX_FADV_DONTNEED)"
        self.scene.node.call([PYTHON, "-I", "-c", forget, self.image])
        before = self._sent()
        self.back_up()
        _spent, done = self.scene.node.call(["fincore", "-b", "-n", "-o", "RES", self.image])
        return (self._sent() - before) / MB, int(done.stdout) / MB

    def _sent(self) -> int:
        _spent, done = self.scene.node.call(["cat", "/sys/class/net/eth0/statistics/tx_bytes"])
        return int(done.stdout)


def measure(scene: Scene, rounds: int) -> Findings:
    """Whole backups, increments, and what a backup costs that has next to no data."""
    for kind, number in STORES.items():
        server = scene.lab.nodes[1]
        given = {"RSYNC_HOST": server, "RSYNC_USER": "oneadmin"}
        if kind == "restic":
            given = {"RESTIC_SFTP_SERVER": server, "RESTIC_SFTP_USER": "oneadmin", "RESTIC_PASSWORD": PASSWORD}
        scene.life.create_datastore(kind, ds_mad=kind, type=DatastoreType.BACKUP, ds_id=number, template=given)
    findings = Findings()
    table: list[tuple[str | float, ...]] = []
    for kind in STORES:
        big = Kept(scene, kind, f"big-{kind}", GIB << 30, DATA * MB)
        small = Kept(scene, kind, f"small-{kind}", 64 * MB, STRETCHES * 65536)
        samples: dict[str, Callable[[], float]] = {
            f"{kind}: alone": big.alone,
            f"{kind}: backup": big.ours,
            f"{kind}: small alone": small.alone,
            f"{kind}: small backup": small.ours,
        }
        # the large ones take their time, and there is nothing in them to warm up
        found = interleaved(samples, min(rounds, MOST_ROUNDS), warm_up=0)
        findings.samples |= found
        middle = {name.partition(": ")[2]: median(values) for name, values in found.items()}
        note = f"{GIB} GiB, {DATA} MB of data; floor: {kind} alone on the same bytes, on disk"
        findings.rows.append(Row(f"{kind}: backup", median(big.sent), middle["alone"], WHOLE, note=note))
        note = f"the same, with what makes the files; {kind} is given them"
        findings.rows.append(Row(f"{kind}: pre, backup, post", middle["backup"], middle["alone"], note=note))
        told = f"of {middle['small backup']:.0f} ms in all, {middle['small alone']:.0f} ms are {kind}"
        fixed = middle["small backup"] - middle["small alone"]
        findings.rows.append(Row(f"{kind}: fixed cost", fixed, target=FIXED, note=told))
        for what, one in (("large", big), ("small", small)):
            one.ours()
            table += [(f"{kind}, {what}", action, spent) for action, spent in one.steps.spent.items()]
        big.life.configure_backups(big.vm, MODE="INCREMENT", INCREMENT_MODE="CBT")
        big.ours()
        sent, read = big.increment()
        note = f"{CHANGED} MB changed"
        findings.rows.append(Row(f"{kind}: an increment sends", sent, target=CHANGED * SENT, unit="MB", note=note))
        note = f"of {DATA} MB that did not change"
        findings.rows.append(Row(f"{kind}: an increment reads", read, target=UNCHANGED, unit="MB", note=note))
        scene.node.call(["rm", "-rf", f"{SCRATCH}/alone"])
    findings.listings.append(Listing("The calls of a full backup", ("backup", "action", "ms"), table))
    return findings
