#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge the oldest increments of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_increment_flatten
short_description: merge the oldest increments of a backup into one
version_added: 0.1.0
description:
  - Merges the oldest increments of a chain into one full backup, so that as many are left as are to be kept. OpenNebula
    calls this action after an incremental backup, when the datastore or the virtual machine limits their number.
  - What is stored is not written to. The merged backup is built beside it, checked by C(qemu-img check), compared with
    what it was merged from, and described in a manifest of its own. The increments that it replaces go when the answer
    has been given. Run again after it was killed, the action finds its own work.
  - Increments that do not match their manifest are not merged.
  - With O(driver=rsync) the merged backup keeps the reference of the newest increment in it. With O(driver=restic) it is
    a new snapshot, which is built in O(repository_tmp_dir).
  - A disk that was detached from the virtual machine before the newest merged increment is in no backup that is left,
    and goes.
  - The lead is the host that has the repository. This is the backup server, and the front-end with
    O(repository_backend=s3) and O(repository_backend=local). There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.repository
  - one_storage.drivers.kept
  - one_storage.drivers.confined
options:
  datastore:
    description:
      - Folder of the repositories on the lead (C(BASE_PATH) of the backup datastore).
    type: str
    required: true
  datastore_id:
    description: Id of the backup datastore.
    type: int
    required: true
  keep_last:
    description: How many increments are left (C(KEEP_LAST)), at least 1.
    type: int
    required: true
  format:
    description:
      - Format of the backup (C(FORMAT) of its image). The files say by their names which form they have; those of
        V(rbd) are merged to one as C(rbd export) writes it.
    type: str
    default: raw
requirements:
  - C(qemu-img) on the lead
  - C(restic) on the lead, with O(driver=restic)
seealso:
  - module: one_storage.drivers.ds_backup
  - module: one_storage.drivers.ds_backup_verify
"""

EXAMPLES = r"""
- name: Keep two increments
  one_storage.drivers.ds_increment_flatten:
    driver: rsync
    datastore: /var/lib/one/datastores/100
    datastore_id: 100
    vm_id: 13
    increments: ["0:6da1c7", "1:06132a", "2:51fd02", "3:c0ffee"]
    keep_last: 2
"""

RETURN = r"""
chain:
  description: The increments that are left, as in O(increments). Empty when there was nothing to merge.
  returned: success, except in check mode when there is something to merge
  type: list
  elements: str
  sample: ['2:51fd02', '3:c0ffee']
size:
  description: Size of the merged backup in MB, rounded up.
  returned: success, except in check mode when there is something to merge
  type: int
  sample: 153
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'backup01: merge 3 increments into merged/disk.0.2'
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
      sample: The backup /var/lib/one/datastores/100/13/06132a is not there
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
    run_module("ds_increment_flatten")


if __name__ == "__main__":
    main()
