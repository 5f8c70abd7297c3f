#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete a snapshot of a disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_snap_delete
short_description: delete a snapshot of a disk of a virtual machine
version_added: 0.1.0
description:
  - Removes a snapshot and gives its space back. OpenNebula calls this action for C(onevm disk-snapshot-delete).
  - A qcow2 disk that is a link into a directory of layers, as O(driver=qcow2), O(driver=shared) and their mixed
    modes make it, has its snapshots as layers. The snapshots of any other disk are full copies,
    C(disk.<n>.snap/<id>).
  - A layer that others stand on is not simply removed. They first take over the data that they would lose, and each
    other snapshot and the disk keep every byte. This holds whatever C(ALLOW_ORPHANS) of the datastore allows.
  - Layers name each other by relative names afterwards, where they lie in the directory of a virtual machine, so
    that it can move.
  - A snapshot that is gone already is a success. The snapshot that is a persistent image itself, and a layer that
    is written to, are refused.
  - With O(running=true), what the guest reads from that layer is first pulled up into the layer that it writes to,
    by libvirt and while it runs. All the rest goes as with a disk at rest. What is pulled up includes the layers
    between the two, which stay as they are for their own snapshots.
  - A pull that still runs, of an action that was killed, is waited for.
  - With O(driver=ceph) a snapshot that something was reverted to, or cloned from, cannot be deleted. What a revert
    retired goes with its last snapshot, and is renamed before that.
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
requirements:
  - C(qemu-img) on the lead, for qcow2 disks
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the lead, when it runs
notes:
  - What other layers take over is written to them. For that time the datastore needs the room.
seealso:
  - module: one_storage.drivers.tm_snap_create
  - module: one_storage.drivers.tm_snap_revert
"""

EXAMPLES = r"""
- name: Forget an old state of a disk
  one_storage.drivers.tm_snap_delete:
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
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      node01: let the layer /var/lib/one/datastores/100/42/disk.0.snap/1 stand on /var/lib/one/datastores/1/7b1c1d04d6f0,
      with all that it shows
    - 'node01: remove the layer /var/lib/one/datastores/100/42/disk.0.snap/0'
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
      sample: corrupt
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: The layer /var/lib/one/datastores/100/42/disk.0.snap/1 is not a qcow2 image
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
    run_module("tm_snap_delete")


if __name__ == "__main__":
    main()
