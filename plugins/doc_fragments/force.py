# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a disk that is there already, group _FORCE."""

from __future__ import annotations


class ModuleDocFragment:
    """Replacing what is there."""

    DOCUMENTATION = r"""
options:
  force:
    description:
      - What to do with a disk that is there already.
      - If V(false), the disk of an earlier run stays as it is and nothing changes. This is what makes a second run
        of a playbook safe, because the disk may be in use by then.
      - If V(true), it is made anew, in each run. The old one is set aside first, is removed when the new one is in
        place, and comes back when the action fails. This is what happens when OpenNebula calls, where a disk that
        is there is what a failed attempt left.
    type: bool
    default: false
"""
