# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host of the lab and times commands there, so that the way into the host is not in the figures.

Standard library only: it is handed to the host's Python as text. A line of JSON comes in, a line of JSON goes out:

* in: ``jobs``, each with ``argv``, ``env`` (added to the worker's), ``cwd`` and ``stdin`` (base64), and ``timeout`` in
  seconds for all of them together; a job with ``into``, a second command line, is a pipe of the two;
* out: ``ms`` from before the first start to the end of the last, and ``results`` with ``rc``, ``out`` and ``err``
  (base64) of each. The jobs of one line run at the same time.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any


def run(jobs: list[dict[str, Any]], timeout: float) -> dict[str, Any]:
    """Start all jobs at once and wait for them; those that still run after *timeout* seconds are killed."""
    inputs = [base64.b64decode(job["stdin"]) for job in jobs]
    environments = [{**os.environ, **job["env"]} for job in jobs]
    processes: list[subprocess.Popen[bytes]] = []
    said: list[tuple[bytes, bytes]] = []
    begin = time.perf_counter()
    for job, environment in zip(jobs, environments, strict=True):
        processes.append(_start(job, environment))
    for process, data in zip(processes, inputs, strict=True):
        said.append(_finish(process, data, max(0.1, begin + timeout - time.perf_counter())))
    spent = (time.perf_counter() - begin) * 1000
    return {
        "ms": spent,
        "results": [
            {"rc": process.returncode, "out": _text(out), "err": _text(err)}
            for process, (out, err) in zip(processes, said, strict=True)
        ],
    }


def _start(job: dict[str, Any], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    common: dict[str, Any] = {"cwd": job["cwd"], "env": environment, "process_group": 0}
    if not job["into"]:
        pipe = subprocess.PIPE
        return subprocess.Popen(job["argv"], stdin=pipe, stdout=pipe, stderr=pipe, **common)
    first = subprocess.Popen(job["argv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **common)
    # the first ends with the second: it writes into a pipe that nobody else reads
    second = subprocess.Popen(job["into"], stdin=first.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **common)
    if first.stdout is not None:
        first.stdout.close()
    return second


def _finish(process: subprocess.Popen[bytes], data: bytes, timeout: float) -> tuple[bytes, bytes]:
    try:
        return process.communicate(data if process.stdin else None, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return out, err + b"killed: it took too long\n"


def _text(data: bytes) -> str:
    return base64.b64encode(data[-65536:]).decode()


def main() -> None:
    """Serve until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(json.dumps(run(request["jobs"], request["timeout"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
