# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images come from: a path or a URL, read as a stream of blocks (contract-ds 6).

:func:`open_source` chooses by scheme. All sources have the same few methods (:class:`Source`); the rate limit, the
question whether anybody still wants the data, and their deadlines are the same for all.
"""

from __future__ import annotations

from ..._errors import BadCall, one_line
from .base import CHUNK, Options, Source
from .names import local_path, scheme_of, shown

__all__ = ["CHUNK", "Options", "Source", "local_path", "open_source", "rate_of", "scheme_of", "shown"]

_UNITS = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
#: Most bytes per second that a limit can name: more is nonsense.
_MOST = 1 << 60


def open_source(url: str, options: Options) -> Source:
    """A source by its path or URL; it is there and answers when this returns.

    :raises BadCall: for what is neither an absolute path nor a URL, and for a URL that is malformed.
    :raises Refused: for a scheme that neither we nor a helper know.
    """
    scheme = scheme_of(url)
    if scheme in ("", "file"):
        from .local import LocalSource

        return LocalSource(local_path(url), options)
    if scheme in ("http", "https"):
        from .http import HttpSource

        return HttpSource(url, options)
    if scheme == "s3":
        from .s3 import s3_source

        return s3_source(url, options)
    if scheme == "ssh":
        from .remote import ssh_source

        return ssh_source(url, options)
    if scheme == "rbd":
        from .remote import rbd_source

        return rbd_source(url, options)
    if scheme in ("rsync", "restic", "rsync+rbd", "restic+rbd") and options.repository:
        from .backup import BackupSource

        return BackupSource(scheme + url[len(scheme) :], options)
    from .helper import helper_source

    return helper_source(scheme, url, options)


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
