# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the callers of drivers read what a driver wrote: log lines and the reason on stderr, the result on stdout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_LOG = re.compile(r"^(ERROR|INFO|WARN|DEBUG):\s+(\d+)?\s*(.*)$")
_LEADING_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?)")


class LogLine(NamedTuple):
    """One line for oned's log; the object is -1 unless a number stood right behind the severity."""

    severity: str
    object_id: int
    text: str


class Said(NamedTuple):
    """What stderr held: lines for the log, and the user's message, glued from all other lines without separator."""

    logs: tuple[LogLine, ...]
    reason: str


def read_stderr(stderr: str) -> Said:
    """Splits stderr the way oned's driver programs do."""
    logs: list[LogLine] = []
    reason = ""
    for line in stderr.splitlines():
        found = _LOG.match(line.strip())
        if found is None:
            reason += line.strip()
            continue
        number = int(found.group(2)) if found.group(2) else -1
        logs.append(LogLine(found.group(1), number, found.group(3)))
    return Said(tuple(logs), reason or "-")


class SourceAnswer(NamedTuple):
    """What an import or a clone answers. An empty source means the answer could not be used."""

    source: str
    format: str


def read_cp(stdout: str) -> SourceAnswer:
    """Two words, both needed. Raises ValueError."""
    words = _first_line(stdout).split()
    if len(words) < 2:
        raise ValueError("the answer of cp needs a source and a format")
    return SourceAnswer(words[0], words[1])


def read_clone(stdout: str, old_format: str) -> SourceAnswer:
    """A word and perhaps a second one. Raises ValueError."""
    words = _first_line(stdout).split()
    if not words:
        raise ValueError("the answer of clone needs a source")
    return SourceAnswer(words[0], words[1] if len(words) > 1 else old_format)


def read_mkfs(stdout: str) -> str:
    """The whole line is the source. Raises ValueError when it is empty."""
    source = _first_line(stdout)
    if not source:
        raise ValueError("the answer of mkfs needs a source")
    return source


def read_stat(stdout: str) -> int:
    """MB; the number the line begins with. Raises ValueError."""
    found = _LEADING_NUMBER.match(_first_line(stdout))
    if found is None:
        raise ValueError(f"not a size: {_first_line(stdout)!r}")
    return int(float(found.group(1)))


def read_backup(stdout: str) -> tuple[str, int, str]:
    """The reference of a backup, its MB, its format. Raises ValueError."""
    words = _first_line(stdout).split()
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("the answer of backup needs a reference and a size")
    return words[0], int(words[1]), words[2] if len(words) > 2 else "raw"


def read_flatten(stdout: str, known: Mapping[int, str]) -> tuple[int, dict[int, str]]:
    """MB, and references by increment. Raises ValueError, also for increments that the chain does not have."""
    words = _first_line(stdout).split()
    if len(words) != 2 or not words[0].isdigit():
        raise ValueError("the answer of increment_flatten needs a size and a chain")
    chain = {}
    for item in words[1].split(","):
        number, colon, reference = item.partition(":")
        if not (colon and number.isdigit() and reference) or int(number) not in known:
            raise ValueError(f"{item!r} is no increment of the chain")
        chain[int(number)] = reference
    return int(words[0]), chain


def read_monitor(stdout: str) -> dict[str, int]:
    """TOTAL_MB, FREE_MB and USED_MB out of KEY=VALUE pairs on one or more lines; what is missing counts as 0."""
    result = {"TOTAL_MB": 0, "FREE_MB": 0, "USED_MB": 0}
    for word in stdout.split():
        key, _, value = word.partition("=")
        found = _LEADING_NUMBER.match(value)
        if key in result and found is not None:
            result[key] = int(float(found.group(1)))
    return result


def _first_line(stdout: str) -> str:
    # oned reads its drivers line by line: whatever comes after the first line would be another message.
    return stdout.strip("\n").split("\n", 1)[0].strip(" ")
