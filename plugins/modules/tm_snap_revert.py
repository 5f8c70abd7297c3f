#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a disk back to a snapshot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_snap_revert
short_description: take a disk of a virtual machine back to a snapshot
version_added: 0.1.0
description:
  - Gives a disk the state that it had when a snapshot was taken. What was written since is lost. All snapshots
    stay, those that are younger too. OpenNebula calls this action for C(onevm disk-snapshot-revert).
  - A qcow2 disk that is a link into a directory of layers, as O(driver=qcow2), O(driver=shared) and their mixed
    modes make it, has its snapshots as layers. The snapshots of any other disk are full copies,
    C(disk.<n>.snap/<id>).
  - With layers, the file that is written to is replaced by an empty one that stands on the snapshot, in one rename.
    A copy is copied back. A persistent raw disk is replaced where it lies, in the image datastore.
  - The disk gets the size that it had at the time.
  - It is for disks at rest. With O(running=true) it fails with the code V(unsupported), because a guest would write
    meanwhile.
  - With O(driver=ceph) a clone of the snapshot takes the place of the disk's volume, which is renamed to
    C(<volume>-<ids>) for the sake of its snapshots, the ids separated by colons. A volume that is open is waited
    for until O(lock_timeout) is over.
  - The lead is the host that has the disk. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.old_disk
attributes:
  idempotent:
    description: Run again with the same options it gives the same end.
    support: partial
    details:
      - With layers a second run finds an empty layer and changes nothing. A copy is copied once more, and counts as a
        change each time.
options:
  datastore:
    description:
      - Directory of the system datastore that the disk lies in, as the lead sees it.
    type: str
    required: true
  path:
    description:
      - Path of the disk, C(<datastore>/<vm id>/disk.<n>).
    type: str
    required: true
  snapshot_id:
    description:
      - Id of the snapshot, 0 or more.
    type: int
    required: true
  linear:
    description:
      - Whether the snapshots with higher ids are removed after that (C(ALLOW_ORPHANS=LINEAR) of the datastore,
        where OpenNebula forgets them).
    type: bool
    default: false
requirements:
  - C(qemu-img) on the lead, for qcow2 disks
seealso:
  - module: one_storage.drivers.tm_snap_create
  - module: one_storage.drivers.tm_snap_delete
"""

EXAMPLES = r"""
- name: Take a disk back
  one_storage.drivers.tm_snap_revert:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42/disk.0
    snapshot_id: 0
    image: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Path of the disk, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/disk.0
snapshot:
  description: Path of the file that holds the snapshot.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/disk.0.snap/0
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: create an empty layer on disk.0.snap/0'
    - 'node01: put the layer /var/lib/one/datastores/100/42/disk.0.snap/1 in place'
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
      sample: Snapshot 3 of /var/lib/one/datastores/100/42/disk.0 is not there
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
    run_module("tm_snap_revert")


if __name__ == "__main__":
    main()
