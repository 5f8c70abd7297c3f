# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our end of the talk with a cluster: calls with a deadline, locks, journals. One connection for a whole action."""

from __future__ import annotations

import errno
import os
import select
import time

from ..child import Child
from ..codec import dumps, loads
from ..command import going_on
from . import SCHEME, Access, pool_of, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The interpreter that has the bindings: they come with the distribution.
_PYTHON = "/usr/bin/python3"
#: What only looks: asked once more when the program at the other end dies under it.
_LOOKS = frozenset(
    "figures read entries names number look children trash label digest hashed used owner"
    " survey standing discarded".split()
)
#: What changes no volume.
_QUIET = _LOOKS | {"write_entry", "adopt", "unlock", "check"}
#: Seconds between two questions whether our own caller is still there.
_LOOK = 0.5
#: Seconds for which what was seen of a volume counts, while we change nothing of it.
_MOMENT = 1.0
#: A holder of a lock that gives no sign of life for so many seconds is dead.
_LEASE = 30.0
#: The same by the clocks of two hosts, which may differ: for those who cannot stay and watch.
_LONG_DEAD = 300
#: A program that waits for its first connection.
_ready: list[Child] = []
#: Programs that were killed. Until one is gone takes as long as a call, so nobody waits for that.
_ended: list[Child] = []


class Cluster:
    """A connection, made by the first call. Errors are ``OSError``, as those of a file would be.

    A caller that went away breaks a call off (``InterruptedError``); what is asked after that goes over a new
    connection, once the old one has been shut out. After ``TimeoutError`` there is none any more: what the cluster
    does not do now it does not undo either.

    :param stall: seconds without a word after which the cluster counts as gone; :param total: for one call in all.
    """

    def __init__(self, access: Access, stall: float, total: float) -> None:
        self._access = access
        self._stall = stall
        self._total = total
        self._child: Child | None = None
        self._buffer = b""
        self._address = ""
        self._gone = ""
        self._held: dict[tuple[str, str], tuple[str, bool]] = {}
        self._seen: dict[tuple[str, str], tuple[float, dict[str, Any] | None]] = {}

    # ---------------------------------------------------------------- calls

    def ask(self, operation: str, **values: Any) -> Any:
        """Call one of the operations of :mod:`.volumes`, :mod:`.content` or :mod:`.beds` and return its value.

        :raises TimeoutError: the cluster does not answer.
        """
        if operation not in _QUIET:
            self._overlook(values)
        try:
            try:
                return self._ask(operation, values)
            except ConnectionResetError:
                if operation not in _LOOKS:
                    raise
                return self._ask(operation, values)
        except OSError as error:
            # as of a file: what it is about
            words = [str(values[name]) for name in ("pool", "name") if name in values]
            error.filename = "/".join(words) or "the Ceph cluster"
            raise

    def _ask(self, operation: str, values: dict[str, Any]) -> Any:
        self._connect()
        self._send(dumps({"op": operation, **values}) + b"\n")
        return self._answer(self._total)

    def write(self, data: bytes, offset: int) -> None:
        """Write to the volume that ``begin`` named; ``check`` and ``finish`` tell whether it arrived."""
        self._connect()
        self._send(dumps({"op": "write", "offset": offset, "bytes": len(data)}) + b"\n")
        self._send(data)

    def close(self) -> None:
        """End the connection. Locks that are still held are given back, if that is possible at once."""
        if self._child is not None:
            for (pool, key), (number, _shared) in list(self._held.items()):
                try:
                    self.ask("unlock", pool=pool, key=key, number=number)
                except OSError:
                    # it ends with this process, or after its lease
                    break
            self._held.clear()
        self._break()

    def _connect(self) -> None:
        if self._gone:
            raise TimeoutError(errno.ETIMEDOUT, self._gone)
        if self._child is not None:
            return
        dead, self._address = self._address, ""
        self._child = _ready.pop() if _ready else _started()
        self._buffer = b""
        self._send(dumps({"access": vars(self._access), "limit": self._stall}) + b"\n")
        try:
            self._address = str(self._answer(2 * self._stall))
        except BaseException:
            self._break()
            raise
        if dead:
            self.ask("fence", address=dead)
            for (pool, key), (number, _shared) in self._held.items():
                self.ask("adopt", pool=pool, key=key, number=number)

    def _send(self, data: bytes) -> None:
        child = self._child
        if child is None:
            raise OSError(errno.EPIPE, "the connection to the cluster broke off")
        view = memoryview(data)
        heard = time.monotonic()
        while view:
            self._look_around(heard)
            if not select.select([], [child.stdin], [], _LOOK)[1]:
                continue
            try:
                view = view[os.write(child.stdin, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._broken() from None
            heard = time.monotonic()

    def _answer(self, total: float) -> Any:
        child = self._child
        if child is None:
            raise OSError(errno.EPIPE, "the connection to the cluster broke off")
        begun = heard = time.monotonic()
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                message = loads(line)
                if "error" in message:
                    number, words = message["error"]
                    if number == errno.ETIMEDOUT:
                        raise self._lost(words)
                    raise OSError(number, words)
                if "value" in message:
                    return message["value"]
                continue
            self._look_around(heard)
            if time.monotonic() - begun >= total:
                raise self._lost(f"it takes longer than {total:g} seconds")
            if not select.select([child.stdout], [], [], _LOOK)[0]:
                continue
            data = os.read(child.stdout, 1 << 16)
            if not data:
                raise self._broken()
            self._buffer += data
            heard = time.monotonic()

    def _look_around(self, heard: float) -> None:
        try:
            going_on()
        except InterruptedError:
            self._break()
            raise
        if time.monotonic() - heard >= self._stall:
            raise self._lost(f"the Ceph cluster has not answered for {self._stall:g} seconds")

    def _lost(self, words: str) -> TimeoutError:
        self._break()
        self._gone = words
        return TimeoutError(errno.ETIMEDOUT, words)

    def _broken(self) -> ConnectionResetError:
        # of a C++ exception librbd prints its kind and its words in two lines
        said = " ".join(self._child.said().split()[-40:]) if self._child else ""
        self._break()
        return ConnectionResetError(
            errno.ECONNRESET, f"the connection to the cluster broke off: {said or 'no word why'}"
        )

    def _break(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.hang_up()
            _ended.append(child)

    # ---------------------------------------------------------------- locks, as of a Host

    def lock(self, datastore: str, key: str, shared: bool, wait: float) -> None:
        """Hold the lock of one object of a pool until :meth:`unlock` or the end of this process.

        A holder is dead when it was a process of this host that is gone, or when it gives no sign of life for
        :data:`_LEASE` seconds. Its client is shut out of the cluster before anybody else gets the lock.

        :raises BlockingIOError: when somebody else still holds it after *wait* seconds.
        """
        pool = pool_of(datastore)
        number = os.urandom(8).hex()
        holder = {"id": number, "shared": shared, **_myself()}
        seen: dict[tuple[str, int, str], float] = {}
        until, pause = time.monotonic() + wait, 0.01
        while True:
            found = self.ask("lock", pool=pool, key=key, holder=holder)
            if found["held"]:
                self._held[(pool, key)] = (number, shared)
            now = time.monotonic()
            dead = False
            for other in found["others"]:
                first = seen.setdefault((other["id"], other["beat"], other["address"]), now)
                if _is_dead(other) or now - first >= _LEASE or time.time() - other["at"] >= _LONG_DEAD:
                    self.ask("unlock", pool=pool, key=key, number=other["id"])
                    dead = True
            if found["held"]:
                return
            if dead:
                continue
            if now >= until:
                raise BlockingIOError(errno.EAGAIN, f"another action holds {key}", datastore)
            time.sleep(min(pause, max(0.0, until - now)))
            pause = min(pause * 2, 0.5)

    def unlock(self, datastore: str, key: str) -> None:
        """Give a lock back. One that cannot be given back ends with this process."""
        pool = pool_of(datastore)
        number, _shared = self._held.pop((pool, key), ("", False))
        if number and not self._gone:
            self.ask("unlock", pool=pool, key=key, number=number)

    def holds(self, datastore: str, key: str) -> bool:
        """Whether this process holds the lock of an object for itself."""
        found = self._held.get((pool_of(datastore), key))
        return found is not None and not found[1]

    def is_held(self, pool: str, key: str) -> bool:
        """Whether somebody who lives, as far as can be seen at once, holds a lock."""
        found = str(self.ask("read", pool=pool, entry=f"lock/{key}"))
        holders = loads(found.encode()) if found else []
        return any(not _is_dead(other) and time.time() - other["at"] < _LONG_DEAD for other in holders)

    # ---------------------------------------------------------------- journals

    def journals(self, datastore: str) -> list[str]:
        """The keys of the objects that have a journal."""
        found: list[str] = self.ask("entries", pool=pool_of(datastore), prefix="journal/")
        return found

    def journal(self, datastore: str, key: str) -> str:
        """The text of an object's journal; empty when it has none."""
        return str(self.ask("read", pool=pool_of(datastore), entry=f"journal/{key}"))

    def set_journal(self, datastore: str, key: str, text: str) -> None:
        """Write an object's journal; no text removes it. It is in the cluster when this returns."""
        self.ask("write_entry", pool=pool_of(datastore), entry=f"journal/{key}", text=text)

    # ---------------------------------------------------------------- looking

    def look(self, pool: str, name: str) -> dict[str, Any] | None:
        """A volume (:meth:`.volumes.Volumes.look`); None when it is not there."""
        found: dict[str, Any] | None = self.ask("look", pool=pool, name=name)
        self._seen[(pool, name)] = (time.monotonic(), found)
        return found

    def seen(self, pool: str, name: str) -> dict[str, Any] | None:
        """What :meth:`look` said a moment ago, if we changed nothing of the volume since; else what it says now.

        To open volumes is most of what a short action does. Whoever waits for others has to look.
        """
        when, found = self._seen.get((pool, name), (-_MOMENT, None))
        return found if time.monotonic() - when < _MOMENT else self.look(pool, name)

    def _overlook(self, values: dict[str, Any]) -> None:
        """Forget what was seen of volumes that are going to change, and of those that stand on them."""
        pool, to = values.get("pool"), (values.get("to_pool"), values.get("to_name"))
        changed = {(pool, values.get("name")), (pool, values.get("new")), to}
        for key, (_when, volume) in list(self._seen.items()):
            below = volume["parent"] if volume else None
            if "name" not in values or key in changed or (below and (below["pool"], below["name"]) in changed):
                del self._seen[key]


def prepare() -> None:
    """Start the program before it is known which cluster it will talk to. It ends with this process."""
    if not _ready:
        _ready.append(_started())


def _started() -> Child:
    _ended[:] = [child for child in _ended if _is_there(child)]
    # it dies with us at once, whatever it is about
    child = Child(["setpriv", "--pdeathsig", "KILL", "--", _PYTHON, "-I", "-c", program()])
    os.set_blocking(child.stdin, False)
    return child


def _is_there(child: Child) -> bool:
    try:
        return child.alive()
    except ChildProcessError:
        # it was the child of a process that we are a fork of
        return False


def datastore_of(pool: str) -> str:
    """The name of a pool where a claim wants a datastore."""
    return SCHEME + pool


def _myself() -> dict[str, Any]:
    """By which others find out that this process is dead: host, boot, space of process ids, id and start."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return {
        "host": os.uname().nodename,
        "boot": boot,
        "space": os.stat("/proc/self/ns/pid").st_ino,
        "pid": os.getpid(),
        "start": _start(os.getpid()),
    }


def _is_dead(other: dict[str, Any]) -> bool:
    """Whether a holder was a process of this host, and is gone."""
    mine = _myself()
    if any(other[name] != mine[name] for name in ("host", "boot", "space")):
        return False
    return bool(_start(other["pid"]) != other["start"])


def _start(pid: int) -> int:
    """When a process was started, in ticks since the boot; -1 when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])
