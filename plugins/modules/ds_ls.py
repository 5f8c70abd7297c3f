#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the disks of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_ls
short_description: list the disks of a backup
version_added: 0.1.0
description:
  - Lists the disks of a backup as pseudo-URLs, which an import (M(one_storage.drivers.ds_cp)) and a restore
    (M(one_storage.drivers.tm_restore)) take as sources. OpenNebula calls this action before a restore.
  - The disks are those of the increment that is asked for, which need not be those of the last one.
  - The lead is the host that has the repository. This is the backup server, and the front-end with
    O(repository_backend=s3) and O(repository_backend=local). There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.repository
  - one_storage.drivers.kept
options:
  datastore:
    description:
      - Folder of the repositories on the lead (C(BASE_PATH) of the backup datastore).
    type: str
    required: true
  datastore_id:
    description: Id of the backup datastore, which stands in the URLs.
    type: int
    required: true
  increment_id:
    description: Number of the increment that is listed. V(-1) for the last one.
    type: int
    default: -1
  format:
    description: Format of the backup (C(FORMAT) of its image). With V(rbd) the files are those of C(rbd export).
    type: str
    default: raw
requirements:
  - C(restic) on the lead, with O(driver=restic)
seealso:
  - module: one_storage.drivers.ds_cp
  - module: one_storage.drivers.ds_backup_verify
"""

EXAMPLES = r"""
- name: What is in the backup?
  one_storage.drivers.ds_ls:
    driver: rsync
    datastore: /var/lib/one/datastores/100
    datastore_id: 100
    vm_id: 13
    increments: ["0:6da1c7", "1:06132a"]
  register: backup
"""

RETURN = r"""
disks:
  description: Pseudo-URLs by the id of the disk, and C(tpm) for the state of a TPM.
  returned: success
  type: dict
  sample:
    '0': rsync://100//0:6da1c7,1:06132a/var/lib/one/datastores/100/13/06132a/disk.0.1
actions:
  description: Always empty, as the module only looks.
  returned: success
  type: list
  elements: str
  sample: []
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
    run_module("ds_ls")


if __name__ == "__main__":
    main()
