# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core's one entry: an action and its options in, what happened out.

Both doors come here: the modules through :mod:`._module`, the wrappers through their launchers.
"""

from __future__ import annotations

import os

from . import _actions
from ._errors import Cancelled, StorageError, Unsupported, from_os
from ._options import check
from .drivers.base import Answer, Request
from .drivers.registry import load
from .steps.base import Site, Timeouts
from .steps.executor import Executor, fault_point
from .tools.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .drivers.base import Driver, Reply
    from .steps.base import Step

_ROUNDS = 8


class Mode:
    """How an action runs.

    :param check: only say what would be done.
    :param stopped: asked before each step; true when the caller went away.
    :param fault: for fault tests only: kill this process before (``3``) or after (``3+``) that step.
    :param shared: whether SSH connections may be shared with other actions: on the front-end, which logs in with a key
        of its own, but not on a node, which has nothing but the agent lent to this action.
    """

    def __init__(
        self,
        check: bool = False,
        stopped: Callable[[], bool] | None = None,
        fault: str = "",
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self.check = check
        self.stopped = stopped or (lambda: False)
        self.fault = fault


class Outcome:
    """What happened. :meth:`close` must be called when the answer has been delivered.

    :ivar keeps: whether the work counts only when somebody got the answer; else :meth:`take_back` undoes it.
    """

    def __init__(
        self,
        result: dict[str, Any],
        ended: Callable[[], None],
        keeps: bool = False,
        undo: Callable[[], None] = lambda: None,
    ) -> None:
        self.result = result
        self.close = ended
        self.keeps = keeps
        self.take_back = undo


def preload(action: str, driver: str, system: str) -> None:
    """Load what an action will need, before its options are known: a node does this while oned is being asked."""
    prepare(action, driver, system)
    # what a step will load in any case
    import fcntl  # noqa: F401
    import struct  # noqa: F401

    from .steps import files, images, journal, layers, transfer  # noqa: F401


def prepare(action: str, driver: str, system: str) -> None:
    """Let a driver start what takes a while, before the options are known."""
    found = _actions.ACTIONS.get(action)
    if found:
        load(found.kind, driver, system).prepare(found.options)


def run(action: str, given: dict[str, Any], mode: Mode) -> Outcome:
    """Run an action to its end.

    :param action: module name without the collection: ``tm_clone``.
    :param given: options as the caller gave them.
    :raises StorageError: one sentence; what was undone is in it.
    """
    entry = _actions.ACTIONS.get(action)
    if entry is None:
        raise Unsupported(f"There is no action '{action}'")
    options = check(f"one_storage.drivers.{action}", entry.options, given)
    driver = load(entry.kind, options["driver"], options.get("system_driver") or "")
    method = driver.method(entry.name)
    if driver.idle(entry.name, options):
        return Outcome({"changed": False, "actions": [], "changes": [], "run_id": ""}, lambda: None)
    claims = driver.claims_for(entry.name, options)
    number = os.urandom(6).hex()
    site = _site(entry.name, options, driver, number, mode)
    # before anything is settled: to take a dead run's work back may need them
    site.secrets = {name: options[name] for name, rule in entry.options.items() if rule.get("no_log") and options[name]}
    site.cluster = driver.cluster(options, site)
    keeps = entry.name in driver.answering
    head = {
        "run": number,
        "action": action,
        "kind": entry.kind,
        "driver": options["driver"],
        "system": options.get("system_driver") or "",
        "peer": site.peer.name if site.peer else None,
        "pid": os.getpid(),
        "keeps": keeps,
    }
    executor = Executor(site, claims, head, keeps, mode.stopped, _load_driver, mode.fault)
    talk = _Talk(Request(entry.name, options, site), method, executor)
    try:
        if mode.check:
            talk.ask_once()
        else:
            if claims:
                executor.enter()
            talk.ask()
            executor.finish()
    except StorageError as error:
        error.run = number
        error.detail = "; ".join(filter(None, [error.detail, *site.warnings]))
        if not mode.check:
            executor.fail(error)
        _hang_up(site)
        raise
    fault_point(mode.fault, "end")

    def ended() -> None:
        try:
            if claims and not mode.check:
                executor.finish(delivered=True)
                executor.leave()
        finally:
            _hang_up(site)

    def taken_back() -> None:
        try:
            if claims and not mode.check:
                executor.fail(Cancelled("Nobody got the answer"))
        finally:
            _hang_up(site)

    return Outcome(talk.result(), ended, keeps, taken_back)


class _Talk:
    """The conversation with a driver: ask, run its steps, ask again, until it answers."""

    def __init__(self, request: Request, method: Callable[[Request], Reply], executor: Executor) -> None:
        self._request = request
        self._method = method
        self._executor = executor
        self._values: dict[str, Any] = {}
        self._planned: list[Step] = []
        self._before: dict[tuple[str, str], str] = {}

    def ask(self) -> None:
        """Ask until the answer comes."""
        for _round in range(_ROUNDS):
            steps = self._reply()
            if steps is None:
                return
            if self._executor.make_room():
                continue
            self._executor.run(steps)
            self._request.ran = True
        raise StorageError(f"The {self._request.action} does not come to an end after {_ROUNDS} rounds")

    def ask_once(self) -> None:
        """Ask for the next steps, and do nothing. What comes after them may depend on them."""
        self._planned = [step for step in self._reply() or [] if not step.done(self._request.site)]

    def result(self) -> dict[str, Any]:
        """What was done, or would be, and the answer."""
        site = self._request.site
        done = self._executor.changed or self._planned
        return {
            "changed": bool(done),
            "actions": [f"{site.host(step.where).name}: {step.words()}" for step in done],
            "changes": _changes(site, done, self._before),
            "run_id": site.run,
            # Ansible shows what is under this name as such
            **({"warnings": site.warnings} if site.warnings else {}),
            **self._values,
        }

    def _reply(self) -> list[Step] | None:
        site = self._request.site
        try:
            reply = self._method(self._request)
            if isinstance(reply, Answer):
                self._values = reply.values
                return None
            _note(site, reply.steps, self._before)
        except OSError as error:
            raise from_os(error, f"look at {error.filename or 'the disk'}", site.lead.name) from error
        return reply.steps


def _load_driver(head: dict[str, Any]) -> None:
    """Load the driver whose journal was found, for the steps that it brings."""
    load(str(head.get("kind", "")), str(head.get("driver", "")), str(head.get("system", "")))


def _note(site: Site, steps: list[Step], before: dict[tuple[str, str], str]) -> None:
    """Remember what stands where these steps will change something, for the diff."""
    for step in steps:
        change = step.changes()
        if not change:
            continue
        host = site.host(step.where)
        if (host.name, change[0]) not in before:
            before[(host.name, change[0])] = step.standing(site, change[0])


def _changes(site: Site, steps: list[Step], before: dict[tuple[str, str], str]) -> list[dict[str, str]]:
    """Host, path, and what stood and stands there, a row for every path."""
    rows: dict[tuple[str, str], str] = {}
    for step in steps:
        change = step.changes()
        if change:
            rows[(site.host(step.where).name, change[0])] = change[1]
    return [
        {"host": host, "path": path, "before": before.get((host, path), ""), "after": after}
        for (host, path), after in rows.items()
    ]


def _site(action: str, options: dict[str, Any], driver: Driver, number: str, mode: Mode) -> Site:
    timeouts = Timeouts(options["command_timeout"], options["stall_timeout"], options["lock_timeout"])
    lead = Host(os.uname().nodename)
    name = options.get("peer") or ""
    if not name:
        return Site(lead, None, number, timeouts, mode.check)
    if action not in driver.peer_actions:
        raise Unsupported(f"{options['driver']} does {action} on one host, it takes no peer")
    from .tools import peer

    settings = peer.Settings(
        options["peer_python"], options["ciphers"], options["connect_timeout"], options["stall_timeout"], mode.shared
    )
    streams = action in driver.stream_actions and not mode.check
    rate = _rate(options["limit_rate"])
    lends = action in driver.lending_actions and not mode.check
    there = peer.connect(name, settings, streams, lends)
    site = Site(lead, there, number, timeouts, mode.check)
    site.lent = getattr(there, "lent", "")
    site.rate = rate
    return site


def _rate(text: str) -> int:
    """Bytes per second; nothing more is loaded where there is no limit."""
    if not text:
        return 0
    from .tools.sources import rate_of

    return rate_of(text)


def _hang_up(site: Site) -> None:
    close = getattr(site.peer, "close", None)
    if close:
        close()
    if site.cluster:
        site.cluster.close()
