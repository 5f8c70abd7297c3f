# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wires: a bridge in a network namespace of its own, one veth pair per host.

No namespace gets a name and nothing is made in the machine's own one: when the processes that hold them end, the kernel
removes all of it.
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from .state import HostState, LabError

_LIMIT = 10.0


def subnet_for(state_dir: Path) -> str:
    """Three numbers of a /24, derived from the folder. Labs cannot reach each other; this is for the reader's eye."""
    mark = zlib.crc32(str(state_dir).encode())
    return f"10.{64 + mark % 64}.{(mark >> 8) % 256}"


def batch(pid: int, commands: Iterable[str]) -> None:
    """Run `ip` commands in the network namespace of a process. Raises LabError with what `ip` said."""
    run_ip(pid, ["-batch", "-"], "\n".join(commands) + "\n")


def run_ip(pid: int, arguments: Sequence[str], text: str = "") -> str:
    """Run one `ip` in the network namespace of a process and return what it printed."""
    line = ["/usr/bin/nsenter", "-t", str(pid), "-n", "--", "ip", *arguments]
    try:
        result = subprocess.run(line, input=text, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"ip did not end within {_LIMIT:.0f} s") from error
    if result.returncode:
        raise LabError(f"ip {' '.join(arguments)} failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def make_switch(switch: int) -> None:
    """The bridge."""
    batch(switch, ["link set lo up", "link add br0 type bridge", "link set br0 up"])


def plug_in(switch: int, hosts: Iterable[tuple[HostState, int]]) -> None:
    """Connect hosts, each given with a process in its network namespace, and set their addresses."""
    pairs = list(hosts)
    lines = []
    for host, pid in pairs:
        lines += [
            f"link add {host.port} type veth peer name eth0 netns {pid}",
            f"link set {host.port} master br0",
            f"link set {host.port} up",
        ]
    batch(switch, lines)
    for host, pid in pairs:
        batch(pid, ["link set lo up", f"addr add {host.address}/24 dev eth0", "link set eth0 up"])


def give_address(switch: int, address: str) -> None:
    """An address of the switch itself, for servers that are no host's; one that it has already stays."""
    batch(switch, [f"addr replace {address}/24 dev br0"])


def set_link(switch: int, host: HostState, *, up: bool) -> None:
    """Plug the host's cable in or pull it, at the switch."""
    batch(switch, [f"link set {host.port} {'up' if up else 'down'}"])


def link_is_up(switch: int, host: HostState) -> bool:
    """Whether the host's cable is plugged in."""
    return "state UP" in run_ip(switch, ["-o", "link", "show", "dev", host.port])
