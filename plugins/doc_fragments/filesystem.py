# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an empty image is formatted, group _FILESYSTEM."""

from __future__ import annotations


class ModuleDocFragment:
    """File system options."""

    DOCUMENTATION = r"""
options:
  fs:
    description:
      - File system that the new image gets. Empty for none.
      - C(mkfs.<fs>) must be installed on the lead.
    type: str
    default: ''
  fs_options:
    description:
      - Further arguments of C(mkfs.<fs>), one list entry each (C(FS_OPTS_<FS>) in C(datastore.conf)).
    type: list
    elements: str
    default: []
  supported_fs:
    description:
      - File systems that may be asked for (C(SUPPORTED_FS) in C(datastore.conf)).
      - If empty, these are V(ext2), V(ext3), V(ext4) and V(xfs).
    type: list
    elements: str
    default: []
"""
