# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the benchmarks take place: the lab with the drivers on it, an oned, datastores, images, and workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench.hands import PYTHON, BenchError, Collecting, Timed, Worker
from tests.lab.ground import LabGround
from tests.lab.hosts import Lab, repository
from tests.lab.oned import Call, DatastoreType, Life, Runner, Vm, use_image, use_swap, use_volatile
from tests.lab.oned.transfers import prolog

IMAGES, SYSTEM, SSH_IMAGES, SSH_SYSTEM = 100, 101, 104, 105
SOURCES = "/var/lib/one/sources"
#: Megabytes of the image that VMs are made of; its size plays no part in an overlay.
IMAGE_MB = 64
#: One folder on every host for what the benchmarks themselves need; on the same file system as the datastores.
SCRATCH = "/var/tmp/bench"

_SSH_LINE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from plugins.module_utils.tools import ssh
print(json.dumps(ssh.command(sys.argv[3], sys.argv[4:], connection=0 if sys.argv[2] == "shared" else None)))
"""


@dataclass
class Scene:
    """All that a benchmark needs.

    :ivar front: worker on the front-end.
    :ivar node: worker on the first node.
    """

    lab: Lab
    ground: LabGround
    front: Worker
    node: Worker

    def __post_init__(self) -> None:
        self.timed = Timed(self.lab, self.front)
        self.runner = self.runner_with(self.timed)
        self.life = Life(self.ground.oned, self.runner)
        self.base = -1
        self.kept = -1

    def runner_with(self, front_end: Timed, **environment: str) -> Runner:
        """A runner that calls drivers as oned does, through this front-end."""
        given = {"ONE_XMLRPC": self.ground.server.url, **environment}
        return Runner(front_end, self.ground.oned.settings, environment=given)

    def line(self, line: str, **environment: str) -> float:
        """Milliseconds of one transfer line; ``BenchError`` when it failed."""
        call = self.runner_with(self.timed, **environment).tm_line("bench", line, checked=False)
        return self.checked(call)

    def checked(self, call: Call) -> float:
        """Milliseconds of a call that went well."""
        if not call.ok:
            raise BenchError(f"{call.command} failed: {call.stderr}")
        return self.timed.milliseconds

    def ssh(self, *argv: str, shared: bool = True) -> list[str]:
        """The command line that runs *argv* on the node, with the very options that the deployed drivers use.

        :param shared: over the open connection, not one of its own.
        """
        folder = f"{self.ground.oned.settings.remotes}/one_storage"
        how = "shared" if shared else "alone"
        _spent, done = self.front.call([PYTHON, "-I", "-c", _SSH_LINE, folder, how, self.node.host, *argv])
        line: list[str] = json.loads(done.stdout)
        return line

    def make_vm(self, kept: bool = False) -> Vm:
        """A VM on the node that oned knows; no file is made. It has a cloned, a volatile and a swap disk.

        :param kept: it has the persistent image, too, which only one VM can have.
        """
        disks = [use_image(self.base), use_volatile(20, "qcow2", "ext4"), use_swap(8)]
        if kept:
            disks.append(use_image(self.kept))
        life = Life(self.ground.oned, self.runner_with(Collecting(self.lab, self.front)))
        made = life.create_vm(f"bench-{len(self.ground.oned.vms)}", disks, SYSTEM, self.node.host)
        return self.ground.oned.vm(made.check().object_id)

    def prolog(self, vm: Vm) -> dict[str, str]:
        """The transfer lines that make a VM's disks, by action in lower case."""
        lines = prolog(self.ground.oned.settings, vm)
        return {line.split()[0].lower(): line for line in lines}

    def directory(self, vm: Vm) -> str:
        """Where a VM's disks lie."""
        return self.ground.oned.settings.system_dir(SYSTEM, vm.id)

    def prepare(self) -> None:
        """Datastores and images: one to clone, one to link."""
        for worker in (self.front, self.node):
            worker.call(["mkdir", "-p", SCRATCH])
        self.front.call(["mkdir", "-p", SOURCES])
        allowed = {"SAFE_DIRS": SOURCES, "RESTRICTED_DIRS": "/"}
        life = self.life
        life.create_datastore("images", tm_mad="qcow2", ds_id=IMAGES, template=allowed)
        life.create_datastore("system", tm_mad="qcow2", type=DatastoreType.SYSTEM, ds_id=SYSTEM)
        life.create_datastore("raw images", tm_mad="ssh", ds_id=SSH_IMAGES, template={**allowed, "DRIVER": "raw"})
        life.create_datastore("local", tm_mad="ssh", type=DatastoreType.SYSTEM, ds_id=SSH_SYSTEM)
        source = f"{SOURCES}/base.qcow2"
        self.front.call(["qemu-img", "create", "-q", "-f", "qcow2", source, f"{IMAGE_MB}M"])
        self.front.call(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", source])
        self.base = life.import_image("base", IMAGES, source).check().object_id
        self.kept = life.import_image("kept", IMAGES, source, persistent=True).check().object_id


@contextmanager
def scene() -> Iterator[Scene]:
    """A lab with the drivers laid out on it; it is gone afterwards."""
    with Lab.up(binds=[repository()], masks=[repository()]) as lab:
        ground = LabGround(lab)
        try:
            ground.deploy()
            with Worker(lab, lab.frontend) as front, Worker(lab, lab.nodes[0]) as node:
                made = Scene(lab, ground, front, node)
                made.prepare()
                yield made
        finally:
            ground.close()
