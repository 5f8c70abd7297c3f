#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an empty image in a datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_mkfs
short_description: make an empty image in a datastore
version_added: 0.1.0
description:
  - Makes an empty image, perhaps with a file system or as a swap area. OpenNebula calls this action when a
    datablock is registered with a C(SIZE) and no C(PATH), and to get the name for a disk that will be saved as
    a new image.
  - The image takes no space until it is written to. A file system is made in a raw image, which is converted
    when O(format) is V(qcow2).
  - The lead is the host that has the image datastore, in a normal installation the front-end. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.new_image
  - one_storage.drivers.filesystem
options:
  format:
    description:
      - Format of the image.
      - V(swap) is a raw image that is a swap area with the label C(swap).
      - V(save_as) makes nothing and only says what the image's path will be. The file is made later, by the action
        that saves a disk as this image.
    type: str
    choices: [raw, qcow2, swap, save_as]
    default: raw
  size:
    description: Virtual size of the image in MB, at least 1.
    type: int
    required: true
requirements:
  - C(qemu-img) for qcow2, C(mkfs.<fs>) for a file system, C(mkswap) for a swap area
seealso:
  - module: one_storage.drivers.ds_rm
  - module: one_storage.drivers.tm_mkimage
"""

EXAMPLES = r"""
- name: An empty datablock of 10 GB
  one_storage.drivers.ds_mkfs:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 15
    regtime: 1767225600
    format: qcow2
    size: 10240

- name: One with a file system
  one_storage.drivers.ds_mkfs:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 16
    regtime: 1767229200
    format: raw
    size: 10240
    fs: ext4
    fs_options: ['-L', data]

- name: Only ask for the path that an image has
  one_storage.drivers.ds_mkfs:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 16
    regtime: 1767229200
    format: save_as
    size: 1
  check_mode: true
  register: image
"""

RETURN = r"""
source:
  description:
    - Path of the image (C(SOURCE) of the image), in the spelling of O(datastore). With O(driver=ceph) its pool and
      volume, such as C(one/one-5).
  returned: success, except in check mode when the image is not there yet
  type: str
  sample: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: create an empty qcow2 image of 10240 MB'
    - 'frontend: put the image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e in place'
run_id:
  description:
    - Name of this run in the journal and in the log. Empty when the options alone say that there is nothing to do.
  returned: success
  type: str
  sample: 5f0c9d1e77ab
error:
  description:
    - The parts of the sentence in RV(ignore:msg), for programs.
    - Not returned when the task's options themselves are wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - The kind of error. V(bad-call), V(refused), V(unsupported), V(missing), V(no-space), V(no-access),
          V(tool-failed), V(unreachable), V(deadline), V(busy), V(cancelled), V(corrupt), or V(failed) for all else.
      type: str
      returned: always
      sample: bad-call
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Unsupported file system type ''btrfs'': SUPPORTED_FS has ext2, ext3, ext4, xfs'
    host:
      description: Where it failed. Empty when it makes no difference.
      type: str
      returned: always
      sample: host01
    run:
      description: Id of the run that failed, as it stands in the log and in the journal. Empty when none began.
      type: str
      returned: always
      sample: 5f0c9d1e77ab
    undone:
      description: What became of the steps before the failure. Empty when there were none.
      type: str
      returned: always
      sample: nothing was changed
    todo:
      description: What can be done about it. May be empty.
      type: str
      returned: always
      sample: ''
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("ds_mkfs")


if __name__ == "__main__":
    main()
