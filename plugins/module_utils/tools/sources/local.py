# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and block devices of this machine as sources of images."""

from __future__ import annotations

import os
import stat

from ..._errors import BadCall, Corrupt, Refused, from_os, one_line
from .base import Options, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class LocalSource(Source):
    """A regular file, or a block device; nothing that could keep who opens it waiting, or has no end.

    :raises Refused: with :attr:`.Options.resolved`, when the path leads elsewhere now.
    """

    def __init__(self, path: str, options: Options) -> None:
        super().__init__(one_line(path, 200), options)
        try:
            # without waiting: it may be a pipe
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise from_os(error, f"read {self.name}") from None
        # names may change at any time: whoever reads it again gets what was opened here
        again = f"/proc/{os.getpid()}/fd/{self._handle}"
        try:
            if options.resolved and os.readlink(again) != path:
                raise Refused(f"The source {self.name} was replaced while it was looked at")
            self._before = os.fstat(self._handle)
            mode = self._before.st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
                kind = "a directory" if stat.S_ISDIR(mode) else "not a file"
                raise BadCall(f"The source {self.name} is {kind}")
            self.length = os.lseek(self._handle, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            raise from_os(error, f"read {self.name}") from None
        except BaseException:
            self.close()
            raise
        self.path = again if stat.S_ISREG(mode) else ""

    def blocks(self) -> Iterator[bytes]:
        """The file, and the certainty that nobody wrote to it meanwhile."""
        total, size = 0, self.length or 0
        while total < size:
            try:
                data = os.pread(self._handle, min(self.block, size - total), total)
            except OSError as error:
                raise from_os(error, f"read {self.name}") from None
            if not data:
                break
            total += len(data)
            yield data
        after = os.fstat(self._handle)
        before = self._before
        if total != size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Corrupt(
                f"{self.name} changed while it was read", todo="import it again when nobody writes to it any more"
            )

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
