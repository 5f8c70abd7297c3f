#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a restore into new images needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_restore
short_description: read a backup for a restore into new images
version_added: 0.1.0
description:
  - Tells what a backup holds, for a restore into new images and a template of virtual machines, which OpenNebula asks
    for with C(oneimage restore). The repository is listed once, and nothing is changed.
  - The wrapper C(remotes/datastore/<driver>/restore) makes the images and the template with this, as the user who asked
    for it. Either all of them are made, or those that were are deleted again.
  - The lead is the host that has the repository. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.repository
  - one_storage.drivers.kept
options:
  datastore:
    description:
      - The folder of the repository, C(BASE_PATH) of the backup datastore.
    type: str
    required: true
  datastore_id:
    description:
      - Id of the backup datastore. It stands in the sources.
    type: int
    required: true
  increment_id:
    description:
      - Number of the increment that is restored. V(-1) for the last one.
    type: int
    default: -1
  format:
    description:
      - Format of the backup, as OpenNebula has it. With V(rbd), the files are those of C(rbd export).
    type: str
    default: raw
requirements:
  - C(restic) on the lead, with O(driver=restic)
seealso:
  - module: one_storage.drivers.ds_cp
  - module: one_storage.drivers.ds_ls
  - module: one_storage.drivers.tm_restore
"""

EXAMPLES = r"""
- name: What is in the last backup of virtual machine 42
  one_storage.drivers.ds_restore:
    driver: rsync
    datastore: /var/lib/one/datastores/108
    datastore_id: 108
    vm_id: 42
    increments: ['0:6da1c7', '1:06132a']
  delegate_to: backup01
  register: backup
"""

RETURN = r"""
disks:
  description: Sources of the disks by their id, as O(one_storage.drivers.ds_cp#module:source) takes them.
  returned: success
  type: dict
  sample:
    '0': rsync://108//0:6da1c7,1:06132a//var/lib/one/datastores/108/42/06132a/disk.0.1
document:
  description: The document of the virtual machine at the time of the backup, in base64.
  returned: success
  type: str
  sample: PFZNPjxJRD40MjwvSUQ+PC9WTT4=
tpm:
  description: State of its TPM, a packed tar, in base64. Empty when it had none.
  returned: success
  type: str
  sample: ''
reference:
  description: Reference of the backup that all this is of.
  returned: success
  type: str
  sample: 06132a
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
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
      sample: missing
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: The backup has no increment 7
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
    run_module("ds_restore")


if __name__ == "__main__":
    main()
