# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest that is backed up while it runs, group _BACKUP_GUEST."""

from __future__ import annotations


class ModuleDocFragment:
    """A running virtual machine, as libvirt knows it."""

    DOCUMENTATION = r"""
options:
  domain:
    description:
      - Name of the virtual machine in libvirt (C(DEPLOY_ID) of the virtual machine).
    type: str
    required: true
  targets:
    description:
      - Names of the disks in the virtual machine (C(TARGET) of the disk), each as C(<disk id>:<target>).
    type: list
    elements: str
    default: []
  libvirt_uri:
    description:
      - Where libvirt is found, on the host that has the disks.
    type: str
    default: qemu:///system
"""
