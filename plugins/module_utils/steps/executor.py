# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs steps under locks, with a journal, and undoes them when one fails."""

from __future__ import annotations

import os

from .._errors import Busy, Cancelled, DeadlineOver, NoAccess, NoSpace, StorageError, Unreachable, from_os
from ..tools.command import resume_work
from ..tools.hidden import HIDDEN
from .base import LEAD, PEER, Site, Step
from .claim import Claim
from .files import Discard, Publish
from .journal import Journal, shelf
from .settling import settle, sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Executor:
    """One run of one action.

    :param claims: what is locked; the first exclusive one on the lead holds the journal, so it is the one where
        something worth keeping may be set aside. Others say so (:attr:`.Claim.aside`).
    :param keeps: whether finished work counts only when the answer has been delivered: oned forgets an image whose
        answer it never got, so it is taken back (rule 7).
    :param stopped: asked before each step; true when the caller went away.
    :param load: loads the driver that the head of a found journal names.
    """

    def __init__(
        self,
        site: Site,
        claims: list[Claim],
        head: dict[str, Any],
        keeps: bool,
        stopped: Callable[[], bool],
        load: Callable[[dict[str, Any]], None],
        fault: str = "",
    ) -> None:
        self._load = load
        self.site = site
        self.claims = claims
        self.journal: Journal | None = None
        self._leading: list[Journal] = []
        self.words: list[str] = []
        self.changed: list[Step] = []
        self._head = head
        self._keeps = keeps
        self._stopped = stopped
        self._undoable: list[Step] = []
        self._forward = False
        self._count = 0
        self._fault = fault
        self._shops = False
        self._well = False
        self._whole = False
        self._covered: list[Claim] = []
        self._locked: list[Claim] = []
        self._absent: list[Claim] = []
        self._real: dict[Claim, str] = {}

    # ---------------------------------------------------------------- locks

    def enter(self) -> None:
        """Take the locks, then settle what dead runs left of these objects and of others in the same datastores.

        Nothing is locked in a datastore that is not there, and none is made for that: see :meth:`make_room`.
        """
        for claim in self.claims:
            self._refuse_root(claim)
        for claim in self._in_order():
            host = self.site.host(claim.where)
            keeper = self.site.keeper(claim.where, claim.datastore)
            if self._is_held_here(claim):
                self._covered.append(claim)
                continue
            try:
                wait = 0 if self._twins(claim) else self.site.timeouts.lock
                try:
                    keeper.lock(claim.datastore, claim.key, claim.shared, wait)
                except BlockingIOError:
                    if wait or self._is_ours(claim):
                        raise
                    keeper.lock(claim.datastore, claim.key, claim.shared, self.site.timeouts.lock)
            except BlockingIOError:
                if self._is_ours(claim):
                    # the peer sees the very storage that the lead holds the object on: one lock, one workshop
                    self._covered.append(claim)
                    continue
                raise Busy(
                    f"Another action has held {claim.key} in {claim.datastore} for more than "
                    f"{self.site.timeouts.lock:g} seconds",
                    host.name,
                    todo="wait for it, then run it again",
                ) from None
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not claim.in_pool:
                    self._absent.append(claim)
                    continue
                trouble = from_os(error, f"lock {claim.key} in {claim.datastore}", host.name)
                # a reader on a host where the image datastore is mounted read-only cannot lock, and need not
                if not (claim.shared and isinstance(trouble, NoAccess)):
                    raise trouble from error
            self._locked.append(claim)
        there = [claim for claim in self.claims if claim not in self._absent]
        for claim in there:
            if not claim.shared and claim.where == LEAD:
                try:
                    settle(self.site, claim.datastore, claim.key, self._load)
                except OSError as error:
                    doing = f"settle what an earlier run left of {claim.key} in {claim.datastore}"
                    raise from_os(error, doing, self.site.lead.name) from error
        for datastore in sorted({claim.datastore for claim in there if claim.where == LEAD}):
            sweep(self.site, datastore, self._load)
        for datastore in sorted({claim.datastore for claim in there if claim.where == PEER}):
            self.site.host(PEER).sweep(datastore)

    def make_room(self) -> bool:
        """Make the datastores that are not there, now that something is to be made in them, and take all locks anew.

        oned makes none: the first image or disk does (contract-ds 8.1, 8.2, contract-tm 5.1).

        :returns: whether there were such ones. Then the driver has to look again, as it looked without their locks.
        """
        missing = [claim for claim in self._absent if not claim.shared]
        if not missing:
            return False
        for claim in missing:
            host = self.site.host(claim.where)
            try:
                host.make_directory(claim.datastore)
            except OSError as error:
                raise from_os(error, f"make the datastore {claim.datastore}", host.name) from error
        self._unlock()
        self.enter()
        return True

    def _refuse_root(self, claim: Claim) -> None:
        """Root's files in somebody's datastore would stop that user's own actions: it is said, and nothing is made."""
        if claim.where != LEAD or claim.in_pool or os.geteuid() != 0:
            return
        info = self.site.lead.stat(claim.datastore, follow=True)
        if info and info["owner"] != 0:
            raise NoAccess(
                f"The datastore {claim.datastore} belongs to user {info['owner']} and this runs as root",
                self.site.lead.name,
                todo="run it as that user: for OpenNebula's, become_user oneadmin",
            )

    def _in_order(self) -> list[Claim]:
        """The claims in the one global order of locks: by datastore, then object; the same on every host.

        A datastore may have two names on a host, by a link or a mount: the folder that is meant counts. Of two claims
        on one object the exclusive one comes first, as it holds for both.
        """
        lead = self.site.lead
        self._real = {
            claim: lead.real(claim.datastore) if claim.where == LEAD and not claim.in_pool else claim.datastore
            for claim in self.claims
        }
        return sorted(self.claims, key=lambda claim: (self._real[claim], claim.key, claim.where, claim.shared))

    def _is_held_here(self, claim: Claim) -> bool:
        """Whether the lead holds the object already, under another name of the datastore."""
        return claim.where == LEAD and any(
            other.where == LEAD and (self._real[other], other.key) == (self._real[claim], claim.key)
            for other in self._locked
        )

    def _twins(self, claim: Claim) -> list[Claim]:
        """Claims of the other host, already held, on an object of the same name: it may be the same one.

        The paths of the two datastores tell nothing, as a move may go from one to another.
        """
        if self.site.peer is None:
            return []
        return [other for other in self._locked if other.where != claim.where and other.key == claim.key]

    def _is_ours(self, claim: Claim) -> bool:
        """Whether the other host's claim is on the very storage that this one is on."""
        for other in self._twins(claim):
            here, there = (other, claim) if other.where == LEAD else (claim, other)
            if self.site.same_storage(here.datastore, there.datastore):
                return True
        return False

    def _workshops(self) -> list[Claim]:
        without = [*self._covered, *self._absent]
        return [claim for claim in self.claims if not (claim.shared or claim.in_pool) and claim not in without]

    def _home(self) -> Claim:
        for claim in self.claims:
            if claim.where == LEAD and not claim.shared:
                return claim
        raise StorageError("This action changes something and claims nothing")

    def _prepare(self) -> None:
        if self._shops:
            return
        self._shops = True
        for claim in self._workshops():
            host = self.site.host(claim.where)
            try:
                host.workshop(claim.datastore, claim.key)
                host.make_directory(claim.shop(self.site.run))
                if claim.fresh and host is not self.site.lead:
                    host.clear_when_left(claim.datastore, claim.key)
            except OSError as error:
                raise from_os(error, f"prepare {claim.datastore}/{HIDDEN}", host.name) from error
        # what lies in a pool has no directory: then that of the staging area tells how far the action is
        desks = [claim for claim in (self._home(), *self._workshops()) if claim.where == LEAD and not claim.in_pool]
        if desks:
            self.site.desk = os.path.join(desks[0].datastore, HIDDEN, desks[0].key)

    # ---------------------------------------------------------------- steps

    def run(self, steps: list[Step]) -> None:
        """Run a batch; after an error the caller calls :meth:`fail`."""
        try:
            journal = self._open(steps)
        except NoSpace:
            # a full datastore must still be able to give space back
            if not all(isinstance(step, Discard) for step in steps):
                raise
            self._discard(steps)
            return
        try:
            for step in steps:
                self._one(step, journal)
        except OSError as error:
            raise from_os(error, f"finish {self.words[-1] if self.words else 'the first step'}") from error

    def _open(self, steps: list[Step]) -> Journal:
        # the journal comes before the workshop: nothing is ever made that no journal speaks of
        home = self._home()
        if self.journal is None:
            away = [claim for claim in self._workshops() if claim.aside and claim is not home]
            head = {**self._head, "others": [[claim.datastore, claim.key] for claim in away]} if away else self._head
            self.journal = shelf(self.site, home.datastore).new(home.key, head)
            lead = {**self._head, "home": [home.datastore, home.key]}
            self._leading = [shelf(self.site, claim.datastore).new(claim.key, lead) for claim in away]
        try:
            # what leads to the journal may be there before it, but not after what is set aside
            for journal in self._leading:
                journal.plan([])
            self.journal.plan(steps)
        except OSError as error:
            raise from_os(error, f"write the journal {self.journal.path}", self.site.lead.name) from error
        self._prepare()
        return self.journal

    def _discard(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Discard) and not step.done(self.site):
                step.remove(self.site)
                self.words.append(step.words())
                self.changed.append(step)

    def _one(self, step: Step, journal: Journal) -> None:
        number = self._count
        self._count += 1
        fault_point(self._fault, f"{number}")
        if self._stopped():
            raise Cancelled("The caller went away before the action had ended")
        if step.done(self.site):
            # nothing of ours to take back, and part of the whole all the same
            journal.mark("there", number)
            fault_point(self._fault, f"{number}+")
            return
        evidence = step.evidence(self.site)
        vars(step).update(evidence)
        self._undoable.append(step)
        # what oned may never hear of must be known after a power cut too
        unheard = self._keeps and isinstance(step, Publish)
        journal.mark("begin", number, evidence, durable=step.final or unheard)
        try:
            step.attempt(self.site)
        except StorageError as error:
            if self._stopped() and not isinstance(error, Cancelled):
                raise Cancelled(f"The caller went away while we were to {step.words()}", detail=str(error)) from error
            raise
        if step.final:
            self._undoable.clear()
            self._forward = True
        self.words.append(step.words())
        self.changed.append(step)
        journal.mark("done", number)
        fault_point(self._fault, f"{number}+")

    def fail(self, error: StorageError) -> None:
        """Undo everything since the last point of no return, clear up, and write into the error what became of it."""
        resume_work()
        self._keep_what_is_lent()
        try:
            for step in reversed(self._undoable):
                step.undo(self.site)
            error.undone = "what was done stays, run it again to finish" if self._forward else "nothing was changed"
            # an image that oned would never hear of is not tried again either
            goes_on = not self._keeps and isinstance(error, (Unreachable, DeadlineOver, Cancelled))
            if self.leave(keep=goes_on):
                error.undone += ", and what has come is kept for a day for a run that goes on with it"
        except (OSError, StorageError) as trouble:
            # the journal stays: the next action on this object tries again
            error.undone = f"taking it back failed too: {trouble}"
            if self.journal:
                self.journal.leave()
                self.journal = None

    def _keep_what_is_lent(self) -> None:
        """What failed may be the very connection that tools use: then they log in by themselves from here on.

        One that lives is used, as the agent may have gone with a caller that went away.
        """
        if self._undoable and self.site.lent:
            try:
                self.site.host(PEER).stat("/")
            except (OSError, StorageError):
                self.site.lent = ""

    # ---------------------------------------------------------------- end

    def finish(self, delivered: bool = False) -> None:
        """Note in the journal that the work is whole: from here on it stays, also when this process dies.

        :param delivered: whether somebody got the answer; without it a work that keeps is not whole.
        """
        self._well = True
        if self.journal and delivered == self._keeps:
            self._whole = True
            try:
                self.journal.end(durable=self._keeps)
            except OSError:
                # the disk is full: the journal goes a moment later, which says the same
                pass

    def leave(self, keep: bool = False) -> bool:
        """End the run: what was set aside is deleted, the journal goes, the locks are given back.

        :param keep: what came of a stream that broke stays for a rerun.
        :returns: whether there is something that stays.
        """
        kept = False
        if self._whole:
            self._after()
        # an action that ended well without a step of its own ends what an earlier one left to go on with, too
        if self._shops or self._well:
            for claim in self._workshops():
                host = self.site.host(claim.where)
                try:
                    kept = host.clear(claim.datastore, claim.key, keep) or kept
                except OSError as error:
                    raise from_os(error, f"empty the workshop of {claim.key}", host.name) from error
            self._shops = False
        for journal in self._leading:
            journal.close()
        self._leading = []
        if self.journal:
            self.journal.close()
            self.journal = None
        self._unlock()
        return kept

    def _unlock(self) -> None:
        for claim in reversed(self.claims):
            self.site.keeper(claim.where, claim.datastore).unlock(claim.datastore, claim.key)
        self._locked, self._covered, self._absent = [], [], []

    def _after(self) -> None:
        """Do what steps have left for when the answer is out. It stands, so nothing of this makes the action fail."""
        try:
            for step in self.changed:
                step.ended(self.site)
        except (OSError, StorageError):
            # the journal stays: the next action on this object tries again
            if self.journal:
                self.journal.leave()
                self.journal = None


def fault_point(fault: str, here: str) -> None:
    """Die here when a fault test says so: ``N`` before step N, ``N+`` after it; ``N=`` stops the process there, so that
    the test can kill others meanwhile."""
    if fault and fault.rstrip("=") == here:
        import signal

        os.kill(os.getpid(), signal.SIGSTOP if fault.endswith("=") else signal.SIGKILL)
