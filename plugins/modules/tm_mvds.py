#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a persistent disk back to its image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_mvds
short_description: bring a persistent disk back to its image
version_added: 0.1.0
description:
  - Writes what a virtual machine made of a persistent image back to the image datastore. OpenNebula calls this
    action when a virtual machine with such a disk ends, or the disk is detached.
  - With O(driver=qcow2) or O(driver=shared) there is nothing to do, as the disk was the image all the time.
  - With O(driver=ssh) the disk is sent from the node to the image datastore, with its snapshots.
  - With O(driver=qcow2) or O(driver=shared) and O(system_driver=ssh) the node copies the disk, with its layers,
    to the image datastore that it sees.
  - The image keeps its old content until the new one is complete, on disk and proven by its hashes. There is
    never half an image. The disk stays on the node until the virtual machine's directory is deleted, so that a
    repeated call finds it.
  - With O(driver=ceph) there is nothing to do either. With O(system_driver=ssh) the disk's file is written to a new
    volume, which takes the place of the image's when it is complete. Snapshots of the image stay with the old
    volume, as after a revert.
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
attributes:
  idempotent:
    description: Run again with the same options it gives the same end.
    support: partial
    details:
      - As the disk stays where it is, a second run copies it again. The image is the same then, yet it counts as a
        change each time that data is copied.
options:
  datastore:
    description: Directory of the system datastore that the disk lies in, as the node sees it.
    type: str
    required: true
  source:
    description: Path of the disk on the node, C(<datastore>/<vm id>/disk.<n>).
    type: str
    required: true
  destination:
    description: Path of the image (C(SOURCE) of the image), as the lead sees it.
    type: str
    required: true
  format:
    description: Format of the image, as OpenNebula has it (C(FORMAT) of the disk).
    type: str
    choices: [raw, qcow2]
    default: raw
requirements:
  - C(qemu-img) on the lead, where layers are copied
notes:
  - The cached digest C(<image>.md5sum) is removed with O(driver=ssh), as it is that of the old content.
seealso:
  - module: one_storage.drivers.tm_ln
  - module: one_storage.drivers.tm_mv
"""

EXAMPLES = r"""
- name: Save a persistent disk
  one_storage.drivers.tm_mvds:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    source: /var/lib/one/datastores/104/42/disk.1
    destination: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
    peer: node01
  delegate_to: frontend
"""

RETURN = r"""
path:
  description: Path of the image, without double slashes.
  returned: success with data that was copied
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
    - 'frontend: bring over /var/lib/one/datastores/104/42/disk.1'
    - >-
      frontend: put the image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e in place,
      instead of the old one
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
      sample: The disk /var/lib/one/datastores/104/42/disk.1 is not there
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
    run_module("tm_mvds")


if __name__ == "__main__":
    main()
