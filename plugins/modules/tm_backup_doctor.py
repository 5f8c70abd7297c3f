#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether disks, libvirt and OpenNebula agree on a chain of backups."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_backup_doctor
short_description: compare what disks, libvirt and OpenNebula know of the backups of a virtual machine
version_added: 0.1.0
description:
  - Compares the bitmaps and layers of a virtual machine's disks, the checkpoints that libvirt has of it, and the
    increment that OpenNebula has last. It finds what backups left that were killed, and tells what the next increment
    will be made from.
  - Each finding is a sentence, with what to do about it. What is wrong is not an error of the module.
  - It changes nothing unless O(repair) asks for it. Then it does what it says of findings that are repairable. It never
    touches the bitmaps and layers that the next increment is made from.
  - It is not meant for a time at which a backup is made, whose directory and job it would take for leftovers.
  - The lead is the host that the machine runs on, or ran on last. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.backup
options:
  domain:
    description:
      - Name of the virtual machine in libvirt (C(DEPLOY_ID) of the virtual machine), when it runs. Leave it empty for
        one that is powered off.
    type: str
    default: ''
  targets:
    description:
      - Names of the disks in a virtual machine that runs (C(TARGET) of the disk), each as C(<disk id>:<target>).
    type: list
    elements: str
    default: []
  libvirt_uri:
    description:
      - Where libvirt is found, on the host that has the disks.
    type: str
    default: qemu:///system
  repair:
    description:
      - Whether what is repairable is done. Bitmaps, checkpoints, jobs, directories and overlays that backups left go.
    type: bool
    default: false
requirements:
  - C(qemu-img) on the lead
  - C(python3-libvirt) and C(python3-lxml) for C(/usr/bin/python3) on the lead, with O(domain)
seealso:
  - module: one_storage.drivers.tm_prebackup_live
  - module: one_storage.drivers.ds_backup_verify
"""

EXAMPLES = r"""
- name: What will the next increment of this machine be made from?
  one_storage.drivers.tm_backup_doctor:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    path: /var/lib/one/datastores/100/42
    disks: ['0:qcow2']
    images: ['0:/var/lib/one/datastores/1/6e0f2a']
    targets: ['0:vda']
    domain: one-42
    mode: increment
    last_increment: 3
  delegate_to: node01
  register: found

- name: Something should be done
  ansible.builtin.debug:
    msg: "{{ item.sentence }}: {{ item.todo }}"
  loop: "{{ found.findings }}"
"""

RETURN = r"""
sound:
  description: Whether there is no finding that is a problem.
  returned: success, except in check mode when something would be done
  type: bool
  sample: false
findings:
  description: What was found. After a repair, what is left.
  returned: success, except in check mode when something would be done
  type: list
  elements: dict
  contains:
    level:
      description: V(problem) when something should be done. V(note) when the next backup copes with it.
      type: str
      returned: always
      sample: problem
    code:
      description: The kind of finding, for programs.
      type: str
      returned: always
      sample: stray-bitmap
    disk:
      description: The disk's id. V(-1) when it is about the whole machine.
      type: int
      returned: always
      sample: 0
    sentence:
      description: What was found.
      type: str
      returned: always
      sample: Disk 0 has the bitmap one-42-7, which no increment will be made from
    todo:
      description: What to do about it.
      type: str
      returned: always
      sample: 'remove it: it makes every write dearer'
    repairable:
      description: Whether O(repair) does it.
      type: bool
      returned: always
      sample: true
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
    run_module("tm_backup_doctor")


if __name__ == "__main__":
    main()
