# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where drivers run: on this machine, or on a host of the lab."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

_TIMED_OUT = 255
_REAP = 2.0


class Completed(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Execute(Protocol):
    """Runs an argument list in its own process group; empty stdin is closed at once. `timeout` in seconds."""

    def __call__(
        self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float
    ) -> Completed: ...


class FrontEnd(Protocol):
    """The machine oned lives on: it runs commands, knows which files exist and takes files."""

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """See Execute."""

    def exists(self, path: str) -> bool:
        """Whether there is a file."""

    def write(self, path: str, content: str) -> None:
        """Writes a file and the folders above it, as oneadmin."""


class ThisMachine:
    """The front-end is this machine and this user. `environment` is all that commands see besides PATH and LANG."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(environment or {})}

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """See Execute. After `timeout` seconds the process group is killed and the code is 255."""
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self._environment, **env},
            cwd=cwd,
            process_group=0,
        )
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return timed_out(argv)
        except BaseException:
            _end(process)
            raise
        code = process.returncode
        return Completed(255 if code < 0 else code, out, err)

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        return os.path.exists(path)

    def write(self, path: str, content: str) -> None:
        """Writes a file and the folders above it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


class LabLike(Protocol):
    """What is needed of a lab: `tests.lab.hosts.Lab` has it."""

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        user: str = ...,
        input: bytes | None = ...,
        env: Mapping[str, str] | None = ...,
        cwd: str | None = ...,
        timeout: float = ...,
        check: bool = ...,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command on a host; raises subprocess.TimeoutExpired after killing its group."""

    def path(self, host: str, path: str | PurePosixPath, *, follow: bool = ...) -> Path:
        """A path of a host as this machine sees it."""

    def leader(self, host: str) -> int:
        """A process that lives in the host's namespaces."""


class LabHost:
    """The front-end is a host of the lab; commands run there as oneadmin."""

    def __init__(self, lab: LabLike, host: str, user: str = "oneadmin", home: str = "/var/lib/one") -> None:
        self.lab, self.host, self.user, self._home = lab, host, user, home

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """See Execute. After `timeout` seconds the code is 255."""
        try:
            done = self.lab.run(
                self.host,
                list(argv),
                user=self.user,
                input=stdin or None,
                env=dict(env),
                cwd=cwd,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return timed_out(argv)
        return Completed(255 if done.returncode < 0 else done.returncode, done.stdout, done.stderr)

    def exists(self, path: str) -> bool:
        """Whether there is a file on the host."""
        return self.lab.path(self.host, path, follow=True).exists()

    def write(self, path: str, content: str) -> None:
        """Writes a file on the host; file and new folders belong to whoever owns the home folder."""
        owner = self.lab.path(self.host, self._home).stat()
        target = self.lab.path(self.host, path)
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        for made in (target, *missing):
            shutil.chown(made, owner.st_uid, owner.st_gid)


def timed_out(argv: Sequence[str]) -> Completed:
    """What the caller of a driver sees when it ran out of time."""
    return Completed(_TIMED_OUT, b"", f"Timeout executing {' '.join(argv)}".encode())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group and reaps its leader; a child that left the group may keep the pipes, not us."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        process.communicate(timeout=_REAP)
    except subprocess.TimeoutExpired:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait(_REAP)
