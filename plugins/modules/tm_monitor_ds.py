#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how large the disks in a host's own system datastore are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_monitor_ds
short_description: tell how large the disks in a system datastore of a host's own are
version_added: 0.1.0
description:
  - Tells the MB that each disk and each snapshot of the virtual machines in a system datastore takes up on this host.
    A node's monitoring calls this action every 30 seconds for each datastore with a file C(.monitor), with the driver
    that the file names. That is V(ssh) for all storage that is each host's own.
  - The file C(.monitor) is written by the actions that bring a disk to a host.
  - Sizes are the blocks that files have, as C(du) counts them, rounded up. They are read from the inodes. No image
    is opened and no command is run.
  - Everything is looked at in a process of its own. When the mount of the datastore, or that of an image, does not
    answer for O(stall_timeout) seconds, or not completely within O(command_timeout) seconds, that process is left
    behind and the action ends. As long as it hangs, no other is started for the same datastore on this host. The
    action then fails at once with the code V(busy).
  - What goes while it is looked at is left out.
  - The lead is the host that has the datastore. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.datastore
options:
  datastore:
    description: Directory of the system datastore.
    type: str
    required: true
seealso:
  - module: one_storage.drivers.tm_monitor
"""

EXAMPLES = r"""
- name: Measure the disks on a node
  one_storage.drivers.tm_monitor_ds:
    driver: ssh
    datastore: /var/lib/one/datastores/105
  register: own

- name: Say how much they take up
  ansible.builtin.debug:
    msg: "{{ own.vms | map(attribute='disks') | flatten | map(attribute='size_mb') | sum }} MB"
"""

RETURN = r"""
vms:
  description:
    - The virtual machines in the datastore that have disks, by id.
    - When the storage stops answering half-way, those that were measured before, and RV(missed) says so.
  returned: success
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
  returned: success
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
  description: Name of this run in the log.
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
      sample: 'Cannot look at the disks of the datastore /var/lib/one/datastores/105: Permission denied'
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
    run_module("tm_monitor_ds")


if __name__ == "__main__":
    main()
