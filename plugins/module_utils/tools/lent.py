# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of a session lent to the tools of the same action: rsync and restic need no login of their own.

The socket lies with the keys and configuration of ssh, in a directory that is the user's alone. ssh removes it when the
session ends; that of one that was killed is removed by the next.
"""

from __future__ import annotations

import os

#: A socket's name may have 108 bytes (unix(7)), and ssh first makes it with 17 more.
_LONGEST = 90


def socket_path() -> str:
    """Where this process's session may lend its connection; empty when there is no place for it."""
    home = os.path.join(os.path.expanduser("~"), ".ssh")
    # homes may be shared by hosts, and only on this one can it be told who lives
    start = f"one_storage-{os.uname().nodename}-"
    path = os.path.join(home, f"{start}{os.getpid()}")
    if len(os.fsencode(path)) > _LONGEST:
        return ""
    try:
        for name in os.listdir(home):
            number = name[len(start) :] if name.startswith(start) else ""
            # a path under /proc is one word; os.kill tells less of other users' processes
            if number.isdigit() and not os.path.exists(f"/proc/{number}"):
                os.unlink(os.path.join(home, name))
    except OSError:
        return ""
    return path
