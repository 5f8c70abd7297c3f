# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the core that lies beside this file works on this host, in the datastores that are named."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from plugins.plugin_utils.selftest import main  # noqa: E402

sys.exit(main(HERE, sys.argv[1:]))
