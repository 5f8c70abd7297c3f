#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take back what was prepared for a live migration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tm_failmigrate
short_description: take back what was prepared for a live migration
version_added: 0.1.0
description:
  - Removes what M(one_storage.drivers.tm_premigrate) made at the destination. OpenNebula calls this action when a live
    migration failed.
  - The receipt that premigrate left names the directory that it made. That directory goes, with all that the hypervisor
    put there since, and no other. Without a receipt nothing is done.
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
notes:
  - The directory stays, and the action fails, when a QEMU writes to a disk in it, when the source has no directory of the
    machine, or when both ends are the same storage.
  - A directory that was put there by somebody else after premigrate is not touched.
"""

EXAMPLES = r"""
- name: The hypervisor could not migrate the machine
  one_storage.drivers.tm_failmigrate:
    driver: ssh
    datastore: /var/lib/one/datastores/104
    source_datastore: /var/lib/one/datastores/104
    source: /var/lib/one/datastores/104/42
    destination: /var/lib/one/datastores/104/42
    peer: node02
  delegate_to: node01
"""

RETURN = r"""
path:
  description: Directory of the machine at the source, where it stays.
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
    - 'node02: remove the directory /var/lib/one/datastores/104/42'
    - 'node02: remove the receipt /var/lib/one/datastores/104/.one_storage/vm-42.receipt'
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
    run_module("tm_failmigrate")


if __name__ == "__main__":
    main()
