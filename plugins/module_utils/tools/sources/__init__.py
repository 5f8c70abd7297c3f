# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images come from: a path or a URL, read as a stream of blocks (contract-ds 6).

:func:`open_source` chooses by scheme. All sources have the same few methods (:class:`Source`); the rate limit, the
question whether anybody still wants the data, and their deadlines are the same for all.
"""

from __future__ import annotations

from ..._errors import BadCall, Missing, Refused, one_line
from ..command import going_on
from .pace import Clock, Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Most bytes of a block.
CHUNK = 1 << 20

_UNITS = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
#: Most bytes per second that a limit can name: more is nonsense.
_MOST = 1 << 60


class Options:
    """How a source is read.

    :ivar stall: seconds without progress after which it fails.
    :ivar rate: most bytes per second over the whole transfer, whatever the scheme; 0 for no limit.
    :ivar verify: check TLS certificates.
    :ivar secrets: credentials by name (s3: ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION, AWS, ENDPOINT). They stay out of
        sentences, journals and command lines.
    :ivar helpers: folder of stock's datastore scripts, ``<remotes>/datastore``, in which helper downloaders lie.
    :ivar retry: try again when a server or a connection fails for now.
    :ivar command: seconds a helper has to prepare what it gives, and to clear up after it.
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
    ) -> None:
        self.stall = stall
        self.rate = rate
        self.verify = verify
        self.secrets = dict(secrets or {})
        self.helpers = helpers
        self.retry = retry
        self.command = command


class Source:
    """Something that is read once, from its beginning to its end.

    :ivar name: what to call it in sentences; without credentials.
    :ivar length: the bytes that are announced, None when nobody knows.
    :ivar path: its path when it is a regular file of this machine, else empty.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.length: int | None = None
        self.path = ""
        self.options = options
        self.clock = Clock(options.stall)
        self.pace = Pace(options.rate)
        #: Bytes of a block: small ones under a limit, so that data flows evenly instead of in bursts.
        self.block = min(CHUNK, max(4096, options.rate // 16)) if options.rate else CHUNK

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
        raise NotImplementedError

    def close(self) -> None:
        """End what is still going on, at once: commands, connections, what a helper left."""
        raise NotImplementedError


def open_source(url: str, options: Options) -> Source:
    """A source by its path or URL; it is there and answers when this returns.

    :raises BadCall: for what is neither an absolute path nor a URL, and for a URL that is malformed.
    :raises Refused: for a scheme that nobody here knows.
    """
    scheme = scheme_of(url)
    if scheme in ("", "file"):
        from .local import LocalSource

        return LocalSource(local_path(url), options)
    if scheme in ("http", "https"):
        from .http import HttpSource

        return HttpSource(url, options)
    raise Refused(f"Images cannot be imported from '{scheme}://'", todo="use a path, http:// or https://")


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case; empty for an absolute path."""
    scheme, mark, _rest = url.partition("://")
    if url.startswith("/") and "\0" not in url:
        return ""
    plain = scheme.replace("+", "").replace("-", "").replace(".", "")
    if not mark or not (plain.isascii() and plain.isalnum()) or len(scheme) > 32:
        raise BadCall(f"The source '{one_line(url, 120)}' is neither an absolute path nor a URL")
    return scheme.lower()


def local_path(url: str) -> str:
    """The path on this machine that a path or a file:// URL names; empty for other URLs."""
    if scheme_of(url) == "":
        return url
    if scheme_of(url) != "file":
        return ""
    from urllib.parse import unquote_to_bytes

    host, slash, rest = url.partition("://")[2].partition("/")
    if host.lower() not in ("", "localhost"):
        raise BadCall(f"The source '{one_line(url, 120)}' is a file of another host", todo="use file:///path")
    path = unquote_to_bytes(slash + rest)
    if not slash or b"\0" in path:
        raise BadCall(f"The source '{one_line(url, 120)}' names no file", todo="use file:///path")
    return path.decode("utf-8", "surrogateescape")


def shown(url: str) -> str:
    """A path or URL for people: without the user, the password and the query, which may hold keys."""
    scheme, mark, rest = url.partition("://")
    if not mark or url.startswith("/"):
        return one_line(url, 200)
    rest, question, _query = rest.partition("?")
    rest = rest.partition("#")[0]
    host, slash, path = rest.partition("/")
    # the last @ of the authority ends the user's part, whatever is in a password
    host = host.rpartition("@")[2]
    return one_line(f"{scheme}://{host}{slash}{path}{'?...' if question else ''}", 200)


def rate_of(text: str) -> int:
    """Bytes per second from curl's ``--limit-rate`` syntax: a number with K, M, G, T or P for powers of 1024.

    Nothing, and 0, mean no limit (LIMIT_TRANSFER_BW, contract-ds 7.2).
    """
    word = text.strip().upper()
    if not word:
        return 0
    number, unit = (word[:-1], word[-1]) if word[-1] in _UNITS else (word, "")
    whole, dot, part = number.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (part.isascii() and part.isdigit())):
        raise BadCall(f"'{one_line(text, 40)}' is not a transfer rate", todo="use a number of bytes with K, M or G")
    rate = int(float(number) * 1024 ** _UNITS[unit]) if dot else int(number[:20]) * 1024 ** _UNITS[unit]
    if rate > _MOST or len(number) > 20:
        raise BadCall(f"'{one_line(text, 40)}' is not a transfer rate", todo="use a number of bytes with K, M or G")
    # a tiny limit is still a limit
    return max(rate, 1) if float(number) else 0


def missing_helper(scheme: str, path: str) -> Missing:
    """The sentence for a scheme whose helper is not installed."""
    return Missing(
        f"Images cannot be imported from '{scheme}://': {path} is not there",
        todo="install the driver that brings this helper, or use another URL",
    )
