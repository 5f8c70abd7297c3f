# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import what runs on nodes with the oldest Python that it has to run on, where this machine has that one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.tools.stage import ROOT, source_files

OLDEST = "3.9"
SECONDS = 60

# Each module in turn, so that one report names them all.
IMPORTER = """
import importlib, sys, traceback
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
failed = False
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # What needs ansible is imported by the sanity tests.
        if error.name.split(".")[0] != "ansible":
            failed = True
            traceback.print_exc()
    except Exception:
        failed = True
        traceback.print_exc()
sys.exit(failed)
"""


def interpreters() -> Iterator[Path]:
    """Where the oldest Python may be, real interpreters of a version manager first: its launchers may refuse."""
    yield from sorted((Path.home() / ".pyenv" / "versions").glob(f"{OLDEST}.*/bin/python{OLDEST}"))
    found = shutil.which(f"python{OLDEST}")
    if found:
        yield Path(found)


def works(python: Path) -> bool:
    command = [str(python), "-I", "-c", "pass"]
    return subprocess.run(command, capture_output=True, check=False, timeout=SECONDS).returncode == 0


def modules() -> list[str]:
    """The core and the oned door, as dotted names."""
    folders = (Path("plugins/module_utils"), Path("plugins/plugin_utils"))
    files = [name for name in source_files() if name.suffix == ".py" and any(f in name.parents for f in folders)]
    return sorted(".".join(name.with_suffix("").parts).removesuffix(".__init__") for name in files)


def main() -> int:
    python = next((python for python in interpreters() if works(python)), None)
    if python is None:
        print(f"Python {OLDEST} is not here: nothing imported with it.")
        return 0
    command = [str(python), "-I", "-c", IMPORTER, str(ROOT), *modules()]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, timeout=SECONDS).returncode


if __name__ == "__main__":
    sys.exit(main())
