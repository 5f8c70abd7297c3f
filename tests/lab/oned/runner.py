# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs drivers exactly as oned's three driver programs do, and keeps a record of each call.

* transfer lines: split on blanks, driver looked up with and then without the suffix, arguments escaped and handed to
  a shell as one command string, stdin closed, the first failure ends the file;
* datastore actions: the document in base64 on stdin, one line of answer.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .answers import LogLine, read_stderr
from .execute import Completed, FrontEnd
from .messages import encode
from .states import DatastoreType
from .stock import DS_NAMES, SYSTEM_DS_NAMES, TM_NAMES
from .store import Settings

DEADLINE = 600.0


@dataclass(frozen=True)
class Call:
    """One call of a driver. `milliseconds` is wall time as the caller sees it."""

    event: str
    action: str
    driver: str
    line: str
    command: str
    argv: tuple[str, ...]
    stdin: bytes
    returncode: int
    stdout: str
    stderr: str
    logs: tuple[LogLine, ...]
    reason: str
    milliseconds: float
    hosts: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Only zero and non-zero matter."""
        return self.returncode == 0

    @property
    def info(self) -> str:
        """What goes back to oned: stdout on success, the reason on failure; `-` when that is empty."""
        return (self.stdout.strip("\n") if self.ok else self.reason) or "-"

    @property
    def more_lines(self) -> list[str]:
        """Lines of stdout after the first: oned would take them for messages of their own."""
        return self.stdout.strip("\n").split("\n")[1:]


@dataclass
class Runner:
    """Calls drivers on the front-end. `observer` sees each call as soon as it ended; `timeout` is in seconds."""

    front_end: FrontEnd
    settings: Settings = field(default_factory=Settings)
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = DEADLINE
    observer: Callable[[Call], None] | None = None
    tm_names: Collection[str] = TM_NAMES
    ds_names: Collection[str] = DS_NAMES
    system_ds_names: Collection[str] = SYSTEM_DS_NAMES
    calls: list[Call] = field(default_factory=list)

    def transfer(self, event: str, text: str) -> list[Call]:
        """A transfer file: line by line until one fails. Blank lines and comments are skipped."""
        done: list[Call] = []
        for line in _lines(text):
            done.append(self.tm_line(event, line))
            if not done[-1].ok:
                break
        return done

    def cleanup(self, event: str, lines: Iterable[str]) -> list[Call]:
        """The VM manager's cleanup: every line runs, failures are passed over."""
        return [self.tm_line(event, line, checked=False) for line in lines]

    def tm_line(self, event: str, line: str, stdin: bytes = b"", checked: bool = True) -> Call:
        """One transfer line. Only drivers the daemon was started with are `checked` in; the VM manager knows all."""
        words = line.split()
        if len(words) < 2:
            return self._refused(event, line, "", "", f"Transfer line is not complete: {line}")
        action, driver, arguments = words[0].lower(), words[1], words[2:]
        if checked and driver not in self.tm_names:
            return self._refused(event, line, action, driver, f"Transfer Driver '{driver}' not available")
        folder = f"{self.settings.remotes}/tm/{driver}"
        for name in dict.fromkeys((action, action.rpartition(".")[0] or action)):
            if self.front_end.exists(f"{folder}/{name}"):
                return self._run(event, line, name, driver, [f"{folder}/{name}", *arguments], stdin)
        return self._refused(event, line, action, driver, f"Transfer action {folder}/{action} does not exist")

    def ds_action(self, event: str, action: str, driver: str, number: int, document: str) -> Call:
        """One action of a datastore driver. `number` is an image, a datastore or a request, as the action has it."""
        if driver not in self.ds_names:
            return self._refused(event, "", action, driver, f"Datastore driver '{driver}' not available")
        path = f"{self.settings.remotes}/datastore/{driver}/{action}"
        return self._run(event, "", action, driver, [path, str(number)], encode(document))

    def ds_exec(self, event: str, action: str, driver: str, words: list[str], document: str) -> Call:
        """An action of a datastore driver that the VM manager calls, with a plain document."""
        path = f"{self.settings.remotes}/datastore/{driver}/{action}"
        return self._run(event, "", action, driver, [path, *words], document.encode())

    def ds_monitor(self, event: str, ds_type: DatastoreType, ds_mad: str, tm_mad: str, number: int, text: str) -> Call:
        """Monitoring: a system datastore is asked through its transfer driver."""
        if ds_type is not DatastoreType.SYSTEM:
            return self.ds_action(event, "monitor", ds_mad, number, text)
        if tm_mad not in self.system_ds_names:
            return self._refused(event, "", "monitor", tm_mad, f"System datastore driver '{tm_mad}' not available")
        path = f"{self.settings.remotes}/tm/{tm_mad}/monitor"
        return self._run(event, "", "monitor", tm_mad, [path, str(number)], encode(text))

    def _run(self, event: str, line: str, action: str, driver: str, argv: list[str], stdin: bytes) -> Call:
        command = " ".join([argv[0], *(shlex.quote(argument) for argument in argv[1:])])
        begin = time.monotonic()
        done = self.front_end.run(
            ["/bin/sh", "-c", command],
            stdin=stdin,
            env=self.environment,
            cwd=self.settings.var_location,
            timeout=self.timeout,
        )
        spent = (time.monotonic() - begin) * 1000
        return self._record(event, line, action, driver, command, argv, stdin, done, spent)

    def _refused(self, event: str, line: str, action: str, driver: str, reason: str) -> Call:
        done = Completed(255, b"", reason.encode())
        return self._record(event, line, action, driver, "", [], b"", done, 0.0)

    def _record(
        self,
        event: str,
        line: str,
        action: str,
        driver: str,
        command: str,
        argv: list[str],
        stdin: bytes,
        done: Completed,
        spent: float,
    ) -> Call:
        stderr = done.stderr.decode("utf-8", "replace")
        said = read_stderr(stderr)
        call = Call(
            event=event,
            action=action,
            driver=driver,
            line=line,
            command=command,
            argv=tuple(argv),
            stdin=stdin,
            returncode=done.returncode,
            stdout=done.stdout.decode("utf-8", "replace"),
            stderr=stderr,
            logs=said.logs,
            reason=said.reason,
            milliseconds=spent,
            hosts=_hosts(argv),
        )
        self.calls.append(call)
        if self.observer is not None:
            self.observer(call)
        return call


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _hosts(argv: list[str]) -> tuple[str, ...]:
    """The hosts among the arguments, in order, each once: `host:/path`."""
    found = [word.partition(":/")[0] for word in argv[1:] if ":/" in word and "/" not in word.partition(":/")[0]]
    return tuple(dict.fromkeys(found))
