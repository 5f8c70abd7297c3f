# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a backup of a running guest, through libvirt on its host: see :mod:`..tools.guest.backup`."""

from __future__ import annotations

import os

from .._errors import Cancelled, DeadlineOver, Missing, StorageError, ToolFailed, from_record, one_line
from .backup import FindChanges
from .base import Site, Step
from .live import LiveLayer, argv_of, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.changes import Part
    from ..tools.child import Child

#: The job's process, among what a site has open.
_JOB = "backup job"
#: Which targets have to be copied whole, and why.
_WHOLE = "whole"
#: Seconds that a job may take to begin beyond those for which the guest may be held, and to end.
_PATIENCE = 180.0


class BeginJob(Step):
    """Begin a backup job of all disks at one moment; its process stays until the job is ended.

    Undone it takes the job and the new checkpoint away, also when the process has gone.

    :param disks: of each ``target``, ``link``, ``scratch``, a file that is made here, and ``size`` in bytes.
    :param socket: where the job shows the disks, over NBD.
    :param name: the new checkpoint, :param parent: the one since which changes are wanted; empty for none.
    :param freeze: ``none``, ``agent`` or ``suspend``; :param require: fail when that cannot be.
    """

    kind: ClassVar[str] = "begin-job"

    def __init__(
        self,
        where: str,
        guest: dict[str, Any],
        disks: list[dict[str, Any]],
        socket: str,
        inside: str,
        name: str,
        parent: str,
        freeze: str,
        require: bool,
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.disks = disks
        self.socket = socket
        self.inside = inside
        self.name = name
        self.parent = parent
        self.freeze = freeze
        self.require = require

    def words(self) -> str:
        since = f" since {self.parent}" if self.parent else ""
        return f"begin a backup job of {self.guest['domain']}{since}" + (f", as {self.name}" if self.name else "")

    def do(self, site: Site) -> None:
        from ..tools.child import Child

        host = site.host(self.where)
        for disk in self.disks:
            host.make_directory(os.path.dirname(disk["scratch"]))
            argv = ["qemu-img", "create", "-q", "-f", "qcow2", disk["scratch"], str(disk["size"])]
            site.command(self.where, argv, f"create a scratch file for {disk['target']}")
        orders: dict[str, Any] = {"disks": self.disks, "socket": self.socket, "name": self.name, "parent": self.parent}
        orders.update(freeze=self.freeze, require=self.require)
        child = Child(argv_of(site, "backup", self.guest, orders))
        site.open[_JOB] = child
        answer = answer_of(site, self.where, child, self.guest["freeze_timeout"] + _PATIENCE)
        site.open[_WHOLE] = answer.pop(_WHOLE)
        site.warn(answer.pop("warning"))
        site.figures.update(answer)

    def undo(self, site: Site) -> None:
        child: Child | None = site.open.pop(_JOB, None)
        if not child or not _dismissed(site, self.where, child):
            self._take_away(site)
        site.host(self.where).remove(self.socket, self.inside)

    def _take_away(self, site: Site) -> None:
        try:
            gone = [self.name] if self.name else []
            ask(site, self.where, "marks", self.guest, disks=self.disks, socket=self.socket, drop=gone)
        except Missing:
            # the guest has ended, and its job with it; a bitmap of that name is removed by who wants to begin it
            pass


class EndJob(Step):
    """End the backup job; the new checkpoint stays."""

    kind: ClassVar[str] = "end-job"

    def __init__(self, where: str, guest: dict[str, Any]) -> None:
        super().__init__(where)
        self.guest = guest

    def words(self) -> str:
        return f"end the backup job of {self.guest['domain']}"

    def do(self, site: Site) -> None:
        child: Child = site.open[_JOB]
        try:
            os.write(child.stdin, b"keep\n")
        except BrokenPipeError:
            # what it has to say about that comes now
            pass
        answer_of(site, self.where, child, _PATIENCE)
        site.open.pop(_JOB).end()


def _dismissed(site: Site, where: str, child: Child) -> bool:
    """Let the job's process go without its word; whether it says that it took all of it away.

    A command could not be run for that: the caller may have gone, and then none is.
    """
    os.close(child.stdin)
    child.stdin = -1
    try:
        answer_of(site, where, child, _PATIENCE, undoing=True)
    except StorageError:
        return False
    finally:
        child.end()
    return True


def answer_of(
    site: Site, where: str, child: Child, limit: float, undoing: bool = False, what: str = "the backup job"
) -> dict[str, Any]:
    """The next answer of a process that holds a guest, or a job of it.

    :param undoing: also when the caller went away.
    :param what: what libvirt is asked about, for sentences.
    :raises StorageError: libvirt's words, or that there is no answer.
    """
    import select
    import time

    from ..tools.codec import loads
    from ..tools.command import going_on

    host = site.host(where)
    until, said = time.monotonic() + limit, b""
    while not said.endswith(b"\n"):
        try:
            if not undoing:
                going_on()
        except InterruptedError:
            raise Cancelled("The caller went away while libvirt was asked", host.name) from None
        if time.monotonic() > until:
            raise DeadlineOver(f"libvirt does not answer about {what}", host.name)
        if select.select([child.stdout], [], [], 0.2)[0]:
            piece = os.read(child.stdout, 65536)
            if not piece:
                last = child.said().strip().splitlines()[-1:] or ["it ended without a word"]
                text = f"The talk with libvirt about {what} broke off: {one_line(last[0], 200)}"
                raise ToolFailed(text, host.name, detail=child.said()[-2000:])
            said += piece
    answer: dict[str, Any] = loads(said)
    if not answer.pop("ok"):
        raise from_record({**answer, "host": host.name})
    return answer


class FindDirty(FindChanges):
    """Find out what a backup job says has changed of a disk, and note it in the workshop.

    :param layer: the disk as the job shows it; :param disk: its number, for people.
    :param bitmap: whether there may be one that tells; of a disk without one all is noted, zeros too.
    """

    kind: ClassVar[str] = "find-dirty"

    def __init__(self, where: str, socket: str, target: str, disk: int, size: int, part: str) -> None:
        super().__init__(where, shown_at(socket, target), "", 0, size, part)
        self.socket = socket
        self.target = target
        self.disk = disk

    def words(self) -> str:
        return f"see what of disk {self.disk} changed"

    def found(self, site: Site) -> list[Part]:
        from ..tools import changes

        why = site.open[_WHOLE].get(self.target)
        name = f"driver=nbd,server.type=unix,server.path={self.socket.replace(',', ',,')},export={self.target}"
        if why:
            site.warn(f"The increment has all of disk {self.disk}, as the bitmap {why}")
            return changes.everything(self.mapped(site, ["--image-opts", name]))
        name += f",x-dirty-bitmap=qemu:dirty-bitmap:backup-{self.target}"
        # what changed is told as what holds no data
        extents = self.mapped(site, ["--image-opts", name])
        return [(changes.COPY, item["start"], item["length"]) for item in extents if not item["data"]]


def shown_at(socket: str, target: str) -> str:
    """The URI of a disk that a backup job shows."""
    safe = b"/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    quoted = "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in os.fsencode(socket))
    return f"nbd+unix:///{target}?socket={quoted}"


class SettleMarks(Step):
    """Leave a guest with no backup job, and of backups' checkpoints with those that are to be kept.

    :param keep: their names; None when only *drop* is to go.
    """

    kind: ClassVar[str] = "settle-marks"

    def __init__(
        self, where: str, guest: dict[str, Any], disks: list[dict[str, Any]], socket: str, keep: list[str], drop: str
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.disks = disks
        self.socket = socket
        self.keep = keep
        self.drop = drop

    def words(self) -> str:
        if self.drop:
            return f"remove the checkpoint {self.drop} of {self.guest['domain']}"
        return f"remove old checkpoints of {self.guest['domain']}"

    def do(self, site: Site) -> None:
        which: dict[str, Any] = {"drop": [self.drop]} if self.drop else {"keep": self.keep}
        ask(site, self.where, "marks", self.guest, disks=self.disks, socket=self.socket, **which)


class LiveLayers(Step):
    """Let a running guest write to new layers, all its disks from one moment on: a point of no return.

    :param rows: of each disk what :class:`.LiveLayer` takes: ``target``, ``layer``, ``expected``, ``link``, ``leads``,
        ``old``, ``inside``.
    """

    kind: ClassVar[str] = "live-layers"
    final = True

    def __init__(
        self, where: str, guest: dict[str, Any], rows: list[dict[str, Any]], freeze: str, require: bool
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.rows = rows
        self.freeze = freeze
        self.require = require

    def words(self) -> str:
        return f"let {self.guest['domain']} write to {', '.join(row['layer'] for row in self.rows)}"

    def _each(self) -> list[LiveLayer]:
        return [
            LiveLayer(self.where, {**self.guest, "target": row["target"], "link": row["link"]}, row["layer"],
                      row["expected"], row["link"], row["leads"], row["old"], row["inside"])
            for row in self.rows
        ]  # fmt: skip

    def done(self, site: Site) -> bool:
        return all(single.done(site) for single in self._each())

    def do(self, site: Site) -> None:
        orders = {"freeze": self.freeze, "require": self.require}
        answer = ask(site, self.where, "layers", self.guest, disks=self.rows, **orders)
        site.warn(answer.pop("warning"))
        site.figures.update(answer)
        for single in self._each():
            single.complete(site)

    def complete(self, site: Site) -> None:
        for single in self._each():
            single.complete(site)

    def undo(self, site: Site) -> None:
        for single in self._each():
            single.undo(site)

    def changes(self) -> tuple[str, str] | None:
        return self.rows[0]["link"], f"link to {self.rows[0]['leads']}"


class MergeDown(Step):
    """Commit the layers between a running guest's top and a base into the base.

    What the guest sees is the same at every moment, so there is nothing to undo; but a run that was killed may leave a
    header with a wrong name, so undoing it is to bring it to its end.

    :param expected: the chain, real paths, top first; :param depth: of the base in it.
    :param name: of the base, as the top's header shall have it.
    """

    kind: ClassVar[str] = "merge-down"

    def __init__(self, where: str, guest: dict[str, Any], expected: list[str], depth: int, name: str) -> None:
        super().__init__(where)
        self.guest = guest
        self.expected = expected
        self.depth = depth
        self.name = name

    def words(self) -> str:
        return f"commit what lies below {self.expected[0]} into {self.expected[self.depth]}"

    def do(self, site: Site) -> None:
        ask(site, self.where, "merge", self.guest, expected=self.expected, depth=self.depth, name=self.name)

    def undo(self, site: Site) -> None:
        try:
            self.do(site)
        except Missing:
            self._rename(site)

    def _rename(self, site: Site) -> None:
        """The guest has ended: a header that names the disk's link, which leads to this very file, gets the name."""
        from ..tools import chain

        host = site.host(self.where)
        if not host.stat(self.expected[0]):
            return
        top = chain.read(host, self.expected[0])
        if top.below == top.path:
            argv = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", self.name, top.path]
            site.command(self.where, argv, f"name what {top.path} stands on")

    def changes(self) -> tuple[str, str] | None:
        return self.expected[self.depth], "layer with all that was written"


class BringHome(Step):
    """Commit the overlay that stock's live backup let a guest write to into the disk, and prove that it is in use no
    more (Q8).

    :param expected: the disk's own chain, real paths, top first; :param folder: where the overlay lies.
    """

    kind: ClassVar[str] = "bring-home"
    final = True

    def __init__(self, where: str, guest: dict[str, Any], expected: list[str], folder: str) -> None:
        super().__init__(where)
        self.guest = guest
        self.expected = expected
        self.folder = folder

    def words(self) -> str:
        return f"commit the overlay in {self.folder} into {self.expected[0]}"

    def do(self, site: Site) -> None:
        ask(site, self.where, "home", self.guest, expected=self.expected, folder=self.folder)

    def changes(self) -> tuple[str, str] | None:
        return self.expected[0], "disk with all that was written"
