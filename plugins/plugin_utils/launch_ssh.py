# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launcher *ssh*: the node has our build, one SSH command over a shared connection runs the core there.

The session is opened before oned is asked, so that the node loads its driver meanwhile. Its stdin is a lifeline:
when this process ends, however it ends, the node stops before its next step and undoes.
"""

from __future__ import annotations

import os
import time

from ..module_utils._errors import DeadlineOver, StorageError, Unreachable, from_record
from ..module_utils.tools import ssh
from ..module_utils.tools.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..module_utils.tools.wire import Wire
    from .settings import Settings

NODE_DIRECTORY = "/var/tmp/one"


class NoBuild(Exception):
    """The node cannot run our core, and has not begun to: it has none, another build, or no such Python."""


class Node:
    """One session with a node.

    :param hint: action, driver and system driver, which the node loads while we ask oned.
    :param agent: forward the agent, for an action with a peer; then the connection is not shared.
    """

    name = "ssh"

    def __init__(self, host: str, settings: Settings, build: str, hint: list[str], agent: bool) -> None:
        self.host = host
        self._build = build
        self._connect = settings.number("CONNECT_TIMEOUT", 30)
        entry = os.path.join(settings.text("REMOTE_DIRECTORY", NODE_DIRECTORY), "one_storage", "node.py")
        python = settings.text("NODE_PYTHON", "/usr/bin/python3")
        self._command = [python, "-I", "-S", entry, *hint]
        self._agent = agent
        self._until = time.monotonic() + self._connect
        self._wire: Wire | None = None
        self._waits = False
        self._start()

    def _start(self) -> None:
        self._session = Session(
            self.host, self._command, shared=True, agent=self._agent, connect=min(10, self._connect)
        )

    def run(self, action: str, options: dict[str, Any], check: bool, fault: str) -> dict[str, Any]:
        """The result of the action.

        :raises NoBuild: before any step, when the node has no or another build.
        :raises StorageError: what failed on the node, or on the way to it.
        """
        from ..module_utils.tools.wire import SILENCE, Gone, patience

        wire = self._greet()
        wire.silence = patience(float(options.get("stall_timeout") or SILENCE))
        request = {"action": action, "options": options, "build": self._build, "check": check, "fault": fault}
        try:
            wire.send({**request, "silence": wire.silence})
            answer = wire.receive()
        except Gone as error:
            self._session.kill()
            self._session.end()
            raise Unreachable(
                f"The connection to {self.host} broke: {error}", todo="run it again", detail=self._session.said()
            ) from None
        self._waits = bool(answer.get("waits"))
        if "refused" in answer:
            raise NoBuild(str(answer["refused"]))
        if "error" in answer:
            failure = from_record(answer["error"])
            failure.host = failure.host or self.host
            raise failure
        result = answer.get("result")
        if not isinstance(result, dict):
            raise StorageError(f"{self.host} sent something that is not a result")
        return result

    def _greet(self) -> Wire:
        # imported when the node is at work already
        from ..module_utils.tools.wire import Gone, Wire

        pause = 0.1
        while True:
            wire = self._wire = Wire(self._session.stdout, self._session.stdin)
            try:
                hello = wire.receive(self._until)
                break
            except TimeoutError:
                self._session.kill()
                self._session.end()
                raise DeadlineOver(f"{self.host} does not answer within {self._connect} seconds") from None
            except Gone:
                rc = self._session.end()
                said = self._session.said()
                if rc in (2, 127) and ("can't open file" in said or "No such file" in said or "not found" in said):
                    raise NoBuild("this node has none of our files") from None
                if not ssh.may_pass(said) or time.monotonic() + pause > self._until:
                    raise ssh.failure(self.host, said, rc) from None
            # many actions start at once and sshd refuses some logins and sessions: jitter keeps them apart
            time.sleep(pause * (0.5 + os.getrandom(1)[0] / 256))
            pause = min(pause * 2, 2)
            self._start()
        if hello.get("hello") != self._build:
            raise NoBuild(f"this node has build {str(hello.get('hello'))[:12]}, we have {self._build[:12]}")
        return wire

    def delivered(self) -> None:
        """The answer is out: let the node close its journal, if it waits for that."""
        if self._waits and self._wire is not None:
            from ..module_utils.tools.wire import Gone

            try:
                self._wire.send({"delivered": True})
                self._wire.receive()
            except (Gone, TimeoutError):
                # the answer stands; what the node could not tidy, its next action does
                pass
        self._session.dismiss()

    def close(self) -> None:
        """Give the session up; an action that runs is undone."""
        self._session.end()
