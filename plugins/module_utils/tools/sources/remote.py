# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on other hosts: ``ssh://[user@]host:path`` and ``rbd://[user@]host/pool/image`` (contract-ds 6.2)."""

from __future__ import annotations

from ..._errors import BadCall, Missing, NoAccess, StorageError, ToolFailed, Unreachable, one_line
from .. import ssh
from .base import Options
from .names import shown
from .stdout import CommandSource, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def ssh_source(url: str, options: Options) -> CommandSource:
    """A file or a device of another host. The URL is the pseudo one of exports: its path is taken as it stands."""
    rest = url.partition("://")[2]
    if rest.partition("@")[2].startswith("[") or rest.startswith("["):
        where, mark, path = rest.partition("]:")
        where = where.replace("[", "", 1)
    else:
        where, mark, path = rest.partition(":")
    user, at, host = where.rpartition("@")
    if not mark or not path or "\0" in path or (at and not user):
        raise BadCall(f"'{one_line(url, 120)}' is not a source", todo="write ssh://[user@]host:path")
    return _session(host, user, ["cat", "--", path], one_line(f"ssh://{host}:{path}", 200), options)


def rbd_source(url: str, options: Options) -> CommandSource:
    """An image of a Ceph cluster, exported on a host that reaches it; its parameters say as whom and by which files."""
    import urllib.parse

    try:
        parts = urllib.parse.urlsplit(url)
        given = dict(urllib.parse.parse_qsl(parts.query))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or port is not None:
        raise BadCall(f"'{shown(url)}' is not a source", todo="write rbd://[user@]host/pool/image")
    image = parts.path[1:]
    words = ["rbd"]
    for name, option in (("CEPH_USER", "--id"), ("CEPH_KEY", "--keyfile"), ("CEPH_CONF", "--conf")):
        if given.get(name):
            words += [option, given[name]]
    if "/" not in image or any(word.startswith("-") or "\0" in word for word in (image, *words[2::2])):
        raise BadCall(f"'{shown(url)}' is not a source", todo="write rbd://[user@]host/pool/image")
    return _session(host, parts.username or "", [*words, "export", "--no-progress", image, "-"], shown(url), options)


def _session(host: str, user: str, argv: Sequence[str], name: str, options: Options) -> CommandSource:
    """What a command writes on another host."""

    def failure(said: str, code: int, begun: bool) -> StorageError:
        reason = reason_of(said, code)
        if begun and code == 255:
            return Unreachable(f"The transfer of {name} broke: {reason}", detail=said)
        if code == 255:
            return ssh.failure(host, said, code)
        kind: type[StorageError] = ToolFailed
        if "No such file" in said:
            kind = Missing
        elif "Permission denied" in said:
            kind = NoAccess
        return kind(f"Cannot read {name}: {reason}", detail=said)

    # the master of a shared connection would carry the data of all
    line = ssh.command(host, argv, user=user, connect=max(1, min(10, int(options.stall))))
    return CommandSource(line, name, options, failure, ssh.may_pass)
