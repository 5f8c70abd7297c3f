#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an empty disk for a virtual machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_mkimage
short_description: make an empty disk for a virtual machine
version_added: 0.1.0
description:
  - Makes a volatile disk, perhaps with a file system. OpenNebula calls this action when a virtual machine with
    such a disk starts, or one is attached.
  - The disk is one file, without layers, and takes no space until it is written to. A file system is made in a
    raw disk, which is converted when O(format) is V(qcow2).
  - With O(driver=ceph) the disk is the volume C(one-sys-<vm>-<disk>) in O(pool). A file system is made in a file
    first.
  - The lead is the node. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.filesystem
  - one_storage.drivers.force
  - one_storage.drivers.monitor
options:
  datastore:
    description: Directory of the system datastore in which the disk is made.
    type: str
    required: true
  destination:
    description:
      - Path of the new disk, C(<datastore>/<vm id>/disk.<n>). The directory of the virtual machine is made when it
        is not there.
    type: str
    required: true
  size:
    description: Virtual size of the disk in MB, at least 1.
    type: int
    required: true
  format:
    description: Format of the disk. V(swap) does what M(one_storage.drivers.tm_mkswap) does.
    type: str
    choices: [raw, qcow2, swap]
    default: raw
requirements:
  - C(qemu-img) for qcow2, C(mkfs.<fs>) for a file system, C(mkswap) for a swap area
seealso:
  - module: one_storage.drivers.tm_mkswap
  - module: one_storage.drivers.tm_delete
  - module: one_storage.drivers.ds_mkfs
"""

EXAMPLES = r"""
- name: A scratch disk of 50 GB with a file system
  one_storage.drivers.tm_mkimage:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    destination: /var/lib/one/datastores/100/42/disk.3
    size: 51200
    format: qcow2
    fs: xfs
"""

RETURN = r"""
path:
  description: Path of the disk, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/disk.3
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: create an empty raw image of 51200 MB'
    - 'node01: format the image with xfs'
    - 'node01: write disk.3.raw as a qcow2 image of its own'
    - 'node01: put the disk /var/lib/one/datastores/100/42/disk.3 in place'
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
      sample: no-space
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Cannot format the image with xfs: No space left on device'
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
      sample: free some space and run it again
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("tm_mkimage")


if __name__ == "__main__":
    main()
