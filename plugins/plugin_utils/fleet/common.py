# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of this folder have in common: their life, their answer, lists on the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys

from ...module_utils._errors import BadCall, StorageError, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Most that one run asks of a site at the same time.
MOST_AT_ONCE = 64


def lived(
    name: str, work: Callable[[], tuple[dict[str, Any], bool]], shown: Callable[[dict[str, Any]], list[str]]
) -> int:
    """Run a command: its report goes to stdout, as JSON or in lines; a failure is one sentence on stderr.

    :param work: gives the report, and whether all of it went well.
    :param shown: the report in lines; the report's key ``json`` says that JSON is wanted.
    :returns: exit code: 0, 1 for a failure, 2 when some of many things failed.
    """
    try:
        report, well = work()
    except StorageError as error:
        print(f"{name}: {one_line(str(error), 600)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted: run it again to go on", file=sys.stderr)
        return 1
    try:
        if report.pop("json"):
            # with the lines, for who shows the report and does not read it
            print(json.dumps({**report, "lines": [one_line(line, 4000) for line in shown(report)]}))
        else:
            for line in shown(report):
                print(one_line(line, 4000))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    return 0 if well else 2


def numbers(text: str) -> list[int]:
    """``1,5-7`` as a list, for argparse."""
    found: list[int] = []
    for word in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = word.partition("-")
        for part in (first, last) if dash else (first,):
            if not (part.isascii() and part.isdigit() and len(part) < 10):
                raise argparse.ArgumentTypeError(f"'{one_line(word, 40)}' is no id and no range of ids")
        if dash and not int(first) <= int(last) < int(first) + 1_000_000:
            raise argparse.ArgumentTypeError(f"'{one_line(word, 40)}' is no range of ids")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number between two others, for argparse."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"'{one_line(text, 40)}' is no whole number from {least} to {most}")
        return int(text)

    return read


def rate(text: str) -> int:
    """``20M`` as bytes per second; 0 for none."""
    from ...module_utils.tools.sources import rate_of

    try:
        return rate_of(text)
    except BadCall as error:
        raise argparse.ArgumentTypeError(error.sentence) from None


def size(count: int) -> str:
    """Bytes for people."""
    from ...module_utils.tools.progress import size_of

    return size_of(count)
