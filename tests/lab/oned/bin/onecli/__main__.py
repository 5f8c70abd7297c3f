# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m onecli vm show -x 3`: what the command onevm runs."""

from __future__ import annotations

import sys

from .command import main

sys.exit(main(sys.argv[1], sys.argv[2:]))
