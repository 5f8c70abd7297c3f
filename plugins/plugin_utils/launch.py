# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses how an action reaches its lead host."""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from .answer import Voice
    from .launch_ansible import Ansible
    from .launch_local import Local
    from .launch_ssh import Node
    from .settings import Settings

    Launcher = Union[Local, Node, Ansible]


#: Actions that may take hours: who asked for them may be gone before they end. For the others, starting a thread costs
#: more than finishing the work.
LONG = (
    "ds_cp",
    "ds_clone",
    "ds_export",
    "ds_backup",
    "ds_increment_flatten",
    "tm_restore",
    "tm_prebackup",
    "tm_prebackup_live",
)


class Placement:
    """The hosts of one call.

    :ivar lead: name of the lead; ``here`` says whether it is this machine.
    :ivar peer: name of the peer; empty when there is none.
    :ivar peer_role: what the peer is in a move: source or destination.

    :param bridge: the host that leads in place of the front-end (BRIDGE_LIST).
    :param origin: the host that has what is cloned, when that is another one.
    """

    def __init__(
        self, rule: str, hosts: dict[str, str], settings: Settings, kind: str, bridge: str = "", origin: str = ""
    ) -> None:
        self._names = _our_names(settings)
        source, destination = hosts.get("source", ""), hosts.get("destination", "")
        self.peer_role = "destination"
        self.peer = ""
        #: Whether the action belongs to the machine that runs the wrapper, which may know no other way to run it.
        self.pinned = rule == "here"
        if kind == "ds" or bridge:
            self.lead, self.peer = bridge or hosts.get("lead", ""), origin or hosts.get("peer", "")
        elif rule == "pair":
            self._pair(source, destination)
        elif rule == "frontend":
            self.lead = ""
            self.peer = destination or source
        elif rule == "destination":
            self.lead = destination
        else:
            self.lead = destination or source
        self.here = not self.lead or self._is_us(self.lead)
        if self.peer and (self._is_us(self.peer) if self.here else _plain(self.peer) == _plain(self.lead)):
            self.peer = ""

    def _pair(self, source: str, destination: str) -> None:
        if self._is_us(destination):
            self.lead, self.peer, self.peer_role = destination, source, "source"
        else:
            self.lead, self.peer = source, destination

    def _is_us(self, host: str) -> bool:
        return _plain(host).lower() in self._names


def _plain(login: str) -> str:
    """``user@host`` without the user, when that is who logs in anyway."""
    user, mark, host = login.rpartition("@")
    if mark:
        import pwd

        try:
            return host if pwd.getpwuid(os.geteuid()).pw_name == user else login
        except KeyError:
            pass
    return login


def _our_names(settings: Settings) -> set[str]:
    """Names under which oned knows this machine. A name too few costs an SSH hop, no more."""
    name = os.uname().nodename.lower()
    names = {name, name.split(".")[0], "localhost", "127.0.0.1", "::1"}
    return names | set(settings.text("FRONTEND").lower().split())


class Launch:
    """One launch: opened as soon as the lead is known, run when the options are."""

    def __init__(
        self, placement: Placement, settings: Settings, voice: Voice, action: str, driver: str, system: str
    ) -> None:
        self._placement = placement
        self._settings = settings
        self._voice = voice
        self._how = settings.launcher()
        self._hint = [action, driver, system]
        self._agent = bool(placement.peer) and not placement.here
        self._node: Node | None = None
        self._used: Launcher | None = None
        if self._how == "in_process" and not placement.here:
            raise Unsupported(
                f"The launcher in_process cannot reach {placement.lead}", todo="set LAUNCHER to auto, ssh or ansible"
            )

    @property
    def name(self) -> str:
        """The launcher that was used."""
        return self._used.name if self._used else ""

    def prepare(self) -> None:
        """Open the session to a node, when there will be one, so that it gets ready while oned is asked."""
        if self._how == "ansible":
            return
        if self._placement.here:
            from ..module_utils._run import prepare

            prepare(*self._hint)
        else:
            self.open()

    def open(self) -> Node:
        """The session to the node."""
        if self._node is None:
            from .launch_ssh import Node

            build = build_of(self._settings.root)
            self._node = Node(self._placement.lead, self._settings, build, self._hint, self._agent)
        return self._node

    def run(self, options: dict[str, Any], check: bool, fault: str) -> dict[str, Any]:
        """Run the action and return its result."""
        action = self._hint[0]
        if self._how == "ansible" and not self._placement.pinned:
            return self._ansible(options, check, fault)
        if self._placement.here:
            from .launch_local import Local

            self._used = Local()
            return self._used.run(action, options, check, fault)
        from .launch_ssh import NoBuild

        node = self.open()
        try:
            self._used = node
            return node.run(action, options, check, fault)
        except NoBuild as reason:
            node.close()
            if self._how == "ssh":
                raise Unsupported(
                    f"{self._placement.lead} cannot run the drivers: {reason}",
                    todo="deploy them with onehost sync or the role node, or set LAUNCHER=auto",
                ) from None
            self._voice.log("WARN", f"{self._placement.lead}: {reason}, so this action goes through ansible")
        return self._ansible(options, check, fault)

    def _ansible(self, options: dict[str, Any], check: bool, fault: str) -> dict[str, Any]:
        from .launch_ansible import Ansible

        host = self._placement.lead or "localhost"
        self._used = Ansible(host, self._settings, self._placement.here, self._agent)
        return self._used.run(self._hint[0], options, check, fault)

    def delivered(self) -> None:
        """oned has the answer."""
        if self._used:
            self._used.delivered()

    def close(self) -> None:
        """Give up: an action that runs on a node is undone there."""
        if self._node:
            self._node.close()


def build_of(root: str) -> str:
    """The id of the build that lies in a remotes directory."""
    path = os.path.join(root, "one_storage", "BUILD")
    try:
        with open(path, "rb") as file:
            return file.read(200).decode("ascii", "replace").strip()
    except OSError:
        raise BadCall(
            f"{path} is missing", todo="lay the drivers out with 'make remotes' or the role frontend"
        ) from None
