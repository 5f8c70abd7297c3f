# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose backups, and which, group _KEPT."""

from __future__ import annotations


class ModuleDocFragment:
    """A chain of backups."""

    DOCUMENTATION = r"""
options:
  vm_id:
    description:
      - Id of the virtual machine whose backup it is. V(-1) when a backup job tells the repository.
    type: int
    default: -1
  backup_job_id:
    description:
      - Id of the backup job, whose virtual machines share a repository of restic. V(-1) for none.
    type: int
    default: -1
  increments:
    description:
      - The backups of the chain as C(<increment>:<reference>), the oldest first. A full backup is a chain of one.
    type: list
    elements: str
    default: []
"""
