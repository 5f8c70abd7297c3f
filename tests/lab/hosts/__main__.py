# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab from the command line: python3 -m tests.lab.hosts up | down | status | exec HOST CMD | as HOST CMD."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import state
from .lab import DEFAULT_NAMES, DEFAULT_SHARED, Lab
from .state import LabError, LabState


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code: 0 done, 1 not, with one sentence on stderr."""
    options = _parser().parse_args(arguments)
    folder: Path = options.state.resolve() if options.state else state.default_state_dir()
    try:
        if options.action == "up":
            return _up(folder, options)
        if options.action == "down":
            return _down(folder)
        if options.action == "status":
            return _status(folder)
        return _exec(folder, options.host, options.command, "root" if options.action == "exec" else "oneadmin")
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.hosts", description="Hosts for the tests, as root.")
    parser.add_argument("--state", type=Path, help=f"folder of the lab (else ${state.STATE_VARIABLE}, .cache/lab/main)")
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="make the hosts")
    up.add_argument("--hosts", default=",".join(DEFAULT_NAMES), help="names, the front-end first (%(default)s)")
    up.add_argument(
        "--shared", default=",".join(map(str, DEFAULT_SHARED)), help="ids of shared datastores (%(default)s)"
    )
    up.add_argument("--no-sudo", action="store_true", help="oneadmin may not become root")
    actions.add_parser("down", help="end the hosts and delete all their files")
    actions.add_parser("status", help="show the hosts; exit code 1 when there are none")
    for action, text in (("exec", "run a command as root"), ("as", "run a command as oneadmin")):
        one = actions.add_parser(action, help=text)
        one.add_argument("host")
        one.add_argument("command", nargs=argparse.REMAINDER, help="default: a shell")
    return parser


def _up(folder: Path, options: argparse.Namespace) -> int:
    started = time.monotonic()
    root = state.repository()
    try:
        shared = [int(one) for one in options.shared.split(",") if one]
    except ValueError:
        raise LabError(f"not a list of datastore ids: {options.shared}") from None
    lab = Lab.up(
        folder,
        names=options.hosts.split(","),
        shared=shared,
        tie=False,
        sudo=not options.no_sudo,
        binds=[root],
        masks=[root],
    )
    print(f"{', '.join(lab.hosts)} are up after {time.monotonic() - started:.2f} s, state in {folder}")
    return 0


def _down(folder: Path) -> int:
    found = LabState.load(folder)
    if found is None:
        print(f"no lab in {folder}")
    else:
        Lab(folder, found).down()
    return 0


def _status(folder: Path) -> int:
    lab = Lab.attach(folder)
    for host in lab.hosts:
        try:
            cable = "cut off" if lab.is_cut(host) else "connected"
            running = len(lab.processes(host))
            print(f"{host:12} {lab.address(host):15} pid {lab.leader(host)}, {cable}, {running} processes")
        except LabError as error:
            print(f"{host:12} {error}")
    print("shared datastores:", ", ".join(map(str, lab.shared)) or "none")
    return 0 if lab.alive() else 1


def _exec(folder: Path, host: str, command: Sequence[str], user: str) -> int:
    lab = Lab.attach(folder)
    argv = list(command[1:] if command[:1] == ["--"] else command) or ["/bin/bash"]
    terminal = {name: os.environ[name] for name in ("TERM",) if name in os.environ}
    # In place of this process, so that signals and the terminal reach the command, and its exit code is ours.
    line = lab.command(host, argv, user=user, session=False)
    sys.stdout.flush()
    os.execve(line[0], line, lab.environment(host, user, terminal))


if __name__ == "__main__":
    sys.exit(main())
