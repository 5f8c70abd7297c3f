# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for the tests: network and mount namespaces of this machine, joined by a switch, each with its own sshd.

``Lab`` makes them and runs commands on them; ``can_make_hosts`` says whether this process may.
``python3 -m tests.lab.hosts`` does the same from the command line.
"""

from __future__ import annotations

from .commands import CommandFailed
from .lab import DEFAULT_NAMES, DEFAULT_SHARED, Lab
from .proc import HostProcess
from .rights import can_make_hosts
from .state import LabError, default_state_dir, repository

__all__ = [
    "DEFAULT_NAMES",
    "DEFAULT_SHARED",
    "CommandFailed",
    "HostProcess",
    "Lab",
    "LabError",
    "can_make_hosts",
    "default_state_dir",
    "repository",
]
