# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a backup went, group _BACKUP_END."""

from __future__ import annotations


class ModuleDocFragment:
    """How a backup went."""

    DOCUMENTATION = r"""
options:
  failed:
    description:
      - Whether the backup failed or was cancelled, so that it is not in the repository (C(BACKUP_RESULT)).
    type: bool
    default: false
"""
