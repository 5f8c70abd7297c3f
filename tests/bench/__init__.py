# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: what an action costs, as ratios to bare processes that are measured in the same run."""
