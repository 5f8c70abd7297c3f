#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell each image, or disk of a VM, in datastores."""

from __future__ import annotations

DOCUMENTATION = r"""
module: images_info
short_description: tell each image, or disk of a VM, in datastores
version_added: 0.1.0
description:
  - Tells the size, the format and the number of snapshots and layers of each image in image datastores, and of each
    VM's disk in system datastores.
  - Images and disks in a Ceph pool are its volumes. What a revert kept of one counts to it, and what an action is making is
    left out. Pools have a trash, too.
  - Thousands of images are a matter of a second or two.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.info
seealso:
  - module: one_storage.drivers.datastores_info
  - module: one_storage.drivers.chains_info
"""

EXAMPLES = r"""
- name: Look at the images of every datastore that the inventory knows
  one_storage.drivers.images_info:
    datastores: "{{ one_datastores | selectattr('type', 'equalto', 'image') }}"
  register: found

- name: Name the images without a block, which nobody ever wrote to
  ansible.builtin.debug:
    msg: >-
      {{ found.datastores | map(attribute='images', default=[]) | flatten
      | selectattr('allocated_bytes', 'equalto', 0) | map(attribute='path') }}
"""

RETURN = r"""
datastores:
  description: The datastores, in the order in which they were given.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The id that was given.
      type: int
      returned: always
      sample: 100
    name:
      description: The name that was given, else the last part of the path.
      type: str
      returned: always
      sample: images
    path:
      description: The directory that was given.
      type: str
      returned: always
      sample: /var/lib/one/datastores/100
    type:
      description: The type that was given.
      type: str
      returned: always
      sample: image
    driver:
      description: The driver that was asked.
      type: str
      returned: always
      sample: fs
    error:
      description: Why the datastore could not be looked at. Then there is nothing but this and what was given. Empty when it could.
      type: str
      returned: always
      sample: ''
    missed:
      description: A sentence for each thing in it that could not be looked at.
      type: list
      elements: str
      returned: when it could be looked at
      sample: []
    images:
      description: The images, by name, or the disks, by the VM's id.
      type: list
      elements: dict
      returned: when it could be looked at
      contains:
        name:
          description: Name of the image's file, or the VM's id and the disk's name.
          type: str
          returned: always
          sample: 42/disk.0
        path:
          description: Where it is.
          type: str
          returned: always
          sample: /var/lib/one/datastores/101/42/disk.0
        vm:
          description: Id of the VM. Not set for images.
          type: int
          returned: always
          sample: 42
        disk:
          description: Id of the disk. Not set for images.
          type: int
          returned: always
          sample: 0
        format:
          description: Its format, as it was told, else as its first bytes say. Empty when C(linked) is set.
          type: str
          returned: always
          sample: qcow2
        virtual_bytes:
          description: Bytes that a guest sees.
          type: int
          returned: always
          sample: 10737418240
        allocated_bytes:
          description: Bytes that the blocks of all its files take up, snapshots included.
          type: int
          returned: always
          sample: 1310720
        snapshots:
          description: How many snapshots it has.
          type: int
          returned: always
          sample: 1
        depth:
          description: How many layers are read, those of the image below included. 1 for a file that stands alone.
          type: int
          returned: always
          sample: 2
        linked:
          description: The persistent image that a disk is itself. It has the sizes and the layers then. Empty for all others.
          type: str
          returned: always
          sample: ''
    trash:
      description: What lies in the trash of a Ceph pool. Empty where there is no trash.
      type: list
      elements: dict
      returned: when it could be looked at
      contains:
        name:
          description: Name that the volume had.
          type: str
          returned: always
          sample: one-5
        id:
          description: Id of the volume.
          type: str
          returned: always
          sample: 10ab6b8b4567
        virtual_bytes:
          description: Bytes that a guest saw.
          type: int
          returned: always
          sample: 10737418240
        allocated_bytes:
          description: Bytes that its objects take up, snapshots included.
          type: int
          returned: always
          sample: 4194304
error:
  description:
    - The parts of the sentence in RV(ignore:msg), for programs.
    - Not returned when the task's options are of a wrong type.
  returned: failure
  type: dict
  contains:
    code:
      description: The kind of error, such as V(bad-call), V(deadline) or V(failed).
      type: str
      returned: always
      sample: bad-call
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: "The datastore 'images' has no path"
    host:
      description: Where it failed. Empty when it makes no difference.
      type: str
      returned: always
      sample: ''
    run:
      description: Always empty, as nothing is run.
      type: str
      returned: always
      sample: ''
    undone:
      description: Always empty, as nothing is changed.
      type: str
      returned: always
      sample: ''
    todo:
      description: What can be done about it. May be empty.
      type: str
      returned: always
      sample: ''
    detail:
      description: More about what failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import info


def main() -> None:
    """Look, on this host."""
    info("images_info")


if __name__ == "__main__":
    main()
