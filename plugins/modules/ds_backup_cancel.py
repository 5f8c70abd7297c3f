#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the copying of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_backup_cancel
short_description: end the copying of a backup
version_added: 0.1.0
description:
  - Ends the processes of this user that copy a backup directory, those of C(rsync) or of C(restic) by O(driver). They
    are asked to, so that they take their locks off a repository. OpenNebula calls this action when a backup is
    cancelled.
  - What the collection's own M(one_storage.drivers.ds_backup) did is taken back by it, when its caller goes away. So this
    is for what other drivers left.
  - That nothing copies the directory is a success.
  - The lead is the host of the virtual machine. There is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
options:
  source:
    description: Directory of the virtual machine, or of its backup, on the lead.
    type: str
    required: true
  patience:
    description: Seconds in which the processes must have ended.
    type: int
    default: 60
requirements:
  - Nothing else on the lead
seealso:
  - module: one_storage.drivers.ds_backup
"""

EXAMPLES = r"""
- name: End what still copies
  one_storage.drivers.ds_backup_cancel:
    driver: rsync
    source: /var/lib/one/datastores/0/22
"""

RETURN = r"""
path:
  description: The directory, without double slashes.
  returned: success, except in check mode when there is something to end
  type: str
  sample: /var/lib/one/datastores/0/22
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'host01: end rsync, which copies /var/lib/one/datastores/0/22'
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
      sample: Unable to stop leftover rsync processes within 60 seconds
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
    run_module("ds_backup_cancel")


if __name__ == "__main__":
    main()
