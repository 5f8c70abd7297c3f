#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grow a disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_resize
short_description: grow a disk of a virtual machine
version_added: 0.1.0
description:
  - Gives a disk a larger virtual size. OpenNebula calls this action for C(onevm disk-resize).
  - The file that is written to is grown where it lies. Snapshots keep their size.
  - A disk is never made smaller. A failure gives it its old size back.
  - With O(running=true) there is nothing to do, because the hypervisor itself grows the disk then.
  - With O(driver=ceph) that is the disk's volume.
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
  size:
    description:
      - New virtual size of the disk in MB, at least 1.
    type: int
    required: true
  sparse:
    description:
      - Whether the new room takes no space until it is written to. If V(false), it is allocated at once
        (C(SPARSE=NO) of the datastore).
    type: bool
    default: true
requirements:
  - C(qemu-img) on the lead
seealso:
  - module: one_storage.drivers.tm_clone
  - module: one_storage.drivers.tm_mkimage
"""

EXAMPLES = r"""
- name: A disk of 40 GB
  one_storage.drivers.tm_resize:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42/disk.0
    size: 40960
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
    - 'node01: grow /var/lib/one/datastores/100/42/disk.0.snap/0 to 40960 MB'
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
      sample: The disk /var/lib/one/datastores/100/42/disk.0 cannot be made smaller, it has 20480 MB, not 10240 MB
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
    run_module("tm_resize")


if __name__ == "__main__":
    main()
