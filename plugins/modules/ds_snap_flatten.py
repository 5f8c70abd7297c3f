#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an image of one of its snapshots, in one file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_snap_flatten
short_description: make an image of one of its snapshots, in one file
version_added: 0.1.0
description:
  - Lets a persistent image hold what it held when a snapshot was taken, in a single file. All snapshots go, this one
    too. OpenNebula calls this action when an image is flattened.
  - A chain of layers is written into a new file, which takes the place of the image in one step. Until then all layers
    stay. A snapshot that is a full copy is moved into the image's place.
  - An image without snapshots is a success.

  - The lead is the host that has the image datastore, in a normal installation the front-end. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
options:
  source:
    description:
      - Path of the image (C(SOURCE) of the image). It must be a file directly in O(datastore).
    type: str
    required: true
  format:
    description:
      - Format of the image, as OpenNebula has it (C(FORMAT) of the image).
      - What a guest wrote into a raw image is never taken for another format.
    type: str
    choices: [raw, qcow2]
    default: raw
  snapshot:
    description: Number of the snapshot (C(TARGET_SNAPSHOT) of the image).
    type: int
    required: true
notes:
  - No virtual machine may use the image. OpenNebula sees to that.
seealso:
  - module: one_storage.drivers.ds_snap_delete
  - module: one_storage.drivers.ds_snap_revert
"""

EXAMPLES = r"""
- name: Keep one snapshot and drop the others
  one_storage.drivers.ds_snap_flatten:
    driver: fs
    datastore: /var/lib/one/datastores/1
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
    snapshot: 1
"""

RETURN = r"""
source:
  description: Path of the image, without double slashes.
  returned: success, except in check mode when there is something to do
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
    - 'frontend: write /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap/1 as a qcow2 image of its own'
    - 'frontend: put the image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e in place of the old one'
    - 'frontend: remove the snapshots /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap'
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
      sample: Snapshot 1 of /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e is not there
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
    run_module("ds_snap_flatten")


if __name__ == "__main__":
    main()
