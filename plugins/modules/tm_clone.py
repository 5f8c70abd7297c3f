#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a virtual machine a disk of its own that starts as an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_clone
short_description: give a virtual machine a disk of its own that starts as an image
version_added: 0.1.0
description:
  - Makes a disk of a virtual machine from an image that several may use. OpenNebula calls this action when a
    virtual machine with a non-persistent image starts or such a disk is attached, and for kernels and ramdisks
    from a files datastore.
  - With O(driver=qcow2) or O(driver=shared) all hosts see both datastores, and the disk is an overlay on the
    image. With O(standalone=true) it is a copy. A raw image is copied too.
  - With O(driver=ssh) the image lies on the front-end, and it is sent to the node, with its snapshots, as it
    is.
  - With O(driver=qcow2) or O(driver=shared) and O(system_driver=ssh) the node sees the image datastore and
    keeps the disk on its own storage. The disk is a copy that stands alone.
  - A qcow2 disk is a relative link C(disk.<n>) to C(disk.<n>.snap/0), and that is the first layer. In the
    directory C(disk.<n>.snap) lies also a link of that name to C(.), by which layers name each other. Any other
    disk is one file. The layouts are those of OpenNebula's own drivers, so each can work on what the other
    made.
  - With O(driver=ceph) the disk is a volume C(<image>-<vm>-<disk>) beside the image, and stands on the image's
    protected snapshot C(snap), which is taken when it is not there. Nothing of it lies in the directory. Of an
    image in RBD's first format the disk is a copy.
  - With O(driver=ceph) and O(system_driver=ssh) the node copies the image's volume to a raw file of its own.
  - The lead is the node for O(driver=qcow2) and O(driver=shared), without a peer. For O(driver=ssh) it is the
    front-end, and the peer is the node.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.peer
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.disk
  - one_storage.drivers.force
  - one_storage.drivers.monitor
options:
  datastore:
    description:
      - Directory of the system datastore in which the disk is made. With O(driver=ssh) it has the same path on the
        lead, where the journal lies, and on the node.
    type: str
    required: true
requirements:
  - C(qemu-img) on the host that gets the disk
notes:
  - The file C(.monitor) in the system datastore tells the monitoring of a node that it has to measure this
    datastore itself. It is written where the datastore is the node's own, and removed where it is shared.
  - A second run without O(force) leaves the disk as it is, also when O(size) differs by now. A disk is grown by
    another action, when its virtual machine's state allows it.
seealso:
  - module: one_storage.drivers.tm_ln
  - module: one_storage.drivers.tm_delete
  - module: one_storage.drivers.ds_cp
"""

EXAMPLES = r"""
- name: An overlay on a shared image, grown to 20 GB
  one_storage.drivers.tm_clone:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    destination: /var/lib/one/datastores/100/42/disk.0
    format: qcow2
    original_size: 3072
    size: 20480
  delegate_to: node01

- name: A copy on a node that shares nothing
  one_storage.drivers.tm_clone:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    destination: /var/lib/one/datastores/104/42/disk.0
    format: qcow2
    peer: node01
  delegate_to: frontend

- name: A volume that stands on an image in a Ceph pool
  one_storage.drivers.tm_clone:
    driver: ceph
    ceph_user: oneadmin
    datastore: /var/lib/one/datastores/105
    source: one/one-12
    destination: /var/lib/one/datastores/105/42/disk.0
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
    - 'node01: create an overlay on /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e, grown to 20480 MB'
    - 'node01: create the directory /var/lib/one/datastores/100/42'
    - 'node01: put the layers /var/lib/one/datastores/100/42/disk.0.snap in place'
    - 'node01: put the disk /var/lib/one/datastores/100/42/disk.0 in place'
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
      sample: The image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e is not there
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
      sample: is the image datastore mounted on this host
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("tm_clone")


if __name__ == "__main__":
    main()
