# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody knows in a datastore, and what is done with it, group _ORPHANS."""

from __future__ import annotations


class ModuleDocFragment:
    """The names that are known, and the orphans that are meant."""

    DOCUMENTATION = r"""
options:
  datastore:
    description: Directory of the datastore, as the lead sees it.
    type: str
    required: true
  known:
    description:
      - What lies there by right. Everything else is an orphan, so a list that is not complete makes orphans of what is
        in use. The playbook C(one_storage.drivers.orphans) asks OpenNebula for it.
      - Of images, the names of their files. Of virtual machines their ids, or C(<id>:<disk>,<disk>) to look for disks,
        too, that the machine does not have, or C(<id>@) for a machine that belongs elsewhere.
      - Of a Ceph pool, the names of all volumes; C(<volume>@<snapshot>) for each snapshot of an image, of which C(<volume>@)
        says that all are told; and C(@<id>) for a virtual machine whose volumes stay, whatever disks it has.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(report) tells what is an orphan and what lies in the quarantine, and changes nothing.
      - V(quarantined) renames orphans into C(.one_storage/quarantine) in the datastore, V(restored) puts them back
        where they were, and V(purged) deletes what lies in the quarantine. Of a Ceph pool that is its trash.
    type: str
    choices: [report, quarantined, restored, purged]
    default: report
  names:
    description:
      - What is to be changed, up to 200 names. Names of orphans as they were reported, or places in the quarantine.
    type: list
    elements: str
    default: []
  min_age:
    description: Seconds. An orphan that changed later than so many seconds ago stays where it is.
    type: int
    default: 86400
  since:
    description:
      - Seconds since the epoch. What changed then or later stays, as it may belong to an object that is being made.
        V(0) for no such time.
    type: int
    default: 0
  stamp:
    description: Folder of the quarantine that is used. Default is the day, as in V(2026-11-21).
    type: str
    default: ''
  keep:
    description: Seconds that something has to lie in the quarantine before it can be purged.
    type: int
    default: 604800
"""
