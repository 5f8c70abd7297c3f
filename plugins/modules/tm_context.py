#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a virtual machine its context disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_context
short_description: give a virtual machine its context disk
version_added: 0.1.0
description:
  - Makes a CD-ROM image of files for the guest, with the volume id C(CONTEXT), Joliet and Rock Ridge.
    OpenNebula calls this action at each start of a virtual machine that has a context, with the file
    C(context.sh) and what C(FILES) and C(FILES_DS) name.
  - The lead is the front-end, where the files are, and the peer is the node that gets the image. The journal
    lies in the directory of the same path on the lead, so O(datastore) must be a directory there too.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.peer
  - one_storage.drivers.datastore
  - one_storage.drivers.force
options:
  datastore:
    description: Directory of the system datastore, the same path on the lead and on the node.
    type: str
    required: true
  destination:
    description: Path of the new disk on the node, C(<datastore>/<vm id>/disk.<n>).
    type: str
    required: true
  files:
    description:
      - The files, in any order. Each is a path on the lead, or a path with a colon and the name that the file gets
        in the image, or an C(http://) or C(https://) URL, of which the last part is the name.
      - A file from a URL may have at most 64 MB.
    type: list
    elements: str
    required: true
requirements:
  - C(xorriso) on the lead
seealso:
  - module: one_storage.drivers.tm_clone
"""

EXAMPLES = r"""
- name: The context of machine 42, with one more file
  one_storage.drivers.tm_context:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    destination: /var/lib/one/datastores/104/42/disk.2
    files:
      - /var/lib/one/vms/42/context.sh
      - /var/lib/one/datastores/2/0c4f7ad1f8b0d2a5f0e9c1b27a5d9e10:init.sh
    peer: node01
    force: true
  delegate_to: frontend
"""

RETURN = r"""
path:
  description: Path of the disk, without double slashes.
  returned: success, except in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/104/42/disk.2
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: build the context image of context.sh, init.sh'
    - 'node01: bring over iso'
    - 'node01: put the disk /var/lib/one/datastores/104/42/disk.2 in place'
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
      sample: The context file /var/lib/one/vms/42/context.sh is not there
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
    run_module("tm_context")


if __name__ == "__main__":
    main()
