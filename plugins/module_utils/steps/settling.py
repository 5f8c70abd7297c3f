# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dead runs left of objects is undone, or accepted, by whoever gets their locks (rule 7)."""

from __future__ import annotations

import os

from .._errors import Busy, StorageError
from .base import LEAD, PEER, Site
from .claim import POOL
from .files import Publish
from .journal import shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds between a step and the journal's mark of it that still count as one.
_SOON = 2.0


def settle(
    site: Site, datastore: str, key: str, load: Callable[[dict[str, Any]], None], wait: float | None = None
) -> None:
    """Bring an object whose lock is ours to rest: undo, or accept, what a dead run's journal speaks of.

    :param wait: seconds to wait for another object whose journal is that of the whole run; by default as for any lock.
    """
    papers = shelf(site, datastore)
    found = papers.found(key, load)
    if found is None:
        return
    if found.head.get("home"):
        store, name = found.head["home"]
        _settle_home(site, store, name, load, site.timeouts.lock if wait is None else wait)
    begun = [step for number, step in enumerate(found.steps) if number in found.begun]
    peer, keeps = found.head.get("peer"), found.head.get("keeps")
    # what nobody heard of is taken back on the other host too, when this action has the same one
    both = keeps and site.peer is not None and site.peer.name == peer
    if keeps and peer and site.peer is None and not found.ended:
        if any(step.where == PEER and step.changes() for step in begun):
            # without the journal nobody would ever look for it there
            raise StorageError(f"A run that died had work on {key} on {peer}, which an action there has to take back")
    here = [step for step in begun if step.where == LEAD or not peer or both]
    if found.ended:
        for step in here:
            step.ended(site)
    else:
        # a machine that lost power may have lost the removal of a journal whose work was whole
        whole = len(begun) + len(found.there) == len(found.steps) and all(
            step.done(site) for step in here if step.changes()
        )
        if whole and not keeps:
            for step in here:
                step.ended(site)
        else:
            for step in reversed(here):
                if isinstance(step, Publish) and not keeps:
                    # a new image's name is its own, but a VM's disk may have been made anew, or used, since
                    step.until = found.written + _SOON
                # behind a point of no return the driver goes on; one that was begun and not reached is undone too
                if step.final:
                    step.complete(site)
                    if step.done(site):
                        break
                step.undo(site)
    # what came of a broken stream may be gone on with, but not by a work that nobody asks for again
    if not datastore.startswith(POOL):
        site.lead.clear(datastore, key, not keeps)
    for other, name in found.head.get("others") or []:
        _forget(site, other, name)
    papers.forget(key)


def _settle_home(site: Site, datastore: str, key: str, load: Callable[[dict[str, Any]], None], wait: float) -> None:
    """Settle the object that has the journal of the run that set something aside here."""
    keeper = site.keeper(LEAD, datastore)
    if keeper.holds(datastore, key):
        settle(site, datastore, key, load)
        return
    if not (datastore.startswith(POOL) or os.path.isdir(datastore)):
        raise StorageError(
            f"A run that died had work on {key} in {datastore}, which is not to be seen here",
            site.lead.name,
            todo="run any action on it where it is",
        )
    try:
        keeper.lock(datastore, key, False, wait)
    except BlockingIOError:
        raise Busy(
            f"What a dead run left of {key} in {datastore} cannot be settled, as another action holds it",
            site.lead.name,
            todo="wait for it, then run it again",
        ) from None
    try:
        settle(site, datastore, key, load)
    finally:
        keeper.unlock(datastore, key)


def _forget(site: Site, datastore: str, key: str) -> None:
    """Clear what the same run set aside elsewhere, now that it is settled; whoever holds it does so otherwise."""
    ours = site.lead.holds(datastore, key)
    try:
        if not ours:
            site.lead.lock(datastore, key, False, 0)
    except OSError:
        return
    try:
        site.lead.clear(datastore, key, False)
        shelf(site, datastore).forget(key)
    finally:
        if not ours:
            site.lead.unlock(datastore, key)


def sweep(site: Site, datastore: str, load: Callable[[dict[str, Any]], None]) -> None:
    """Settle every object of a datastore whose run died, without waiting for those that run."""
    keeper = site.keeper(LEAD, datastore)
    for key in shelf(site, datastore).names():
        try:
            keeper.lock(datastore, key, False, 0)
        except OSError:
            # it runs, or this host may only read here
            continue
        try:
            settle(site, datastore, key, load, wait=0)
        except (OSError, StorageError):
            # it stays for the action that concerns it, which will say what is wrong
            pass
        finally:
            keeper.unlock(datastore, key)
    if not datastore.startswith(POOL):
        site.lead.sweep(datastore)
