# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions of the core on many hosts, some of them at a time."""

from __future__ import annotations

from ...module_utils._errors import StorageError
from ..launch import Launch, Placement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Union

    from ..answer import Voice
    from ..settings import Settings

    #: The result of an action, or why there is none.
    Result = Union[dict[str, Any], StorageError]


class Job:
    """One action on one host.

    :ivar host: its name; empty for the front-end.
    :ivar about: what the caller wants to know it again by.
    """

    def __init__(self, host: str, action: str, options: dict[str, Any], about: Any = None) -> None:
        self.host = host
        self.action = action
        self.options = options
        self.about = about


class Hosts:
    """Runs jobs, at most *throttle* at a time on other hosts, and those of the front-end one after the other."""

    def __init__(self, settings: Settings, voice: Voice, throttle: int) -> None:
        self._settings = settings
        self._voice = voice
        self._throttle = throttle

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Result]]:
        """The result of each job, in no order. An error of one host is its result and keeps no other back."""
        from concurrent.futures import ThreadPoolExecutor, as_completed

        here: list[Job] = []
        there: list[Job] = []
        for job in jobs:
            (here if placed(job.host, self._settings).here else there).append(job)
        with ThreadPoolExecutor(self._throttle) as pool:
            asked = {pool.submit(self.one, job): job for job in there}
            # these fork, which is better done in the main thread
            for job in here:
                yield job, self.one(job)
            for done in as_completed(asked):
                yield asked[done], done.result()

    def one(self, job: Job) -> Result:
        """The result of one job; may be called from many threads."""
        placement = placed(job.host, self._settings)
        options = {**self._settings.common(), **job.options}
        try:
            if placement.here:
                return self._here(job.action, options)
            return self._there(placement, job.action, options)
        except StorageError as error:
            return error

    @staticmethod
    def _here(action: str, options: dict[str, Any]) -> dict[str, Any]:
        # not by the launcher, which takes signals over for its one action
        from ...module_utils import _run

        outcome = _run.run(action, options, _run.Mode(shared=True))
        outcome.close()
        return outcome.result

    def _there(self, placement: Placement, action: str, options: dict[str, Any]) -> dict[str, Any]:
        launch = Launch(placement, self._settings, self._voice, action, options["driver"], "")
        try:
            result = launch.run(options, False, "")
            launch.delivered()
            return result
        finally:
            launch.close()


def placed(host: str, settings: Settings) -> Placement:
    """Where a job of a host runs; ``here`` for the front-end, under any of its names."""
    return Placement("node", {"lead": host}, settings, "ds")
