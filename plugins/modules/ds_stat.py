#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the size that an image will have."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_stat
short_description: tell the size that an image will have
version_added: 0.1.0
description:
  - Tells how many MB an import of a source will take, without importing it. OpenNebula calls this action before
    M(one_storage.drivers.ds_cp), to count the image against the owner's quota and the datastore's free space.
  - For a disk with a header, such as qcow2, this is its virtual size. For all else it is the size of the file.
    Of a URL only the first bytes are read, and the length that the server tells.
  - A packed source is unpacked as far as needed. A packed file without a header that tells its size is read, and
    counted, to its end.
  - It ends within 80 seconds, with an answer or an error, because OpenNebula waits 90.
  - The same sources are refused as in M(one_storage.drivers.ds_cp). Nobody learns the size of a file that may
    not be imported.
  - Of a disk in a backup it is the size that the virtual machine's document in the backup says.
  - The lead is the host that has the image datastore, in a normal installation the front-end, or the repository. There
    is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.directories
  - one_storage.drivers.source
  - one_storage.drivers.repository
options:
  source:
    description:
      - Absolute path of a file on the lead, or a URL, as for M(one_storage.drivers.ds_cp) (C(PATH) of the image).
      - With O(driver=rsync) and O(driver=restic) it is the pseudo-URL of a disk in a backup.
    type: str
    required: true
  datastore:
    description: Folder of the repositories on the lead, with O(driver=rsync) and O(driver=restic).
    type: str
    default: ''
  backup_job_id:
    description: Id of the backup job, for O(source) that names none. V(-1) for none.
    type: int
    default: -1
  decompress:
    description:
      - If V(true), the size is that of what is in a packed source.
      - If V(false), the size is that of the compressed file (C(NO_DECOMPRESS=YES) of the datastore).
    type: bool
    default: true
  plain:
    description: Whether this is a file and not a disk, such as a kernel. Then its size is the size of the file.
    type: bool
    default: false
requirements:
  - C(qemu-img), for formats other than raw and qcow2
seealso:
  - module: one_storage.drivers.ds_cp
"""

EXAMPLES = r"""
- name: How much room will this image need?
  one_storage.drivers.ds_stat:
    driver: fs
    source: https://images.example.org/debian-12.qcow2
  register: answer

- name: Say it
  ansible.builtin.debug:
    msg: "{{ answer.size }} MB"
"""

RETURN = r"""
size:
  description: Size in MB, rounded up.
  returned: success
  type: int
  sample: 3072
actions:
  description: Always empty, as the module only looks.
  returned: success
  type: list
  elements: str
  sample: []
run_id:
  description: Name of this run in the log.
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
      sample: 'Cannot read /var/tmp/debian-12.raw: No such file or directory'
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
    run_module("ds_stat")


if __name__ == "__main__":
    main()
