# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all sources of images have in common: how they are read, named, paced and given up."""

from __future__ import annotations

from ..command import going_on
from ..pace import Pace
from .pace import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Most bytes of a block.
CHUNK = 1 << 20


class Options:
    """How a source is read.

    :ivar stall: seconds without progress after which it fails.
    :ivar rate: most bytes per second over the whole transfer, whatever the scheme; 0 for no limit.
    :ivar verify: check TLS certificates.
    :ivar secrets: credentials by name (s3: ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION, AWS, ENDPOINT). They stay out of
        sentences, journals and command lines.
    :ivar helpers: folder of stock's datastore scripts, ``<remotes>/datastore``, in which helper downloaders lie.
    :ivar retry: try again when a server or a connection fails for now.
    :ivar until: time of ``time.monotonic()`` at which every wait ends, progress or not.
    :ivar command: seconds a helper has to prepare what it gives, and to clear up after it.
    :ivar repository: where the backups are that a pseudo-URL names: ``kind``, ``path`` (BASE_PATH), ``host``, ``user``
        and what else :func:`..repositories.place_of` gives; its secrets are among the others.
    :ivar resolved: a local path has been followed to its end, and what lies there was found to be allowed; a link that
        stands on the way by now is refused (contract-ds 5.3).
    """

    def __init__(
        self,
        stall: float = 60,
        rate: int = 0,
        verify: bool = True,
        secrets: dict[str, str] | None = None,
        helpers: str = "",
        retry: bool = True,
        command: float = 3600,
        until: float = float("inf"),
        resolved: bool = False,
        repository: dict[str, Any] | None = None,
    ) -> None:
        self.repository = dict(repository or {})
        self.stall = stall
        self.rate = rate
        self.verify = verify
        self.secrets = dict(secrets or {})
        self.helpers = helpers
        self.retry = retry
        self.command = command
        self.until = until
        self.resolved = resolved


class Source:
    """Something that is read once, from its beginning to its end.

    :ivar name: what to call it in sentences; without credentials.
    :ivar length: the bytes that are announced, None when nobody knows.
    :ivar path: opens the same file again, when it is a regular file of this machine, else empty. Until :meth:`close`.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.length: int | None = None
        self.path = ""
        #: What went wrong without harm to the data, for the log; known after :meth:`close`.
        self.warning = ""
        self.options = options
        self.clock = Clock(options.stall, options.until)
        self.pace = Pace(options.rate)
        #: Bytes of a block: small ones under a limit, so that data flows evenly instead of in bursts.
        self.block = self.pace.block(CHUNK)

    def chunks(self) -> Iterator[bytes]:
        """Blocks of at most 1 MiB, never empty; the end comes only when all that was announced has come.

        :raises StorageError: when the source fails, stalls, or changes while it is read.
        :raises InterruptedError: when the caller went away.
        """
        self.clock.touch()
        for data in self.blocks():
            self.pace.take(len(data))
            going_on()
            yield data
            # what the taker did with it was not the source's time
            self.clock.touch()

    def blocks(self) -> Iterator[bytes]:
        """What :meth:`chunks` paces: each kind of source has its own."""
        raise TypeError(f"{type(self).__name__} gives nothing")

    def close(self) -> None:
        """End what is still going on, at once: commands, connections, what a helper left."""
        raise TypeError(f"{type(self).__name__} cannot be closed")
