# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM whose backups come to harm, on a front-end that stops where it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.lab.backing import Backing
from tests.lab.ground import LabGround
from tests.lab.looking import all_running, wait_for
from tests.lab.oned import Completed, LabHost

#: Seconds in which all that belongs to a dead caller has ended.
PROMPT = 15.0


class Tampered(LabHost):
    """The front-end, where one action stops at a step.

    :ivar action: its name; :ivar fault: where it stops; empty for no action.
    :ivar more: more environment of all actions.
    """

    action = fault = ""
    more: Mapping[str, str] = {}

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        given = {**env, **self.more}
        if self.fault and f"/{self.action} " in argv[-1]:
            given["ONE_STORAGE_FAULT"] = self.fault
        return super().run(argv, stdin=stdin, env=given, cwd=cwd, timeout=timeout)


class Harmed(Backing):
    """A VM whose backups come to harm, and what is left then."""

    def tamper(self) -> Tampered:
        """Let the front-end stop actions; none as yet."""
        self.front_end = Tampered(self.ground.lab, self.ground.frontend)
        self.runner.front_end = self.front_end
        return self.front_end

    def one_point(self) -> None:
        """One more backup that goes well."""
        self.scribble()
        self.back_up()

    def idle(self) -> None:
        """Nothing of ours runs on any host."""
        wait_for(f"idle: {busy(self.ground)}", lambda: not busy(self.ground), PROMPT)

    def unharmed(self, swept: bool = False) -> None:
        """The repository has what the points need, and nothing else; the next backup is right.

        :param swept: that one has something to sweep.
        """
        self.idle()
        if not swept:
            self.at_rest()
        self.one_point()
        self.at_rest()
        names = self.repository()
        if self.kind == "rsync":
            folders = {name.split("/")[1] for name in names if "/" in name and not name.startswith(".")}
            assert len(folders) == len(self.points), names
        else:
            snapshots = [name for name in names if "/snapshots/" in name]
            assert len(snapshots) == len(self.points) and not [name for name in names if "/locks/" in name], names

    def left_alone(self, before: Mapping[int, bytes]) -> None:
        """The disks are what they were."""
        for disk, content in before.items():
            assert self.bytes_of(self._where(), self._disk(disk), self._format(disk)) == content, f"disk {disk}"


def busy(ground: LabGround) -> list[tuple[str, tuple[str, ...]]]:
    """What of ours runs on any host, libvirt and its guests aside."""
    return [
        (host, argv) for host, argv in all_running(ground) if "libvirt" not in argv[0] and "qemu-system" not in argv[0]
    ]
