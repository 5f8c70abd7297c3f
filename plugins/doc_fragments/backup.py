# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup of a virtual machine, group _BACKUP."""

from __future__ import annotations


class ModuleDocFragment:
    """What of a virtual machine is backed up."""

    DOCUMENTATION = r"""
options:
  datastore:
    description:
      - Directory of the system datastore that the virtual machine lies in, as the lead sees it.
    type: str
    required: true
  path:
    description:
      - Directory of the virtual machine, C(<datastore>/<vm id>). The number in it is that of the bitmaps and
        checkpoints, C(one-<vm id>-<increment>).
    type: str
    required: true
  disks:
    description:
      - The disks that are backed up, each as C(<disk id>:<format>), with V(raw) or V(qcow2) as the format, as
        OpenNebula has it. A raw disk is never asked what it is.
    type: list
    elements: str
    required: true
  images:
    description:
      - The images that the disks were made from (C(SOURCE) of the disk), each as C(<disk id>:<path>), as the lead
        sees them. A volatile disk has none.
      - With O(driver=ceph) they are volumes, each as C(<disk id>:<pool>/<volume>).
      - Layers may lie in the datastore of the machine and in that of the disk's image, and nowhere else.
    type: list
    elements: str
    default: []
  persistent:
    description:
      - The ids of the disks that may be their image itself, by way of a link (C(CLONE=NO) of the disk). The image is
        locked too.
      - Only O(driver=qcow2), O(driver=shared) and O(driver=ceph) look at it.
    type: list
    elements: str
    default: []
  mode:
    description:
      - With V(full), a backup that stands alone.
      - With V(increment), one of a chain. The first one is full, too.
    type: str
    choices: [full, increment]
    default: full
  increment_mode:
    description:
      - How the next increment of a chain learns what changed. Needs qcow2 disks, or O(driver=ceph), where both are the
        same, snapshots of the volumes.
      - With V(cbt), qemu keeps a bitmap in the disk, C(one-<vm id>-<increment>).
      - With V(snapshot), each increment begins a new layer of the disk, C(disk.<n>.snap/<increment + 1>), and the
        base, C(disk.<n>.snap/0), is the disk as it was at the last backup.
    type: str
    choices: [cbt, snapshot]
    default: cbt
  last_increment:
    description:
      - Number of the last increment of the chain that is in the repository (C(LAST_INCREMENT_ID)). The backup gets the
        next number. V(-1) begins a chain.
    type: int
    default: -1
  backup_path:
    description:
      - Folder for backup directories, C(BACKUP_BASE_PATH). The directory is C(<backup_path>/<vm id>/backup). When this
        is empty, it is C(<path>/backup).
    type: str
    default: ''
"""
