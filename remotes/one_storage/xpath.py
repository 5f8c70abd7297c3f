# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind ``xpath``: see plugins/plugin_utils/xpath.py."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from plugins.plugin_utils.xpath import main

os._exit(main(sys.argv[1:]))
