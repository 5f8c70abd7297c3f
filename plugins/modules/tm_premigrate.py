#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare the destination of a live migration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_premigrate
short_description: prepare the destination of a live migration
version_added: 0.1.0
description:
  - Builds the directory of a virtual machine where the machine will run. OpenNebula calls this action before the
    hypervisor migrates a running machine.
  - With O(driver=ssh) or O(driver=local) the directory is the destination's own. What the guest writes to gets an empty
    image of the same size and format, to which the hypervisor copies the data. Snapshots, frozen layers, read-only
    disks, the context image, kernel and initrd are copied, and links are made anew.
  - With O(driver=qcow2) or O(driver=shared) the machine finds its files where they are. It is made sure that the
    destination sees them. When the machine goes to another system datastore too, its directory there is built as above.
  - What was made is noted in a receipt, C(.one_storage/vm-<id>.receipt) in the datastore, which
    M(one_storage.drivers.tm_failmigrate) and M(one_storage.drivers.tm_postmigrate) go by.
  - The lead is the destination for O(driver=qcow2) and O(driver=shared), without a peer, as all hosts see the same
    storage. For O(driver=ssh) and O(driver=local) it is the front-end if that is one of the two hosts, else the source,
    and the peer is the other.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.peer
  - one_storage.drivers.way
  - one_storage.drivers.monitor
attributes:
  idempotent:
    description: Run again with the same options it finds its own work, changes nothing and gives the same answer.
    support: partial
    details:
      - Run again it builds the directory anew, and ends with the same.
notes:
  - Both ends must be different storage. This is proven with a random file, not by names. On the same storage a live
    migration would copy each disk onto itself, so it is refused.
  - A directory that stands at O(destination) is replaced, unless a QEMU writes to a disk in it. Each run builds the
    directory anew, as what an earlier run copied may have changed since.
  - Memory that a hypervisor saved, C(checkpoint), and sockets are left behind.
"""

EXAMPLES = r"""
- name: Prepare node02 for a machine that runs on node01
  one_storage.drivers.tm_premigrate:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    source_datastore: /var/lib/one/datastores/104
    source: /var/lib/one/datastores/104/42
    destination: /var/lib/one/datastores/104/42
    disks: ['0:qcow2', '1:raw']
    peer: node02
  delegate_to: node01

- name: Make sure that node02 sees the machine's files
  one_storage.drivers.tm_premigrate:
    driver: qcow2
    datastore: /var/lib/one/datastores/100
    source_datastore: /var/lib/one/datastores/100
    source: /var/lib/one/datastores/100/42
    destination: /var/lib/one/datastores/100/42
  delegate_to: node02
"""

RETURN = r"""
path:
  description: Directory of the machine at the destination.
  returned: success, except when there was nothing to do, and in check mode when something would be done
  type: str
  sample: /var/lib/one/datastores/104/42
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'node01: make room for disk.0: qcow2, 10737418240 bytes'
    - 'node01: note what was made in /var/lib/one/datastores/104/.one_storage/vm-42.receipt'
    - 'node01: put the directory /var/lib/one/datastores/104/42 in place'
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
      sample: unreachable
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Cannot log in to node01: Permission denied (publickey)'
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
      sample: let oneadmin log in there by key; between nodes the front-end's agent is used, is it running
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("tm_premigrate")


if __name__ == "__main__":
    main()
