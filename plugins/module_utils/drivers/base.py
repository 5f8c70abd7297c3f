# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a driver is: it looks at what is there and returns the next steps, or the answer.

A driver changes nothing itself. It is asked again after its steps ran, sees what they did, and answers; so "success" is
always something that was looked at afterwards.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Refused, Unsupported, one_line
from ..steps.base import LEAD
from ..steps.claim import Claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from ..steps.base import Site, Step
    from ..tools.rbd.cluster import Cluster
    from ..tools.sources import Source

    Reply = Union["Plan", "Answer"]


class Plan:
    """The next steps."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps


class Answer:
    """The action is at its end; *values* go into the result."""

    def __init__(self, **values: Any) -> None:
        self.values = values


class Request:
    """One action that a driver is asked about.

    :ivar options: the module's options, checked and complete.
    :ivar site: the hosts; drivers only look.
    :ivar ran: whether steps of this action have run already: what is there now is our own work.
    """

    def __init__(self, action: str, options: dict[str, Any], site: Site) -> None:
        self.action = action
        self.options = options
        self.site = site
        self.ran = False

    def __getitem__(self, option: str) -> Any:
        return self.options[option]

    def look(self, path: str, where: str = LEAD, follow: bool = False) -> dict[str, Any] | None:
        """What stands at a path of one of the hosts."""
        return self.site.host(where).stat(path, follow)

    def shop(self, claim: Claim) -> str:
        """Directory where this run may build what becomes part of the claimed object."""
        return claim.shop(self.site.run)


class Driver:
    """Base of all drivers: finds the method for an action and the objects that the action holds.

    For ``tm_clone`` a driver has a method ``clone(request)``. What it locks is what ``claims_clone(options)``
    says, else :meth:`claims`. :attr:`peer_actions` names the actions that a second host may take part in.
    """

    kind = ""
    name = ""
    #: The lead host by action: ``frontend``; ``node``, the host in the arguments; ``destination``, of a move; ``pair``,
    #: the front-end when it is one of the two, else the source; ``here``, the machine that runs the wrapper, which need
    #: not be the front-end. What is not named leads on the node.
    leads: dict[str, str] = {}
    peer_actions: tuple[str, ...] = ()
    #: Of these, actions that as good as always stream data: they have a connection of their own from the beginning.
    stream_actions: tuple[str, ...] = ()
    #: Of these, actions whose tools log in at the peer, and may use the session's connection.
    lending_actions: tuple[str, ...] = ()
    #: Actions that only look: no lock, no journal.
    looking: tuple[str, ...] = ()
    #: Actions whose finished work is taken back when nobody got the answer.
    answering: tuple[str, ...] = ()

    def method(self, action: str) -> Callable[[Request], Reply]:
        """The method for an action's short name; ``Unsupported`` when the driver has none."""
        found = getattr(self, action, None)
        if found is None or action.startswith("_") or action in vars(Driver):
            raise Unsupported(f"{self.kind}/{self.name} {action}: Operation not supported")
        return found  # type: ignore[no-any-return]

    def constant(self, action: str) -> dict[str, Any] | None:
        """What an action answers whatever it is asked about; None when it has to look. A wrapper then reads no
        document, asks oned nothing and calls no host."""
        return None

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """Whether the options alone say that there is nothing to do; then no host is even asked."""
        return False

    def fed(self, action: str, options: dict[str, Any]) -> Source | None:
        """The source of an image, open, when the front-end alone can read it and another host is to import it.

        Asked on the front-end, before the action; None when there is no such source, or that host can fetch it itself.
        """
        return None

    def cluster(self, options: dict[str, Any], site: Site) -> Cluster | None:
        """The Ceph cluster that the action is about, not connected yet; None for drivers without one."""
        return None

    def prepare(self, known: dict[str, Any]) -> None:
        """Start what an action will need, and what takes a while to start, before its options have come.

        They may say that it is not needed, or never come: it has to end with this process.

        :param known: the options that the action has, by name.
        """

    def claims_for(self, action: str, options: dict[str, Any]) -> list[Claim]:
        """What the action locks, the home of its journal first."""
        if action in self.looking:
            return []
        special = getattr(self, f"claims_{action}", None)
        found: list[Claim] = special(options) if special else self.claims(options)
        return found

    def claims(self, options: dict[str, Any]) -> list[Claim]:
        """What an action of this driver locks when it has nothing of its own to say."""
        raise Unsupported(f"{self.kind}/{self.name} claims nothing")


def clean_path(path: str, what: str) -> str:
    """A path with single slashes; ``BadCall`` unless it is absolute, printable and without ``..``.

    oned writes double slashes (contract-tm 2); they are equal to single ones everywhere here.
    """
    if not path.startswith("/"):
        raise BadCall(f"The {what} '{one_line(path, 120)}' is not an absolute path")
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise BadCall(f"The {what} '{one_line(path, 120)}' contains control characters")
    if ".." in path.split("/"):
        raise BadCall(f"The {what} '{one_line(path, 120)}' contains '..'")
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def inside(path: str, root: str, what: str) -> str:
    """*path* when it lies below *root* by its name; the host checks the resolved path again before it deletes."""
    if root == "/" or not path.startswith(root + "/"):
        raise Refused(f"The {what} {path} is not inside {root}")
    return path


def parent(path: str) -> str:
    """The directory of a path."""
    return os.path.dirname(path)


def base(path: str) -> str:
    """The last component of a path."""
    return os.path.basename(path)
