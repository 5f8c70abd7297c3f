# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that a command writes to its stdout: a session on another host, a helper of another driver."""

from __future__ import annotations

import os
import select
import time

from ..._errors import DeadlineOver, StorageError, from_os, one_line
from ..command import SIGINT, SIGKILL, going_on, holding, said, spawn, which
from .base import Options, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .pace import Clock

    #: Makes the error of a command that ended: what it said on stderr, its exit code, whether data had come.
    Failure = Callable[[str, int, bool], StorageError]

#: Seconds before each new try of a command that can try again.
PAUSES = (1, 2, 4)
#: Seconds that a command has to give its locks back.
_PATIENCE = 5


class Running:
    """A command with its stdout on a pipe. It leads a session of its own, and the kernel ends it with this process.

    :param variables: more environment than ours.
    :param stdin: what it reads; nothing by default.
    :param end: the signal that it gets when this process dies: what has locks to give back is not killed.
    :raises FileNotFoundError: names the command when it is not installed.
    """

    def __init__(
        self, argv: Sequence[str], variables: dict[str, str] | None = None, stdin: bytes = b"", end: str = "KILL"
    ) -> None:
        command = [which("setpriv"), "--pdeathsig", end, "--", which(argv[0]), *argv[1:]]
        environment = {**os.environ, "LC_ALL": "C", **(variables or {})}
        self._out, theirs = os.pipe()
        os.set_blocking(self._out, False)
        nothing = holding(stdin) if stdin else os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._errors = os.memfd_create("stderr")
        try:
            self._pid = spawn(command, (nothing, theirs, self._errors), environment, alone=True)
        except BaseException:
            os.close(self._out)
            os.close(self._errors)
            raise
        finally:
            os.close(theirs)
            os.close(nothing)
        self._open = True

    def read(self, size: int, clock: Clock) -> bytes:
        """What is there, waiting for the first byte; empty at the end."""
        while True:
            try:
                data = os.read(self._out, size)
            except BlockingIOError:
                clock.wait(self._out)
                continue
            clock.touch()
            return data

    def ended(self, clock: Clock) -> tuple[str, int]:
        """Wait for its end; what it said on stderr (the last 64 KiB) and its exit code, negative for a signal."""
        wait_for(self._pid, clock.left)
        _pid, status = os.waitpid(self._pid, 0)
        text = said(self._errors)
        self._forget()
        return text, os.waitstatus_to_exitcode(status)

    def stop(self, number: int, patience: float) -> None:
        """Ask it to end by a signal, and kill it when it has not after *patience* seconds."""
        if self._open:
            until = time.monotonic() + patience
            try:
                os.killpg(self._pid, number)
                wait_for(self._pid, lambda: _until(until))
            except (OSError, TimeoutError):
                pass
            self.kill()

    def kill(self) -> None:
        """End it, and all that it started here, now."""
        if self._open:
            kill_group(self._pid)
            os.waitpid(self._pid, 0)
            self._forget()

    def _forget(self) -> None:
        self._open = False
        os.close(self._out)
        os.close(self._errors)


def _until(end: float) -> float:
    """The seconds until a time of ``time.monotonic()``; ``TimeoutError`` when it has come."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def wait_for(pid: int, left: Callable[[], float]) -> None:
    """Wait until a process has ended; *left* says how many seconds remain, and raises when there are none."""
    process = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        while not poll.poll(min(left(), 0.25) * 1000 + 1):
            pass
    finally:
        os.close(process)


def reason_of(said: str, code: int) -> str:
    """Why a command failed: the last thing it said, or its exit code."""
    return one_line(said.strip().splitlines()[-1], 200) if said.strip() else f"it ended with code {code}"


def kill_group(pid: int) -> None:
    """Kill the process group that a process leads."""
    try:
        os.killpg(pid, SIGKILL)
    except OSError:
        pass


def output(argv: Sequence[str], seconds: float, doing: str, most: int = 1 << 20) -> tuple[str, str, int]:
    """Run a command with our environment to its end: stdout, stderr and exit code.

    :param doing: for the sentence: ``prepare x``.
    :raises StorageError: when it does not end in time, says more than *most* bytes or is not there.
    """
    from .pace import Clock

    clock = Clock(seconds)
    until = time.monotonic() + seconds
    try:
        running = Running(argv)
    except OSError as error:
        raise from_os(error, doing) from None
    try:
        parts, total = [], 0
        while data := running.read(65536, clock):
            # what it says is no progress: the whole has one deadline
            clock.until = until
            parts.append(data)
            total += len(data)
            if total > most:
                raise StorageError(f"Cannot {doing}: {os.path.basename(argv[0])} says too much")
        text, code = running.ended(clock)
        return b"".join(parts).decode("utf-8", "surrogateescape"), text, code
    except TimeoutError:
        raise DeadlineOver(
            f"Cannot {doing}: {os.path.basename(argv[0])} did not end within {seconds:g} seconds"
        ) from None
    finally:
        running.kill()


class CommandSource(Source):
    """The stdout of a command, complete only when the command ends with 0.

    :param failure: its error when it ends otherwise.
    :param passing: whether what it said on stderr is a failure that may pass; it is tried again when no data came yet.
    :param first: seconds until its first byte, when it needs longer for that than to go on.
    :param variables: see :class:`Running`, as for *stdin* and *end*.
    """

    def __init__(
        self,
        argv: Sequence[str],
        name: str,
        options: Options,
        failure: Failure,
        passing: Callable[[str], bool] | None = None,
        first: float = 0,
        variables: dict[str, str] | None = None,
        stdin: bytes = b"",
        end: str = "KILL",
    ) -> None:
        super().__init__(name, options)
        self._given = (variables, stdin, end)
        self._argv = list(argv)
        self._failure = failure
        self._running: Running | None = None
        try:
            self._head = self._begin(passing, max(first, options.stall))
        except BaseException:
            self.close()
            raise

    def _begin(self, passing: Callable[[str], bool] | None, first: float) -> bytes:
        """Start it and wait for its first bytes, or its end."""
        tries = 0
        while True:
            try:
                self._running = Running(self._argv, *self._given)
            except OSError as error:
                raise from_os(error, f"read {self.name}") from None
            self.clock.until = time.monotonic() + first
            data = self._read(first)
            if data:
                return data
            said, code = self._ended()
            if code == 0:
                return b""
            may_pass = passing is not None and passing(said)
            if not (may_pass and self.options.retry and tries < len(PAUSES)):
                raise self._failure(said, code, False)
            self.clock.touch()
            self.clock.pause(PAUSES[tries])
            tries += 1

    def blocks(self) -> Iterator[bytes]:
        """What the command writes."""
        waiting = bytearray(self._head)
        self._head = b""
        while self._running:
            data = self._read(self.clock.stall)
            waiting += data
            while len(waiting) >= self.block or (waiting and not data):
                yield bytes(waiting[: self.block])
                del waiting[: self.block]
            if not data:
                said, code = self._ended()
                if code:
                    raise self._failure(said, code, True)

    def _command(self) -> Running:
        if self._running is None:
            raise StorageError(f"{self.name} is read after its end")
        return self._running

    def _read(self, seconds: float) -> bytes:
        try:
            return self._command().read(self.block, self.clock)
        except TimeoutError:
            raise DeadlineOver(f"{self.name} sent nothing for {seconds:g} seconds") from None

    def _ended(self) -> tuple[str, int]:
        try:
            said, code = self._command().ended(self.clock)
        except TimeoutError:
            raise DeadlineOver(f"The command that reads {self.name} does not end") from None
        self._running = None
        return said, code

    def close(self) -> None:
        """End the command."""
        if self._running:
            if self._given[2] != "KILL":
                self._running.stop(SIGINT, _PATIENCE)
            self._running.kill()
            self._running = None


class Guard:
    """Runs a shell command of a helper when we let go of it: at the end, or because this process was killed."""

    def __init__(self, text: str) -> None:
        theirs, self._leash = os.pipe()
        nothing = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            # it waits for the end of its stdin, which comes with ours at the latest; the text is the helper's own
            script = 'read -r line; eval "$1"'
            self._pid = spawn(
                ["/bin/sh", "-c", script, "sh", text], (theirs, nothing, nothing), dict(os.environ), alone=True
            )
        except BaseException:
            os.close(self._leash)
            raise
        finally:
            os.close(theirs)
            os.close(nothing)

    def let_go(self, seconds: float) -> str:
        """Let it run; what went wrong, empty when nothing did. After a stop it is left to end by itself."""
        if self._leash < 0:
            return ""
        os.close(self._leash)
        self._leash = -1
        until = time.monotonic() + seconds

        def left() -> float:
            going_on()
            if time.monotonic() >= until:
                raise TimeoutError
            return until - time.monotonic()

        try:
            wait_for(self._pid, left)
        except InterruptedError:
            return ""
        except TimeoutError:
            kill_group(self._pid)
            os.waitpid(self._pid, 0)
            return f"did not end within {seconds:g} seconds"
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return f"ended with code {code}" if code else ""
