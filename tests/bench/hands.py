# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's end of a worker on a host, and front-ends for the stand-in's runner that call drivers through it."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.hosts import Lab
from tests.lab.oned import Completed, LabHost

WORKER = Path(__file__).with_name("worker.py")
PYTHON = "/usr/bin/python3"
HOME = "/var/lib/one"
SECONDS = 120.0
#: Seconds that a worker may be late with its answer, beyond the time its jobs have.
GRACE = 15.0


class BenchError(Exception):
    """Something that was to be measured did not work."""


@dataclass(frozen=True)
class Job:
    """One command line on a host.

    :ivar into: a second one that reads what the first writes; then there is no stdin, and only it is heard.
    """

    argv: Sequence[str]
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = HOME
    into: Sequence[str] = ()

    def record(self) -> dict[str, Any]:
        """As the worker reads it."""
        encoded = base64.b64encode(self.stdin).decode()
        return {
            "argv": list(self.argv),
            "into": list(self.into),
            "env": dict(self.env),
            "cwd": self.cwd,
            "stdin": encoded,
        }


class Worker:
    """A worker process on one host, as oneadmin."""

    def __init__(self, lab: Lab, host: str) -> None:
        self.host = host
        source = WORKER.read_text(encoding="utf-8")
        self._process = lab.popen(host, [PYTHON, "-I", "-c", source], stdin=subprocess.PIPE, stderr=None)
        self.pid = lab.inner_pid(self._process)

    def all(self, jobs: Sequence[Job], timeout: float = SECONDS) -> tuple[float, list[Completed]]:
        """Run jobs at the same time; milliseconds until the last one ended, and what each said."""
        answer = self._ask({"jobs": [job.record() for job in jobs], "timeout": timeout}, timeout + GRACE)
        results = [
            Completed(int(one["rc"]), base64.b64decode(one["out"]), base64.b64decode(one["err"]))
            for one in answer["results"]
        ]
        return float(answer["ms"]), results

    def time(self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> float:
        """Milliseconds that a command took; ``BenchError`` when it failed."""
        return self.call(argv, stdin=stdin, env=env)[0]

    def call(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> tuple[float, Completed]:
        """Milliseconds and output of a command; ``BenchError`` when it failed."""
        spent, (done,) = self.all([Job(argv, stdin, env or {})])
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise BenchError(f"{self.host}: {list(argv)} ended with {done.returncode}: {said}")
        return spent, done

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line(time.monotonic() + seconds))
        return answer

    def _line(self, until: float) -> bytes:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        parts = []
        while True:
            ready, _writers, _errors = select.select([handle], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise BenchError(f"the worker on {self.host} does not answer")
            data = os.read(handle, 1 << 20)
            if not data:
                raise BenchError(f"the worker on {self.host} has ended")
            parts.append(data)
            # one answer to one request: nothing ever follows the line's end
            if data.endswith(b"\n"):
                return b"".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5.0)


class Timed(LabHost):
    """The front-end for a runner: drivers run through a worker. :attr:`milliseconds` is what the last call took."""

    def __init__(self, lab: Lab, worker: Worker) -> None:
        super().__init__(lab, worker.host)
        self._worker = worker
        self.milliseconds = 0.0

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """Run one driver."""
        self.milliseconds, (done,) = self._worker.all([Job(argv, stdin, env, cwd)], timeout)
        return done


class Collecting(Timed):
    """A front-end that runs nothing and keeps the jobs, to run them later, all at once."""

    def __init__(self, lab: Lab, worker: Worker) -> None:
        super().__init__(lab, worker)
        self.jobs: list[Job] = []

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """Keep one driver's command line."""
        self.jobs.append(Job(argv, stdin, env, cwd))
        return Completed(0, b"", b"")
