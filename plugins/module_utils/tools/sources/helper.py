# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that the helper of another driver reads: ``<scheme>_downloader.*`` (contract-ds 6.2).

A helper is given the URL as its only argument. It makes ready what is to be read and prints two shell assignments:
``command``, which writes the image to its stdout, and ``clean_command``, which clears up. Both are the helper's own
text and shell by their definition, so ``/bin/sh`` reads and runs them: the one place in the core where a shell does.
Nothing of the URL is put into that text by us, and a URL with characters that mean something to a shell is refused,
because a helper may well put it there.
"""

from __future__ import annotations

import os
import string

from ..._errors import BadCall, Missing, Refused, StorageError, ToolFailed
from .base import Options, Source
from .names import shown
from .stdout import CommandSource, Guard, output, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stdout import Failure

#: Schemes of drivers that are not ours: their absence has a name.
KNOWN = ("lxd", "netapp", "onebex", "purefa", "restic", "rsync")
#: Schemes whose helper writes the image itself.
_WRITES = ("lxd",)
_PLAIN = frozenset(string.ascii_letters + string.digits + "._~:/?@,=%+-")
#: Seconds to clear up.
_CLEAN = 300
_ASSIGN = """unset command clean_command; eval "$1" >/dev/null; printf '%s\\0%s\\0' "$command" "$clean_command" """


def find(scheme: str, folder: str) -> str:
    """The helper for a scheme, of whose parts the first counts (``restic+rbd``); empty when there is none."""
    stem = scheme.partition("+")[0] + "_downloader."
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith(stem)) if folder else []
    except OSError:
        names = []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def helper_source(scheme: str, url: str, options: Options) -> Source:
    """The source that a helper offers.

    :raises Missing: for the scheme of a driver that is not installed.
    :raises Refused: for a scheme that nobody knows.
    """
    if scheme == "onebex":
        raise Refused("Images cannot be imported from 'onebex://'", todo="use its own downloader")
    path = find(scheme, options.helpers)
    if not path and scheme.partition("+")[0] in KNOWN:
        wanted = os.path.join(options.helpers or "remotes/datastore", scheme.partition("+")[0] + "_downloader.*")
        raise Missing(
            f"Images cannot be imported from '{scheme}://': there is no {wanted}",
            todo="install the driver that it belongs to",
        )
    if not path:
        raise Refused(
            f"Images cannot be imported from '{scheme}://'",
            todo="use a path, http://, https://, ssh://, s3:// or rbd://",
        )
    writes = scheme in _WRITES
    strange = set(url) - _PLAIN - ({"&"} if writes else set())
    if strange:
        raise BadCall(f"'{shown(url)}' has characters that must not reach {os.path.basename(path)}")
    if not writes:
        return HelperSource(path, url, options)
    name = shown(url)
    return CommandSource([path, url], name, options, _failure(name), first=options.command)


class HelperSource(Source):
    """What a helper's command writes. Its clean-up follows in any case, even when this process is killed."""

    def __init__(self, path: str, url: str, options: Options) -> None:
        super().__init__(shown(url), options)
        self._guard: Guard | None = None
        self._data: CommandSource | None = None
        try:
            command = self._prepare(path, url)
            self._data = CommandSource(
                ["/bin/sh", "-c", command], self.name, options, _failure(self.name), first=options.command
            )
        except BaseException:
            self.close()
            raise
        # one clock: whoever touches ours means the one that waits
        self.clock = self._data.clock

    def _prepare(self, path: str, url: str) -> str:
        """Ask the helper; the command that writes the image."""
        doing = f"prepare {self.name}"
        told, said, code = output([path, url], self.options.command, doing)
        wanted = ("command=", "clean_command=")
        lines = "\n".join(line for line in told.splitlines() if line.startswith(wanted))
        values, broken, status = output(["/bin/sh", "-c", _ASSIGN, "sh", lines], self.options.stall, doing)
        command, _end, rest = values.partition("\0")
        clean = rest.partition("\0")[0]
        if clean:
            self._guard = Guard(clean)
        if code or status or not command:
            text = said if code else broken
            reason = reason_of(text, code) if code or status else "it names no command"
            raise ToolFailed(f"Cannot {doing}: {os.path.basename(path)}: {reason}", detail=text)
        return command

    def blocks(self) -> Iterator[bytes]:
        """What the command writes."""
        if self._data is None:
            raise StorageError(f"{self.name} is read before it was opened")
        return self._data.blocks()

    def close(self) -> None:
        """Kill the command and let the clean-up run."""
        if self._data:
            self._data.close()
            self._data = None
        if self._guard:
            trouble = self._guard.let_go(min(_CLEAN, self.options.command))
            self._guard = None
            if trouble:
                self.warning = f"The clean-up after {self.name} {trouble}"


def _failure(name: str) -> Failure:
    def failure(said: str, code: int, _begun: bool) -> StorageError:
        return ToolFailed(f"Cannot read {name}: {reason_of(said, code)}", detail=said)

    return failure
