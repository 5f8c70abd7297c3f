# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the names of the project's shell scripts, each ended by a NUL: files whose first line names a shell."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.tools.stage import ROOT, source_files

SHEBANG = re.compile(rb"#!\s*(/usr)?/bin/(env\s+)?(ba|da)?sh\b")


def is_shell(path: Path) -> bool:
    """Whether path is a regular file (no symbolic link) that a shell runs."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return SHEBANG.match(file.readline(200)) is not None


if __name__ == "__main__":
    for name in sorted(source_files()):
        if is_shell(ROOT / name):
            sys.stdout.buffer.write(os.fsencode(name) + b"\0")
