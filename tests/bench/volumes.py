# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on volumes of a real Ceph cluster, against the commands that do the same work by hand.

What is ours is a whole wrapper, as oned calls it: it asks oned, and runs on the node, or for images on the front-end,
which is its own bridge. By hand are the ``rbd`` commands that change something, and those looks that tell what is to be
changed: whether an image has the snapshot for clones already, whether that is still needed. Our other looks, locks and
journal have no counterpart there. The commands run in one shell, on the node over the open connection; those on the
front-end without one.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from statistics import median

from tests.bench.copies import MAKE
from tests.bench.hands import PYTHON, BenchError, Collecting
from tests.bench.monitoring import listening
from tests.bench.rows import Findings, Row, Sample, interleaved
from tests.bench.scene import SCRATCH, SOURCES, Scene
from tests.lab import ceph, pool
from tests.lab.oned import DatastoreType, Life, Vm, use_image
from tests.lab.oned.messages import monitor_action
from tests.lab.oned.transfers import disk_epilog, disk_prolog, snapshot

IMAGES, SYSTEM = 130, 131
CONF = pool.CONF
USER = "oneadmin"
TARGET, IMPORT_TARGET = 1.5, 1.2
GIB = 8
MB = 1 << 20
#: Data in the image that is imported, in MB, in so many stretches: a tenth of it.
STRETCHES = 64
DATA = STRETCHES * 13
#: What the cluster keeps in memory at once: an import that is there while the next one comes, and all else.
STORE = (2 * DATA + 1024) * MB
MOST_ROUNDS = 5
VOLUMES = 1000
#: The most that one call may take that measures so many volumes, in milliseconds.
MOST_TIME = 5000.0

#: Makes many volumes as disks of VMs, each with data and a snapshot: pool, count.
_MANY = """
import sys, threading, rados, rbd
cluster = rados.Rados(conffile=sys.argv[1], name="client." + sys.argv[2])
cluster.connect()
pool = cluster.open_ioctx("one2")
def make(numbers):
    for number in numbers:
        name = f"one-5-{number}-0"
        rbd.RBD().create(pool, name, 16 << 20)
        with rbd.Image(pool, name) as image:
            image.write(b"x" * 4096, 0)
            image.create_snap("0")
            image.write(b"y" * 4096, 4 << 20)
threads = [threading.Thread(target=make, args=(range(n, int(sys.argv[3]), 8),)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
cluster.shutdown()
"""


@dataclass
class Volumes:
    """Two disks of a VM that are clones of one image, and the same volumes for who works by hand.

    :ivar image: the image's name, ``one/one-5``; by hand it is a copy of that.
    """

    scene: Scene
    cluster: ceph.Cluster
    vm: Vm
    image: str

    @property
    def copy(self) -> str:
        """The image of who works by hand."""
        return f"{self.image}00"

    def ours(self, line: str) -> Sample:
        """A transfer line."""
        return lambda: self.scene.line(line)

    def by_hand(self, *commands: str) -> Sample:
        """``rbd`` commands on the node; ``IMAGE`` is the image."""
        tool = f"rbd --conf {CONF} --id {USER}"
        text = " && ".join(f"{tool} {command.replace('IMAGE', self.copy)}" for command in commands)
        argv = self.scene.ssh("sh", "-c", text)
        return lambda: self.scene.front.time(argv)


def measure(scene: Scene, rounds: int) -> Findings:
    """Ratios have a target for what users wait for; and so has the time of a round of monitoring."""
    if not ceph.is_there():
        return Findings([Row("ceph: nothing is measured", 0, note="Ceph's daemons are not installed here")])
    findings = Findings()
    cluster = pool.begin(scene.lab, STORE)
    try:
        pool.LabPool(scene.lab, cluster, [scene.front.host, scene.node.host])
        _short(_prepared(scene, cluster), rounds, findings)
        _import(scene, cluster, rounds, findings)
        _monitor(scene, cluster, rounds, findings)
    finally:
        pool.end(cluster)
    return findings


def _prepared(scene: Scene, cluster: ceph.Cluster) -> Volumes:
    reached = {"CEPH_USER": USER, "CEPH_CONF": CONF, "POOL_NAME": "one"}
    allowed = {"SAFE_DIRS": SOURCES, "RESTRICTED_DIRS": "/", "BRIDGE_LIST": scene.front.host, "STAGING_DIR": SCRATCH}
    life = scene.life
    life.create_datastore("volumes", "ceph", "ceph", ds_id=IMAGES, template={**reached, **allowed, "DISK_TYPE": "RBD"})
    measured = {**reached, "POOL_NAME": "one2", "BRIDGE_LIST": scene.front.host, "DISK_TYPE": "RBD"}
    life.create_datastore("disks", "-", "ceph", DatastoreType.SYSTEM, SYSTEM, template=measured)
    source = f"{SOURCES}/volume.raw"
    scene.front.call([PYTHON, "-I", "-c", MAKE, source, str(64 * MB), "4", str(MB)])
    made = life.import_image("volume", IMAGES, source).check().object_id
    collecting = Life(scene.ground.oned, scene.runner_with(Collecting(scene.lab, scene.front)))
    vm = collecting.create_vm("volumes", [use_image(made), use_image(made)], SYSTEM, scene.node.host).check().object_id
    collecting.poweroff(vm).check()
    volumes = Volumes(scene, cluster, scene.ground.oned.vm(vm), scene.ground.oned.image(made).source)
    cluster.rbd("cp", "--no-progress", volumes.image, volumes.copy)
    return volumes


def _short(volumes: Volumes, rounds: int, findings: Findings) -> None:
    """A VM's life; what is made in a round goes in it."""
    settings, vm = volumes.scene.ground.oned.settings, volumes.vm
    first, second = vm.disks
    samples = {
        "clone, the first of an image": (
            volumes.ours(disk_prolog(settings, vm, first)),
            (
                "snap ls IMAGE",
                "snap create --no-progress IMAGE@snap",
                "snap protect IMAGE@snap",
                "clone IMAGE@snap IMAGE-0-0",
            ),
        ),
        "clone": (volumes.ours(disk_prolog(settings, vm, second)), ("snap ls IMAGE", "clone IMAGE@snap IMAGE-0-1")),
        "snap_create": (
            volumes.ours(snapshot(settings, vm, first, "SNAP_CREATE", 0)),
            ("snap create --no-progress IMAGE-0-0@0", "snap protect IMAGE-0-0@0"),
        ),
        "snap_delete": (
            volumes.ours(snapshot(settings, vm, first, "SNAP_DELETE", 0)),
            ("snap unprotect IMAGE-0-0@0", "snap rm --no-progress IMAGE-0-0@0"),
        ),
        "delete": (
            volumes.ours(disk_epilog(settings, vm, second)),
            ("rm --no-progress IMAGE-0-1", "children IMAGE@snap"),
        ),
        "delete, the last of an image": (
            volumes.ours(disk_epilog(settings, vm, first)),
            (
                "rm --no-progress IMAGE-0-0",
                "children IMAGE@snap",
                "snap unprotect IMAGE@snap",
                "snap rm --no-progress IMAGE@snap",
            ),
        ),
    }
    both: dict[str, Sample] = {}
    for name, (ours, commands) in samples.items():
        both[f"{name}: floor"] = volumes.by_hand(*commands)
        both[name] = ours
    taken = interleaved(both, rounds)
    findings.samples |= taken
    for name, (_ours, commands) in samples.items():
        note = "floor: rbd " + ", ".join(re.sub(r" --no-progress| IMAGE\S*", "", command) for command in commands)
        findings.rows.append(
            Row(f"ceph/{name}", median(taken[name]), median(taken[f"{name}: floor"]), TARGET, note=note)
        )


def _import(scene: Scene, cluster: ceph.Cluster, rounds: int, findings: Findings) -> None:
    """Each side begins with no volume and ends with a whole one."""
    source, by_hand = f"{SOURCES}/large.raw", "one2/by-hand"
    scene.front.call([PYTHON, "-I", "-c", MAKE, source, str(GIB << 30), str(STRETCHES), str(DATA // STRETCHES * MB)])
    create = f"rbd --conf {CONF} --id {USER} create {by_hand} --size {GIB}G"
    convert = f"qemu-img convert -n -f raw -O raw {shlex.quote(source)} rbd:{by_hand}:id={USER}:conf={CONF}"

    def floor() -> float:
        spent = scene.front.time(["sh", "-c", f"{create} && {convert}"])
        cluster.rbd("rm", "--no-progress", by_hand)
        return spent

    def ours() -> float:
        made = scene.life.import_image("large", IMAGES, source).check().object_id
        spent = scene.timed.milliseconds
        scene.life.delete_image(made).check()
        return spent

    taken = interleaved({"import: floor": floor, "import": ours}, min(rounds, MOST_ROUNDS), warm_up=0)
    scene.front.call(["rm", "-f", source])
    findings.samples |= taken
    note = f"{GIB} GiB with {DATA} MB of data; floor: rbd create, qemu-img convert -n into it"
    findings.rows.append(
        Row("ceph/cp, raw", median(taken["import"]), median(taken["import: floor"]), IMPORT_TARGET, note=note)
    )


def _monitor(scene: Scene, cluster: ceph.Cluster, rounds: int, findings: Findings) -> None:
    """The pool's totals, then those of a pool of many disks, whose sizes are told as well."""
    scene.front.call([PYTHON, "-I", "-c", _MANY, CONF, USER, str(VOLUMES)])
    settings, oned = scene.ground.oned.settings, scene.ground.oned
    with listening(scene) as port:
        network = f"NETWORK = [ MONITOR_ADDRESS = auto, PORT = {port} ]"
        scene.front.call(["mkdir", "-p", f"{SCRATCH}/etc"])
        scene.front.call(["tee", f"{SCRATCH}/etc/monitord.conf"], stdin=network.encode())
        runner = scene.runner_with(scene.timed, ONE_LOCATION=SCRATCH)

        def monitor(number: int, kind: DatastoreType) -> float:
            store = oned.datastore(number)
            document = monitor_action(settings, store)
            call = runner.ds_monitor("bench", kind, store.ds_mad, store.tm_mad, number, document)
            if call.stderr:
                raise BenchError(f"monitor said {call.stderr}")
            return scene.checked(call)

        floor = ["ceph", "--conf", CONF, "--id", USER, "df", "detail", "--format", "json"]
        taken = interleaved(
            {
                "monitor: floor": lambda: scene.front.time(floor),
                "monitor": lambda: monitor(IMAGES, DatastoreType.IMAGE),
                "monitor, disks": lambda: monitor(SYSTEM, DatastoreType.SYSTEM),
            },
            min(rounds, MOST_ROUNDS),
        )
    findings.samples |= taken
    what = f"{VOLUMES} volumes with a snapshot each, told by UDP"
    findings.rows += [
        Row("ceph/monitor", median(taken["monitor"]), median(taken["monitor: floor"]), note="floor: ceph df detail"),
        Row("ceph/monitor, disks", median(taken["monitor, disks"]), target=MOST_TIME, note=what),
    ]
