# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether anybody still reads our stdout."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def watch(gone: Callable[[], None]) -> None:
    """Call *gone*, in a thread, when nobody reads our stdout any more: an answer could not be given.

    Nothing else tells it: sshd says nothing to a command without a terminal when its client goes, oned nothing to a
    wrapper when it ends.
    """
    # the package above it costs more than a short action
    import _thread
    import select

    def wait() -> None:
        poll = select.poll()
        # no event is asked for: the end of the reader is always told
        poll.register(1, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _handle, event in poll.poll()):
            gone()

    _thread.start_new_thread(wait, ())
