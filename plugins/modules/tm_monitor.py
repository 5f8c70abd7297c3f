#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how full a shared system datastore is, and how large the disks in it are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_monitor
short_description: tell how full a shared system datastore is, and how large the disks in it are
version_added: 0.1.0
description:
  - Tells total, used and free MB of the file system that holds a system datastore which all hosts share, and the MB
    that each disk and each snapshot of the virtual machines in it takes up. OpenNebula calls this action every few
    minutes.
  - Sizes are the blocks that files have, as C(du) counts them, rounded up. They are read from the inodes. No image
    is opened and no command is run. A persistent disk is measured through its link, in the image datastore.
  - Everything is looked at in a process of its own. When the mount of the datastore, or that of an image, does not
    answer for O(stall_timeout) seconds, or not completely within O(command_timeout) seconds, that process is left
    behind and the action ends. As long as it hangs, no other is started for the same datastore on this host. The
    action then fails at once with the code V(busy).
  - What goes while it is looked at is left out. Disks that cannot be measured do not keep the totals back.
  - The datastore's directory is made when it is not there, so that a new datastore has figures at once. This
    does not count as a change. In check mode it is not made, and the figures are those of the nearest directory
    above.
  - With storage that is each host's own, drivers V(ssh) and V(local), nothing is done. Each host measures its own
    with M(one_storage.drivers.tm_monitor_ds).
  - The wrapper that OpenNebula calls sends the sizes of disks to C(monitord), as datagrams, where its
    C(monitord.conf) is found. The module itself sends nothing.
  - With O(driver=ceph) the totals are those of O(pool), and each disk has the size of the objects that its volume
    has of its own. Volumes with C(fast-diff) are measured without looking at each object.
  - The lead is the front-end, or a host of the datastore's C(BRIDGE_LIST). There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
options:
  datastore:
    description: Directory of the system datastore, as the lead sees it.
    type: str
    required: true
  vm_disks:
    description: Measure the disks too, not only the file system.
    type: bool
    default: true
seealso:
  - module: one_storage.drivers.tm_monitor_ds
  - module: one_storage.drivers.ds_monitor
"""

EXAMPLES = r"""
- name: Look at a shared system datastore
  one_storage.drivers.tm_monitor:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
  register: system

- name: Name the disks that take up more than 100 GB
  ansible.builtin.debug:
    msg: "{{ system.vms | subelements('disks') | selectattr('1.size_mb', 'gt', 102400) | map(attribute='0.id') }}"
"""

RETURN = r"""
total_mb:
  description: Size of the file system in MB.
  returned: success, with shared storage
  type: int
  sample: 475210
used_mb:
  description: MB in use.
  returned: success, with shared storage
  type: int
  sample: 120044
free_mb:
  description: MB that can still be used by others than root.
  returned: success, with shared storage
  type: int
  sample: 330912
vms:
  description:
    - The virtual machines in the datastore that have disks, by id.
    - Empty without O(vm_disks).
  returned: success, with shared storage
  type: list
  elements: dict
  contains:
    id:
      description: Id of the virtual machine.
      type: int
      returned: always
      sample: 42
    disks:
      description: Its disks, by id. The context image counts as one.
      type: list
      elements: dict
      returned: always
      contains:
        id:
          description: Id of the disk.
          type: int
          returned: always
          sample: 0
        size_mb:
          description: MB that the disk takes up. Of a chain of layers it is the active one's.
          type: int
          returned: always
          sample: 5120
        snapshots:
          description: The disk's snapshots, by id.
          type: list
          elements: dict
          returned: always
          contains:
            id:
              description: Id of the snapshot.
              type: int
              returned: always
              sample: 1
            size_mb:
              description: MB that the snapshot takes up.
              type: int
              returned: always
              sample: 250
missed:
  description: A sentence for each thing that could not be measured, the first five and how many more there are.
  returned: success, with shared storage
  type: list
  elements: str
  sample: []
actions:
  description: Always empty, as the module only looks.
  returned: success
  type: list
  elements: str
  sample: []
run_id:
  description: Name of this run in the log. Empty when there is nothing to do.
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
      sample: no-access
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Cannot look at the space of the datastore /var/lib/one/datastores/100: Permission denied'
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
    run_module("tm_monitor")


if __name__ == "__main__":
    main()
