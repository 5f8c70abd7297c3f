# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How full a datastore is (contract-ds 8.6, contract-tm 9.1), looked at in a child process, as a mount may hang."""

from __future__ import annotations

import os

from .._errors import Busy, Cancelled, DeadlineOver, Missing, from_os
from .base import Answer, Request, clean_path, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..steps.claim import Claim
    from .base import Reply


def totals(request: Request) -> dict[str, int]:
    """Total, used and free MB of the file system that holds the datastore, under the names that modules return.

    The datastore's directory is made when it is not there. A check makes nothing: what is above has the same figures.
    """
    root, make = clean_path(request["datastore"], "datastore"), not request.site.check
    [found] = look(request, root, "space", lambda: [_space(root, make)])
    return {f"{name}_mb": megabytes(found[name]) for name in ("used", "free", "total")}


class Room:
    """``usage``, for drivers whose data lies in directories. What the info modules ask is in :mod:`.contents`."""

    def usage(self, request: Request) -> Reply:
        """``total_bytes``, ``used_bytes`` and ``free_bytes`` of the file system of a datastore that is there.

        ``pool`` is the file system's name: what has the same one on a host has the same room.
        """
        root = clean_path(request["datastore"], "datastore")
        [found] = look(request, root, "space", lambda: [_room(root)])
        return Answer(**found)


class Files(Room):
    """``usage``, ``contents`` and the action ``orphans``, for drivers whose images or disks are files."""

    kind: str

    def contents(self, request: Request) -> Reply:
        """``items``, see :func:`.contents.item`; ``missed``, a sentence for each that could not be looked at."""
        from .contents import found_in

        return Answer(**found_in(request))

    def claims_orphans(self, options: dict[str, Any]) -> list[Claim]:
        """Nothing for a report, else what the names belong to, whose locks actions on them would take."""
        from .orphans import claims

        return claims(self.kind, options)

    def orphans(self, request: Request) -> Reply:
        """Report what nobody knows, or do with some of it what ``state`` says (:mod:`.orphans`)."""
        from .orphans import reply

        return reply(self.kind, request)


def look(request: Request, root: str, what: str, task: Callable[[], Iterable[dict[str, Any]]]) -> Iterator[Any]:
    """What *task* finds in a datastore, with one sentence for every way in which it may not (:mod:`..tools.aside`)."""
    from ..tools import aside

    timeouts, name = request.site.timeouts, request.site.lead.name
    try:
        yield from aside.look(f"{what} {root}", task, timeouts.stall, timeouts.command)
    except BlockingIOError:
        raise Busy(
            f"The datastore {root} is not looked at again: an earlier look at its {what} has not ended",
            name,
            todo="does the mount hang",
        ) from None
    except TimeoutError as error:
        sentence = f"The datastore {root} does not tell its {what}: {error.strerror}"
        raise DeadlineOver(sentence, name, todo="does the mount, or that of an image, hang") from None
    except FileNotFoundError as error:
        raise Missing(f"{error.filename or root} is not there", name) from None
    except InterruptedError:
        raise Cancelled("The caller went away", name) from None
    except OSError as error:
        raise from_os(error, f"look at the {what} of the datastore {root}", name) from error


def megabytes(count: int) -> int:
    """Rounded up, as ``df -B1M`` and ``du -m`` do, so that figures do not jump when a site switches."""
    return -(-count >> 20)


def _space(root: str, make: bool) -> dict[str, int]:
    """Bytes of the file system; in the child process."""
    from ..tools.host import Host

    here = Host("")
    if make:
        here.make_directory(root)
    while not os.path.exists(root):
        root = parent(root)
    return here.space(root)


def _room(root: str) -> dict[str, Any]:
    """Bytes of the file system, and its name; in the child process."""
    from ..tools.host import Host

    found = Host("").space(root)
    return {**{f"{name}_bytes": size for name, size in found.items()}, "pool": f"file system {os.stat(root).st_dev}"}
