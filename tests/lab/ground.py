# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a VM's life takes place: the lab's hosts, or this machine alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.lab.hosts import Lab, repository
from tests.lab.oned import (
    ApiServer,
    LabHost,
    Oned,
    Runner,
    Settings,
    ThisMachine,
    equip_front_end,
    install_commands,
    write_session,
)

if TYPE_CHECKING:
    from tests.lab.pool import Pool

BUILD = repository() / "remotes" / "one_storage" / "build.py"
REMOTE = "/var/tmp/one"


class Ground(Protocol):
    """Hosts with the drivers on them, and an oned that drives them.

    :ivar pool: pools of a Ceph cluster that they know, if there is one.
    """

    oned: Oned
    server: ApiServer
    frontend: str
    nodes: Sequence[str]
    pool: Pool | None

    def runner(self, environment: Mapping[str, str] | None = None) -> Runner:
        """Calls drivers on the front-end, with more environment if given."""

    def run(self, host: str, argv: Sequence[str]) -> str:
        """The stdout of a command on a host, run as the drivers' user; raises when it fails."""

    def path(self, host: str, path: str) -> Path:
        """A host's file as it is seen from here; a link in the last place is not followed."""


class LabGround:
    """The lab's three hosts.

    :param port: where oned listens; 0 for any that is free.
    """

    def __init__(self, lab: Lab, port: int = 0) -> None:
        self.lab = lab
        self.frontend = lab.frontend
        self.nodes: Sequence[str] = list(lab.nodes)
        self.pool: Pool | None = None
        self.oned = Oned(Settings(frontend=lab.frontend))
        equip_front_end(lab, lab.frontend, self.oned.settings)
        self.server = ApiServer(self.oned, port=port, network_of=lab.leader(lab.frontend))
        self.server.start()
        for node in self.nodes:
            self.oned.add_host(node)

    def deploy(self, nodes: Sequence[str] | None = None) -> None:
        """Lay the drivers out by build.py, as onehost sync would; the roles have tests of their own.

        :param nodes: the nodes that get the core; all by default.
        """
        lay_out(self.lab.path(self.frontend, self.oned.settings.remotes))
        self.own(self.frontend, self.oned.settings.remotes)
        for node in self.nodes if nodes is None else nodes:
            lay_out(self.lab.path(node, REMOTE))
            self.own(node, REMOTE)

    def own(self, host: str, path: str) -> None:
        """Give a tree to the drivers' user."""
        self.lab.run(host, ["chown", "-R", "oneadmin:oneadmin", path], user="root")

    def runner(self, environment: Mapping[str, str] | None = None) -> Runner:
        return Runner(
            LabHost(self.lab, self.frontend),
            self.oned.settings,
            environment={"ONE_XMLRPC": self.server.url, **(environment or {})},
        )

    def run(self, host: str, argv: Sequence[str]) -> str:
        return self.lab.run(host, argv).stdout.decode()

    def path(self, host: str, path: str) -> Path:
        return self.lab.path(host, path)

    def close(self) -> None:
        """Stop oned; the lab is its maker's."""
        self.server.stop()


class LocalGround:
    """This machine, as front-end and only node, with everything below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frontend = socket.gethostname()
        # two names for one machine, so that a migration has somewhere to go
        self.nodes: Sequence[str] = ["localhost", "127.0.0.1"]
        self.pool: Pool | None = None
        self.oned = Oned(Settings(frontend=self.frontend, var_location=f"{folder}/"))
        install_commands(folder / "bin")
        write_session(folder / "one_auth", self.oned.settings.session)
        lay_out(Path(self.oned.settings.remotes))
        self.server = ApiServer(self.oned)
        self.server.start()
        for node in self.nodes:
            self.oned.add_host(node)

    def runner(self, environment: Mapping[str, str] | None = None) -> Runner:
        given = {
            "PATH": f"{self.folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "ONE_AUTH": str(self.folder / "one_auth"),
            "ONE_XMLRPC": self.server.url,
            **(environment or {}),
        }
        return Runner(ThisMachine(given), self.oned.settings, environment=given)

    def run(self, host: str, argv: Sequence[str]) -> str:
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        return subprocess.run(argv, check=True, capture_output=True, env=environment, timeout=60).stdout.decode()

    def path(self, host: str, path: str) -> Path:
        return Path(path)

    def close(self) -> None:
        """Stop oned and remove the folder."""
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def lay_out(folder: Path) -> None:
    """The drivers' tree, as ``make remotes`` makes it."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    subprocess.run([python, "-I", str(BUILD), str(folder)], check=True, stdout=subprocess.DEVNULL, timeout=60)
