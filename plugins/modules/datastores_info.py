#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the room in datastores, and what has been promised of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: datastores_info
short_description: tell the room in datastores, and what has been promised of it
version_added: 0.1.0
description:
  - Tells three sizes of each datastore. The physical one is that of its file system. The logical one is what all
    images and disks in it would take up if their guests filled them. The allocated one is what they take up now.
  - Of a Ceph pool the physical size is what C(ceph df) says, its quota considered.
  - With a driver that does not tell what lies in a datastore, as those of backups, there is the physical size alone.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.info
options:
  largest:
    description: How many images to name that take up most. V(0) names none.
    type: int
    default: 10
seealso:
  - module: one_storage.drivers.images_info
  - module: one_storage.drivers.ds_monitor
  - module: one_storage.drivers.tm_monitor
"""

EXAMPLES = r"""
- name: Look at every datastore that the inventory knows
  one_storage.drivers.datastores_info:
    datastores: "{{ one_datastores }}"
  register: found

- name: Name those of which more was promised than there is
  ansible.builtin.debug:
    msg: >-
      {{ found.datastores | selectattr('overcommit', 'defined') | selectattr('overcommit', 'gt', 1)
      | map(attribute='name') }}
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
    warnings:
      description: What the storage itself says of its room, such as a Ceph cluster of a pool that is nearly full.
      type: list
      elements: str
      returned: when it could be looked at
      sample: []
    trash_bytes:
      description: Bytes that the trash of a Ceph pool takes up. 0 where there is no trash.
      type: int
      returned: when it could be looked at
      sample: 0
    total_bytes:
      description: Size of the file system.
      type: int
      returned: when it could be looked at
      sample: 498283315200
    used_bytes:
      description: Bytes in use there, by anybody.
      type: int
      returned: when it could be looked at
      sample: 125825974272
    free_bytes:
      description: Bytes that can still be used by others than root.
      type: int
      returned: when it could be looked at
      sample: 346986381312
    pool:
      description:
        - Name of what the room is part of. Datastores of one host with the same name share it, and a pool of a Ceph cluster
          has the same name on all hosts.
      type: str
      returned: when it could be looked at
      sample: file system 65024
    items:
      description: How many images or disks there are.
      type: int
      returned: when it could be looked at
      sample: 112
    logical_bytes:
      description: Bytes that guests see of all of them. Disks that are a persistent image count where the image is.
      type: int
      returned: when it could be looked at
      sample: 601295421440
    allocated_bytes:
      description: Bytes that their files take up.
      type: int
      returned: when it could be looked at
      sample: 104857600000
    overcommit:
      description: The logical size as a part of the physical one. Above 1 there is less room than was promised.
      type: float
      returned: when it could be looked at
      sample: 1.207
    snapshots:
      description: How many snapshots there are.
      type: int
      returned: when it could be looked at
      sample: 14
    depth:
      description: Layers of the deepest chain.
      type: int
      returned: when it could be looked at
      sample: 5
    depths:
      description: How many images have how many layers, by the number of layers as a text.
      type: dict
      returned: when it could be looked at
      sample: {"1": 90, "2": 22}
    broken:
      description: How many images have a chain that is not whole.
      type: int
      returned: when it could be looked at
      sample: 0
    largest:
      description: Those that take up most, the largest first.
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
    info("datastores_info")


if __name__ == "__main__":
    main()
