# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``progress``: what runs in datastores, here and on other hosts, out of what actions leave there."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time

from ..module_utils._errors import StorageError, one_line
from .progress_view import Style, line, summary, table
from .watching import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rows = list[dict[str, Any]]

_EVERY = 1.0
#: Seconds between two lines about one operation, where there is no terminal.
_LINES_EVERY = 10.0
_USUAL = "/var/lib/one/datastores"


def main(arguments: list[str]) -> int:
    """Show what runs; with ``--watch`` again every second, until it is interrupted.

    The exit code is 1 when a host, or a datastore, cannot be seen.
    """
    parser = argparse.ArgumentParser(
        prog="progress",
        description="Show what the storage drivers do in datastores: bytes, rate and time left.",
        epilog="Hosts are reached by SSH as the drivers reach them. Without --hosts it is this machine alone.",
    )
    parser.add_argument("folder", nargs="*", default=[_USUAL], help=f"a datastore, or a folder of them ({_USUAL})")
    parser.add_argument("-w", "--watch", action="store_true", help="show it again and again")
    parser.add_argument("-n", "--every", type=float, default=_EVERY, metavar="SECONDS", help="how often (1)")
    parser.add_argument(
        "-H",
        "--hosts",
        default="",
        metavar="NAMES",
        help="hosts, separated by commas; 'all' for those that OpenNebula has and this machine; '-' for names on stdin",
    )
    parser.add_argument("-j", "--json", action="store_true", help="as JSON, with --watch one object a line")
    given = parser.parse_args(arguments)
    try:
        hosts = _hosts(given.hosts)
        if not 0.1 <= given.every <= 3600:
            raise StorageError(f"{given.every:g} seconds are not possible: it must be from 0.1 to 3600")
        if not given.hosts:
            for folder in given.folder:
                if not os.path.isdir(folder):
                    raise StorageError(f"{one_line(folder)} is not a folder")
        watch = Watch(hosts, [os.path.abspath(folder) for folder in given.folder], given.every if given.watch else 0)
    except StorageError as error:
        print(f"progress: {one_line(str(error), 600)}", file=sys.stderr)
        return 1
    try:
        watch.wait(60)
        if given.watch:
            _watched(watch, given.every, given.json)
        return _once(watch, given.json, bool(given.hosts))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # whoever read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    finally:
        watch.close()


def _hosts(given: str) -> list[str]:
    """Names of hosts, each once; an empty one for this machine."""
    from ..module_utils.tools.ssh import check_login

    if not given:
        return [""]
    if given == "all":
        from .oned import Oned
        from .site import site

        # one that is switched off has nothing that runs
        names = [host["name"] for host in site(Oned())["hosts"] if host["state"] != "offline"]
        return ["", *(name for name in names if name not in ("localhost", os.uname().nodename))]
    words = sys.stdin.read(1 << 20).split() if given == "-" else [word.strip() for word in given.split(",")]
    names = list(dict.fromkeys(word for word in words if word))
    if not names:
        raise StorageError("No host is named")
    return ["" if name == "localhost" else check_login(name) for name in names]


def _once(watch: Watch, as_json: bool, with_hosts: bool) -> int:
    rows, missed = watch.now()
    if as_json:
        print(json.dumps({"operations": rows, "missed": missed}))
    else:
        for text in [line(row, with_hosts) for row in rows] or ["nothing runs"]:
            print(text)
        for sentence in missed:
            print(f"progress: {sentence}", file=sys.stderr)
    return 1 if missed else 0


def _watched(watch: Watch, every: float, as_json: bool) -> None:
    """On a terminal in place; else a line when an operation begins, every ten seconds, and when it has ended."""
    terminal = sys.stdout.isatty() and not as_json
    before = 0
    lines = _Lines()
    while True:
        rows, missed = watch.now()
        if as_json:
            text = json.dumps({"time": int(time.time()), "operations": rows, "missed": missed}) + "\n"
        elif terminal:
            shown = table(rows, missed, _style())
            up = f"\x1b[{before}A" if before else ""
            text = "\r" + up + "".join(f"{one}\x1b[K\n" for one in shown) + "\x1b[J"
            before = len(shown)
        else:
            text = "".join(f"{one}\n" for one in lines.of(rows, missed))
        sys.stdout.write(text)
        sys.stdout.flush()
        time.sleep(every)


def _style() -> Style:
    size = shutil.get_terminal_size()
    blocks = "utf" in (sys.stdout.encoding or "").lower()
    return Style(size.columns, size.lines, "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb", blocks)


class _Lines:
    """What is new, for who reads a log."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, ...], float] = {}
        self._last: dict[tuple[str, ...], str] = {}
        self._missed: list[str] = []
        self._quiet = False

    def of(self, rows: Rows, missed: list[str]) -> list[str]:
        """Lines since the last time."""
        now = time.monotonic()
        found = [sentence for sentence in missed if sentence not in self._missed]
        self._missed = missed
        keys: set[tuple[str, ...]] = set()
        for row in rows:
            key: tuple[str, ...] = (row["datastore"], row["object"], row["run"], row["what"])
            keys.add(key)
            self._last[key] = line(row)
            if now - self._told.get(key, -_LINES_EVERY) >= _LINES_EVERY:
                self._told[key] = now
                found.append(self._last[key])
        for key in [key for key in self._told if key not in keys]:
            found.append(f"{self._last.pop(key).partition(': ')[0]}: {key[3] or key[1]}: no longer there")
            del self._told[key]
        if not rows and not self._quiet:
            found.append(summary(rows))
        self._quiet = not rows
        return found
