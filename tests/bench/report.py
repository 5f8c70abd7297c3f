# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what was found: the table of rows, further listings, a verdict; and all of it as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.rows import Findings, Listing, Row, summary

#: Distance of the quartiles of a floor, as a part of its median, from which on a machine is called busy.
NOISE = 0.25


class Report:
    """Collects findings and shows them."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=140)
        self.found: dict[str, Findings] = {}

    def say(self, text: str, style: str = "") -> None:
        """A line of its own."""
        self.console.print(Text(text, style=style))

    def add(self, name: str, findings: Findings) -> None:
        """Take in, and show the listings of, what one benchmark found."""
        self.found[name] = findings
        for listing in findings.listings:
            self.console.print()
            self.console.print(_listing(listing))

    def noise(self) -> list[str]:
        """The floors that vary so much that no figure of this run should be trusted."""
        told = []
        for name, findings in self.found.items():
            values = findings.samples.get("floor", [])
            if len(values) > 2:
                spread = summary(values)
                if spread["three_quarters"] - spread["quarter"] > NOISE * spread["median"]:
                    told.append(f"{name} {spread['quarter']:.0f} to {spread['three_quarters']:.0f} ms")
        return told

    def missed(self) -> list[Row]:
        """The rows that miss their target."""
        return [row for findings in self.found.values() for row in findings.rows if row.ok is False]

    def show(self) -> None:
        """The table of all rows, and the verdict."""
        table = Table(title="What an action costs (medians)", title_justify="left", title_style="bold")
        table.add_column("what")
        for name in ("floor ms", "ours", "ratio", "target"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("ok")
        table.add_column("note", style="dim")
        for findings in self.found.values():
            for row in findings.rows:
                table.add_row(*_cells(row))
            table.add_section()
        self.console.print()
        self.console.print(table)
        noise = self.noise()
        if noise:
            self.say(
                f"The machine is busy, this run says little; half of the floors lie in {'; '.join(noise)}.", "yellow"
            )
        missed = self.missed()
        if missed:
            self.say(f"Missed: {'; '.join(row.what for row in missed)}.", "bold red")
        else:
            self.say("Every target is met.", "bold green")

    def write(self, path: Path, options: Mapping[str, object]) -> None:
        """All figures as JSON."""
        content = {
            "machine": {"cores": cores(), "python": platform.python_version(), "kernel": platform.release()},
            "options": dict(options),
            "benchmarks": {
                name: {
                    "rows": [row.record() for row in findings.rows],
                    "listings": [vars(listing) for listing in findings.listings],
                    "samples": {
                        what: {**summary(values), "values": values} for what, values in findings.samples.items()
                    },
                }
                for name, findings in self.found.items()
            },
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _cells(row: Row) -> list[str | Text]:
    what = row.target
    if what is None:
        target = ""
    elif row.ratio is None:
        target = f"≤ {what:g} {row.unit}"
    else:
        target = f"≤ {what:.2f}".removesuffix("0").removesuffix(".0")
    verdict = {True: Text("ok", style="green"), False: Text("MISSED", style="bold red"), None: Text("")}[row.ok]
    return [
        row.what,
        "" if row.floor is None else f"{row.floor:.1f}",
        f"{row.ours:.1f} {row.unit}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        target,
        verdict,
        row.note,
    ]


def _listing(listing: Listing) -> Table:
    table = Table(title=listing.title, title_justify="left", title_style="bold")
    for number, name in enumerate(listing.columns):
        table.add_column(name, justify="left" if number == 0 else "right", min_width=24 if number == 0 else None)
    for line in listing.lines:
        table.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else cell for cell in line))
    return table
