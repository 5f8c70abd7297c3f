#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name a file that holds an image, for a marketplace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_export
short_description: name a file that holds an image, for a marketplace
version_added: 0.1.0
description:
  - Says where an image can be fetched as one file, and gives that file's MD5 digest. OpenNebula calls this action when
    an image becomes an app of a marketplace. The marketplace's driver fetches the file then.
  - An image that stands alone is named where it lies, and nothing is made. The file is read once, but for its holes.
  - An image that is a chain of layers is written anew as one file in the folder C(.one_storage/exports) of the
    datastore. Whoever fetched it removes it with RV(dispose_cmd). What is still there after a day is removed by the next
    action that changes something in this datastore.
  - The lead is the host that has the image datastore, in a normal installation the front-end. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
attributes:
  idempotent:
    description: Run again with the same options it changes nothing and gives the same answer.
    support: partial
    details:
      - Each export of a chain of layers is a file of its own, as each is disposed of by whoever fetched it.
options:
  source:
    description: Path of the image (C(SOURCE) of the image). It must lie directly in O(datastore).
    type: str
    required: true
  format:
    description:
      - Format of the image, as OpenNebula has it (C(FORMAT) of the image).
      - It is never guessed from what a virtual machine may have written. Only V(qcow2) can be a chain of layers.
    type: str
    choices: [raw, qcow2, vmdk, vpc, vhdx, vdi]
    default: raw
  size:
    description:
      - Size in MB to tell (C(SIZE) of the image).
      - V(0) means what a virtual machine sees of a raw or qcow2 image, and the file's size for other formats.
    type: int
    default: 0
  target_snapshot:
    description:
      - Number of the snapshot of the image that is exported, in place of the image as it is now.
      - V(-1) means the image as it is now.
    type: int
    default: -1
  url_host:
    description:
      - Name of the lead, when the file will be fetched from another host. The answer is a URL with V(ssh) then, and the
        file is disposed of over SSH.
      - If empty, the file will be fetched on the lead.
    type: str
    default: ''
requirements:
  - C(qemu-img), for chains of layers
notes:
  - Drivers of marketplaces put the answer on a shell's command line without quotes. Therefore a path with blanks, or with
    anything else that means something to a shell, is refused.
  - The image is held against changes by other actions while it is read. A virtual machine that writes to it is not
    stopped. A file that changed while it was read is an error.
seealso:
  - module: one_storage.drivers.ds_cp
  - module: one_storage.drivers.ds_clone
"""

EXAMPLES = r"""
- name: Export an image, if need be flattened
  one_storage.drivers.ds_export:
    driver: fs
    datastore: /var/lib/one/datastores/1
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
  register: export

- name: Export its first snapshot
  one_storage.drivers.ds_export:
    driver: fs
    datastore: /var/lib/one/datastores/1
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    format: qcow2
    target_snapshot: 0
"""

RETURN = r"""
file:
  description: The file to fetch.
  returned: success, except in check mode when it would be made
  type: str
  sample: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
import_source:
  description: The same for whoever fetches it, as a path or as a URL. A path has the spelling of O(source).
  returned: success, except in check mode when it would be made
  type: str
  sample: ssh://host01:/var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
md5:
  description: MD5 digest of the file, hexadecimal. Empty in check mode, in which the file is not read.
  returned: success, except in check mode when it would be made
  type: str
  sample: d8e8fca2dc0f896fd7cb4cb0031ba249
size:
  description: Size of the image in MB.
  returned: success, except in check mode when it would be made
  type: int
  sample: 2252
format:
  description: Format of the file.
  returned: success, except in check mode when it would be made
  type: str
  sample: qcow2
dispose:
  description: Whether the file was made for this export alone.
  returned: success, except in check mode when it would be made
  type: bool
  sample: false
dispose_cmd:
  description: Command that removes the file, made of words that need no quotes. Empty when there is nothing to remove.
  returned: success, except in check mode when it would be made
  type: str
  sample: ''
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done. Empty when the image
      stands alone.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: write /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e.snap/1 as a qcow2 image of its own'
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
      sample: The image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e is not there
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
    run_module("ds_export")


if __name__ == "__main__":
    main()
