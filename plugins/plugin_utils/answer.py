# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a wrapper speaks to oned: log lines and one plain reason on stderr, one clean line on stdout (contract-ds
2.3)."""

from __future__ import annotations

import os

from ..module_utils._errors import StorageError, one_line


class Voice:
    """stdout and stderr of one wrapper.

    :param script: the wrapper's name, which stands in every log line.
    """

    def __init__(self, script: str) -> None:
        self.script = one_line(os.path.basename(script), 60)

    def log(self, severity: str, text: str) -> None:
        """A line for oned's log: ERROR, WARN, INFO or DEBUG."""
        _tell(f"{severity}: {self.script}: {one_line(text, 2000)}\n")

    def fail(self, error: StorageError) -> None:
        """Detail for the log, then the reason: oned glues all lines without a severity together, so it is one line."""
        if error.detail:
            self.log("ERROR", error.detail)
        run = f", run {error.run}" if error.run else ""
        self.log("ERROR", f"[{error.code}{run}] {error}")
        _tell(f"{error}\n")

    def reason(self, text: str) -> None:
        """The reason of a failure, for drivers that say it themselves."""
        _tell(f"{one_line(text)}\n")

    def answer(self, text: str) -> None:
        """The answer; a further line would be read as another message, so there is one (contract-ds 3)."""
        _write(1, one_line(text, 65536) + "\n")

    def lines(self, values: list[str]) -> None:
        """Several lines, for the actions whose answer oned takes whole (monitor) and for people (explain)."""
        _write(1, "".join(one_line(value, 65536) + "\n" for value in values))


def _tell(text: str) -> None:
    """Write to stderr; that nobody listens there changes nothing about the action."""
    try:
        _write(2, text)
    except OSError:
        pass


def _write(handle: int, text: str) -> None:
    data = memoryview(text.encode("utf-8", "replace"))
    while data:
        data = data[os.write(handle, data) :]
