# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the copying of a backup is held back, group _CONFINED."""

from __future__ import annotations


class ModuleDocFragment:
    """What the commands that copy may take."""

    DOCUMENTATION = r"""
options:
  nice:
    description:
      - Niceness of the commands that copy, 0 to 19. V(-1) leaves it.
    type: int
    default: -1
  ionice:
    description:
      - Priority of the commands that copy at the disks, 0, the highest, to 7, in the class best-effort. V(-1) leaves
        it.
    type: int
    default: -1
  max_riops:
    description:
      - Reads per second that the commands may do at most, by a slice of the user's systemd. V(-1) sets no limit.
    type: int
    default: -1
  max_wiops:
    description:
      - Writes per second that the commands may do at most, by a slice of the user's systemd. V(-1) sets no limit.
    type: int
    default: -1
  cpu_quota:
    description:
      - Percents of one processor that the commands may take at most, by a slice of the user's systemd. V(-1) sets no
        limit.
    type: int
    default: -1
  memory_max_mb:
    description:
      - Memory in MB that the commands may take at most, by a slice of the user's systemd. V(-1) sets no limit.
    type: int
    default: -1
"""
