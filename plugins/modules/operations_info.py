#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which operations run in datastores, and how far they are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: operations_info
short_description: tell which operations run in datastores, and how far they are
version_added: 0.1.0
description:
  - Tells which actions of these drivers run in the datastores of the host that the task runs on, out of the journals
    and the status files that they keep there. Each action leaves a journal as long as it runs. A step that takes
    longer than a second tells how far it is.
  - What is not known is V(null).
  - It changes nothing and takes no lock.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
  - one_storage.drivers.info.times
options:
  folders:
    description: Datastores, or folders of datastores.
    type: list
    elements: str
    default: [/var/lib/one/datastores]
notes:
  - Datastores are looked at in a process of its own, as a mount may hang.
  - Run it as the user that runs the actions, C(oneadmin) in a normal installation. Others may not read the journals.
seealso:
  - module: one_storage.drivers.datastores_info
"""

EXAMPLES = r"""
- name: Look at what runs
  one_storage.drivers.operations_info:
  register: now

- name: Wait until nothing does
  one_storage.drivers.operations_info:
  register: now
  until: now.operations | selectattr('state', 'equalto', 'running') | length == 0
  retries: 60
  delay: 10
"""

RETURN = r"""
operations:
  description: What runs, by datastore and object, and what dead runs left.
  type: list
  elements: dict
  returned: success
  contains:
    datastore:
      description: Directory of the datastore.
      type: str
      returned: always
      sample: /var/lib/one/datastores/100
    object:
      description: Key of what it works on, an image or a VM's directory.
      type: str
      returned: always
      sample: image-55e70f91b5d8e46c11301a7df2fa8dbb
    state:
      description: V(running), or V(left) when it died. The next action on the datastore settles what it left.
      type: str
      returned: always
      sample: running
    run:
      description: Id of the run, as it stands in the log.
      type: str
      returned: always
      sample: 5f0c9d1e77ab
    action:
      description: The action, as its module is called.
      type: str
      returned: always
      sample: ds_cp
    driver:
      description: The driver.
      type: str
      returned: always
      sample: fs
    peer:
      description: The second host of the action, if there is one.
      type: str
      returned: always
      sample: null
    pid:
      description: The process on the host where it runs.
      type: int
      returned: always
      sample: 4711
    host:
      description: The host where it runs, of a long step only.
      type: str
      returned: always
      sample: frontend
    steps:
      description: Steps planned so far.
      type: int
      returned: always
      sample: 3
    begun:
      description: Steps that have begun.
      type: int
      returned: always
      sample: 2
    what:
      description: What moves, of a long step only.
      type: str
      returned: always
      sample: copy https://images.example.org/debian-12.qcow2
    done_bytes:
      description: Bytes that have passed.
      type: int
      returned: always
      sample: 220725248
    total_bytes:
      description: Bytes that are expected. Not set when nobody knows.
      type: int
      returned: always
      sample: 444806000
    rate:
      description: Bytes per second of late.
      type: int
      returned: always
      sample: 89233817
    left_seconds:
      description: Seconds that it still takes at this rate. Not set when nobody knows.
      type: int
      returned: always
      sample: 2
    started:
      description: When the long step began, in seconds since the epoch.
      type: int
      returned: always
      sample: 1700000000
    written:
      description: When it was last told of, in seconds since the epoch.
      type: float
      returned: always
      sample: 1700000012.5
missed:
  description: A sentence for each datastore or folder that could not be looked at.
  type: list
  elements: str
  returned: success
  sample: []
error:
  description:
    - The parts of the sentence in RV(ignore:msg), for programs.
    - Not returned when the task's options are of a wrong type.
  returned: failure
  type: dict
  contains:
    code:
      description: The kind of error, such as V(bad-call), V(deadline) or V(failed).
      type: str
      returned: always
      sample: bad-call
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: "The datastore 'images' has no path"
    host:
      description: Where it failed. Empty when it makes no difference.
      type: str
      returned: always
      sample: ''
    run:
      description: Always empty, as nothing is run.
      type: str
      returned: always
      sample: ''
    undone:
      description: Always empty, as nothing is changed.
      type: str
      returned: always
      sample: ''
    todo:
      description: What can be done about it. May be empty.
      type: str
      returned: always
      sample: ''
    detail:
      description: More about what failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import info


def main() -> None:
    """Look, on this host."""
    info("operations_info")


if __name__ == "__main__":
    main()
