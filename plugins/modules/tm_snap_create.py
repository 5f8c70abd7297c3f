#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a snapshot of a disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_snap_create
short_description: take a snapshot of a disk of a virtual machine
version_added: 0.1.0
description:
  - Keeps the state that a disk has now. OpenNebula calls this action for C(onevm disk-snapshot-create) when the
    virtual machine is powered off or suspended.
  - A qcow2 disk that is a link into a directory of layers, as O(driver=qcow2), O(driver=shared) and their mixed
    modes make it, has its snapshots as layers. The snapshots of any other disk are full copies,
    C(disk.<n>.snap/<id>).
  - With layers, the file that was written to becomes the snapshot and an empty layer is laid on top. Layers of a
    disk in the directory of a virtual machine name each other by relative names, so that the directory can move.
    Those beside a persistent image have absolute names, because the disk is a link that lies elsewhere.
  - Snapshot C(n) is normally the file C(n), and the layer on top C(n+1). Where that cannot be, after a snapshot
    that failed for example, a file C(n.current) says which file it is.
  - The chain of layers is read before anything is done. A layer that is missing, lies elsewhere, comes twice or has
    not the format that was declared is an error.
  - It is for disks at rest. With O(running=true) it fails with the code V(unsupported), because a guest would write
    meanwhile.
  - With O(driver=ceph) a snapshot C(n) is the protected snapshot C(n) of the disk's volume.
  - With O(driver=ceph) and O(system_driver=ssh) there are no snapshots, and the action fails with the code
    V(unsupported). That holds for all actions on snapshots.
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
  - one_storage.drivers.force
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
  force:
    description:
      - What to do with a snapshot of that id that is there already, when the disk was written to since.
      - If V(false), the action fails. If the disk was not written to since, the snapshot is that of an earlier run
        and nothing changes.
      - If V(true), the snapshot is taken anew. This is what happens when OpenNebula calls, which gives an id only
        once, so that what is there is what a failed attempt left.
    type: bool
    default: false
requirements:
  - C(qemu-img) on the lead, for qcow2 disks
seealso:
  - module: one_storage.drivers.tm_snap_delete
  - module: one_storage.drivers.tm_snap_revert
  - module: one_storage.drivers.tm_cpds
"""

EXAMPLES = r"""
- name: Keep a disk as it is now
  one_storage.drivers.tm_snap_create:
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
    - 'node01: link /var/lib/one/datastores/100/42/disk.0 to disk.0.snap/1'
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
      sample: The layer /var/lib/one/datastores/100/42/disk.0.snap/0 is not there
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
    run_module("tm_snap_create")


if __name__ == "__main__":
    main()
