#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clear up after the backup of a VM that is off."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_postbackup
short_description: clear up after the backup of a virtual machine that is off
version_added: 0.1.0
description:
  - Removes the backup directory of a virtual machine. OpenNebula calls this action when the repository has the files,
    and when the backup failed or was cancelled.
  - When it went well, the next increment is prepared. With O(increment_mode=cbt), bitmaps go but those of this
    increment and of the one before. With O(increment_mode=snapshot), the layers above the base are committed to it, and
    the disk gets a new, empty layer.
  - When it failed, the chain is as it was before. With O(increment_mode=cbt) the bitmap of this increment goes.
  - With O(driver=ceph) the snapshot of this increment stays when it went well, else the one before. All others of
    backups go, and all of them after a full backup.
  - What is gone is a success.
  - The lead is the host that has the disks. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.backup
  - one_storage.drivers.backup_end
requirements:
  - C(qemu-img) on the lead
  - C(python3-rados) and C(python3-rbd) on the lead, for O(driver=ceph)
seealso:
  - module: one_storage.drivers.tm_prebackup
  - module: one_storage.drivers.tm_postbackup_live
"""

EXAMPLES = r"""
- name: The repository has the third increment
  one_storage.drivers.tm_postbackup:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2']
    mode: increment
    last_increment: 1
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
    run_module("tm_postbackup")


if __name__ == "__main__":
    main()
