#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare backups with their manifests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_backup_verify
short_description: compare the backups of a chain with their manifests, and try to restore them
version_added: 0.1.0
description:
  - Compares each backup of a chain with the manifest that was made with it, and the manifests with each other. It finds
    files that are missing, too many, truncated or altered, and increments that do not continue each other.
  - Files of C(rbd export), of which chains in stock's old form consist, are also read for what they say themselves, as
    stock makes no manifests. Each must be whole, and go on from the snapshot that the one before ends with.
  - What is wrong is told for each backup, and is not an error of the module. A repository that cannot be read is one.
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
  contents:
    description:
      - Whether every file is read to its end and its SHA-256 digest compared.
      - Without it, names and sizes are compared, which takes seconds.
    type: bool
    default: true
  restore:
    description:
      - Which backups are restored to try it. V(last) is the last one of the chain, V(all) is each of them.
      - A disk is put together as a restore does it, checked by qemu-img, and removed. This takes room for three times the
        files of the largest disk in O(repository_tmp_dir), and no longer than a restore.
      - Nothing of it stays, and the module says that it changed nothing. In check mode it says what it would restore.
    type: str
    choices: [none, last, all]
    default: none
requirements:
  - qemu-img on the lead, with O(restore)
  - C(restic) on the lead, with O(driver=restic)
seealso:
  - module: one_storage.drivers.ds_backup
  - module: one_storage.drivers.ds_increment_flatten
"""

EXAMPLES = r"""
- name: Are these backups what was stored?
  one_storage.drivers.ds_backup_verify:
    driver: rsync
    datastore: /var/lib/one/datastores/100
    vm_id: 13
    increments: ["0:6da1c7", "1:06132a"]
  register: found

- name: They are not
  ansible.builtin.fail:
    msg: "{{ found.backups | map(attribute='problems') | flatten | join(', ') }}"
  when: not found.sound

- name: Could they be restored?
  one_storage.drivers.ds_backup_verify:
    driver: rsync
    datastore: /var/lib/one/datastores/100
    vm_id: 13
    increments: ["0:6da1c7", "1:06132a"]
    restore: all
"""

RETURN = r"""
sound:
  description: Whether nothing is wrong with any of them.
  returned: success
  type: bool
  sample: true
backups:
  description: What was found, a row for each increment.
  returned: success
  type: list
  elements: dict
  contains:
    increment:
      description: Its number.
      type: int
      returned: always
      sample: 1
    reference:
      description: Its reference.
      type: str
      returned: always
      sample: 06132a
    problems:
      description: What is wrong with it, in sentences.
      type: list
      elements: str
      returned: always
      sample: []
    notes:
      description: What is to be known of it. That it has no manifest, or what its manifest warns of.
      type: list
      elements: str
      returned: always
      sample: []
    consistency:
      description:
        - What state of the guest it is of. V(off), V(agent) and V(suspend) are states that the guest itself can go on
          from, V(crash) is that after a loss of power. Empty when nobody knows.
      type: str
      returned: always
      sample: agent
    restored:
      description: Disks that were restored and are sound, by their ids, and V(tpm).
      type: list
      elements: str
      returned: always
      sample: ['0', '1']
    bytes:
      description: Sum of the sizes of its files.
      type: int
      returned: always
      sample: 1262485504
actions:
  description: What was restored to try it. Empty without O(restore).
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
      sample: 'Cannot list the backup f130ed80: restic says: unable to open repository'
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
    run_module("ds_backup_verify")


if __name__ == "__main__":
    main()
