#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete a snapshot of an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_snap_delete
short_description: delete a snapshot of an image
version_added: 0.1.0
description:
  - Deletes a snapshot of a persistent image. All other snapshots, and what the image holds now, stay as they are.
    OpenNebula calls this action when a snapshot of an image is deleted.
  - A snapshot is a full copy of the image, or a layer of a chain. A layer that others stand on is not deleted, unless
    O(allow_orphans) says so.
  - A snapshot that is gone is a success.

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
  allow_orphans:
    description:
      - Delete a layer also if others stand on it (C(ALLOW_ORPHANS) of the image's snapshots is V(YES)).
      - Each of them is first written anew with the data that it had from the deleted one. This takes time and space.
    type: bool
    default: false
notes:
  - No virtual machine may use the image. OpenNebula sees to that.
seealso:
  - module: one_storage.drivers.ds_snap_flatten
  - module: one_storage.drivers.ds_snap_revert
"""

EXAMPLES = r"""
- name: Delete a snapshot
  one_storage.drivers.ds_snap_delete:
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
    - 'frontend: remove the snapshot /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap/1'
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
      sample: refused
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: Snapshot 1 of /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e is needed by layer 2
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
      sample: delete the snapshots above it first, or set ALLOW_ORPHANS=YES, with which they get its data
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("ds_snap_delete")


if __name__ == "__main__":
    main()
