# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``selftest``: whether this host's build works, tried before others get it.

The build answers as it answers a front-end, qemu-img runs, and in each datastore a disk or an image is made by a real
action, written, read again and removed by another. Nothing is left, in a failure neither.
"""

from __future__ import annotations

import argparse
import os
import sys

from ..module_utils._errors import Corrupt, StorageError, ToolFailed, one_line
from ..module_utils._probe import KINDS, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_USUAL = "/var/lib/one/datastores"
_SECONDS = 30


def main(here: str, arguments: list[str]) -> int:
    """Try it all; a line for each thing, exit code 1 with one sentence on stderr at the first that fails.

    :param here: the folder of the deployed core, with its file BUILD.
    """
    parser = argparse.ArgumentParser(prog="selftest", description="Try the drivers on this host.")
    parser.add_argument("datastore", nargs="*", metavar="KIND:ID", help="image:1, shared:100 or local:101")
    parser.add_argument("--datastores", default=_USUAL, help=f"where the datastores lie ({_USUAL})")
    parser.add_argument("--build", default="", help="the build that has to answer; default: the file BUILD")
    parser.add_argument("--monitor", default="ssh", help="what the marker of a local system datastore says (ssh)")
    given = parser.parse_args(arguments)
    tried = ""
    try:
        tried = "the build"
        print(f"build {_build(here, given.build)} answers", flush=True)
        tried = "qemu-img"
        print(_qemu_img(), flush=True)
        for store in given.datastore:
            tried = f"datastore {store}"
            print(_datastore(store, given.datastores.rstrip("/"), given.monitor), flush=True)
    except (StorageError, OSError) as error:
        print(f"selftest: {os.uname().nodename}: {one_line(tried, 60)}: {one_line(str(error), 500)}", file=sys.stderr)
        return 1
    return 0


def _build(here: str, wanted: str) -> str:
    """The build that answers a call as from a front-end; ``Corrupt`` when it is another one, or does not answer."""
    import json

    from ..module_utils.tools.command import run

    with open(os.path.join(here, "BUILD"), encoding="ascii") as file:
        wanted = wanted or file.read().strip()
    program = os.path.join(here, "node.py")
    # the call ends at once, since nothing is asked: the greeting is what counts
    ended = run(["/usr/bin/python3", "-I", "-S", program, "tm_mkimage", "qcow2", ""], _SECONDS)
    try:
        said = str(ended["out"])
        found = str(json.JSONDecoder().raw_decode(said, said.index("{"))[0]["hello"])
    except (ValueError, KeyError, TypeError):
        raise Corrupt("It does not answer", detail=one_line(ended["err"], 300)) from None
    if found != wanted:
        raise Corrupt(f"Build {found[:12]} answers, not {wanted[:12]}")
    return found


def _qemu_img() -> str:
    from ..module_utils.tools.command import run

    ended = run(["qemu-img", "--version"], _SECONDS)
    if ended["rc"] != 0 or not str(ended["out"]).startswith("qemu-img version"):
        raise ToolFailed("qemu-img does not say its version")
    return str(ended["out"]).splitlines()[0]


def _datastore(word: str, root: str, monitor: str) -> str:
    """A line about one datastore that was written, read and cleaned; ``StorageError`` when that cannot be done."""
    kind, _colon, number = word.partition(":")
    if kind not in KINDS or not (number.isascii() and number.isdigit()):
        raise ToolFailed(f"'{one_line(word, 40)}' is not image:ID, shared:ID or local:ID")
    store = os.path.join(root, number)
    if not os.path.isdir(store):
        raise ToolFailed(f"{store} is not there")
    took = probe(kind, int(number), store, monitor, _action)
    return f"datastore {word}: written, read and removed in {took} ms"


def _action(name: str, options: dict[str, Any]) -> dict[str, Any]:
    from .launch_local import Local

    local = Local()
    result = local.run(name, options, False, "")
    local.delivered()
    return result
