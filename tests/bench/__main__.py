# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench``: measures on the lab, shows a table; exit code 1 when a target is missed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import backups, copies, fetches, imports, local, many, monitoring, node, peers, streams, volumes
from tests.bench.hands import BenchError
from tests.bench.report import Report
from tests.bench.rows import Findings
from tests.bench.scene import Scene, scene
from tests.lab.hosts import LabError, can_make_hosts
from tests.lab.oned import EventFailedError

BENCHMARKS: dict[str, tuple[str, Callable[[Scene, int], Findings]]] = {
    "local": ("actions on the front-end", local.measure),
    "node": ("actions on a node", node.measure),
    "peers": ("actions of two hosts", peers.measure),
    "many": ("15 actions at once", many.measure),
    "monitoring": ("monitoring of many VMs", monitoring.measure),
    "copies": ("copies of a large image", copies.measure),
    "streams": ("disks from host to host", streams.measure),
    "backups": ("backups of a large disk", backups.measure),
    "ceph": ("volumes of a Ceph cluster", volumes.measure),
    "fetches": ("imports of a large image", fetches.measure),
    "imports": ("what start-up is spent on", imports.measure),
}


def main() -> int:
    """0: every target is met; 1: one is missed; 2: it could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measures what actions cost, as ratios.")
    parser.add_argument("--rounds", type=_count, default=15, help="samples of each kind (default: 15)")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    options = parser.parse_args()
    able, reason = can_make_hosts()
    if not able:
        print(f"bench: there is nothing to measure on: {reason}", file=sys.stderr)
        return 2
    report = Report()
    try:
        with scene() as ground:
            for name in options.only:
                what, measure = BENCHMARKS[name]
                begun = time.monotonic()
                report.add(name, measure(ground, options.rounds))
                report.say(f"{name}: {what}, {options.rounds} rounds, {time.monotonic() - begun:.0f} s", "dim")
    except (BenchError, LabError, EventFailedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    report.show()
    if options.json:
        report.write(options.json, {"rounds": options.rounds, "only": options.only})
    return 1 if report.missed() else 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round")
    return number


if __name__ == "__main__":
    sys.exit(main())
