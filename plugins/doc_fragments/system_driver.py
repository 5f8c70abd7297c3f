# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver of the system datastore in mixed set-ups, group _SYSTEM."""

from __future__ import annotations


class ModuleDocFragment:
    """Mixed drivers."""

    DOCUMENTATION = r"""
options:
  system_driver:
    description:
      - Driver of the system datastore (C(TM_MAD_SYSTEM)), when it is another than the image's.
      - V(ssh) with O(driver=qcow2) or O(driver=shared) means that every node has a system datastore of its own and
        sees the image datastore. Any other name changes nothing.
    type: str
    default: ''
"""
