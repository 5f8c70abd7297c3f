# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written beside the disks of a backup, group _BACKUP_FILES."""

from __future__ import annotations


class ModuleDocFragment:
    """What else is written."""

    DOCUMENTATION = r"""
options:
  document:
    description:
      - The virtual machine's document in XML, as C(onevm show -x) prints it. It is kept in the backup, in base64, as
        C(vm.xml). It may have passwords in it, so it stands in no log.
    type: str
    required: true
  tpm:
    description:
      - UUID of the virtual machine, when it has a TPM whose state is to be kept. Empty when it has none.
    type: str
    default: ''
  vtpm_setup:
    description:
      - Path of OpenNebula's script on the lead that copies the state of a TPM into the machine's directory. It is run
        with C(sudo -n), if sudo allows it. Otherwise the state that lies in the directory is taken.
    type: str
    default: /var/tmp/one/vmm/kvm/vtpm_setup
  backup_datastore_id:
    description:
      - Id of the datastore that the backup goes to. All copies for it that have limits on processors, memory or disk
        operations share one slice of systemd, which is named after it.
    type: int
    default: -1
  backup_format:
    description:
      - The form of the chain that goes on, as OpenNebula has it in the backup's image (C(FORMAT)). With V(rbd) stock's
        older drivers began it, and its files are those of C(rbd export); the increment will be, too. Only volumes of
        Ceph have such chains, and one that begins has not.
    type: str
    choices: [raw, rbd]
    default: raw
  chain_disks:
    description:
      - Ids of the disks that such a chain has already. One that is not among them gets a file that stands alone.
        When the list is empty, all of them are taken to be in it.
    type: list
    elements: str
    default: []
"""
