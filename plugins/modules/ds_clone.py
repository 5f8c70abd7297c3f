#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy an image into a new one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_clone
short_description: copy an image into a new one
version_added: 0.1.0
description:
  - Copies an image into a new one of the same or of another datastore. OpenNebula calls this action when an
    image is cloned.
  - An image that is a chain of layers becomes one that stands alone. Otherwise the file is copied as it is,
    with its holes, and where the file system can, blocks are shared in place of copied.
  - The lead is the host that has the datastore of the new image, in a normal installation the front-end. O(peer) is
    the host that has the image which is copied, if that is another one.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.new_image
  - one_storage.drivers.peer
options:
  source:
    description: Path of the image that is copied (C(SOURCE) of the image).
    type: str
    required: true
  format:
    description: Format of the image that is copied, as OpenNebula has it (C(FORMAT) of the image).
    type: str
    choices: [raw, qcow2, vmdk, vpc, vhdx, vdi]
    default: raw
  convert_to:
    description:
      - Format of the new image, if it is to be another than O(format) (C(DRIVER) of the datastore).
      - If empty, it stays.
    type: str
    choices: ['', raw, qcow2]
    default: ''
requirements:
  - C(qemu-img), for chains and conversions
notes:
  - The image that is copied is held against changes by other actions meanwhile. A virtual machine that writes
    to it is not stopped. OpenNebula does not clone an image that is in use.
seealso:
  - module: one_storage.drivers.ds_cp
  - module: one_storage.drivers.ds_rm
  - module: one_storage.drivers.tm_clone
"""

EXAMPLES = r"""
- name: Clone an image within its datastore
  one_storage.drivers.ds_clone:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 17
    regtime: 1767225600
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
"""

RETURN = r"""
source:
  description: Path of the new image (C(SOURCE) of the image), in the spelling of O(datastore).
  returned: success, except in check mode when the image is not there yet
  type: str
  sample: /var/lib/one/datastores/1/0c4f7ad1f8b0d2a5f0e9c1b27a5d9e10
format:
  description: The format of the new image.
  returned: success, except in check mode when the image is not there yet
  type: str
  sample: qcow2
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: copy /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e'
    - 'frontend: put the image /var/lib/one/datastores/1/0c4f7ad1f8b0d2a5f0e9c1b27a5d9e10 in place'
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
      sample: missing
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: The image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e is not there
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
    run_module("ds_clone")


if __name__ == "__main__":
    main()
