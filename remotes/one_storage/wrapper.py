# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every wrapper runs: the oned door of the core that lies beside this file."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from plugins.plugin_utils.door import main

# what an interpreter tidies up at its end takes longer than many an action
os._exit(main(sys.argv[1], sys.argv[2:]))
