#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clear up after the backup of a VM that runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_postbackup_live
short_description: clear up after the backup of a running virtual machine
version_added: 0.1.0
description:
  - Removes the backup directory of a virtual machine, and what the backup needed in its directory. OpenNebula calls
    this action when the repository has the files, and when the backup failed or was cancelled.
  - What the guest wrote meanwhile is brought back into the disk. Nothing is removed that the guest still needs.
  - With O(driver=ceph) it does what M(one_storage.drivers.tm_postbackup) does.
  - What is gone is a success.
  - The lead is the host that the machine runs on. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.backup
  - one_storage.drivers.backup_end
  - one_storage.drivers.backup_guest
requirements:
  - C(qemu-img) on the lead
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the lead
  - C(python3-rados) and C(python3-rbd) on the lead, for O(driver=ceph)
seealso:
  - module: one_storage.drivers.tm_prebackup_live
  - module: one_storage.drivers.tm_postbackup
"""

EXAMPLES = r"""
- name: The backup was cancelled
  one_storage.drivers.tm_postbackup_live:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2']
    targets: ['0:vda']
    domain: one-42
    failed: true
  delegate_to: node01
"""

RETURN = r"""
path:
  description: The backup directory, which is gone.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42/backup
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: remove the backup /var/lib/one/datastores/100/42/backup'
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
    run_module("tm_postbackup_live")


if __name__ == "__main__":
    main()
