# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry on a node: one action of the core that lies beside this file, spoken to over stdin and stdout."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from plugins.module_utils._serve import main  # noqa: E402

with open(os.path.join(HERE, "BUILD"), "rb") as build:
    BUILD = build.read().decode().strip()
os._exit(main(BUILD, sys.argv[1:]))
