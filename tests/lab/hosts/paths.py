# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths on a host, as this machine sees them below /proc/PID/root.

Symbolic links with absolute targets must be read as the host reads them; the kernel would take this machine's root.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath

_MOST_LINKS = 40


def below(root: Path, path: str | PurePosixPath, *, follow: bool) -> Path:
    """The place of the absolute host path `path` below `root`; the last name is followed when `follow` is set.

    Names that do not exist are kept. Raises ValueError for a relative path, OSError (ELOOP) for a loop of links.
    """
    wanted = PurePosixPath(path)
    if not wanted.is_absolute():
        raise ValueError(f"the path on a host must be absolute: {path}")
    todo = list(reversed(wanted.parts[1:]))
    done: list[str] = []
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            del done[-1:]
            continue
        here = root.joinpath(*done, name)
        if (todo or follow) and here.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = PurePosixPath(os.readlink(here))
            if target.is_absolute():
                done = []
            todo.extend(reversed([part for part in target.parts if part != "/"]))
        else:
            done.append(name)
    return root.joinpath(*done)
