# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other host of an action: one SSH session that does what :class:`.host.Host` does, and streams of data.

The peer needs Python and nothing of ours: :mod:`.host` and :mod:`.wire` travel along as source.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from _thread import start_new_thread

from .._errors import StorageError, Unreachable, one_line
from . import ssh
from .child import Child
from .codec import dumps
from .host import OPERATIONS, Host
from .session import Session
from .source import as_modules, source_of
from .wire import Gone, Wire, patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    # never imported here, but read as source by name, which Ansible's packer does not see
    from . import (  # noqa: F401
        exports,
        flow,
        kept_files,
        landing,
        pace,
        peer_main,
        relay,
        restic_words,
        retrieval,
        scratch,
        stream,
    )

#: Sources of a peer that answers calls, each after those it imports.
_CALLS = ("codec", "wire", "command", "files", "copying", "hidden", "locks", "sweeping", "host", "digest")
#: And what it needs beside them to send and take files.
_STREAMS = ("pace", "flow", "stream", "landing")
#: And of one that reads a file of a backup.
_RETRIEVAL = ("relay", "restic_words", "kept_files", "scratch", "exports", "retrieval")
#: Up to so many bytes travel with the calls; a context image does.
_SMALL = 2 << 20

# Reads one frame of sources, makes modules of them, calls an entry of the last one.
_BOOT = f"""
import json, os, sys
def take(n):
    b = b""
    while len(b) < n:
        c = os.read(0, n - len(b))
        if not c: sys.exit(2)
        b += c
    return b
f = json.loads(take(int.from_bytes(take(4), "big")))
{as_modules('f["sources"]')}
getattr(m, f["entry"])(*f["arguments"])
"""


class Settings:
    """How hosts are reached.

    :param connect: seconds to wait for a session.
    :param stall: seconds without progress after which a stream of data fails.
    :param shared: whether the session of calls may go over a shared connection; streams of data never do.
    """

    def __init__(
        self,
        python: str = "/usr/bin/python3",
        ciphers: str = "",
        connect: float = 30,
        stall: float = 60,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self.python = python
        self.ciphers = ciphers
        self.connect = connect
        self.stall = stall

    def silence(self) -> float:
        """Seconds without a word after which the peer counts as gone: a site that is impatient gets its answer soon."""
        return patience(self.stall)


def _open(
    host: str,
    settings: Settings,
    names: list[str],
    entry: str,
    arguments: list[Any],
    shared: bool = False,
    lend: str = "",
) -> _Session:
    """A session whose program runs; a refusal that goes away by itself is tried again until the deadline."""
    until = time.monotonic() + settings.connect
    pause = 0.1
    while True:
        session = _login(host, settings, shared, lend)
        session.first = _program(names, entry, arguments)
        try:
            session.greet()
            session.ready(until)
            return session
        except TimeoutError:
            session.kill()
            session.end()
            raise Unreachable(f"{host} does not answer within {settings.connect:g} seconds") from None
        except StorageError as error:
            if not ssh.may_pass(error.detail) or time.monotonic() + pause > until:
                raise
        # many actions start at once and sshd refuses some logins: jitter keeps them apart
        time.sleep(pause * (0.5 + os.getrandom(1)[0] / 256))
        pause = min(pause * 2, 2)


def _login(host: str, settings: Settings, shared: bool = False, lend: str = "") -> _Session:
    """A session that is being made: its Python will wait for a program."""
    if not host:
        return _Here([sys.executable or settings.python, "-I", "-c", _BOOT])
    return _Session(
        host,
        [settings.python, "-I", "-c", _BOOT],
        shared=shared,
        ciphers=settings.ciphers,
        connect=max(1, int(settings.connect)),
        lend=lend,
    )


def _program(names: list[str], entry: str, arguments: list[Any]) -> bytes:
    """What a session's Python is to run, as one frame."""
    sources = [[name, source_of(name)] for name in names]
    body = dumps({"sources": sources, "entry": entry, "arguments": arguments})
    return len(body).to_bytes(4, "big") + body


class _Session(Session):
    """A session whose command is Python, and gets its program from us."""

    #: the program, as one frame
    first = b""

    def greet(self) -> None:
        """Send the program."""
        data = memoryview(self.first)
        try:
            while data:
                data = data[os.write(self.stdin, data) :]
        except OSError:
            raise self.failed() from None

    def ready(self, until: float) -> None:
        """Wait for the program's first frame, and read nothing after it; ``TimeoutError`` when it does not come."""
        import select

        data, size = b"", 4
        while len(data) < size:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.stdout], [], [], left)[0]:
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
            more = os.read(self.stdout, size - len(data))
            if not more:
                raise self.failed()
            data += more
            if len(data) == 4:
                size += int.from_bytes(data, "big")
                if size > 1 << 16:
                    self.kill()
                    self.end()
                    raise Unreachable(
                        f"The login shell of {self.host} writes text of its own ('{one_line(repr(data)[2:-1])}...')",
                        todo="nothing may be printed at logins without a terminal, look at .bashrc there",
                    )

    def failed(self) -> StorageError:
        """Why the session ended."""
        rc = self.end()
        return ssh.failure(self.host, self.said(), rc)


class _Here(_Session):
    """The same on this machine, without SSH."""

    def __init__(self, argv: Sequence[str]) -> None:
        # all but the ssh of a session
        Child.__init__(self, argv)  # pylint: disable=non-parent-init-called,super-init-not-called
        self.host = os.uname().nodename
        self._seat = None


class Peer:
    """Carries each call of :class:`.host.Host` to the other host, and streams of files to it and from it.

    :param streams: files will be streamed: the session has a connection of its own from the beginning, as data would be
        in everybody's way on a shared one. A session without finds out later and opens another for each stream.
    :param lends: tools of the action will go to the same host, and may use the connection.
    :ivar lent: the socket by which they do; empty when they have to log in.
    """

    def __init__(self, name: str, settings: Settings, streams: bool = False, lends: bool = False) -> None:
        self.name = name
        self.settings = settings
        self.lent = ""
        if lends:
            from .lent import socket_path

            self.lent = socket_path()
        self._alone = streams or lends or not settings.shared
        sources = [*_CALLS, *(_STREAMS if self._alone else ()), "peer_main"]
        self._session = _open(name, settings, sources, "serve", [name, settings.silence()], not self._alone, self.lent)
        self._wire = Wire(self._session.stdout, self._session.stdin)
        self._wire.silence = settings.silence()
        self._beat()

    def _beat(self) -> None:
        def beat() -> None:
            while True:
                time.sleep(self._wire.pause())
                try:
                    self._wire.beat()
                except (Gone, OSError):
                    return

        start_new_thread(beat, ())

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in OPERATIONS:
            raise AttributeError(operation)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._call(operation, arguments, named)

        return call

    def _call(self, operation: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        try:
            self._wire.send({"do": operation, "with": arguments, "named": named})
            # the peer beats while it works, so only silence ends this wait; the work has deadlines of its own
            answer = self._wire.receive()
        except Gone as error:
            # whoever asks again, to take things back, must not wait once more
            self._session.kill()
            raise Unreachable(
                f"The connection to {self.name} broke: {error}", detail=self._session.said(), todo="run it again"
            ) from None
        if "error" in answer:
            number, text, path = answer["error"]
            raise OSError(number, text, path)
        return answer.get("value")

    def close(self) -> None:
        """End the session; the peer's locks go with it."""
        self._wire.leave()
        self._session.end()

    # ---------------------------------------------------------------- data

    def push(self, entries: list[list[str]], folder: str, rate: int = 0, watch: Any = None) -> dict[str, Any]:
        """Stream local (path, name) pairs into a folder of the peer, which may have some of them from an earlier try.

        :param rate: most bytes per second; 0 for no limit.
        :param watch: told of every byte (:class:`.flow.Unwatched`).
        :returns: what :func:`.landing.receive` does; nothing for files so small that they travel with the calls.
        """
        small = _small(entries)
        if small is not None:
            self.make_directory(folder)
            for name, content in small:
                self._call("place", (os.path.join(folder, name), *content, folder), {})
            return {}
        from . import stream

        def move(peer: Peer) -> dict[str, Any]:
            # beats would stand in the middle of the data
            peer._wire.hush()
            try:
                peer._wire.send({"do": "receive", "with": [folder, self.settings.stall], "data": True})
                return stream.send(entries, peer._session.stdin, peer._hear, self.settings.stall, rate, watch)
            finally:
                peer._wire.hush(False)

        return self._moved(move)

    def pull(self, entries: list[list[str]], folder: str, rate: int = 0, watch: Any = None) -> dict[str, Any]:
        """Stream (path, name) pairs of the peer into a local folder; see :meth:`push`."""
        from . import landing

        def move(peer: Peer) -> dict[str, Any]:
            peer._wire.send({"do": "send", "with": [entries, self.settings.stall, rate]})
            # what came before this were beats; what comes after it is data, and only when we say so
            peer._hear(True)
            return landing.receive(folder, peer._session.stdout, peer._wire.send, self.settings.stall, watch)

        return self._moved(move)

    def _hear(self, wait: bool) -> dict[str, Any] | None:
        return self._wire.receive() if wait else self._wire.poll()

    def _moved(self, move: Callable[[Peer], dict[str, Any]]) -> dict[str, Any]:
        """Move data over a connection that nobody shares; when it broke, no call can go over it any more."""
        from .flow import Broken

        peer = self if self._alone else Peer(self.name, self.settings, True)
        try:
            return move(peer)
        except (Gone, ConnectionError) as error:
            peer._session.kill()
            detail = peer._session.said()
            raise Unreachable(
                f"The stream of data to or from {self.name} broke: {error}", detail=detail, todo="run it again"
            ) from None
        except (TimeoutError, Broken):
            peer._session.kill()
            raise
        finally:
            if peer is not self:
                peer.close()


def _small(entries: list[list[str]]) -> list[tuple[str, tuple[str, str]]] | None:
    """Name, base64 text and digest of files so small that a connection of their own would cost more than they do."""
    import base64
    import hashlib
    import stat

    found = []
    total = 0
    for path, name in entries:
        info = os.lstat(path)
        total += info.st_size
        if not stat.S_ISREG(info.st_mode) or total > _SMALL:
            return None
        with open(path, "rb") as file:
            data = file.read(_SMALL)
        found.append((name, (base64.b64encode(data).decode(), hashlib.sha256(data).hexdigest())))
    return found


def open_relay(name: str, settings: Settings, folder: str) -> Session:
    """A session that waits for sources on its stdin (:mod:`.relay`).

    :param name: the host; empty for this machine.
    """
    return _open(name and ssh.check_login(name), settings, [*_CALLS, "relay"], "serve", [folder])


def open_operations(name: str, settings: Settings, folders: list[str], every: float) -> Session:
    """A session that tells what runs in datastores, again and again (:func:`.operations.serve`).

    :param name: the host; empty for this machine.
    """
    return _open(name and ssh.check_login(name), settings, [*_CALLS, "operations"], "serve", [folders, every])


def open_retrieval(name: str, settings: Settings, order: dict[str, Any]) -> Session:
    """A session that writes a file of a backup to its stdout (:mod:`.retrieval`).

    :param name: the host that has the repository; empty for this one.
    """
    return _open(name, settings, [*_CALLS, *_RETRIEVAL], "serve", [order])


def connect(name: str, settings: Settings, streams: bool = False, lends: bool = False) -> Host:
    """Open the session to the peer; *streams* and *lends* as in :class:`Peer`."""
    peer = Peer(ssh.check_login(name), settings, streams, lends)
    return peer  # type: ignore[return-value]
