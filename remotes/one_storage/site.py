# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, datastores, images and disks as oned knows them, told by the core that lies beside this file."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from plugins.plugin_utils.site_main import main

sys.exit(main(sys.argv[1:]))
