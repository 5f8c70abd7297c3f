#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how full a datastore is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_monitor
short_description: tell how full a datastore is
version_added: 0.1.0
description:
  - Tells total, used and free MB of the file system that holds a datastore. OpenNebula calls this action every
    few minutes for each image datastore, and for system datastores that all hosts share.
  - The figures are those that C(df -B1M) shows, rounded up. They count what others keep on the same file system
    too.
  - The datastore's directory is made when it is not there, so that a new datastore has figures at once. This
    does not count as a change. In check mode it is not made, and the figures are those of the nearest directory
    above.
  - A mount that hangs ends the action after O(stall_timeout) seconds. As long as it hangs, it is not looked at again.
  - For O(driver=restic) with O(repository_backend=s3) all figures are -1, as an object store has none.
  - The lead is the host that has the datastore, in a normal installation the front-end, or the repository. There is no
    peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.repository
options:
  datastore:
    description: Directory of the datastore, image or system, as the lead sees it.
    type: str
    required: true
seealso:
  - module: one_storage.drivers.ds_stat
"""

EXAMPLES = r"""
- name: Look at the default image datastore
  one_storage.drivers.ds_monitor:
    driver: fs
    datastore: /var/lib/one/datastores/1
  register: space

- name: Stop where there is no room
  ansible.builtin.assert:
    that: space.free_mb > 20480
"""

RETURN = r"""
total_mb:
  description: Size of the file system in MB.
  returned: success
  type: int
  sample: 475210
used_mb:
  description: MB in use.
  returned: success
  type: int
  sample: 120044
free_mb:
  description: MB that can still be used by others than root.
  returned: success
  type: int
  sample: 330912
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
      sample: no-access
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: 'Cannot read the size of the datastore /var/lib/one/datastores/1: Permission denied'
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
    run_module("ds_monitor")


if __name__ == "__main__":
    main()
