# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitoring of many VMs: time and memory, against a bare walk of the same files."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.hands import HOME, PYTHON, BenchError
from tests.bench.memory import watched
from tests.bench.rows import Findings, Row, interleaved
from tests.bench.scene import SCRATCH, Scene
from tests.lab.oned import DatastoreType
from tests.lab.oned.messages import monitor_action

SHARED, OWN = 120, 121
VMS, DISKS, SNAPSHOTS = 1000, 2, 3
#: The most that one call may take, in milliseconds, and one process of ours may have, in MB.
MOST_TIME = 2000.0
MOST_MEMORY = 100.0

_MAKE = """
import os, sys
root, vms, disks, snapshots = sys.argv[1], *map(int, sys.argv[2:])
for vm in range(vms):
    for disk in range(disks):
        snap = f"{root}/{vm}/disk.{disk}.snap"
        os.makedirs(snap)
        for number in range(snapshots + 1):
            with open(f"{snap}/{number}", "wb") as file:
                file.write(bytes(5000))
        os.symlink(f"disk.{disk}.snap/{snapshots}", f"{root}/{vm}/disk.{disk}")
with open(f"{root}/.monitor", "w") as file:
    file.write("ssh")
"""

_WALK = """
import os, sys
for place, folders, files in os.walk(sys.argv[1]):
    for name in files:
        os.stat(os.path.join(place, name))
"""

#: Takes messages, and ends when its stdin does.
_LISTEN = """
import select, socket, sys
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.bind(("127.0.0.1", 0))
print(line.getsockname()[1], flush=True)
while sys.stdin not in select.select([line, sys.stdin], [], [])[0]:
    line.recv(1 << 17)
"""


@contextmanager
def listening(scene: Scene) -> Iterator[int]:
    """A monitord on the front-end that only listens; its port."""
    process = scene.lab.popen(scene.lab.frontend, [PYTHON, "-I", "-c", _LISTEN], stdin=subprocess.PIPE, stderr=None)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def measure(scene: Scene, rounds: int) -> Findings:
    """Both have a target that does not depend on the machine: the probe comes every 30 seconds."""
    oned = scene.ground.oned
    scene.life.create_datastore("many VMs", tm_mad="qcow2", type=DatastoreType.SYSTEM, ds_id=SHARED)
    store = oned.datastore(SHARED)
    own = f"{HOME}/datastores/{OWN}"
    for worker, folder in ((scene.front, f"{HOME}/datastores/{SHARED}"), (scene.node, own)):
        worker.call([PYTHON, "-I", "-c", _MAKE, folder, str(VMS), str(DISKS), str(SNAPSHOTS)])
    with listening(scene) as port, watched(scene.lab) as watch:
        network = f"NETWORK = [ MONITOR_ADDRESS = auto, PORT = {port} ]"
        scene.front.call(["mkdir", "-p", f"{SCRATCH}/etc"])
        scene.front.call(["tee", f"{SCRATCH}/etc/monitord.conf"], stdin=network.encode())
        runner = scene.runner_with(scene.timed, ONE_LOCATION=SCRATCH)
        document = monitor_action(oned.settings, store)

        def monitor() -> float:
            call = runner.ds_monitor("bench", DatastoreType.SYSTEM, "-", "qcow2", SHARED, document)
            if call.stderr:
                raise BenchError(f"monitor said {call.stderr}")
            return scene.checked(call)

        said = scene.lab.run(scene.node.host, ["/var/tmp/one/tm/ssh/monitor_ds", own]).stdout
        told = [base64.b64decode(text) for text in re.findall(rb'MONITOR = "([^"]+)"', said)]
        disks, kept = (sum(text.count(word) for text in told) for word in (b"DISK_SIZE", b"SNAPSHOT_SIZE"))
        if (len(told), disks, kept) != (VMS, VMS * DISKS, VMS * DISKS * SNAPSHOTS):
            raise BenchError(f"monitor_ds told {len(told)} VMs with {disks} disks and {kept} snapshots")
        samples = interleaved(
            {
                "floor": lambda: scene.node.time([PYTHON, "-I", "-c", _WALK, own]),
                "monitor": monitor,
                "monitor_ds": lambda: scene.node.time(["/var/tmp/one/tm/ssh/monitor_ds", own]),
            },
            rounds,
        )
    what = f"{VMS} VMs, {DISKS} disks, {SNAPSHOTS} snapshots each"
    rows = [
        Row("qcow2/monitor", median(samples["monitor"]), target=MOST_TIME, note=f"{what}, told by UDP"),
        Row("ssh/monitor_ds", median(samples["monitor_ds"]), target=MOST_TIME, note=what),
        Row("… against os.walk", median(samples["monitor_ds"]), median(samples["floor"])),
    ]
    for name, host in (("qcow2/monitor", scene.front.host), ("ssh/monitor_ds", scene.node.host)):
        rows.append(Row(f"{name}, memory", watch.most(host), target=MOST_MEMORY, unit="MB"))
    return Findings(rows, samples=samples)
