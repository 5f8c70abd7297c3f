# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a backup that is cancelled: the processes that copy it are found by what they copy, and ended."""

from __future__ import annotations

import os

from .._errors import StorageError
from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class EndCopying(Step):
    """End the processes of a tool that copy a backup directory: asked first, so that they take their locks off."""

    kind: ClassVar[str] = "end-copying"

    def __init__(self, where: str, tool: str, folder: str, patience: float) -> None:
        super().__init__(where)
        self.tool = tool
        self.folder = folder
        self.patience = patience

    def words(self) -> str:
        return f"end {self.tool}, which copies {self.folder}"

    def done(self, site: Site) -> bool:
        return not copying(self.tool, self.folder)

    def do(self, site: Site) -> None:
        import signal
        import time

        until = time.monotonic() + self.patience
        for pid in copying(self.tool, self.folder):
            _signal(pid, signal.SIGTERM)
        while copying(self.tool, self.folder):
            if time.monotonic() > until:
                raise StorageError(
                    f"Unable to stop leftover {self.tool} processes within {self.patience:g} seconds", site.lead.name
                )
            time.sleep(0.1)


def copying(tool: str, folder: str) -> list[int]:
    """Processes of this user that are the tool and have a path in the folder, or the folder itself, as an argument."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if not name.isdigit() or os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read(1 << 20).decode("utf-8", "replace").split("\0")
        except OSError:
            # it has ended
            continue
        if os.path.basename(words[0]) == tool and any((word + "/").startswith(folder + "/") for word in words[1:]):
            found.append(int(name))
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
