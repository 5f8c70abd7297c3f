#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove an image from a datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_rm
short_description: remove an image from a datastore
version_added: 0.1.0
description:
  - Removes an image's file, its snapshots (C(<image>.snap)) and its cached digest (C(<image>.md5sum)).
    OpenNebula calls this action when an image is deleted.
  - The files are first renamed out of their place, which happens at once, and deleted after that. From then on
    there is no way back. A run that is killed in between is completed by the next one.
  - An image that is gone is a success.
  - With O(driver=rsync) and O(driver=restic) every increment of a backup is removed from its repository, and restic gives
    the room back.
  - The lead is the host that has the image datastore, in a normal installation the front-end, or the repository. There
    is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.repository
  - one_storage.drivers.kept
options:
  source:
    description:
      - Path of the image (C(SOURCE) of the image). It must be a file directly in O(datastore).
      - Of a backup, the reference of its last increment. What is removed are all O(increments).
    type: str
    required: true
seealso:
  - module: one_storage.drivers.ds_cp
  - module: one_storage.drivers.tm_delete
"""

EXAMPLES = r"""
- name: Remove an image
  one_storage.drivers.ds_rm:
    driver: fs
    datastore: /var/lib/one/datastores/1
    source: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
"""

RETURN = r"""
source:
  description: Path of the image, without double slashes.
  returned: success, except in check mode when there is something to remove
  type: str
  sample: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: remove the image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e'
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
      sample: /var/lib/one/datastores/1/old/disk is not an image of /var/lib/one/datastores/1
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
    run_module("ds_rm")


if __name__ == "__main__":
    main()
