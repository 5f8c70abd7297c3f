# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of every action, group _COMMON."""

from __future__ import annotations


class ModuleDocFragment:
    """Driver and deadlines."""

    DOCUMENTATION = r"""
options:
  driver:
    description:
      - Name of the storage driver that does the action.
      - For images (C(ds_) modules) this is V(fs), images as files of a directory. It is what OpenNebula calls
        C(DS_MAD).
      - For backups (C(ds_) modules too) this is V(rsync) or V(restic).
      - For both, V(dummy) does nothing and always gives the same answer, to try OpenNebula without storage. No host is
        called for it.
      - For disks of virtual machines (C(tm_) modules) this is V(qcow2), V(shared), V(ssh) or V(local). It is what
        OpenNebula calls C(TM_MAD). V(shared) is V(qcow2) under another name.
    type: str
    required: true
  command_timeout:
    description:
      - Seconds that one command, such as C(qemu-img convert), may take. Then it is killed with all it started, and
        the action fails.
    type: int
    default: 3600
  stall_timeout:
    description:
      - Seconds without progress after which a transfer of data, from another host or from a URL, fails. A transfer
        that goes on may take as long as it needs.
    type: int
    default: 60
  lock_timeout:
    description:
      - Seconds to wait for another action that holds the same image or the same virtual machine's files. Then the
        action fails with the code V(busy) and has changed nothing.
    type: int
    default: 120
requirements:
  - Python 3.9 or newer, its standard library alone
  - C(setpriv) and C(prlimit) of util-linux, which every Linux distribution has
notes:
  - The host that the task runs on is the action's I(lead). It has the locks and the journal, in the folder
    C(.one_storage) of the datastore, and everything is decided there.
  - Data is built in that folder too and gets its final name only when it is complete and on disk. A failure takes
    back what was done, up to the point from which there is no way back. The error says which of the two it was.
  - A size in MB is a number of 2^20 bytes, as everywhere in OpenNebula.
  - Paths are absolute, without C(..) and without control characters. Several slashes in a row count as one.
  - Run it as the user that owns the datastores, C(oneadmin) in a normal installation. With C(become), use
    C(become_user=oneadmin).
"""
