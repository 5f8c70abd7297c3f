#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the digest of what an image holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_digest
short_description: tell the digest of what an image holds
version_added: 0.1.0
description:
  - Tells a SHA-256 digest of what a guest would read from an image. It is the same for every format, for chains of
    layers, and wherever the file has holes. So it says whether two images hold the same, on hosts that do not see both.
  - It is not the digest of the file. Blocks of 1 MB that hold nothing but zeros are left out, each other one is hashed
    with its number and without the zeros at its end.
  - Only what is there is read. An image that changes meanwhile is an error, and so is a volume that somebody has open.
  - The lead is the host that has the image, in a normal installation the front-end. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
options:
  source:
    description: The image's file (C(SOURCE)), which lies directly in O(datastore), or its volume, as C(one/one-5).
    type: str
    required: true
  format:
    description: The image's format. It is not guessed.
    type: str
    choices: [raw, qcow2, vmdk, vpc, vhdx, vdi]
    default: raw
requirements:
  - C(qemu-img) on the lead, but for raw images, and C(qemu-nbd) for those that have compressed parts
seealso:
  - module: one_storage.drivers.ds_clone
"""

EXAMPLES = r"""
- name: What does this image hold?
  one_storage.drivers.ds_digest:
    driver: fs
    datastore: /var/lib/one/datastores/1
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
  register: first
"""

RETURN = r"""
digest:
  description: SHA-256 of its contents, 64 hexadecimal digits.
  returned: success
  type: str
  sample: 2045691d583e8d3b2f9a0d6ec6a6b36c1b0d5fdd7f7a5c86cbb83a8d92e7a2c1
data:
  description: Bytes of data that were hashed, the zeros left out.
  returned: success
  type: int
  sample: 594944
size:
  description: Bytes that a guest would see.
  returned: success
  type: int
  sample: 16777216
actions:
  description: Always empty, as the module only looks.
  returned: success
  type: list
  elements: str
  sample: []
run_id:
  description: Name of this run in the log.
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
      sample: no-access
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Cannot read the size of the datastore /var/lib/one/datastores/1: Permission denied'
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
    run_module("ds_digest")


if __name__ == "__main__":
    main()
