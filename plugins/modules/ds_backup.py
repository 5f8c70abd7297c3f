#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the backup of a virtual machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_backup
short_description: store the backup of a virtual machine in a repository
version_added: 0.1.0
description:
  - Stores the files of a backup directory, which M(one_storage.drivers.tm_prebackup) or
    M(one_storage.drivers.tm_prebackup_live) has filled, in the repository of a backup datastore. OpenNebula calls
    this action between the preparation of a backup and its end.
  - With O(driver=rsync) the files are copied to the server, and read there and compared with the manifest. Only then
    do they get their name. With O(driver=restic) they become a snapshot; the repository is made when there is none.
  - A directory without a manifest was filled by other drivers. It gets one, so that the backup can be verified later.
  - The room on the server is looked at first. It must be enough for all of the files, whatever is in the repository
    already.
  - Progress is told in syslog and in a status file beside the journal.
  - A failure, a cancel and a kill leave nothing in the repository. What a killed run has left is cleared by the next
    backup of the same virtual machine.
  - The lead is the host of the virtual machine. The peer is the backup server. There is none with
    O(repository_backend=s3) and O(repository_backend=local), nor when the server is the lead itself.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.repository
  - one_storage.drivers.confined
  - one_storage.drivers.peer
attributes:
  idempotent:
    support: partial
    details:
      - Each run stores another backup.
options:
  datastore:
    description:
      - Folder of the backups, or of the repositories, on the server (C(BASE_PATH) of the backup datastore).
    type: str
    required: true
  datastore_id:
    description: Id of the backup datastore. Backups of one datastore share a slice, when they are held back by one.
    type: int
    required: true
  source:
    description: Directory of the prepared backup on the lead, C(<system datastore>/<vm id>/backup).
    type: str
    required: true
  vm_id:
    description: Id of the virtual machine.
    type: int
    required: true
  backup_job_id:
    description: Id of the backup job, whose virtual machines share a repository of restic. V(-1) for none.
    type: int
    default: -1
requirements:
  - C(rsync) on the lead and on the server, with O(driver=rsync)
  - C(restic) on the lead, with O(driver=restic)
  - A systemd of the user on the lead, for limits of CPU, memory and disk operations
seealso:
  - module: one_storage.drivers.tm_prebackup
  - module: one_storage.drivers.ds_increment_flatten
  - module: one_storage.drivers.ds_backup_verify
"""

EXAMPLES = r"""
- name: Store what was prepared
  one_storage.drivers.ds_backup:
    driver: restic
    datastore: /var/lib/one/datastores/103
    datastore_id: 103
    source: /var/lib/one/datastores/0/22/backup
    vm_id: 22
    peer: oneadmin@backup01
    repository_password: "{{ vault_restic_password }}"
  register: stored

- name: Say where it is
  ansible.builtin.debug:
    msg: "{{ stored.reference }}, {{ stored.size }} MB"
"""

RETURN = r"""
reference:
  description: What the backup is called in the repository. Six hexadecimal digits with rsync, eight with restic.
  returned: success, except in check mode
  type: str
  sample: f130ed80
size:
  description: Size of the backup in MB, rounded up.
  returned: success, except in check mode
  type: int
  sample: 1204
format:
  description: V(rbd) for files of C(rbd export), else V(raw).
  returned: success, except in check mode
  type: str
  sample: raw
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'host01: store /var/lib/one/datastores/0/22/backup in sftp://oneadmin@backup01//var/lib/one/datastores/103/22'
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
      sample: 'Cannot back up to /srv/backups/22: restic says: unable to open repository'
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
    run_module("ds_backup")


if __name__ == "__main__":
    main()
