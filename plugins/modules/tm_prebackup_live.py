#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the disks of a VM that runs into its backup directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_prebackup_live
short_description: put the disks of a running virtual machine into its backup directory
version_added: 0.1.0
description:
  - Writes what a backup consists of into the backup directory of the virtual machine, while its guest goes on.
    OpenNebula calls this action when a running machine is backed up, before a repository takes the files from there.
  - All disks are those of one moment. The guest is held for that moment as O(freeze) says. RV(consistency) and the
    manifest say what was reached.
  - The files are those of M(one_storage.drivers.tm_prebackup).
  - With O(driver=ceph) the cluster takes snapshots of the volumes at that moment, under the names that
    M(one_storage.drivers.tm_prebackup) tells. The processors of a machine with several disks stand still for it, also
    with O(freeze=none).
  - When the action fails, or is killed, the guest goes on, and no job, overlay or checkpoint of it is left.
  - The lead is the host that the machine runs on. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.backup
  - one_storage.drivers.backup_files
  - one_storage.drivers.confined
  - one_storage.drivers.backup_guest
  - one_storage.drivers.backup_freeze
attributes:
  idempotent:
    description: Run again with the same options it finds its own work, changes nothing and gives the same answer.
    support: partial
    details:
      - Run again it makes the backup anew, as the disks may have changed since, and ends with the same.
requirements:
  - C(qemu-img), C(qemu-io) and C(tar) on the lead
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the lead
  - C(python3-rados) and C(python3-rbd) on the lead, for O(driver=ceph)
seealso:
  - module: one_storage.drivers.tm_postbackup_live
  - module: one_storage.drivers.tm_prebackup
"""

EXAMPLES = r"""
- name: Begin a chain of backups of a running machine
  one_storage.drivers.tm_prebackup_live:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2']
    targets: ['0:vda']
    domain: one-42
    freeze: agent
    mode: increment
    document: "{{ lookup('pipe', 'onevm show -x 42') }}"
  delegate_to: node01
"""

RETURN = r"""
path:
  description: The backup directory.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/backup
increment:
  description: Number of the increment, 0 for a full backup.
  returned: success, except in check mode when something would be done
  type: int
  sample: 3
files:
  description: Names of the files in the backup directory.
  returned: success, except in check mode when something would be done
  type: list
  elements: str
  sample: [disk.0.3, manifest.json, vm.xml]
size:
  description: Bytes of these files, the manifest not counted.
  returned: success, except in check mode when something would be done
  type: int
  sample: 71827456
consistency:
  description:
    - How consistent the disks are. V(agent) stands for frozen file systems, V(suspend) for a guest that was suspended, V(crash)
      for disks as after a power cut.
  returned: success, except in check mode when something would be done
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
    - 'node01: put the backup /var/lib/one/datastores/100/42/backup in place'
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
      sample: The layer /var/lib/one/datastores/100/42/disk.0.snap/0 is not there
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
    run_module("tm_prebackup_live")


if __name__ == "__main__":
    main()
