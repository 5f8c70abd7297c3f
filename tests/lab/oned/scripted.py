# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A front-end without drivers: it answers calls from a script, for tests of what surrounds them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .execute import Completed

Answer = Callable[["ScriptedCall"], Completed | None]


@dataclass(frozen=True)
class ScriptedCall:
    """A call that would have been made: the words of the command, and its stdin."""

    words: tuple[str, ...]
    stdin: bytes

    @property
    def action(self) -> str:
        """The script's file name."""
        return self.words[0].rpartition("/")[2]


@dataclass
class ScriptedFrontEnd:
    """`answer` says what a call ends with; None, and no `answer` at all, is success without output.

    `missing` are paths that do not exist; all others do.
    """

    answer: Answer | None = None
    missing: set[str] = field(default_factory=set)
    calls: list[ScriptedCall] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        """Takes the command string out of `sh -c` and answers it."""
        call = ScriptedCall(tuple(shlex.split(argv[-1])), stdin)
        self.calls.append(call)
        answer = self.answer(call) if self.answer is not None else None
        return answer or Completed(0, b"", b"")

    def exists(self, path: str) -> bool:
        """Whether a driver is there."""
        return path not in self.missing

    def write(self, path: str, content: str) -> None:
        """Keeps the text."""
        self.files[path] = content
