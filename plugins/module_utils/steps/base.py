# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every step can do, and where steps act."""

from __future__ import annotations

import os

from .._errors import StorageError, ToolFailed, from_os, one_line
from ..tools.hidden import HIDDEN, PROBE, STATUS
from .claim import POOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from ..tools.growth import Growth
    from ..tools.host import Host
    from ..tools.progress import Progress
    from ..tools.rbd.cluster import Cluster

LEAD = "lead"
PEER = "peer"

#: Seconds of CPU for a tool that reads what a stranger wrote: so many, more for each GiB, and never more than a day.
_CPU, _CPU_PER_GIB, _CPU_MOST = 120, 10, 86400


class Timeouts:
    """How long an action waits, in seconds."""

    def __init__(self, command: float = 3600, stall: float = 60, lock: float = 120) -> None:
        self.command = command
        self.stall = stall
        self.lock = lock


class Site:
    """The hosts of one action: the lead, where the core runs, and at most one peer.

    :ivar run: id of the run: it names workshops and ties log, journal and result together.
    :ivar check: whether nothing may be changed.
    :ivar secrets: credentials of the action by option. Steps take them from here: a step's own attributes stand in the
        journal.
    :ivar private: URLs with a password in them, by what is shown, and journalled, in their place.
    :ivar figures: what the action's result tells of a long step: bytes, seconds.
    :ivar warnings: what went wrong without harm to the action, for people and logs.
    :ivar open: what a step keeps open for later ones, by name: processes that end with this one.
    :ivar rate: most bytes per second that go from host to host; 0 for no limit.
    :ivar lent: socket of the peer's session, for tools that log in there too (:mod:`..tools.lent`); empty for none.
    :ivar cluster: the Ceph cluster of an action on volumes, which its driver names; it connects when it is first asked.
    :ivar desk: the lead's own workshop, of all runs: beside it lies what tells how far a long step is. Empty without.
    """

    def __init__(self, lead: Host, peer: Host | None, run: str, timeouts: Timeouts, check: bool = False) -> None:
        self.lead = lead
        self.peer = peer
        self.run = run
        self.timeouts = timeouts
        self.check = check
        self.secrets: dict[str, str] = {}
        self.private: dict[str, str] = {}
        self.figures: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.open: dict[str, Any] = {}
        self.rate = 0
        self.desk = ""
        self.lent = ""
        self.cluster: Cluster | None = None
        self._same: dict[tuple[str, str], bool] = {}

    def same_storage(self, here: str, there: str) -> bool:
        """Whether the lead's datastore directory *here* is what the peer sees at *there*.

        A random file written at one end is read at the other: names of hosts and devices prove nothing between hosts
        (rule 5). In check mode, where nothing may be written, the answer is no.
        """
        if self.peer is None:
            return self.lead.real(here) == self.lead.real(there)
        if (here, there) not in self._same and not self.check:
            token = os.urandom(16).hex()
            name = f"{HIDDEN}/{PROBE}{token}"
            try:
                self.lead.write(f"{here}/{name}", token, here)
                self._same[(here, there)] = self.peer.read(f"{there}/{name}") == token
            except OSError as error:
                raise from_os(error, f"probe the datastore {here}", self.lead.name) from error
            finally:
                self.lead.remove(f"{here}/{name}", here)
        return self._same.get((here, there), False)

    def volumes(self) -> Cluster:
        """The cluster of this action.

        :raises StorageError: the action knows of none, as when a journal speaks of volumes in a plain directory's.
        """
        if self.cluster is None:
            raise StorageError("This action has no Ceph cluster", todo="run it again on the datastore of the volume")
        return self.cluster

    def keeper(self, where: str, datastore: str) -> Host | Cluster:
        """Who keeps the locks of a datastore: the host that has the directory, or the cluster that has the pool."""
        return self.volumes() if datastore.startswith(POOL) else self.host(where)

    def warn(self, text: str) -> None:
        """Add to the warnings; nothing when there is no text."""
        if text:
            self.warnings.append(text)

    def progress(self, what: str, total: int | None = None) -> Progress:
        """What tells others how far a step is.

        :param what: the step, in words.
        :param total: bytes that are expected; None when nobody knows yet.
        """
        from ..tools.progress import Progress

        status, fresh = (self.desk + STATUS, os.path.join(self.desk, "status")) if self.desk else ("", "")
        return Progress(status, fresh, self.run, what, total)

    def growing(self, where: str, path: str, what: str, total: int | None = None) -> Growth:
        """A ``with`` that tells others how far a step is which writes a file and does not tell by itself.

        A peer's file is not looked at.

        :param path: the file or directory that grows; the others are those of :meth:`progress`.
        """
        from ..tools.growth import Growth

        return Growth(path if self.host(where) is self.lead else "", lambda: self.progress(what, total))

    def host(self, where: str) -> Host:
        """The host of that role; an action on one host has the lead in both."""
        return self.peer if where == PEER and self.peer is not None else self.lead

    def command(
        self,
        where: str,
        argv: Sequence[str],
        doing: str,
        untrusted: bool = False,
        size: int = 0,
        more: int = 0,
        variables: dict[str, str] | None = None,
    ) -> str:
        """Run a tool on a host and return its stdout.

        :param doing: what is being done, for the sentence: ``create the image /x``.
        :param more: seconds that it may take beyond the usual deadline, as it has so much to go through.
        :param untrusted: the tool reads what a stranger wrote, and is limited; *size* as in :func:`limits`.
        :param variables: more environment than the little that every command has.
        :raises ToolFailed: with the tool's last words.
        """
        host = self.host(where)
        given = ("", variables) if variables else ()
        result = host.run(list(argv), self.timeouts.command + more, limits(size) if untrusted else [], *given)
        if result["rc"] != 0:
            said = str(result["err"]).strip() or f"{argv[0]} ended with code {result['rc']}"
            detail = f"{' '.join(argv)}: code {result['rc']}: {said}"
            if "No space left on device" in said or "Disk quota exceeded" in said:
                import errno

                raise from_os(OSError(errno.ENOSPC, "No space left on device"), doing, host.name)
            raise ToolFailed(f"Cannot {doing}: {one_line(said.splitlines()[-1], 300)}", host.name, detail=detail)
        return str(result["out"])


class Step:
    """One effect on one host.

    A step is plain data (its attributes are JSON), so that the journal can hold it and another process can undo it.
    Subclasses set :attr:`kind` and say in :meth:`words` what they do.
    """

    #: Name in the journal; unique and stable.
    kind: ClassVar[str] = ""
    #: A point of no return: after it a failure does not undo, a rerun goes forward.
    final: bool = False

    def __init__(self, where: str) -> None:
        self.where = where

    def words(self) -> str:
        """What the step does, as a sentence without a subject: ``create the directory /x``."""
        raise TypeError(f"{type(self).__name__} has no words")

    def done(self, site: Site) -> bool:
        """Whether the effect is there already."""
        return False

    def evidence(self, site: Site) -> dict[str, Any]:
        """Attributes that :meth:`undo` needs to know its own work again; taken, and journalled, just before it."""
        return {}

    def do(self, site: Site) -> None:
        """Bring the effect about."""
        raise TypeError(f"{type(self).__name__} does nothing")

    def undo(self, site: Site) -> None:
        """Take the effect back; called also when it never happened. What lies in a workshop needs no undoing."""

    def complete(self, site: Site) -> None:
        """Finish what a dead run began in a final step, when it had come past the point of no return."""

    def ended(self, site: Site) -> None:
        """What is left to do once the action is over and its answer is out; done again when that was cut short."""

    def changes(self) -> tuple[str, str] | None:
        """Path and its state afterwards, for the diff; None for steps that only prepare."""
        return None

    def standing(self, site: Site, path: str) -> str:
        """What stands at the path of :meth:`changes` now, for the diff."""
        host = site.host(self.where)
        info = host.stat(path)
        text = str(info["kind"]) if info else "absent"
        return f"link to {host.readlink(path)}" if text == "link" else text

    def record(self) -> dict[str, Any]:
        """The step for the journal."""
        return {"kind": self.kind, "final": self.final, **vars(self)}

    def attempt(self, site: Site) -> None:
        """Do it, with errors of the system turned into sentences."""
        try:
            self.do(site)
        except OSError as error:
            raise from_os(error, self.words(), site.host(self.where).name) from error


def limits(size: int = 0) -> list[str]:
    """Limits for a tool that reads what a stranger wrote, for prlimit: memory, CPU time, no core files.

    :param size: bytes that it has to go through, 0 when it reads a header alone.
    """
    seconds = min(_CPU + _CPU_PER_GIB * (size >> 30), _CPU_MOST)
    return ["--as=2147483648", f"--cpu={seconds}", "--core=0"]


def shown(path: str) -> str:
    """A path as people should read it: what is being built in a workshop goes by its name alone."""
    _before, found, after = path.partition(f"/{HIDDEN}/")
    return after.split("/", 2)[-1] if found else path


def restore(record: dict[str, Any]) -> Step:
    """The step that :meth:`Step.record` described."""
    fields = dict(record)
    kind = fields.pop("kind", "")
    final = bool(fields.pop("final", False))
    for candidate in _kinds():
        if candidate.kind == kind:
            step = candidate.__new__(candidate)
            vars(step).update(fields)
            if final != step.final:
                step.final = final
            return step
    raise StorageError(f"The journal names an unknown step '{one_line(str(kind), 40)}'")


def _kinds() -> list[type[Step]]:
    """Every step there is: ours, and those of the drivers that are loaded."""
    from . import (  # noqa: F401
        backup,
        backup_live,
        cancel,
        fetch,
        fetch_volume,
        files,
        images,
        layers,
        live,
        marks,
        migrate,
        quarantine,
        rehearse,
        restoring,
        transfer,
        volume_backup,
        volume_live,
        volume_names,
        volume_snapshots,
        volume_trash,
        volumes,
    )

    found: list[type[Step]] = []
    new: list[type[Step]] = [Step]
    while new:
        found += new
        new = [child for parent in new for child in parent.__subclasses__()]
    return found
