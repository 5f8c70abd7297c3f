# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where to where a running machine goes, group _WAY."""

from __future__ import annotations


class ModuleDocFragment:
    """The way of a live migration."""

    DOCUMENTATION = r"""
options:
  datastore:
    description: Directory of the system datastore to which the machine goes, as the destination sees it.
    type: str
    required: true
  source_datastore:
    description: Directory of the system datastore that it leaves, as the source sees it. It may be the same path.
    type: str
    required: true
  source:
    description: The directory of the virtual machine at the source, C(<source_datastore>/<vm id>).
    type: str
    required: true
  destination:
    description: Its directory at the destination, C(<datastore>/<vm id>).
    type: str
    required: true
  peer_role:
    description: Whether O(peer) is the host that the machine leaves, or the one that it goes to.
    type: str
    choices: [source, destination]
    default: destination
  disks:
    description:
      - The disks that the guest may write to, each as C(<disk id>:<format>), with V(raw) or V(qcow2) as the format.
      - Disks that are not named here are copied as they are, or have to be the same at both ends.
    type: list
    elements: str
    default: []
seealso:
  - module: one_storage.drivers.tm_mv
"""
