# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running guest on the lab's first node whose backups are made by the modules' own calls, without oned."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.lab.ground import REMOTE
from tests.lab.virt import Guest, Hypervisor

MB = 1 << 20
_SIZE = 16 * MB
_SYSTEM = "/var/lib/one/datastores/100"
_IMAGES = "/var/lib/one/datastores/1"
_RUN = f"""
import json, signal, sys
sys.path.insert(0, {REMOTE + "/one_storage"!r})
from plugins.module_utils import _run
from plugins.module_utils._errors import StorageError
from plugins.module_utils.tools.command import stop_work
gone = []
def cancel(*_what):
    gone.append(True)
    stop_work()
signal.signal(signal.SIGTERM, cancel)
try:
    outcome = _run.run(sys.argv[1], json.loads(sys.argv[2]), _run.Mode(fault=sys.argv[3], stopped=lambda: bool(gone)))
    outcome.close()
    print(json.dumps(outcome.result))
except StorageError as error:
    print(json.dumps(error.record()))
"""
_ids = itertools.count(8001)
QEMU = "pgrep -f guest=[o]ne-{}, || true"
MODES = ("cbt", "snapshot")
#: How disk 0 lies: in layers of its own, as a persistent image, as one file.
LAYOUTS = ("layers", "persistent", "file")


class Machine:
    """A VM with two disks of 16 MiB, and what it must have on them."""

    def __init__(self, hypervisor: Hypervisor, layout: str = "layers", raw: bool = False) -> None:
        self.hypervisor, self.layout = hypervisor, layout
        self.lab, self.host = hypervisor.lab, hypervisor.host
        self.id = next(_ids)
        self.folder = f"{_SYSTEM}/{self.id}"
        self.disk = f"{self.folder}/disk.0"
        self.image = f"{_IMAGES}/backup{self.id}"
        self.formats = {0: "qcow2", 1: "raw" if raw else "qcow2"}
        self.sh(f"mkdir -p {_IMAGES} {self.folder}")
        self._lay_out()
        self.sh(f"qemu-img create -q -f {self.formats[1]} {self.folder}/disk.1 16M")
        self.golden = {number: bytearray(_SIZE) for number in (0, 1)}
        self.moments: list[dict[int, bytes]] = []
        self.store = f"/var/tmp/store{self.id}"
        self.sh(f"mkdir -p {self.store}")
        self.start_guest()

    def _lay_out(self) -> None:
        snap, name = f"{self.disk}.snap", "disk.0.snap"
        if self.layout == "file":
            self.sh(f"qemu-img create -q -f qcow2 {self.disk} 16M")
            return
        self.sh(f"qemu-img create -q -f qcow2 {self.image} 16M")
        if self.layout == "persistent":
            snap, name = f"{self.image}.snap", f"backup{self.id}.snap"
            self.sh(f"mkdir {snap} && ln -s . {snap}/{name} && ln -s {self.image} {snap}/0")
            self.sh(f"ln -s {snap}/0 {self.disk}")
            return
        self.sh(f"mkdir {snap} && ln -s . {snap}/{name} && ln -s disk.0.snap/0 {self.disk}")
        self.sh(f"qemu-img create -q -f qcow2 -F qcow2 -b {self.image} {snap}/0")

    def start_guest(self) -> None:
        twice = self.folder.replace("/one/", "/one//")
        disks = [("vda", f"{twice}/disk.0", "qcow2"), ("vdb", f"{twice}/disk.1", self.formats[1])]
        self.guest = Guest(self.hypervisor, f"one-{self.id}", disks)

    def power_cycle(self) -> None:
        self.guest.destroy()
        self.hypervisor.until("the end of QEMU", lambda: not self.sh(QEMU.format(self.id)).strip())
        self.start_guest()

    def sh(self, line: str) -> str:
        return self.lab.run(self.host, ["sh", "-ec", line]).stdout.decode()

    def write(self, disk: int, pattern: int, offset: int, size: int) -> None:
        """Let the guest write, zeros as zeros."""
        word = f"write -P {pattern}" if pattern else "write -z"
        self.guest.io(f"{word} {offset} {size}", ("vda", "vdb")[disk])
        self.golden[disk][offset : offset + size] = bytes([pattern]) * size

    def scribble(self, seed: int) -> None:
        """Some writes on both disks, over old ones, new, across clusters, and zeros over data."""
        for disk in (0, 1):
            self.write(disk, seed + 1, (seed * 3 % 12) * MB + disk * 4096, 200 * 1024)
            self.write(disk, seed + 100, 13 * MB, 65536)
            self.write(disk, 0, max(0, (seed - 1) * 3 % 12) * MB, 65536)

    def options(self, **more: Any) -> dict[str, Any]:
        place = {"driver": "ssh" if self.layout == "file" else "qcow2", "datastore": _SYSTEM, "path": self.folder}
        disks = {"disks": [f"{n}:{kind}" for n, kind in self.formats.items()], "images": [f"0:{self.image}"]}
        own = {"persistent": ["0"]} if self.layout == "persistent" else {}
        guest = {"domain": self.guest.name, "targets": ["0:vda", "1:vdb"]}
        return {**place, **disks, **own, **guest, "lock_timeout": 20, "stall_timeout": 20, **more}

    def start(self, action: str, pause: str = "", fault: str = "", **more: Any) -> subprocess.Popen[bytes]:
        if action.startswith("pre"):
            more = {"document": f"<VM><ID>{self.id}</ID></VM>", **more}
        given = self.options(**more)
        if action in ("prebackup", "postbackup"):
            given = {name: value for name, value in given.items() if name not in ("domain", "targets")}
        argv = ["/usr/bin/python3", "-I", "-c", _RUN, f"tm_{action}", json.dumps(given), fault]
        return self.lab.popen(self.host, argv, env={"ONE_STORAGE_GUEST_PAUSE": pause})

    def act(self, action: str, **more: Any) -> dict[str, Any]:
        out, err = self.start(action, **more).communicate(timeout=90)
        assert out, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result

    def right(self, action: str, **more: Any) -> dict[str, Any]:
        result = self.act(action, **more)
        assert "sentence" not in result, result
        return result

    # ------------------------------------------------------------ whole backups

    def back_up(self, mode: str, last: int = -1, failed: bool = False, **more: Any) -> dict[str, Any]:
        """One backup: prepared, taken away, ended."""
        how: dict[str, Any] = {"mode": "increment", "increment_mode": mode} if mode else {"mode": "full"}
        moment = {disk: bytes(data) for disk, data in self.golden.items()}
        result = self.right("prebackup_live", last_increment=last, **how, **more)
        self.scribble(40 + last)
        if not failed:
            self.moments[last + 1 :] = [moment]
            self.sh(f"cp {self.folder}/backup/* {self.store}/")
        ended = self.right("postbackup_live", last_increment=last, failed=failed, **how)
        assert "warnings" not in ended, ended
        self.at_rest()
        return result

    def chain(self, disk: int) -> None:
        """Put the increments of a disk upon each other, by stock's recipe (contract-ds 10.3)."""
        self.sh(
            f"rm -rf {self.store}/chain; mkdir {self.store}/chain; cp {self.store}/disk.{disk}.* {self.store}/chain"
        )
        for upper in range(1, len(self.moments)):
            self.sh(f"cd {self.store}/chain && qemu-img rebase -u -f qcow2 -F qcow2 -b disk.{disk}.{upper - 1} "
                    f"disk.{disk}.{upper}")  # fmt: skip

    def flat(self, disk: int, number: int) -> bytes:
        """A disk as increments tell it, when its chain is laid."""
        self.sh(f"cd {self.store}/chain && qemu-img convert -f qcow2 -O raw disk.{disk}.{number} flat")
        return self.lab.path(self.host, f"{self.store}/chain/flat").read_bytes()

    def check(self) -> None:
        """Every point of the chain, and the guest itself."""
        for disk in self.golden:
            self.chain(disk)
            for number, moment in enumerate(self.moments):
                assert self.flat(disk, number) == moment[disk], f"disk {disk} of increment {number}"
        self.check_guest()

    def flush(self) -> None:
        """Let QEMU write down what it has in memory."""
        self.guest.io("flush")
        self.guest.io("flush", "vdb")

    def check_guest(self) -> None:
        self.flush()
        for disk, data in self.golden.items():
            self.sh(f"qemu-img convert -U -f {self.formats[disk]} -O raw {self.folder}/disk.{disk} /var/tmp/now")
            assert self.lab.path(self.host, "/var/tmp/now").read_bytes() == bytes(data), f"disk {disk} of the guest"

    def at_rest(self) -> None:
        """The guest runs on, with no job, and nothing of ours lies about."""
        assert self.guest.state() == "running"
        assert "None" in self.hypervisor.virsh("domjobinfo", self.guest.name)
        assert self.sh(f"ls {self.folder}").split() == [
            name for name in ("disk.0", "disk.0.snap", "disk.1", "disk.1.snap")
            if self.lab.path(self.host, f"{self.folder}/{name}").exists() or name in ("disk.0", "disk.1")
        ]  # fmt: skip
        left = self.sh(f"cd {_SYSTEM}/.one_storage && ls; cd {_IMAGES}/.one_storage 2>/dev/null && ls || true").split()
        assert [name for name in left if name != "locks"] == []

    def checkpoints(self) -> list[str]:
        return self.hypervisor.virsh("checkpoint-list", "--name", self.guest.name).split()

    def marks(self) -> list[str]:
        """Bitmaps that QEMU has of disk 0."""
        nodes = self.guest.qmp("query-named-block-nodes", flat=True)
        assert isinstance(nodes, list)
        return sorted({mark["name"] for node in nodes for mark in node.get("dirty-bitmaps", []) if "name" in mark})

    def close(self) -> None:
        """The guest ends, and nothing of it is left."""
        self.guest.destroy()
        self.hypervisor.until("the end of QEMU", lambda: not self.sh(QEMU.format(self.id)).strip())
        self.sh(f"rm -rf {self.folder} {self.image} {self.image}.snap {self.store}")


def machine_of(hypervisor: Hypervisor, **how: Any) -> Iterator[Machine]:
    """A machine, for as long as a fixture or a test needs it."""
    made = Machine(hypervisor, **how)
    yield made
    made.close()


def one_point(machine: Machine, mode: str) -> None:
    """The first backup of a chain, and writes after it."""
    machine.scribble(0)
    machine.back_up(mode)
    machine.scribble(1)


def goes_on(machine: Machine, mode: str, last: int = 0) -> None:
    """The next increment is right, small, and the guest has lost nothing."""
    machine.scribble(5)
    result = machine.back_up(mode, last)
    assert "warnings" not in result, result
    machine.check()
    assert int(machine.sh(f"stat -c %s {machine.store}/disk.0.{last + 1}")) < 3 * MB
