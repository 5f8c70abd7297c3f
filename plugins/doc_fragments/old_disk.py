# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is there, group _OLD_DISK without the datastore's directory."""

from __future__ import annotations


class ModuleDocFragment:
    """A disk and what is known of it."""

    DOCUMENTATION = r"""
options:
  image:
    description:
      - Path of the image that the disk was made from (C(SOURCE) of the disk), as the lead sees it. Empty for a
        volatile disk. For O(driver=ceph) its volume, C(<pool>/<name>).
      - Layers may lie in the datastore of the disk and in that of this image, and nowhere else.
    type: str
    default: ''
  persistent:
    description:
      - Whether the disk may be the image itself, by way of a link, as C(tm_ln) makes it (C(CLONE=NO) of the disk).
        Its layers or snapshots then lie beside the image, in C(<image>.snap), which is locked too.
      - Only O(driver=qcow2), O(driver=shared) and O(driver=ceph) look at it. Other disks are copies, also those of persistent
        images.
    type: bool
    default: false
  format:
    description:
      - Format of the disk, as OpenNebula has it (C(FORMAT) of the disk). A raw disk is never asked what it is,
        because a guest may have written anything at its start.
    type: str
    choices: [raw, qcow2]
    default: raw
  running:
    description:
      - Whether the virtual machine runs, so that its guest writes to the disk. An action that is for disks at rest
        only refuses such a disk.
    type: bool
    default: false
"""
