# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in which the API of the stand-in can misbehave, for tests of its clients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Faults:
    """All off by default; change the fields while the server runs. Times in seconds, sizes in bytes."""

    delay: float = 0.0
    """Wait so long before every answer."""
    status: int = 200
    """Answer with this HTTP status."""
    garbage: bytes | None = None
    """Answer with these bytes instead of XML-RPC."""
    wrong_auth: bool = False
    """Refuse every session, as oned does with a changed password."""
    huge: int = 0
    """Answer with a document of about this size."""
    hang_up: bool = False
    """Close the connection without an answer."""
    cut_off: bool = False
    """Announce the whole length, send half of it and close the connection."""
    failing_calls: int | None = None
    """Only so many calls are treated so; then all is well again. None: all calls."""

    def take(self) -> Faults:
        """The faults for one call: itself, or none once `failing_calls` is used up."""
        if self.failing_calls is None:
            return self
        if self.failing_calls <= 0:
            return _NONE
        self.failing_calls -= 1
        return self


_NONE = Faults()
