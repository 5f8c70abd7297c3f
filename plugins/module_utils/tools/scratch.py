# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private folder for temporary data, which goes with its owner: who finds one that nobody holds removes it.

Sent to the backup server with :mod:`.retrieval`; standard library and what is sent along only.
"""

from __future__ import annotations

import os

from .files import remove_tree

PREFIX = "one_storage-retrieval-"


class Scratch:
    """A folder below *top*, not yet made.

    :ivar path: of the folder; empty as long as there is none.
    """

    def __init__(self, top: str) -> None:
        self.top = top
        self.path = ""
        self._lock = -1

    def free(self) -> int:
        """Bytes that there is room for."""
        info = os.statvfs(self.top)
        return info.f_bavail * info.f_frsize

    def make(self) -> str:
        """Make the folder, for this user alone; its path."""
        import fcntl

        self.path = os.path.join(self.top, PREFIX + os.urandom(8).hex())
        os.mkdir(self.path, 0o700)
        # whoever can lock it knows that we are gone
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self.path

    def remove(self) -> None:
        """Remove the folder with what is in it."""
        if self.path:
            remove_tree(self.path)
            self.path = ""

    def sweep(self) -> None:
        """Remove the folders of those that were killed."""
        import fcntl

        for name in os.listdir(self.top):
            path = os.path.join(self.top, name)
            if not name.startswith(PREFIX):
                continue
            try:
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_tree(path)
            except OSError:
                # somebody works there
                pass
            finally:
                os.close(handle)
