# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``progress``: what runs in some datastores, out of the status files that long steps write."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
import time

from ..module_utils._errors import one_line
from ..module_utils.tools.host import HIDDEN, STATUS
from ..module_utils.tools.progress import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EVERY = 1.0
_USUAL = "/var/lib/one/datastores"
_LONGEST = 8192


def main(arguments: list[str]) -> int:
    """Show what runs; with ``--watch`` again every second, until it is interrupted."""
    parser = argparse.ArgumentParser(prog="progress", description="Show the transfers that run in datastores.")
    parser.add_argument("folder", nargs="*", default=[_USUAL], help=f"a datastore, or a folder of them ({_USUAL})")
    parser.add_argument("-w", "--watch", action="store_true", help="show them again every second")
    given = parser.parse_args(arguments)
    for folder in given.folder:
        if not os.path.isdir(folder):
            print(f"progress: {one_line(folder)} is not a folder", file=sys.stderr)
            return 1
    try:
        if given.watch:
            _watch(given.folder)
        for line in lines(given.folder) or ["nothing runs"]:
            print(line)
    except (KeyboardInterrupt, BrokenPipeError):
        print()
    return 0


def lines(folders: list[str]) -> list[str]:
    """A line for every transfer, the datastore first."""
    found = []
    for folder in folders:
        plain = glob.escape(folder.rstrip("/") or "/")
        for pattern in (f"{plain}/{HIDDEN}/*{STATUS}", f"{plain}/*/{HIDDEN}/*{STATUS}"):
            found += sorted(glob.glob(pattern))
    return [line for line in map(_line, found) if line]


def _line(path: str) -> str:
    record = _read(path)
    if record is None:
        return ""
    store = os.path.basename(os.path.dirname(os.path.dirname(path)))
    dead = "" if _lives(record) else " (ended without a word)"
    return one_line(f"{store}: {told(record)}{dead}")


def _read(path: str) -> dict[str, Any] | None:
    """A status file; None when it is gone, or none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            record = json.loads(file.read(_LONGEST))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _lives(record: dict[str, Any]) -> bool:
    """Whether the process that writes it is there; of other hosts nothing is known."""
    return record.get("host") != os.uname().nodename or os.path.exists(f"/proc/{record.get('pid')}")


def _watch(folders: list[str]) -> None:
    """On a terminal in place, else a line for every change."""
    before: list[str] = []
    terminal = sys.stdout.isatty()
    while True:
        now = lines(folders)
        if terminal:
            up = f"\x1b[{len(before)}A" if before else ""
            sys.stdout.write("\r" + up + "".join(f"{line}\x1b[K\n" for line in now) + "\x1b[J")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in now if line not in before))
        sys.stdout.flush()
        before = now
        time.sleep(_EVERY)
