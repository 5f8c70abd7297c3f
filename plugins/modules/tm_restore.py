#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore disks in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_restore
short_description: restore the disks of a virtual machine in place
version_added: 0.1.0
description:
  - Puts disks out of a backup, and the state of a TPM, in place of those that a virtual machine has. OpenNebula calls
    this action for C(onevm restore).
  - The virtual machine must be off.
  - Every disk is brought to the host and looked at before anything of the virtual machine is touched. A backup with a
    manifest is held against it on the way. Then all disks are put in place, the old ones are kept aside until the last
    new one stands, and go then. After a failure, or a kill, the machine has all of its old disks, or all new ones.
  - Each driver restores to its own layout. Bitmaps and snapshots of the old disks go, as OpenNebula forgets them too.
  - A disk that was grown since the backup is grown to O(sizes). One that would be larger than that is refused.
  - The lead is the host that has the disks. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.ceph
  - one_storage.drivers.repository
options:
  datastore:
    description:
      - Directory of the system datastore that the virtual machine lies in, as the lead sees it.
    type: str
    required: true
  path:
    description:
      - Directory of the virtual machine, C(<datastore>/<vm id>).
    type: str
    required: true
  sources:
    description:
      - Where each disk comes from, as C(<disk id>:<source>), and the state of the TPM as C(tpm:<source>), in the order
        in which they are fetched.
      - A source is a path on the lead, or a URL, such as C(rsync://) and C(restic://) out of a backup
        (M(one_storage.drivers.ds_ls) lists them). It is a qcow2 image that stands alone, whatever format the disk has.
    type: list
    elements: str
    required: true
  disks:
    description:
      - The disks that are restored, each as C(<disk id>:<format>), with V(raw) or V(qcow2) as the format, as
        OpenNebula has it.
    type: list
    elements: str
    default: []
  images:
    description:
      - The images that the disks were made from (C(SOURCE) of the disk), each as C(<disk id>:<path>), as the lead
        sees them. A volatile disk has none.
      - With O(driver=ceph) they are volumes, each as C(<disk id>:<pool>/<volume>).
    type: list
    elements: str
    default: []
  persistent:
    description:
      - The ids of the disks that are their image itself, by way of a link (C(CLONE=NO) of the disk). The image is
        replaced then, and locked too.
      - Only O(driver=qcow2), O(driver=shared) and O(driver=ceph) look at it. Other disks are copies, also those of persistent images.
    type: list
    elements: str
    default: []
  sizes:
    description:
      - The virtual sizes that OpenNebula counts, each as C(<disk id>:<MB>). A disk without one gets the size that it
        has in the backup.
    type: list
    elements: str
    default: []
  feed:
    description:
      - Socket on the lead through which the wrappers send the sources, one after the other. They are not opened there
        then. Playbooks leave it empty.
    type: str
    default: ''
  running:
    description:
      - Whether the virtual machine runs. Then the action is refused.
    type: bool
    default: false
  repository_path:
    description:
      - The folder of the repository (C(BASE_PATH) of the backup datastore), for sources out of a backup.
    type: str
    default: ''
requirements:
  - C(qemu-img) on the lead
  - C(python3-rados) and C(python3-rbd) on the lead, for O(driver=ceph)
seealso:
  - module: one_storage.drivers.tm_prebackup
  - module: one_storage.drivers.ds_restore
"""

EXAMPLES = r"""
- name: Disk 0 as it was in the second increment
  one_storage.drivers.tm_restore:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2']
    sizes: ['0:20480']
    sources:
      - 0:rsync://108//0:6da1c7,1:06132a//var/lib/one/datastores/108/42/06132a/disk.0.1
    repository_host: backup01
    repository_user: oneadmin
    repository_path: /var/lib/one/datastores/108
  delegate_to: node01

- name: A disk out of a file that is on the node already
  one_storage.drivers.tm_restore:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    path: /var/lib/one/datastores/104/42
    disks: ['1:raw']
    sources: ['1:/var/tmp/disk.1.0']
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Directory of the virtual machine, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/100/42
restored:
  description: What was restored, C(disk.<n>) and C(tpm).
  returned: success, except in check mode when something would be done
  type: list
  elements: str
  sample: [disk.0, disk.1, tpm]
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: put the disk /var/lib/one/datastores/100/42/disk.0 in place, instead of the old one'
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
      sample: corrupt
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: The backup's file 06132a/disk.0.1 has 65536 bytes, and its manifest says 196616
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
    run_module("tm_restore")


if __name__ == "__main__":
    main()
