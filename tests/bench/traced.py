# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the node's Python in one run of an action: notes each fsync and each command of the core.

It is called as the interpreter would be: ``traced -I -S ENTRY ARGUMENT...``. What it notes tells the storage work
apart; how long the run itself takes is not used. The log is one JSON object, in the file beside this one.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from typing import Any

LOG = "trace.json"


def main() -> None:
    """Run the entry with a core that takes notes."""
    syncs: list[tuple[str, float]] = []
    commands: list[dict[str, Any]] = []
    place = next(number for number, word in enumerate(sys.argv[1:], 1) if not word.startswith("-"))
    entry = sys.argv[place]
    sys.path.insert(0, os.path.dirname(entry))
    sync = os.fsync

    def noted_sync(handle: int) -> None:
        begin = time.perf_counter()
        sync(handle)
        syncs.append((os.readlink(f"/proc/self/fd/{handle}"), (time.perf_counter() - begin) * 1000))

    from plugins.module_utils.tools.host import Host

    run = Host.run

    def noted_run(self: Host, argv: list[str], *more: Any) -> dict[str, Any]:
        # a command may need files that the core made before it: their size is enough to make them again
        sizes = {word: os.stat(word).st_size for word in argv[1:] if "/.one_storage/" in word and os.path.isfile(word)}
        commands.append({"argv": argv, "sizes": sizes})
        return run(self, argv, *more)

    os.fsync = noted_sync  # type: ignore[assignment]
    Host.run = noted_run  # type: ignore[method-assign, assignment]
    # the entry leaves in a hurry, and the notes are not written yet
    os._exit = sys.exit  # type: ignore[assignment]
    sys.argv = sys.argv[place:]
    try:
        runpy.run_path(entry, run_name="__main__")
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), LOG)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"syncs": syncs, "commands": commands}, file)
        os.rename(path + ".new", path)


if __name__ == "__main__":
    main()
