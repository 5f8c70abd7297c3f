# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the action works, group _DATASTORE."""

from __future__ import annotations


class ModuleDocFragment:
    """The datastore's directory."""

    DOCUMENTATION = r"""
options:
  datastore:
    description:
      - Directory of the datastore that is worked in, as the lead sees it. For images it is the image datastore, for
        disks the system datastore.
      - Nothing outside of it is made, replaced or removed, however links lead.
    type: str
    required: true
"""
