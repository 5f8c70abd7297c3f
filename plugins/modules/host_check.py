#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what is not in order on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
short_description: tell what is not in order on a host
version_added: 0.1.0
description:
  - "Checks in one call what these drivers need of the host that the task runs on: programs and their versions, rights by
    sudo, room and inodes, and each datastore. A datastore has to be there and writable. In each one something is made by
    the drivers' own actions, written, read again and removed, and the time is told."
  - With a mark it leaves a small file in each datastore that hosts share, and tells whose files it sees there. Hosts that see
    each other's have the same storage. The files go with a second call, which has O(finish).
  - It fails only when it cannot check. What is not in order is in RV(problems).
  - The playbook C(one_storage.drivers.validate) calls it on all hosts and sums up.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes.looking
attributes:
  check_mode:
    description: Can run in check mode without changing anything.
    support: full
    details:
      - Nothing is written in a datastore then, so that neither the probe is made nor the same storage proven.
options:
  name:
    description: The host's name, by which others are told that they see its files.
    type: str
    required: true
  mark:
    description: Made of 8 to 40 letters and digits, the same on all hosts of one check, and another for each check. Empty leaves no file.
    type: str
    default: ''
  finish:
    description: Tell once more whose files are seen, and remove all files of this check. Nothing else is looked at.
    type: bool
    default: false
  datastores:
    description:
      - The datastores that the host is to have.
      - "Each has C(id), C(path) and C(kind): V(image), V(shared) or V(local) for a
        system datastore that hosts share or that is the host's own, V(folder) for one where these drivers keep no images
        and no disks, which only has to be there."
    type: list
    elements: dict
    default: []
  pools:
    description:
      - The datastores in Ceph pools that the host is to reach.
      - "Each has C(id) and C(settings), the options C(pool), C(data_pool), C(ceph_user), C(ceph_key), C(ceph_conf) and
        C(ceph_host) of M(one_storage.drivers.ds_monitor). On a host with guests it has C(libvirt), the address of
        libvirt, and C(secret), the id of libvirt's secret with the key (C(CEPH_SECRET))."
      - A volume is made there, written, cloned, read and removed.
    type: list
    elements: dict
    default: []
  folders:
    description: Other folders that need room.
    type: list
    elements: str
    default: [/var/tmp]
  needs:
    description:
      - Commands that the host needs, modules of C(/usr/bin/python3) as V(python:NAME), and what QEMU loads to reach a
        storage as V(qemu-block:NAME).
    type: list
    elements: str
    default: [qemu-img, ssh]
  sudo:
    description: Commands that the user of the task must be allowed to run as root without a password.
    type: list
    elements: str
    default: []
  min_free_percent:
    description: A file system with less room, or fewer inodes, counts as full.
    type: int
    default: 5
  command_timeout:
    description: Seconds that the check of one datastore may take.
    type: int
    default: 120
  stall_timeout:
    description: Seconds without an answer after which the storage counts as hung.
    type: int
    default: 30
requirements:
  - Python 3.9 or newer, its standard library alone; for pools also C(python3-rados), C(python3-rbd), C(python3-libvirt)
notes:
  - Datastores are looked at in a process of its own, as a mount may hang.
  - Run it as the user that runs the actions, C(oneadmin) in a normal installation.
seealso:
  - module: one_storage.drivers.mesh_check
"""

EXAMPLES = r"""
- name: Check this node
  one_storage.drivers.host_check:
    name: "{{ inventory_hostname }}"
    needs: [qemu-img, rsync, restic, ssh, mkfs.ext4, 'python:libvirt']
    datastores:
      - {id: 100, path: /var/lib/one/datastores/100, kind: shared}
      - {id: 105, path: /var/lib/one/datastores/105, kind: local}
    pools:
      - id: 130
        settings: {pool: one, ceph_user: libvirt}
        secret: 7ebb2445-e96e-44c6-b7c7-07dc7a50f311
        libvirt: 'qemu:///system'
  become: true
  become_user: oneadmin
  register: checked
  failed_when: checked is failed or checked.problems | length > 0
"""

RETURN = r"""
programs:
  description: What was found of each need.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The command, V(python:NAME), or V(qemu-block:NAME).
      type: str
      returned: always
      sample: qemu-img
    version:
      description: Its version, empty when it tells none.
      type: str
      returned: always
      sample: 7.2.22
    problem:
      description: What is wrong with it. Empty when nothing is.
      type: str
      returned: always
      sample: ''
sudo:
  description: Whether each command may be run as root.
  type: list
  elements: dict
  returned: success
  contains:
    command:
      description: The command.
      type: str
      returned: always
      sample: /usr/sbin/lvs
    allowed:
      description: Whether it may.
      type: bool
      returned: always
      sample: true
folders:
  description: Room in other folders, as in RV(datastores).
  type: list
  elements: dict
  returned: success
  sample: [{path: /var/tmp, free_mb: 20480, total_mb: 40960, error: ''}]
pools:
  description: What was found of each pool.
  type: list
  elements: dict
  returned: success
  sample: [{id: 130, pool: one, ms: 310, error: ''}]
datastores:
  description: What was found of each datastore.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Its id.
      type: int
      returned: always
      sample: 100
    path:
      description: Its directory.
      type: str
      returned: always
      sample: /var/lib/one/datastores/100
    kind:
      description: As it was given.
      type: str
      returned: always
      sample: shared
    error:
      description: What is wrong with it. Empty when nothing is.
      type: str
      returned: always
      sample: ''
    ms:
      description: Milliseconds that the probe took. Not set when there was none.
      type: int
      returned: always
      sample: 61
    seen:
      description: Hosts whose files were seen there, this one among them.
      type: list
      elements: str
      returned: always
      sample: [host01, host02]
    mount:
      description: Where the storage is mounted.
      type: str
      returned: when it could be looked at
      sample: /var/lib/one/datastores/100
    filesystem:
      description: Its type.
      type: str
      returned: when it could be looked at
      sample: nfs4
    source:
      description: What is mounted.
      type: str
      returned: when it could be looked at
      sample: nas:/vms
    read_only:
      description: Whether it is mounted read-only.
      type: bool
      returned: when it could be looked at
      sample: false
    total_mb:
      description: Its size in MB.
      type: int
      returned: when it could be looked at
      sample: 1048576
    free_mb:
      description: What the user can still write, in MB.
      type: int
      returned: when it could be looked at
      sample: 524288
    free_percent:
      description: The same in percent.
      type: int
      returned: when it could be looked at
      sample: 50
    free_inodes_percent:
      description: Inodes that are free, in percent.
      type: int
      returned: when it could be looked at
      sample: 98
problems:
  description: What is not in order. Empty when all is.
  type: list
  elements: dict
  returned: success
  contains:
    check:
      description: One of V(tools), V(sudo), V(space), V(mounts) and V(probe).
      type: str
      returned: always
      sample: mounts
    thing:
      description: What it is about.
      type: str
      returned: always
      sample: datastore 100
    sentence:
      description: What is wrong, and what to do.
      type: str
      returned: always
      sample: 'datastore 100: /var/lib/one/datastores/100 is not there; mount it'
"""

from ..module_utils._module import info


def main() -> None:
    """Check, on this host."""
    info("host_check")


if __name__ == "__main__":
    main()
