# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH command lines: the one place that quotes a remote command and decides about connections and agents."""

from __future__ import annotations

import os

from .._errors import BadCall, StorageError, Unreachable, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_^-")
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:%")

#: What is said before anything can have been run.
_TURNED_AWAY = ("Session open refused by peer", "kex_exchange_identification", "banner exchange")

#: What sshd, or a full connection, says when it would let us in a little later (ARCHITECTURE.md, Launchers).
_LATER = (
    *_TURNED_AWAY,
    "Connection reset by peer",
    "Connection closed by remote host",
    "mux_client",
    "ControlSocket",
    "Broken pipe",
)


def check_host(host: str) -> str:
    """Return a host name that can stand on a command line; ``BadCall`` when it cannot."""
    if not host or host[0] in "-.:%" or not _HOST_CHARACTERS.issuperset(host) or len(host) > 255:
        raise BadCall(f"'{one_line(host, 80)}' is not the name of a host")
    return host


def check_login(login: str) -> str:
    """Return a host's name, or ``user@host`` (a backup server), that ssh can be given; ``BadCall`` when it cannot."""
    user, mark, host = login.rpartition("@")
    if mark:
        check_user(user)
    check_host(host)
    return login


def check_user(user: str) -> str:
    """Return a user's name that can stand in an option of ssh; ``BadCall`` when it cannot."""
    if not user or user[0] in "-.:%" or not _HOST_CHARACTERS.issuperset(user) or "%" in user or len(user) > 64:
        raise BadCall(f"'{one_line(user, 80)}' is not the name of a user")
    return user


def quote(argv: Sequence[str]) -> str:
    """The one string that sshd hands to the login shell, every word quoted (rule 4).

    What ``shlex.quote`` does, for every word and without loading ``re``: this stands before the first byte of every
    action on a node.
    """
    return " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in argv)


def command(
    host: str,
    argv: Sequence[str],
    *,
    connection: int | None = None,
    agent: bool = False,
    ciphers: str = "",
    connect: int = 10,
    user: str = "",
    lend: str = "",
) -> list[str]:
    """The argument list that runs *argv* on *host*.

    :param connection: number of the multiplexed connection to use (:class:`.seat.Seat`); ``None`` for one of its own,
        as data streams and forwarded agents have, because the master decides about forwarding for all its sessions.
    :param agent: forward the agent, so that *host* may log in to the peer.
    :param ciphers: preferred ciphers, put before OpenSSH's own list; ``none`` leaves them to its configuration.
    :param connect: seconds to wait for a connection.
    :param user: whom to log in as; empty leaves it to the configuration.
    :param lend: socket by which others may use its own connection as long as the command runs (:mod:`.lent`).
    """
    line = options(connection=connection, agent=agent, ciphers=ciphers, connect=connect, user=user, lend=lend)
    return [*line, "--", check_login(host), quote(argv)]


def options(
    *,
    connection: int | None = None,
    agent: bool = False,
    ciphers: str = "",
    connect: int = 10,
    user: str = "",
    lend: str = "",
    lent: str = "",
) -> list[str]:
    """How ssh is called, up to the host; for tools that add it, and what it runs, themselves.

    The parameters are those of :func:`command`.

    :param lent: socket of a connection that a session lends; without an answer there ssh logs in by itself.
    """
    given = [
        "BatchMode=yes",
        f"ConnectTimeout={connect}",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        f"ForwardAgent={'yes' if agent else 'no'}",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
    ]
    if connection is not None:
        path = os.path.join(os.path.expanduser("~"), ".ssh", f"one_storage-%C-{connection}")
        given += ["ControlMaster=auto", f"ControlPath={path}", "ControlPersist=60"]
    elif lend:
        # it lasts as long as the session
        given += ["ControlMaster=yes", f"ControlPath={lend}", "ControlPersist=no"]
    else:
        given += ["ControlMaster=no", f"ControlPath={lent or 'none'}"]
    if ciphers and ciphers != "none":
        given.append(f"Ciphers=^{ciphers}")
    if user:
        given.append(f"User={check_user(user)}")
    line = [os.environ.get("ONE_STORAGE_SSH", "ssh"), "-T", "-e", "none"]
    for option in given:
        line += ["-o", option]
    return line


def shell(argv: Sequence[str]) -> str:
    """Words for a tool that takes a command in one string and parts it at blanks, as rsync and restic do."""
    return " ".join(word if _PLAIN.issuperset(word) and word else f'"{word}"' for word in argv)


def may_pass(stderr: str) -> bool:
    """Whether a refusal is one that goes away by itself: too many sessions or logins at once."""
    return any(text in stderr for text in _LATER)


def turned_away(stderr: str) -> bool:
    """Whether sshd refused for now, before it ran anything; for a connection that somebody else makes."""
    return any(text in stderr for text in _TURNED_AWAY)


def failure(host: str, stderr: str, rc: int) -> StorageError:
    """The sentence for an SSH session that ended before it began."""
    reason = one_line(stderr.strip().splitlines()[-1] if stderr.strip() else f"ssh ended with code {rc}", 200)
    todo = ""
    if 0 <= rc < 255:
        # ssh's own failures are 255: this code comes from the other side
        if not stderr.strip():
            todo = "a login there must print nothing of its own"
        return Unreachable(f"Python does not start on {host} as it should: {reason}", todo=todo, detail=stderr)
    if "Permission denied" in stderr:
        todo = "let oneadmin log in there by key; between nodes the front-end's agent is used, is it running"
    elif "Host key verification failed" in stderr:
        todo = "add the host's key to oneadmin's known_hosts"
    return Unreachable(f"Cannot log in to {host}: {reason}", todo=todo, detail=stderr)
