#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what nobody knows in an image datastore, and set it aside."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_orphans
short_description: find what nobody knows in an image datastore, and set it aside
version_added: 0.1.0
description:
  - Finds files, snapshots and digests of images that do not exist, and what actions that died left in the
    hidden folder. What is known is given by O(known).
  - An orphan that changed a short while ago, that an action has locked, that a journal speaks of or that a running QEMU
    uses is reported, and stays where it is.
  - What is to be changed is named. Nothing is deleted but what has been in the quarantine for O(keep) seconds.
  - Each file in the quarantine has a manifest beside it, from which O(state=restored) knows where it was. Names that
    are in use again are not taken.
  - With O(driver=ceph) it is about a whole pool, with the disks of virtual machines in it. The pool's trash is the
    quarantine, so what C(CEPH_TRASH) kept is told there, too. A volume that somebody has open, or on which another one
    stands, stays. Snapshots are reported only. Journals and locks of dead runs are settled when they are to be set aside.
  - The lead is the host that has the datastore, in a normal installation the front-end, or a bridge. There is no
    peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.orphans
seealso:
  - module: one_storage.drivers.tm_orphans
"""

EXAMPLES = r"""
- name: What lies there that nobody knows?
  one_storage.drivers.ds_orphans:
    driver: fs
    datastore: /var/lib/one/datastores/1
    known: ["0f343b0931126a20f133d67c2b018a3b"]
  register: found

- name: Set aside what may be
  one_storage.drivers.ds_orphans:
    driver: fs
    datastore: /var/lib/one/datastores/1
    known: ["0f343b0931126a20f133d67c2b018a3b"]
    state: quarantined
    names: "{{ found.orphans | rejectattr('protected') | map(attribute='name') }}"

- name: What lies in a pool that nobody knows? Whatever VM 42 has is known.
  one_storage.drivers.ds_orphans:
    driver: ceph
    datastore: /var/lib/one/datastores/100
    pool: one
    ceph_user: oneadmin
    known: [one-5, one-5@, one-5@0, one-5-7-0, "@42"]

- name: Put one of them back
  one_storage.drivers.ds_orphans:
    driver: fs
    datastore: /var/lib/one/datastores/1
    state: restored
    names: ["2026-11-21/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e"]
"""

RETURN = r"""
orphans:
  description: What nobody knows. Empty unless O(state=report).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Where it lies in the datastore.
      type: str
      returned: always
      sample: 7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    what:
      description:
        - What it seems to be. V(image), V(vm), V(disk), V(snapshots), V(digest), V(other), V(copy) of a virtual
          machine that belongs elsewhere, and of the hidden folder V(journal), V(workshop), V(status), V(receipt) or
          V(export). In a pool also V(memory) of a suspended virtual machine, V(snapshot), V(lock) and V(staging).
      type: str
      returned: always
      sample: image
    ours:
      description: Whether it has a name as OpenNebula or these drivers give it.
      type: bool
      returned: always
      sample: true
    size:
      description: Bytes of its files.
      type: int
      returned: always
      sample: 16777216
    allocated:
      description: Bytes that these take up.
      type: int
      returned: always
      sample: 1048576
    changed:
      description: When it, or something in it, changed last, in seconds since the epoch.
      type: int
      returned: always
      sample: 1767225600
    protected:
      description: Why it has to stay. Empty when it has not.
      type: str
      returned: always
      sample: an action works on it
quarantined:
  description: What lies in the quarantine. Empty unless O(state=report).
  returned: success
  type: list
  elements: dict
  contains:
    place:
      description: Where it lies in the quarantine. Of a pool's trash C(trash), the volume's id and its name.
      type: str
      returned: always
      sample: 2026-11-21/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    protected:
      description: Why it cannot be purged. Only of a pool's trash; empty when it can.
      type: str
      returned: with O(driver=ceph)
      sample: ''
    name:
      description: Where it lay in the datastore.
      type: str
      returned: always
      sample: 7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
    what:
      description: What it seemed to be.
      type: str
      returned: always
      sample: image
    size:
      description: Bytes of its files.
      type: int
      returned: always
      sample: 16777216
    allocated:
      description: Bytes that these take up.
      type: int
      returned: always
      sample: 1048576
    quarantined:
      description: Since when it has been there, in seconds since the epoch.
      type: int
      returned: always
      sample: 1767225600
known:
  description: How many of the known images or virtual machines are there. 0 unless O(state=report).
  returned: success
  type: int
  sample: 120
actions:
  description: What was done, or would be done in check mode, in words.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: put /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e into the quarantine'
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
    run_module("ds_orphans")


if __name__ == "__main__":
    main()
