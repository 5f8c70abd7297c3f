# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of sources: paths and URLs, what they mean on this machine, and how people are told of them."""

from __future__ import annotations

from ..._errors import BadCall, one_line


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
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if "@" not in authority and not authority.rpartition(":")[2].isdigit() and ":" in authority:
        # malformed, perhaps by a character of a password
        rest = rest.rpartition("@")[2]
    rest, question, _query = rest.partition("?")
    rest = rest.partition("#")[0]
    host, slash, path = rest.partition("/")
    # the last @ of the authority ends the user's part, whatever is in a password
    host = host.rpartition("@")[2]
    return one_line(f"{scheme}://{host}{slash}{path}{'?...' if question else ''}", 200)
