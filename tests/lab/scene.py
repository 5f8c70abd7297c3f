# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single calls of wrappers: VMs and images that oned knows of, and the very command lines that it would use."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from tests.lab.ground import LabGround
from tests.lab.hosts import repository
from tests.lab.looking import wipe
from tests.lab.oned import Call, Completed, DatastoreType, LabHost, Life, Outcome, Runner, Vm
from tests.lab.oned.answers import read_stderr
from tests.lab.story import PAIRINGS, Pairing

SOURCES = "/var/lib/one/sources"
#: For a scene whose wrappers prefer impostors to the tools themselves.
IMPOSTORS = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
ANSIBLE = str(repository() / ".venv" / "bin" / "ansible")


@dataclass(frozen=True)
class Task:
    """One call of a wrapper as oned makes it."""

    argv: tuple[str, ...]
    stdin: bytes = b""

    @property
    def action(self) -> str:
        """The wrapper's name: ``clone``, ``mv.ssh``."""
        return PurePosixPath(self.argv[0]).name

    def instead(self, old: str, new: str) -> Task:
        """The same call with other words in its arguments."""
        return replace(self, argv=tuple(word.replace(old, new) for word in self.argv))


@dataclass(frozen=True)
class Done:
    """What oned gets back. *seconds* is wall time."""

    task: Task
    rc: int
    out: str
    err: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return self.rc == 0

    @property
    def sentence(self) -> str:
        """What oned shows to the user; asserts that it is one plain sentence."""
        plain = [line for line in self.err.splitlines() if read_stderr(line).reason != "-"]
        assert len(plain) == 1, self.err
        assert "Traceback" not in plain[0] and "unexpected error" not in plain[0], plain[0]
        return plain[0]

    @property
    def warnings(self) -> list[str]:
        """The WARN lines for oned's log."""
        return [line for line in self.err.splitlines() if line.startswith("WARN:")]


class Running:
    """A wrapper that runs."""

    def __init__(self, scene: Scene, task: Task, process: subprocess.Popen[bytes]) -> None:
        self.task = task
        self.process = process
        if process.stdin:
            # a document is small enough for a pipe
            process.stdin.write(task.stdin)
            process.stdin.close()
            process.stdin = None
        self._lab = scene.ground.lab
        self._begin = time.monotonic()

    @property
    def pid(self) -> int:
        """The wrapper itself, as this machine numbers it."""
        return self._lab.inner_pid(self.process)

    def finish(self, timeout: float = 60.0) -> Done:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        spent = time.monotonic() - self._begin
        return Done(self.task, self.process.returncode, (out or b"").decode(), err.decode(), spent)


class _Quiet(LabHost):
    """A front-end on which every driver succeeds at once and does nothing."""

    _ANSWERS = {"stat": b"4\n", "cp": b"x raw\n", "mkfs": b"x\n", "clone": b"x\n"}

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        action = PurePosixPath(argv[-1].split()[0]).name
        return Completed(0, self._ANSWERS.get(action, b""), b"")


class Scene:
    """Makes images for real and VMs on paper, and runs wrappers for them one by one.

    :param environment: more environment for all wrappers.
    """

    def __init__(self, ground: LabGround, environment: Mapping[str, str] | None = None) -> None:
        self.ground = ground
        self.environment = dict(environment or {})
        self.real = Life(ground.oned, ground.runner(self.environment))
        quiet = Runner(_Quiet(ground.lab, ground.frontend), ground.oned.settings)
        self.quiet = Life(ground.oned, quiet)

    def close(self) -> None:
        """Remove every file of every datastore."""
        wipe(self.ground)

    # ------------------------------------------------------------ what calls are about

    def pairing(self, name: str) -> Pairing:
        """A pairing of drivers, its datastores known to oned."""
        pairing, oned = PAIRINGS[name], self.ground.oned
        if pairing.image_ds not in oned.datastores:
            template = {"SAFE_DIRS": SOURCES, "RESTRICTED_DIRS": "/"}
            if pairing.image_tm == "ssh":
                template["DRIVER"] = "raw"
            self.real.create_datastore(
                f"img_{pairing.image_tm}", tm_mad=pairing.image_tm, ds_id=pairing.image_ds, template=template
            )
        if pairing.system_ds not in oned.datastores:
            self.real.create_datastore(
                f"sys_{pairing.system_tm}",
                tm_mad=pairing.system_tm,
                type=DatastoreType.SYSTEM,
                ds_id=pairing.system_ds,
            )
        return pairing

    def source(self, pairing: Pairing, size: int = 4) -> str:
        """A file of *size* MB that images are made of: half a MB of data at both ends of the first two."""
        path, frontend = f"{SOURCES}/{pairing.disk_format}-{size}", self.ground.frontend
        if not self.ground.path(frontend, path).exists():
            self.ground.run(frontend, ["mkdir", "-p", SOURCES])
            form = ["-f", pairing.disk_format]
            self.ground.run(frontend, ["qemu-img", "create", "-q", *form, path, f"{size}M"])
            write = ["-c", "write -q -P 1 0 512k", "-c", "write -q -P 2 1536k 512k"]
            self.ground.run(frontend, ["qemu-io", *form, *write, path])
        return path

    def image(self, pairing: Pairing, persistent: bool = False, size: int = 4) -> int:
        """An image that is really there; its id."""
        name = f"image-{len(self.ground.oned.images)}"
        made = self.real.import_image(name, pairing.image_ds, self.source(pairing, size), persistent=persistent)
        return made.check().object_id

    def tasks(self, event: Callable[[Life], Outcome]) -> tuple[int, list[Task]]:
        """The object of an event of oned's, and the calls that it would make; oned takes them as done."""
        outcome = event(self.quiet).check()
        return outcome.object_id, [self.task(call) for call in outcome.calls]

    @staticmethod
    def task(call: Call) -> Task:
        """The call that was made, to be made again."""
        return Task(call.argv, call.stdin)

    def vm(
        self,
        pairing: Pairing,
        disks: Sequence[Mapping[str, str]],
        node: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> tuple[Vm, list[Task]]:
        """A VM that oned takes for running, and the calls that make its disks."""
        number = max(self.ground.oned.vms, default=-1) + 1
        where = node or self.ground.nodes[0]
        _number, tasks = self.tasks(
            lambda life: life.create_vm(f"vm-{number}", disks, pairing.system_ds, where, context=context, vm_id=number)
        )
        return self.ground.oned.vm(number), tasks

    def place(self, pairing: Pairing, vm: Vm) -> str:
        """The directory of a VM on its hosts."""
        return f"/var/lib/one/datastores/{pairing.system_ds}/{vm.id}"

    # ------------------------------------------------------------ calls

    def start(self, task: Task, **environment: str) -> Running:
        """Start a wrapper. *environment* is added with ``ONE_STORAGE_`` before each name; empty values are left out."""
        given = {f"ONE_STORAGE_{name}": value for name, value in environment.items() if value}
        process = self.ground.lab.popen(
            self.ground.frontend,
            task.argv,
            env={"ONE_XMLRPC": self.ground.server.url, **self.environment, **given},
            cwd=self.ground.oned.settings.var_location,
            stdin=subprocess.PIPE if task.stdin else subprocess.DEVNULL,
        )
        return Running(self, task, process)

    def run(self, task: Task, **environment: str) -> Done:
        """Run a wrapper to its end, at most a minute."""
        return self.start(task, **environment).finish()

    def right(self, task: Task, **environment: str) -> Done:
        """Run a wrapper that has to succeed, with not a word to the user."""
        done = self.run(task, **environment)
        assert done.ok, f"{' '.join(task.argv)}: {done.err}"
        assert read_stderr(done.err).reason == "-", done.err
        return done

    def wrong(self, task: Task, *words: str, **environment: str) -> Done:
        """Run a wrapper that has to fail, with one sentence that holds these words."""
        done = self.run(task, **environment)
        assert not done.ok, f"{' '.join(task.argv)} succeeded: {done.out}"
        for word in words:
            assert word in done.sentence, done.sentence
        return done


@contextmanager
def impostor(ground: LabGround, host: str, tool: str, script: str) -> Iterator[None]:
    """A shell script in place of a tool of a host, for logins over SSH and for wrappers with :data:`IMPOSTORS`."""
    path = ground.lab.path(host, f"/usr/local/bin/{tool}")
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    try:
        yield
    finally:
        path.unlink()
