# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many images, VMs and hosts at once: commands of the front-end, which playbooks call.

Each looks and reports first, and changes on demand. What oned knows is changed through oned's API alone; what only
hosts can say or do is an action of the core, run through the launchers as for a wrapper.
"""
