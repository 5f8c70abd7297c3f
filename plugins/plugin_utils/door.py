# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oned door: a wrapper's whole life, from its command line to its exit code.

Read the call, see where it leads, open the session to a node, ask oned what is missing, run, answer.
"""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, Corrupt, StorageError, one_line
from .answer import Voice
from .settings import Settings, prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..module_utils.drivers.base import Driver
    from .calls import Call, Context
    from .feeding import Feeding
    from .launch import Placement
    from .oned import Oned


#: Names that older documents of OpenNebula's give to actions (contract-tm 11).
_ALIASES = {f"{when}_backup{live}": f"{when}backup{live}" for when in ("pre", "post") for live in ("", "_live")}
#: What clears up after a backup, and never fails: oned would take one that is in its repository for failed (8.3).
_NEVER_FAIL = ("postbackup", "postbackup_live")


class Wrapper:
    """Which wrapper was called, read from its own path: ``<remotes>/tm/<mad>/<action>[.<system mad>]``.

    :ivar mad: what oned calls the driver: the folder's name.
    :ivar driver: what we call it: without the prefix of a tree that lies side by side with stock's.
    :ivar system: our name of the driver of the system datastore, when it has a wrapper of its own.
    """

    def __init__(self, path: str) -> None:
        parts = os.path.abspath(path).split("/")
        if len(parts) < 5 or parts[-3] not in ("tm", "datastore"):
            raise BadCall(f"'{one_line(path, 120)}' is not a wrapper of these drivers")
        self.kind = "tm" if parts[-3] == "tm" else "ds"
        self.mad = parts[-2]
        action, _dot, system = parts[-1].partition(".")
        self.action = _ALIASES.get(action, action) if self.kind == "tm" else action
        self.root = "/".join(parts[:-3])
        self.prefix = prefix_of(self.root)
        self.driver = self.mad.removeprefix(self.prefix)
        self.system = system.removeprefix(self.prefix)

    def call(self, arguments: list[str]) -> Call:
        """The call that these arguments make."""
        for argument in arguments:
            try:
                argument.encode()
            except UnicodeEncodeError:
                raise BadCall(f"The argument '{one_line(argument, 120)}' is not text in UTF-8") from None
        if self.kind == "ds":
            from . import calls_ds

            return calls_ds.call(self.driver, self.action, arguments)
        from . import calls_tm

        return calls_tm.call(self.action, arguments, self.driver, self.system)


def main(path: str, arguments: list[str]) -> int:
    """Run the wrapper at *path*; the exit code is 0 or 1, and 0 for what never fails."""
    _fill_streams()
    voice = Voice(path)
    wrapper: Wrapper | None = None
    try:
        wrapper = Wrapper(path)
        return _run(wrapper, voice, arguments)
    except StorageError as error:
        if error.code == "unsupported":
            # who sends a document to what cannot be done should hear that, not that nobody reads it
            from .documents import drain

            drain()
        voice.fail(error)
    except KeyboardInterrupt:
        voice.fail(StorageError("Interrupted"))
    except BrokenPipeError:
        # nobody reads the answer: it is not delivered, so what was made is taken back by the next action
        return 1
    except Exception as error:
        # whatever else goes wrong is ours to mend, and one clean sentence all the same
        import traceback

        trouble = StorageError(f"An unexpected error: {type(error).__name__}: {error}")
        trouble.detail = traceback.format_exc()
        voice.fail(trouble)
    return 0 if wrapper and _never_fails(wrapper) else 1


def _never_fails(wrapper: Wrapper) -> bool:
    """Whether this action's trouble is told, and is no failure; one that a driver does not have is always one."""
    from ..module_utils.drivers import registry

    if wrapper.action not in _NEVER_FAIL:
        return False
    try:
        return bool(registry.load(wrapper.kind, wrapper.driver, wrapper.system).method(wrapper.action))
    except StorageError:
        return False


def _fill_streams() -> None:
    """Put something in the place of standard streams that are closed: an image would be opened there otherwise.

    It can only be read, so an answer that goes nowhere is an answer that failed.
    """
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open("/dev/null", os.O_RDONLY)


def _run(wrapper: Wrapper, voice: Voice, arguments: list[str]) -> int:
    from ..module_utils.drivers import registry
    from .calls import Context
    from .launch import LONG, Launch, Placement

    settings = Settings(wrapper.root)
    driver = registry.load(wrapper.kind, wrapper.driver, wrapper.system)
    explain = os.environ.get("ONE_STORAGE_EXPLAIN", "") not in ("", "0")
    nothing = [f"{wrapper.mad} {wrapper.action}: nothing to do"] if explain else []
    values = driver.constant(wrapper.action)
    if values is not None:
        _say_constant(voice, wrapper.action, values, nothing)
        return 0
    call = wrapper.call(arguments)
    if call.early and driver.idle(wrapper.action, call.early):
        voice.lines(nothing)
        return 0
    driver.method(wrapper.action)
    rule = driver.leads.get(wrapper.action, "node")
    placement = Placement(rule, call.hosts, settings, wrapper.kind, *_bridges(call, settings))
    launch = Launch(placement, settings, voice, call.action, wrapper.driver, wrapper.system)
    feeding: Feeding | None = None
    try:
        if call.hasty:
            launch.prepare()
        context = Context(_oned(settings), settings)
        options = _options(wrapper, call, context, placement)
        if call.others and not explain:
            call.others(wrapper.mad)
        if driver.idle(wrapper.action, options):
            voice.lines(nothing)
            return 0
        if not placement.here and call.action in LONG:
            from ..module_utils.tools.audience import watch

            # with this process its sessions end, and with them what runs at their other ends
            watch(lambda: os._exit(1))
        feeding = _feeding(driver, wrapper.action, options, placement, context, explain)
        result = launch.run(options, explain, os.environ.get("ONE_STORAGE_FAULT", ""))
        for warning in result.get("warnings") or []:
            voice.log("WARN", str(warning))
        if explain:
            voice.lines(_explained(result, options, placement.lead or os.uname().nodename))
        else:
            _reply(call, voice, result)
        launch.delivered()
        if os.environ.get("ONE_STORAGE_TRACE"):
            # for people who try a wrapper by hand, and for the demonstration; oned never sets it
            voice.log("DEBUG", f"launcher {launch.name}, run {result.get('run_id')}")
    finally:
        launch.close()
        warning = feeding.close() if feeding else ""
        if warning:
            voice.log("WARN", warning)
    return 0


def _say_constant(voice: Voice, action: str, values: dict[str, Any], nothing: list[str]) -> None:
    """An answer that is always the same, in the words that oned waits for."""
    from .calls_ds import reply
    from .documents import drain

    drain()
    if nothing:
        voice.lines(nothing)
    elif values:
        reply(action)(voice, values)


def _bridges(call: Call, settings: Settings) -> tuple[str, str]:
    """The bridge that leads, and the one that has the origin of a clone; empty without bridges."""
    if call.away:
        from .calls import Context
        from .launch import Placement

        if Placement("node", call.hosts, settings, "tm").here:
            call.bridges = call.away(Context(_oned(settings), settings))
    if not call.bridges and not call.origins:
        return "", ""
    from .bridges import route

    return route(call, _oned(settings))


def _feeding(
    driver: Driver,
    action: str,
    options: dict[str, Any],
    placement: Placement,
    context: Context,
    explain: bool,
) -> Feeding | None:
    """What sends the action the sources that only this machine can read; None when there is nothing to send."""
    openers = context.sends
    if not openers and not placement.here:
        source = driver.fed(action, options)
        if source is not None:
            openers = [lambda: source]
            if explain:
                # that it is there and may be read is all that is asked now
                source.close()
    if not openers:
        return None
    if explain:
        options["feed"] = "/"
        return None
    from ..module_utils.tools.peer import Settings as Reach
    from .feeding import Feeding

    way = _way(context.settings)
    reach = Reach(way["peer_python"], way["ciphers"], way["connect_timeout"], options["stall_timeout"])
    feeding = Feeding(openers, "" if placement.here else placement.lead, reach)
    options["feed"] = feeding.socket
    return feeding


def _oned(settings: Settings) -> Oned:
    from .oned import Oned

    return Oned(deadline=settings.number("ONED_TIMEOUT", 30))


def _options(wrapper: Wrapper, call: Call, context: Context, placement: Placement) -> dict[str, Any]:
    from ..module_utils import _actions

    settings = context.settings
    for kind, number in call.asks:
        context.oned.expect(kind, number)
    options = call.complete(context, placement.here)
    known = _actions.ACTIONS[call.action].options
    options["driver"] = wrapper.driver
    if "url_host" in known and not placement.here:
        options["url_host"] = placement.lead
    if "system_driver" in known:
        options["system_driver"] = wrapper.system
    if "monitor" in known:
        # what a host has of its own is measured by the scripts of `ssh`, which lie under our name for it
        options["monitor"] = wrapper.prefix + "ssh"
    if "peer" in known and placement.peer:
        options["peer"] = placement.peer
        options.update(_way(settings))
        options["limit_rate"] = _limit(context, options)
    if "peer_role" in known and placement.peer:
        options["peer_role"] = placement.peer_role
    return options


def _limit(context: Context, options: dict[str, Any]) -> str:
    """Most bytes per second between the two hosts: the limit of the datastore, else of the site; as it is written."""
    own = options.get("limit_rate")
    number = os.path.basename(options["datastore"])
    if own is None and number.isdigit():
        from .documents import text

        own = text(context.datastore(int(number)), "TEMPLATE/LIMIT_TRANSFER_BW").strip()
    return own or context.settings.text("LIMIT_TRANSFER_BW")


def _way(settings: Settings) -> dict[str, Any]:
    """How other hosts are reached beside the connection to the lead: options of every action that has a peer."""
    from ..module_utils._actions import CIPHERS

    return {
        "peer_python": settings.text("NODE_PYTHON", "/usr/bin/python3"),
        "ciphers": settings.text("CIPHERS", CIPHERS),
        "connect_timeout": settings.number("CONNECT_TIMEOUT", 30),
    }


def _reply(call: Call, voice: Voice, result: dict[str, Any]) -> None:
    try:
        call.reply(voice, result)
    except KeyError as error:
        raise Corrupt(f"The result of {call.action} has no {error}") from None


def _explained(result: dict[str, Any], options: dict[str, Any], lead: str) -> list[str]:
    """What an action would do, for a person: its steps, or that there is nothing to do."""
    actions = result.get("actions") or []
    lines = [f"{options['driver']} on {lead} would:"] if actions else [f"{options['driver']} on {lead}: nothing to do"]
    lines += [f"  {number}. {action}" for number, action in enumerate(actions, 1)]
    return lines
