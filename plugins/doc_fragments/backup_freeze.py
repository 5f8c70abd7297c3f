# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a guest is held for the moment of a backup, group _BACKUP_FREEZE."""

from __future__ import annotations


class ModuleDocFragment:
    """How the guest is held."""

    DOCUMENTATION = r"""
options:
  freeze:
    description:
      - How the guest is held at the moment that is backed up (C(FS_FREEZE)).
      - With V(none), not at all. The disks are as after a power cut.
      - With V(agent), its file systems are frozen by its agent, so that they are consistent.
      - With V(suspend), all of it is suspended for that moment. The file systems are as after a power cut.
    type: str
    choices: [none, agent, suspend]
    default: none
  require_quiesce:
    description:
      - What to do when the guest cannot be held as O(freeze) asks.
      - If V(false), the backup goes on, with a warning, which the manifest has too.
      - If V(true), the backup fails.
    type: bool
    default: false
  freeze_timeout:
    description:
      - Seconds for which the guest may be held. When they are over it goes on. It goes on, too, when this action is
        killed.
    type: int
    default: 60
"""
