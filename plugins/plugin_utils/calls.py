# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned asks for: a call, taken apart from its command line, and the context in which it is completed."""

from __future__ import annotations

from ..module_utils._errors import BadCall, Unsupported, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from ..module_utils.tools.sources import Source
    from .answer import Voice
    from .oned import Oned
    from .settings import Settings


class Context:
    """Where a call finds what its command line does not say: stdin, oned, the site's settings. Each is asked once.

    :ivar sends: opens each of the sources that this machine reads for the action, in the order in which it takes them.
    """

    def __init__(self, oned: Oned, settings: Settings) -> None:
        self.oned = oned
        self.settings = settings
        self.sends: list[Callable[[], Source]] = []
        self._seen: dict[tuple[str, int], _Element] = {}

    def vm(self, number: int) -> _Element:
        """A VM's document."""
        return self._once("vm", number, self.oned.vm)

    def datastore(self, number: int) -> _Element:
        """A datastore's document."""
        return self._once("datastore", number, self.oned.datastore)

    def _once(self, kind: str, number: int, ask: Callable[[int], _Element]) -> _Element:
        if (kind, number) not in self._seen:
            self._seen[(kind, number)] = ask(number)
        return self._seen[(kind, number)]


class Call:
    """One call of oned's.

    :ivar action: the module that does it: ``tm_clone``.
    :ivar hosts: the hosts in its arguments by role: ``source``, ``destination``.
    :ivar early: options that the command line alone gives, enough to tell that there is nothing to do.
    :ivar complete: asks what is missing and returns all options; it is given the context and whether the lead is the
        front-end.
    :ivar reply: says the result to oned.
    :ivar hasty: whether the lead may be called while oned is still being asked.
    :ivar asks: kind and id of the objects that oned will be asked for.
    :ivar bridges: hosts that can reach the datastore when the front-end cannot (BRIDGE_LIST); one of them leads.
    :ivar origins: the same of the datastore that a clone is made from.
    :ivar turn: number that decides which of them.
    :ivar away: hosts that reach a disk which no directory of the front-end's has, when the front-end is the host in the
        arguments; none when it is to lead all the same.
    :ivar others: calls other drivers that have a part in it, before the action; given the driver's own name.
    """

    def __init__(
        self,
        action: str,
        complete: Callable[[Context, bool], dict[str, Any]],
        hosts: dict[str, str] | None = None,
        early: dict[str, Any] | None = None,
        reply: Callable[[Voice, dict[str, Any]], None] | None = None,
        hasty: bool = True,
        asks: list[tuple[str, int]] | None = None,
        bridges: list[str] | None = None,
        origins: list[str] | None = None,
        turn: int = 0,
        others: Callable[[str], None] | None = None,
    ) -> None:
        self.others = others
        self.bridges = bridges or []
        self.origins = origins or []
        self.away: Callable[[Context], list[str]] | None = None
        self.turn = turn
        self.asks = asks or []
        self.action = action
        self.complete = complete
        self.hosts = hosts or {}
        self.early = early or {}
        self.reply = reply or (lambda _voice, _result: None)
        self.hasty = hasty


def arguments(action: str, given: list[str], names: str, optional: int = 0) -> list[str]:
    """The arguments of an action, the missing trailing ones as empty strings.

    :param names: what they are, for the sentence: ``SOURCE DESTINATION VM_ID DATASTORE_ID``.
    :param optional: how many at the end may be missing.
    :raises BadCall: when there are too few or too many.
    """
    wanted = names.split()
    if not len(wanted) - optional <= len(given) <= len(wanted):
        needs = f"{len(wanted) - optional} to {len(wanted)}" if optional else str(len(wanted))
        raise BadCall(f"{action} takes {needs} arguments ({names}), not {len(given)}")
    return given + [""] * (len(wanted) - len(given))


def is_number(text: str) -> bool:
    """Whether a text is an id or a size: ASCII digits, not too many."""
    return text.isascii() and text.isdigit() and len(text) <= 10


def identifier(value: str, what: str) -> int:
    """An id out of an argument."""
    if not is_number(value):
        raise BadCall(f"'{one_line(value, 40)}' is not the id of a {what}")
    return int(value)


def refuse(template: _Element, where: str, names: tuple[str, ...]) -> None:
    """``Unsupported`` when a template asks for something these drivers do not do: never silence."""
    for name in names:
        value = (template.findtext(f"TEMPLATE/{name}") or "").strip()
        if value and value.lower() not in ("no", "false"):
            raise Unsupported(f"{where} has {name}={one_line(value, 60)}, which these drivers do not support")


def words(text: str, where: str) -> list[str]:
    """Words of a setting that stands for command-line arguments, quoted as for a shell."""
    if not text:
        return []
    import shlex

    try:
        return shlex.split(text)
    except ValueError:
        raise BadCall(f"{where} has an open quote") from None


def filesystem(context: Context, fs: str) -> dict[str, Any]:
    """File system options out of datastore.conf (contract-ds 5.6)."""
    supported = context.settings.datastore("SUPPORTED_FS")
    name = "FS_OPTS_" + fs
    given = context.settings.datastore(name) if fs.isidentifier() else ""
    return {
        "fs": fs,
        "fs_options": words(given, f"{name} in datastore.conf"),
        "supported_fs": [part.strip() for part in supported.split(",") if part.strip()],
    }
