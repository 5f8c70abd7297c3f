#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell who cannot log in where, and whose clock is off."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mesh_check
short_description: tell who cannot log in where, and whose clock is off
version_added: 0.1.0
description:
  - Logs in to all nodes from the front-end, which the task runs on, and from nodes to other nodes with the front-end's SSH
    agent, as the drivers do it to copy disks. Each login is one command that changes nothing.
  - The clocks of the nodes are compared with that of the front-end on the way.
  - It fails only when it cannot check. What is not in order is in RV(problems).
  - The playbook C(one_storage.drivers.validate) calls it on the front-ends and sums up.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
options:
  hosts:
    description: The nodes, by the names that OpenNebula knows them by.
    type: list
    elements: str
    required: true
  mesh:
    description:
      - "V(ring): each node logs in to the next one and to some others by chance, so that all are tried at both ends."
      - "V(full): each node logs in to all others."
      - "V(none): only the front-end logs in."
    type: str
    default: ring
    choices: [ring, full, none]
  sample:
    description: Of V(ring), how many others by chance.
    type: int
    default: 1
  agent:
    description: Socket of the SSH agent that nodes get. Empty means that of the environment, else that of OpenNebula's service.
    type: str
    default: ''
  max_offset:
    description: Seconds that a clock may be off.
    type: int
    default: 2
  connect_timeout:
    description: Seconds to wait for a connection.
    type: int
    default: 10
  command_timeout:
    description: Seconds that all logins of one node may take.
    type: int
    default: 300
requirements:
  - Python 3.9 or newer, its standard library alone, on the front-end and as C(/usr/bin/python3) on the nodes
  - ssh
notes:
  - 32 nodes are asked at a time, and each tries 8 logins at a time.
  - Run it as the user that runs the actions, C(oneadmin) in a normal installation.
seealso:
  - module: one_storage.drivers.host_check
"""

EXAMPLES = r"""
- name: Look whether all nodes can be reached, and reach each other
  one_storage.drivers.mesh_check:
    hosts: "{{ groups['one_nodes'] }}"
    mesh: full
  become: true
  become_user: oneadmin
  register: mesh
  failed_when: mesh is failed or mesh.problems | length > 0
"""

RETURN = r"""
logins:
  description: How the front-end's login at each node went.
  type: list
  elements: dict
  returned: success
  contains:
    host:
      description: The node.
      type: str
      returned: always
      sample: host01
    ms:
      description: Milliseconds that it took. Not set when it failed.
      type: int
      returned: always
      sample: 180
    offset:
      description: Seconds that its clock is ahead of the front-end's. Not set when the login failed.
      type: float
      returned: always
      sample: 0.012
    unsure:
      description: Seconds by which that may be wrong.
      type: float
      returned: always
      sample: 0.09
    error:
      description: Why it failed. Empty when it did not.
      type: str
      returned: always
      sample: ''
hops:
  description: How logins from node to node went. A node that the front-end does not get to is left out.
  type: list
  elements: dict
  returned: success
  contains:
    from:
      description: The node that logged in.
      type: str
      returned: always
      sample: host01
    to:
      description: The node it logged in to.
      type: str
      returned: always
      sample: host02
    ms:
      description: Milliseconds that it took.
      type: int
      returned: always
      sample: 210
    error:
      description: Why it failed. Empty when it did not.
      type: str
      returned: always
      sample: ''
problems:
  description: What is not in order. Empty when all is.
  type: list
  elements: dict
  returned: success
  contains:
    host:
      description: The host that it is told of. Empty for the front-end.
      type: str
      returned: always
      sample: host01
    about:
      description: The other host.
      type: str
      returned: always
      sample: host02
    check:
      description: One of V(mesh) and V(time).
      type: str
      returned: always
      sample: mesh
    thing:
      description: What it is about.
      type: str
      returned: always
      sample: host02
    sentence:
      description: What is wrong, and what to do.
      type: str
      returned: always
      sample: 'Cannot log in to host02: No route to host'
"""

from ..module_utils._module import info


def main() -> None:
    """Check, on this host."""
    info("mesh_check")


if __name__ == "__main__":
    main()
