# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who monitors a system datastore that is its host's own, group _MONITOR."""

from __future__ import annotations


class ModuleDocFragment:
    """The marker of a system datastore."""

    DOCUMENTATION = r"""
options:
  monitor:
    description:
      - What the file C(.monitor) of a system datastore says that is its host's own. The host's monitoring looks for
        C(monitor_ds) in the folder of that name below C(tm). Drivers of shared storage write no such file.
      - It is another name than V(ssh) where the drivers lie side by side with stock's, under names of their own.
    type: str
    default: ssh
"""
