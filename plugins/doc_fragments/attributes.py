# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about itself: check mode, diff, repeated runs, platforms."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules."""

    # modules that change something
    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would do, without changing anything.
    support: full
  diff_mode:
    description: Says what stood and what stands, or would stand, at each path that it changes.
    support: full
  idempotent:
    description: Run again with the same options it finds its own work, changes nothing and gives the same answer.
    support: full
    details:
      - A run that was killed is no exception. The next one on the same object takes back, or completes, what it left.
  platform:
    description: Systems on which the module runs.
    support: full
    platforms: linux
"""

    # modules that only look
    LOOKING = r"""
attributes:
  check_mode:
    description: Can run in check mode without changing anything.
    support: full
  diff_mode:
    description: Says what stood and what stands at each path that it changes.
    support: N/A
    details:
      - The module only looks.
  idempotent:
    description: Run again with the same options it changes nothing.
    support: full
  platform:
    description: Systems on which the module runs.
    support: full
    platforms: linux
"""
