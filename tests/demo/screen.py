# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demonstration shows: a line for every call, the checks after each event, a table and a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tests.lab.oned import Call
from tests.lab.story import Chapter

_TRACE = re.compile(r"launcher (.+), run (\w*)$")


class Screen:
    """Writes to a terminal, or plain lines where there is none."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=120)

    def say(self, text: str, style: str = "") -> None:
        """A line of its own."""
        self.console.print(Text(text, style=style))

    def title(self, text: str) -> None:
        """The beginning of a part."""
        self.console.print()
        self.console.rule(Text(text, style="bold"), align="left", characters="─")

    def call(self, call: Call) -> None:
        """One call, as soon as it ended: action, host, launcher, milliseconds, result."""
        line = Text("  ")
        line.append(f"{call.driver}/{call.action}".ljust(17), style="cyan")
        line.append(hosts(call).ljust(20))
        line.append(launcher(call).ljust(15), style="dim")
        line.append(f"{call.milliseconds:6.0f} ms  ")
        if call.ok:
            line.append("ok ", style="green")
            line.append(call.stdout.strip().replace("\n", " "), style="dim")
        else:
            line.append("FAILED ", style="bold red")
            line.append(call.reason)
        self.console.print(line, overflow="ellipsis", no_wrap=call.ok)

    def chapter(self, chapter: Chapter) -> None:
        """What was found after an event."""
        good = [check for check in chapter.checks if check.ok]
        if good:
            found = Text("✓ " + "; ".join(check.what for check in good), style="green")
            self.console.print(Padding(found, (0, 0, 0, 2)))
        for check in chapter.checks:
            if not check.ok:
                self.console.print(Text(f"  ✗ {check.what}: {check.detail}", style="bold red"))

    def summary(self, told: Sequence[tuple[str, Sequence[Chapter]]]) -> None:
        """The table at the end."""
        table = Table(title="A VM's whole life", title_justify="left", title_style="bold")
        table.add_column("drivers")
        table.add_column("event")
        for name in ("calls", "ms", "checks"):
            table.add_column(name, justify="right")
        table.add_column("result")
        for drivers, chapters in told:
            for number, chapter in enumerate(chapters):
                table.add_row(
                    drivers if number == 0 else "",
                    chapter.title,
                    str(len(chapter.calls)),
                    f"{sum(call.milliseconds for call in chapter.calls):.0f}",
                    str(len(chapter.checks)),
                    Text("ok", style="green") if chapter.ok else Text("FAILED", style="bold red"),
                )
            table.add_section()
        self.console.print()
        self.console.print(table)


def launcher(call: Call) -> str:
    """How the action reached its lead, as the wrapper's trace says."""
    for log in call.logs:
        found = _TRACE.search(log.text)
        if found:
            return found.group(1)
    return "nothing to do" if call.ok else ""


def hosts(call: Call) -> str:
    """The hosts of a call: ``host01 → host02``."""
    if not call.hosts:
        return "front-end"
    return " → ".join(dict.fromkeys(call.hosts))
