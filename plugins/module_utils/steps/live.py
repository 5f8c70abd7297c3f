# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on the disk of a running guest, through libvirt on its host: see :mod:`..tools.guest`."""

from __future__ import annotations

import os

from .._errors import DeadlineOver, StorageError, ToolFailed, from_record, one_line
from .base import Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

#: The interpreter that has libvirt's bindings: they come with the distribution.
_PYTHON = "/usr/bin/python3"
#: A job ends when it makes no progress; this is only the end of all patience, in seconds: a week.
_LONGEST = 604800.0
#: Seconds that a look takes at most; it waits for no guest.
_LOOK = 60.0
#: Seconds in which libvirt may still bring an order to its end whose sender was killed.
_SETTLE = 2.0


def ask(site: Site, where: str, operation: str, guest: dict[str, Any], **orders: Any) -> dict[str, Any]:
    """Ask something of libvirt on a host.

    :param guest: what :func:`.vm_live.guest_of` says: domain, target, URI and so on.
    :raises StorageError: libvirt's words, or ours.
    """
    return _checked(site, where, _talk(site, where, operation, guest, orders))


def argv_of(site: Site, operation: str, guest: dict[str, Any], orders: dict[str, Any]) -> list[str]:
    """The command line of the process that talks to libvirt."""
    from ..tools.codec import dumps
    from ..tools.guest import program

    pause = os.environ.get("ONE_STORAGE_GUEST_PAUSE", "")
    text = dumps({**guest, **orders, "operation": operation, "stall": site.timeouts.stall, "pause": pause}).decode()
    return [_PYTHON, "-I", "-c", program(), text]


def _checked(site: Site, where: str, answer: dict[str, Any]) -> dict[str, Any]:
    if not answer.pop("ok"):
        raise from_record({**answer, "host": site.host(where).name})
    return answer


def _talk(site: Site, where: str, operation: str, guest: dict[str, Any], orders: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process of its own, good or bad.

    :raises StorageError: there is none, so that nobody knows how far it came.
    """
    from ..tools.codec import loads

    host = site.host(where)
    limit = _LOOK if operation == "look" else _LONGEST
    try:
        result = host.run(argv_of(site, operation, guest, orders), limit)
    except TimeoutError as error:
        raise DeadlineOver(f"libvirt does not answer for {guest['domain']}: {error.strerror}", host.name) from error
    said = str(result["out"]).strip()
    if result["rc"] != 0 or not said.startswith("{"):
        last = str(result["err"]).strip().splitlines()[-1:] or [f"code {result['rc']}"]
        raise ToolFailed(
            f"The talk with libvirt about {guest['domain']} broke off: {one_line(last[0], 200)}",
            host.name,
            detail=str(result["err"])[-2000:],
        )
    answer: dict[str, Any] = loads(said.encode())
    return answer


class LiveLayer(Step):
    """Let a running guest write to a new layer from now on, and the disk's link lead to it: a point of no return.

    The link follows and does not lead. QEMU opens the file that was on top once more, only to read, by the name that it
    knows, which may be the link; a link that led to the new layer already would give it the wrong file. Who finds that
    the guest has gone over, and the link not, puts the link right: :meth:`complete`.

    :param layer: the new layer, in its place; it is empty.
    :param expected: the chain below it, real paths, top first.
    :param link: the disk; :param target: what its link shall be, :param old: what it is.
    """

    kind: ClassVar[str] = "live-layer"
    final = True

    def __init__(
        self,
        where: str,
        guest: dict[str, Any],
        layer: str,
        expected: list[str],
        link: str,
        target: str,
        old: str,
        inside: str,
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.layer = layer
        self.expected = expected
        self.link = link
        self.target = target
        self.old = old
        self.inside = inside
        #: Whether libvirt does nothing any more that we asked for.
        self.settled = False

    def words(self) -> str:
        return f"let {self.guest['domain']} write to {self.layer} and link {self.link} to it"

    def done(self, site: Site) -> bool:
        return site.host(self.where).readlink(self.link) == self.target and self._gone_over(site)

    def do(self, site: Site) -> None:
        orders = {"layer": self.layer, "expected": self.expected}
        answer = _talk(site, self.where, "snapshot", self.guest, orders)
        self.settled = True
        site.figures.update(_checked(site, self.where, answer))
        self._relink(site)

    def complete(self, site: Site) -> None:
        import time

        host = site.host(self.where)
        until = time.monotonic() + _SETTLE
        while not self.settled and host.stat(self.layer) and not self._gone_over(site):
            self.settled = time.monotonic() > until
            time.sleep(0.1)
        if self._gone_over(site):
            self._relink(site)

    def undo(self, site: Site) -> None:
        self.complete(site)
        if self.done(site):
            raise StorageError(f"The guest writes to {self.layer}", site.host(self.where).name)

    def _gone_over(self, site: Site) -> bool:
        """Whether the guest writes, or wrote, to the layer: seen from the storage, so that any host can tell."""
        from ..tools import chain

        host = site.host(self.where)
        return bool(host.stat(self.layer)) and (host.in_use(self.layer) or not chain.is_empty(host, self.layer))

    def _relink(self, site: Site) -> None:
        host = site.host(self.where)
        if host.readlink(self.link) == self.old:
            host.link(self.target, self.link, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.link, f"link to {self.target}"


class PullUp(Step):
    """Let the top of a running guest's disk take over what lies between it and a base, by a block pull.

    What the guest sees is the same at every moment, so there is nothing to undo. A pull that still runs, of a run that
    was killed, is waited for.

    :param expected: the chain, real paths, top first.
    :param depth: how deep in it the base lies; 0 when the top is to stand alone.
    :param relative: whether all names between are relative.
    :param name: name of the base as the top's header shall have it.
    :param gone: the layer that nothing of the guest's may need afterwards.
    """

    kind: ClassVar[str] = "pull-up"

    def __init__(
        self,
        where: str,
        guest: dict[str, Any],
        expected: list[str],
        depth: int,
        relative: bool,
        name: str,
        gone: str,
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.expected = expected
        self.depth = depth
        self.relative = relative
        self.name = name
        self.gone = gone

    def words(self) -> str:
        return f"let {self.expected[0]} take over what {self.guest['domain']} reads from {self.gone}"

    def do(self, site: Site) -> None:
        ask(
            site,
            self.where,
            "pull",
            self.guest,
            expected=self.expected,
            depth=self.depth,
            relative=self.relative,
            name=self.name,
        )

    def changes(self) -> tuple[str, str] | None:
        return self.expected[0], f"layer on {self.name}" if self.depth else "layer that stands alone"


class CommitDown(Step):
    """Let a layer of a running guest's disk take over what the one above it holds, by a block commit.

    What the guest sees, and what the layer above shows, is the same at every moment, so there is nothing to undo; what
    the layer itself held is spoilt as soon as it begins. A commit that still runs, of a run that was killed, is waited
    for.

    :param expected: the chain, real paths, top first.
    :param depth: how deep in it the layer lies, at least 2.
    :param relative: whether the names between are relative.
    :param name: name of the layer as the header two above it shall have it.
    """

    kind: ClassVar[str] = "commit-down"

    def __init__(
        self, where: str, guest: dict[str, Any], expected: list[str], depth: int, relative: bool, name: str
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.expected = expected
        self.depth = depth
        self.relative = relative
        self.name = name

    def words(self) -> str:
        lower, upper = self.expected[self.depth], self.expected[self.depth - 1]
        return f"commit {upper} into {lower} while {self.guest['domain']} runs"

    def do(self, site: Site) -> None:
        orders = {"expected": self.expected, "depth": self.depth, "relative": self.relative, "name": self.name}
        ask(site, self.where, "commit", self.guest, **orders)

    def changes(self) -> tuple[str, str] | None:
        return self.expected[self.depth], f"layer with what {self.expected[self.depth - 1]} held"


class LiveCopy(Step):
    """Copy the disk of a running guest, as it is at one moment, into a workshop on its host.

    :param source: the disk.
    :param expected: its chain, real paths, top first.
    :param size: virtual size in bytes.
    """

    kind: ClassVar[str] = "live-copy"

    def __init__(
        self,
        where: str,
        guest: dict[str, Any],
        source: str,
        expected: list[str],
        part: str,
        inside: str,
        image_format: str,
        size: int,
    ) -> None:
        super().__init__(where)
        self.guest = guest
        self.source = source
        self.expected = expected
        self.part = part
        self.inside = inside
        self.image_format = image_format
        self.size = size

    def words(self) -> str:
        return f"copy {self.source} while {self.guest['domain']} runs"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        if host.stat(self.part):
            host.remove(self.part, self.inside)
        # libvirt would make it root's; what is there, and is ours, it takes
        if self.image_format == "raw":
            host.truncate(self.part, self.size, self.inside)
        else:
            argv = ["qemu-img", "create", "-q", "-f", self.image_format, self.part, str(self.size)]
            site.command(self.where, argv, f"create an empty image for the copy of {shown(self.source)}")
        answer = ask(
            site,
            self.where,
            "copy",
            self.guest,
            expected=self.expected,
            destination=self.part,
            format=self.image_format,
        )
        site.figures.update(answer)


__all__ = ["CommitDown", "LiveCopy", "LiveLayer", "PullUp", "ask"]
