# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downloader of the core that lies beside this file."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from plugins.plugin_utils.downloader import main  # noqa: E402

os._exit(main(os.path.dirname(HERE), sys.argv[1:]))
