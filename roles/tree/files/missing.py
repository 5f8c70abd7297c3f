# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print those of the needs given as arguments that this machine lacks: commands by name, Python modules as python:NAME,
modules of QEMU for storage as qemu-block:NAME.

Looking for the things themselves takes milliseconds; asking a package manager for each takes a second and knows nothing
of what was installed another way.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import sys

# Administrators' commands too, which a user's PATH may lack.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])

# Where distributions have what QEMU loads.
MODULES = ("/usr/lib/*/qemu", "/usr/lib/qemu", "/usr/lib64/qemu", "/usr/lib64/qemu-kvm")


def is_there(need: str) -> bool:
    if need.startswith("python:"):
        return importlib.util.find_spec(need[len("python:") :]) is not None
    if need.startswith("qemu-block:"):
        return any(glob.glob(f"{folder}/block-{need[len('qemu-block:') :]}.so") for folder in MODULES)
    return shutil.which(need, path=PATH) is not None


for argument in sys.argv[1:]:
    if not is_there(argument):
        print(argument)
