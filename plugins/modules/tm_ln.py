#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a virtual machine work on a persistent image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_ln
short_description: let a virtual machine work on a persistent image
version_added: 0.1.0
description:
  - Gives a virtual machine a persistent image, or a CD-ROM, as a disk. What it writes is meant to stay in the
    image. OpenNebula calls this action when such a virtual machine starts or such a disk is attached.
  - With O(driver=qcow2) or O(driver=shared) the disk is an absolute link into the image datastore. A raw image
    is linked itself. A qcow2 image first gets the directory C(<image>.snap) for its snapshots, if it has none,
    with C(0) as a link to the image, and the disk is a link to the entry with the highest number in it, which
    is the active layer.
  - With O(driver=ssh) the image is sent to the node, with its snapshots, as M(one_storage.drivers.tm_clone)
    does it, and M(one_storage.drivers.tm_mvds) brings it back at the end.
  - With O(driver=qcow2) or O(driver=shared) and O(system_driver=ssh) the node copies the image, with its
    snapshots, from the image datastore to its own storage.
  - With O(driver=ceph) the disk is the image's volume itself. Its snapshot C(snap) is removed, on which clones
    stood, as it would be out of date as soon as the machine writes. It is refused when a clone still stands on it.
  - With O(driver=ceph) and O(system_driver=ssh) the node copies the image's volume to a raw file of its own, and
    M(one_storage.drivers.tm_mvds) brings it back.
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
  force:
    description:
      - What to do with a disk that is there already.
      - Where the disk is a link, one that points elsewhere is always corrected, and a file in its place is an error
        unless O(force) is V(true).
      - Where the disk is a copy, V(false) leaves it as it is, and V(true) makes it anew. The old one is set aside
        first, is removed when the new one is in place, and comes back when the action fails.
    type: bool
    default: false
requirements:
  - C(qemu-img), where layers are copied
notes:
  - A linked disk is never grown. O(size), O(original_size), O(sparse), O(standalone) and O(qcow2_options)
    matter only where M(one_storage.drivers.tm_clone) and this action do the same.
seealso:
  - module: one_storage.drivers.tm_clone
  - module: one_storage.drivers.tm_mvds
  - module: one_storage.drivers.tm_delete
"""

EXAMPLES = r"""
- name: A persistent image of a shared datastore
  one_storage.drivers.tm_ln:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    destination: /var/lib/one/datastores/100/42/disk.1
    format: qcow2
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Path of the disk, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/disk.1
target:
  description: What the disk is a link to.
  returned: success with a linked disk, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap/0
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: create the directory /var/lib/one/datastores/100/42'
    - >-
      node01: link /var/lib/one/datastores/100/42/disk.1 to
      /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap/0
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
      sample: /var/lib/one/datastores/100/42/disk.1 is there and is not a link to /var/lib/one/datastores/1/7b1c
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
      sample: force replaces it
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("tm_ln")


if __name__ == "__main__":
    main()
