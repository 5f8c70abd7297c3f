# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is made from an image, group _DISK without the datastore's directory."""

from __future__ import annotations


class ModuleDocFragment:
    """A disk and its image."""

    DOCUMENTATION = r"""
options:
  source:
    description:
      - Path of the image's file on the lead, or its volume, C(<pool>/<name>), for O(driver=ceph) (C(SOURCE) of the
        image).
    type: str
    required: true
  destination:
    description:
      - Path of the new disk, C(<datastore>/<vm id>/disk.<n>), on the node. The directory of the virtual machine is
        made when it is not there.
      - C(kernel) and C(initrd) in place of C(disk.<n>) are plain copies.
    type: str
    required: true
  format:
    description:
      - Format of the image, as OpenNebula has it (C(FORMAT) of the disk). The file is never asked, because what a
        guest wrote at the start of a raw disk may look like anything.
    type: str
    choices: [raw, qcow2]
    default: raw
  size:
    description:
      - Virtual size in MB that the disk is to have. It matters only together with O(original_size).
    type: int
    default: 0
  original_size:
    description:
      - Virtual size of the image in MB. If O(size) is larger, the new disk is grown to O(size).
      - With V(0) the disk is never grown.
    type: int
    default: 0
  sparse:
    description:
      - Whether zeros take no space. If V(false), a converted image keeps them and what a disk grows by is allocated
        at once (C(SPARSE=NO) of the datastore).
    type: bool
    default: true
  standalone:
    description:
      - Whether a qcow2 disk gets a full copy of the image and not an overlay on it (C(QCOW2_STANDALONE)).
      - Only O(driver=qcow2) and O(driver=shared) look at it; others always copy.
    type: bool
    default: false
  qcow2_options:
    description:
      - Further arguments of C(qemu-img create) for an overlay, one list entry each, such as V(-o) and
        V(cluster_size=128k) (C(QCOW2_OPTIONS)).
      - Only O(driver=qcow2) and O(driver=shared) use them.
    type: list
    elements: str
    default: []
"""
