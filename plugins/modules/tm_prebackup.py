#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the disks of a VM that is off into its backup directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_prebackup
short_description: put the disks of a virtual machine that is off into its backup directory
version_added: 0.1.0
description:
  - Writes what a backup consists of into the backup directory of the virtual machine. OpenNebula calls this action when
    a machine is backed up that is powered off, before a repository takes the files from there.
  - There is a file C(disk.<disk id>.<increment>) for each disk, a qcow2 image that names no other file, C(vm.xml), and
    C(disk.tpm.0) when the machine has a TPM. With O(backup_format=rbd) the files of disks are
    C(disk.<disk id>.<increment>.rbdiff), as C(rbd export-diff) writes them.
  - C(manifest.json) is written last. It has the size, the format and a SHA-256 digest of every file.
  - A full backup has all that the disk shows. An increment has what changed since the one before it, and nothing else
    is read.
  - When it cannot be told what changed, because the bitmap is not there or a guest was killed while it was kept, or the
    layers are others, the increment has the whole disk, with a warning. The chain goes on.
  - The disks and their layers stay as they are. With O(increment_mode=cbt) they get a bitmap more. The one of the
    increment before is kept until the next backup, so that a backup that failed after this action can be made again.
  - With O(driver=ceph) a snapshot of each volume tells the disk of one moment, C(one_backup_<increment>), and in an
    increment the snapshot of the one before tells what changed. A full backup removes its snapshot, C(one_backup), when
    it is over.
  - All of it is built in a workshop, after the room for it was looked at, and put in place at once. A backup directory
    that stands there is replaced.
  - The lead is the host that has the disks. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.backup
  - one_storage.drivers.backup_files
  - one_storage.drivers.confined
attributes:
  idempotent:
    description: Run again with the same options it finds its own work, changes nothing and gives the same answer.
    support: partial
    details:
      - Run again it makes the backup anew, as the disks may have changed since, and ends with the same.
requirements:
  - C(qemu-img), C(qemu-io) and C(tar) on the lead
  - C(python3-rados) and C(python3-rbd) on the lead, for O(driver=ceph)
seealso:
  - module: one_storage.drivers.tm_postbackup
  - module: one_storage.drivers.tm_prebackup_live
"""

EXAMPLES = r"""
- name: Make the third increment of a chain
  one_storage.drivers.tm_prebackup:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2', '1:qcow2']
    images: ['0:/var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e']
    mode: increment
    increment_mode: cbt
    last_increment: 1
    document: "{{ lookup('pipe', 'onevm show -x 42') }}"
  delegate_to: node01

- name: Begin a chain of a machine whose disk is a volume
  one_storage.drivers.tm_prebackup:
    driver: ceph
    datastore: /var/lib/one/datastores/105
    path: /var/lib/one/datastores/105/42
    disks: ['0:raw']
    images: ['0:one/one-7']
    mode: increment
    ceph_user: libvirt
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
    - How consistent the disks are. V(off), as nobody writes to them.
  returned: success, except in check mode when something would be done
  type: str
  sample: "off"
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: see what of /var/lib/one/datastores/100/42/disk.0 changed since one-42-2'
    - 'node01: write what changed to disk.0.3'
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
    run_module("tm_prebackup")


if __name__ == "__main__":
    main()
