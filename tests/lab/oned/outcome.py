# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of an event."""

from __future__ import annotations

from dataclasses import dataclass, field

from .runner import Call


class EventFailedError(RuntimeError):
    """An event ended in a failure; the text is the reason oned would show."""


@dataclass
class Outcome:
    """The calls of one event, in order. `object_id` is what was made, if anything."""

    event: str
    calls: list[Call] = field(default_factory=list)
    ok: bool = True
    reason: str = ""
    object_id: int = -1

    def check(self) -> Outcome:
        """Raises EventFailedError unless all went well."""
        if not self.ok:
            raise EventFailedError(f"{self.event}: {self.reason}")
        return self

    @property
    def milliseconds(self) -> float:
        """Time spent in drivers."""
        return sum(call.milliseconds for call in self.calls)

    def add(self, *calls: Call) -> bool:
        """Takes calls in; False as soon as one of all failed, whose reason then is the outcome's."""
        self.calls.extend(calls)
        for call in calls:
            if not call.ok and self.ok:
                self.ok, self.reason = False, call.reason
        return self.ok

    def fail(self, reason: str) -> Outcome:
        """A failure that no driver reported."""
        self.ok, self.reason = False, reason
        return self
