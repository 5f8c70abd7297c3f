# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where images may be taken, group _DIRECTORIES."""

from __future__ import annotations


class ModuleDocFragment:
    """Directories that are open, or closed, to imports."""

    DOCUMENTATION = r"""
options:
  safe_dirs:
    description:
      - Directories from which local files may be imported, whatever O(restricted_dirs) says (C(SAFE_DIRS) of the
        datastore).
      - A directory counts with all below it, and by the path that is left when all links are followed.
    type: list
    elements: str
    default: []
  restricted_dirs:
    description:
      - Directories from which nothing may be imported (C(RESTRICTED_DIRS) of the datastore).
      - C(/var/lib/one), C(/etc/one) and the home directory of the user that runs this are always among them.
    type: list
    elements: str
    default: []
"""
