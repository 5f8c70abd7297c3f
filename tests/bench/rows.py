# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark found: rows that are compared with a target, samples, and notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

#: A sample: does one thing and returns the milliseconds it took.
Sample = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar floor: milliseconds of the bare thing; None when there is none.
    :ivar ours: milliseconds, or megabytes when :attr:`unit` says so.
    :ivar target: the greatest ratio to the floor; the greatest figure itself where there is no floor. None: for
        information.
    """

    what: str
    ours: float
    floor: float | None = None
    target: float | None = None
    unit: str = "ms"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the floor."""
        return self.ours / self.floor if self.floor else None

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.target

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "ratio": self.ratio, "ok": self.ok}


@dataclass(frozen=True)
class Listing:
    """A further table, for people: nothing in it is compared with a target."""

    title: str
    columns: tuple[str, ...]
    lines: list[tuple[str | float, ...]]


@dataclass
class Findings:
    """All that one benchmark found.

    :ivar samples: every single figure by name, in milliseconds.
    """

    rows: list[Row] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)


def interleaved(samples: Mapping[str, Sample], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Take all samples once, then again, so that whatever else the machine does hits all of them alike.

    :param warm_up: rounds before those that count: caches, compiled files and connections are there then.
    """
    found: dict[str, list[float]] = {name: [] for name in samples}
    for number in range(-warm_up, rounds):
        for name, sample in samples.items():
            spent = sample()
            if number >= 0:
                found[name].append(spent)
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Median, least and quartiles of figures."""
    low, _middle, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": median(values), "min": min(values), "quarter": low, "three_quarters": high, "count": len(values)}
