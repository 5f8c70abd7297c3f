#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the files of a virtual machine to another host or datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_mv
short_description: move the files of a virtual machine to another host or datastore
version_added: 0.1.0
description:
  - Moves the directory of a virtual machine. OpenNebula calls this action when a virtual machine is stopped,
    undeployed, resumed, or migrated while it does not run. It first calls it for each disk, which does nothing
    here, as a disk travels with its directory, and then for the directory.
  - With O(driver=qcow2) or O(driver=shared) all hosts see the same storage, so that only a move to another
    system datastore does something. On one file system this is a rename. Between two it is a copy.
  - With O(driver=ssh), or O(system_driver=ssh), the directory is sent to the other host, with its holes and
    links. When it is complete there, on disk and proven by its hashes, it gets its final name, and only then
    the source is removed.
  - A random file tells first whether both ends are one place, by whatever names. If so, nothing is moved and nothing is
    removed.
  - Layers that name their backing file by its whole path get a relative name when the path changes.
  - When the source is gone, a repeated call succeeds only if the destination is the directory that the first call made
    of it, as its receipt C(.one_storage/vm-<id>.arrived) in the datastore shows. Else it fails and names both.
  - With O(driver=ceph) the directory is sent to the other host too. Disks are volumes that all hosts reach.
  - The lead is the destination for O(driver=qcow2) and O(driver=shared), without a peer. For O(driver=ssh), and
    with O(system_driver=ssh), it is the front-end if that is one of the two hosts, else the source, and the
    peer is the other.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.system_driver
  - one_storage.drivers.peer
  - one_storage.drivers.datastore
  - one_storage.drivers.monitor
options:
  datastore:
    description: Directory of the system datastore to which the files move, as the destination sees it.
    type: str
    required: true
  source_datastore:
    description: Directory of the system datastore from which they move, as the source sees it. It may be the same path.
    type: str
    required: true
  source:
    description:
      - The directory of the virtual machine as it is now, C(<source_datastore>/<vm id>). That of a disk in it is
        accepted, and nothing is done.
    type: str
    required: true
  destination:
    description: Where it is to be, C(<datastore>/<vm id>). For a disk, the disk's path in it.
    type: str
    required: true
  peer_role:
    description: Whether O(peer) is the host that has the files, or the one that gets them.
    type: str
    choices: [source, destination]
    default: destination
  source_lost:
    description:
      - Whether the host with the files is given up for lost, as when a virtual machine is started elsewhere after a
        host failed. Then nothing is moved, as there is nobody to ask.
      - Only where files move between hosts; on shared storage there is nothing to lose.
    type: bool
    default: false
notes:
  - A directory that stands at O(destination) is replaced. It is set aside first, and is removed when the new
    one is in place.
  - When the source is gone and the destination is there, an earlier run did it, and that is a success.
  - The point from which there is no way back is when the copy gets its final name. After it a failure leaves
    both, and the next run removes the source.
seealso:
  - module: one_storage.drivers.tm_mvds
  - module: one_storage.drivers.tm_delete
"""

EXAMPLES = r"""
- name: Bring a stopped machine to the front-end
  one_storage.drivers.tm_mv:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    source_datastore: /var/lib/one/datastores/104
    source: /var/lib/one/datastores/104/42
    destination: /var/lib/one/datastores/104/42
    peer: node01
    peer_role: source
  delegate_to: frontend

- name: Move to another shared system datastore
  one_storage.drivers.tm_mv:
    driver: qcow2
    source_datastore: /var/lib/one/datastores/100
    datastore: /var/lib/one/datastores/101
    source: /var/lib/one/datastores/100/42
    destination: /var/lib/one/datastores/101/42
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Where the directory is now.
  returned: success, except when there was nothing to move, and in check mode when something would be done
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
    - 'frontend: bring over /var/lib/one/datastores/104/42'
    - 'frontend: put the directory /var/lib/one/datastores/104/42 in place'
    - 'node01: remove the directory /var/lib/one/datastores/104/42'
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
    run_module("tm_mv")


if __name__ == "__main__":
    main()
