# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the info modules."""

from __future__ import annotations


class ModuleDocFragment:
    """Which datastores, and deadlines."""

    # every module that looks at datastores
    DOCUMENTATION = r"""
options:
  datastores:
    description:
      - The datastores to look at, as the host that the task runs on sees them. The list C(one_datastores) of the inventory plugin
        P(one_storage.drivers.one_storage#inventory) can be given as it is.
      - "Each has C(path), its directory; C(type), one of V(image), V(file), V(system) and V(backup); and C(ds_mad) or, for a system
        datastore, C(tm_mad), the driver."
      - It may have C(id) and C(name), which come back in the answer.
      - "C(formats) says the format of an image by the name of its file, or of a disk by C(VM/disk.N), as OpenNebula has it. What is
        not named there is what its first bytes say. A guest can write any first bytes into a raw disk."
      - C(elsewhere) names images of other datastores that share its Ceph pool, which are not told of this one then.
      - "C(settings) are the options of M(one_storage.drivers.ds_monitor), or M(one_storage.drivers.tm_monitor), that a
        driver needs besides. For C(ceph) they say the pool, and how its cluster is reached; the inventory plugin gives them."
    type: list
    elements: dict
    required: true
  prefix:
    description: What the drivers' names begin with at this site, if they have names of their own, such as V(os_).
    type: str
    default: ''
  command_timeout:
    description: Seconds that the look at one datastore may take.
    type: int
    default: 600
  stall_timeout:
    description:
      - Seconds without an answer after which the storage counts as hung. What was seen until then is told.
    type: int
    default: 20
requirements:
  - Python 3.9 or newer, its standard library alone; for datastores of Ceph also C(python3-rados) and C(python3-rbd)
notes:
  - It reads directories, inodes and the first bytes of files. No command is run, no lock is taken and nothing is written, so
    it can run at any time. What goes while it is looked at is left out.
  - A datastore that cannot be looked at is told in its place and keeps no other back. The task does not fail.
  - Each datastore is looked at in a process of its own, as a mount may hang. As long as it does, no other look at it is started.
  - Run it as a user that may read the datastores, C(oneadmin) in a normal installation.
"""

    # where there are no datastores to name
    TIMES = r"""
options:
  command_timeout:
    description: Seconds that the look may take.
    type: int
    default: 600
  stall_timeout:
    description: Seconds without an answer after which the storage counts as hung.
    type: int
    default: 20
requirements:
  - Python 3.9 or newer, its standard library alone
"""
