#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a disk or all files of a virtual machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_delete
short_description: remove a disk or all files of a virtual machine
version_added: 0.1.0
description:
  - Removes a disk with its layers or snapshots, or the directory of a virtual machine with all in it.
    OpenNebula calls this action when a virtual machine ends, for each disk that is not kept and then for the
    directory, when a disk is detached, and after a failed start.
  - A disk that is a link to a persistent image is removed as a link. The image itself is never touched.
  - The files are first renamed out of their place, which happens at once, and deleted after that. From then on
    there is no way back. A run that is killed in between is completed by the next one. Where the datastore is
    too full even for a journal, they are deleted in their place.
  - What is gone is a success.
  - With O(driver=ceph) the disk's volume goes, with its snapshots and what reverts left of it. With
    O(ceph_trash=true) it goes to the pool's trash, on its own feet. The image's snapshot C(snap) goes with the last
    clone. A volume that is open is waited for until O(lock_timeout) is over, and never removed. With the directory
    goes the volume C(one-sys-<vm>-checkpoint) too.
  - The lead is the node that has the files, which is the front-end for a virtual machine that is stopped or
    undeployed. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
options:
  image:
    description:
      - The volume of the image that the disk was made from, for O(driver=ceph), C(SOURCE) of the disk. Empty for a
        volatile disk.
    type: str
    default: ''
  persistent:
    description: Whether the disk is the image itself, for O(driver=ceph). Then nothing is deleted.
    type: bool
    default: false
  datastore:
    description: Directory of the system datastore.
    type: str
    required: true
  path:
    description:
      - What to remove, C(<datastore>/<vm id>) or C(<datastore>/<vm id>/disk.<n>). C(kernel) and C(initrd) count as
        disks.
      - Anything else is refused, in particular what lies outside of O(datastore), the datastore itself, and hidden
        directories.
    type: str
    required: true
seealso:
  - module: one_storage.drivers.tm_clone
  - module: one_storage.drivers.tm_ln
  - module: one_storage.drivers.ds_rm
"""

EXAMPLES = r"""
- name: Remove a disk
  one_storage.drivers.tm_delete:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42/disk.0

- name: Remove all that is left of a virtual machine
  one_storage.drivers.tm_delete:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42

- name: Remove a disk in a Ceph pool
  one_storage.drivers.tm_delete:
    driver: ceph
    ceph_user: oneadmin
    datastore: /var/lib/one/datastores/105
    path: /var/lib/one/datastores/105/42/disk.0
    image: one/one-12
  delegate_to: node01
"""

RETURN = r"""
path:
  description: What is gone now, without double slashes.
  returned: success, except in check mode when there is something to remove
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
    - 'node01: remove the disk /var/lib/one/datastores/100/42/disk.0'
    - 'node01: remove the layers /var/lib/one/datastores/100/42/disk.0.snap'
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
      sample: /var/lib/one/datastores/100/x is neither a VM's directory nor a disk in one of /var/lib/one/datastores/100
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
    run_module("tm_delete")


if __name__ == "__main__":
    main()
