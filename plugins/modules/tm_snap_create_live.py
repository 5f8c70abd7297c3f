#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a snapshot of a disk of a running VM."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_snap_create_live
short_description: take a snapshot of a disk of a running virtual machine
version_added: 0.1.0
description:
  - Keeps the state that a disk has at one moment, while the guest goes on. OpenNebula calls this action for
    C(onevm disk-snapshot-create) when the virtual machine runs.
  - The guest is held for that moment, see O(quiesce). RV(consistency) says what was reached. When it can be held in
    no way, the action fails and nothing is changed.
  - A qcow2 disk that is a link into a directory of layers gets a new layer on top, to which libvirt lets the guest
    go over. Numbers and names are those of M(one_storage.drivers.tm_snap_create).
  - The snapshots of any other disk are full copies, C(disk.<n>.snap/<id>), which libvirt makes while the guest
    writes.
  - The chain of layers is read before and after, and must be the one that libvirt has.
  - A guest that is held is let go when this action is killed, too, and an unfinished copy ends.
  - With O(driver=ceph) it is the cluster that takes the snapshot, while libvirt holds the guest.
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
  - one_storage.drivers.guest
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
      - What to do with a snapshot of that id that is there already.
      - If V(false), the action fails, unless nothing was written to the disk since.
      - If V(true), the snapshot is taken anew. This is what happens when OpenNebula calls, which gives an id only
        once, so that what is there is what a failed attempt left.
    type: bool
    default: false
requirements:
  - C(qemu-img) on the lead, for qcow2 disks
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the lead
seealso:
  - module: one_storage.drivers.tm_snap_create
  - module: one_storage.drivers.tm_snap_delete
  - module: one_storage.drivers.tm_snap_revert
  - module: one_storage.drivers.tm_cpds
"""

EXAMPLES = r"""
- name: Keep a disk as it is now, while the machine runs
  one_storage.drivers.tm_snap_create_live:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42/disk.0
    snapshot_id: 0
    image: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
    domain: one-42
    target: vda
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
consistency:
  description:
    - How the guest was held at the moment that was kept. V(agent) stands for frozen file systems, V(suspend) for a guest
      that was suspended, V(paused) for one that was suspended all the time.
    - Empty when it is not known, because an earlier run did it.
  returned: success, except in check mode when something would be done
  type: str
  sample: agent
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
    - >-
      node01: let one-42 write to /var/lib/one/datastores/100/42/disk.0.snap/1 and link
      /var/lib/one/datastores/100/42/disk.0 to it
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
    run_module("tm_snap_create_live")


if __name__ == "__main__":
    main()
