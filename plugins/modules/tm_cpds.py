#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Save a disk as an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_cpds
short_description: save a disk of a virtual machine as an image
version_added: 0.1.0
description:
  - Writes a disk, or one of its snapshots, as a new image. OpenNebula calls this action for C(onevm disk-saveas),
    after C(ds_mkfs) gave the image its name.
  - The image stands alone. A chain of layers is folded in, and a raw disk is copied with its holes.
  - The image appears under its name when it is complete and on disk.
  - With O(driver=ssh) the disk is sent from the node to the front-end, and hashed at both ends. A chain is folded
    on the node first, into a file that is removed after that.
  - With O(running=true) the disk is copied by libvirt while the guest writes. The image has it as it was at one
    moment, for which the guest is held, see O(quiesce). A copy that is not finished ends when this action does.
  - A snapshot is saved like that of a disk at rest, because nobody writes to it.
  - With O(driver=ceph) the disk, or a snapshot of it, is copied to a volume that stands on nothing.
  - With O(driver=ceph) and O(running=true) it is a snapshot of the volume that is copied, for which the guest is
    held and which is removed after that. With O(system_driver=ssh) the disk is a file, which is written to a new
    volume.
  - The lead is the host that has the disk for O(driver=qcow2) and O(driver=shared), without a peer. For
    O(driver=ssh) it is the front-end, and the peer is the node.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.peer
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
  source:
    description:
      - Path of the disk, C(<datastore>/<vm id>/disk.<n>), on the host that has it.
    type: str
    required: true
  destination:
    description:
      - Path of the new image, as the lead sees it.
    type: str
    required: true
  snapshot_id:
    description:
      - Id of the snapshot that is saved. With V(-1) it is the disk as it is now.
    type: int
    default: -1
  force:
    description:
      - What to do with an image that is there already.
      - If V(false), it stays as it is and nothing changes.
      - If V(true), it is made anew, in each run. The old one is set aside first, is removed when the new one is in
        place, and comes back when the action fails. This is what happens when OpenNebula calls, where an image that
        is there is what a failed attempt left.
    type: bool
    default: false
requirements:
  - C(qemu-img) on the host that has the disk, for qcow2 disks
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the host that has the disk, when it runs
seealso:
  - module: one_storage.drivers.ds_mkfs
  - module: one_storage.drivers.tm_mvds
  - module: one_storage.drivers.tm_snap_create
"""

EXAMPLES = r"""
- name: Save a disk
  one_storage.drivers.tm_cpds:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    source: /var/lib/one/datastores/100/42/disk.0
    destination: /var/lib/one/datastores/1/d1f0a8b6c2d94e7f8a3b5c6d7e8f9a0b
    image: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Path of the image, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/1/d1f0a8b6c2d94e7f8a3b5c6d7e8f9a0b
consistency:
  description:
    - How the guest was held at the moment that was kept. V(agent) stands for frozen file systems, V(suspend) for a guest
      that was suspended, V(paused) for one that was suspended all the time.
    - Empty when it is not known, because an earlier run did it.
  returned: success, when the virtual machine runs and not a snapshot of the disk is saved
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
    - 'node01: write /var/lib/one/datastores/100/42/disk.0.snap/1 as a qcow2 image of its own'
    - 'node01: put the image /var/lib/one/datastores/1/d1f0a8b6c2d94e7f8a3b5c6d7e8f9a0b in place'
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
    run_module("tm_cpds")


if __name__ == "__main__":
    main()
