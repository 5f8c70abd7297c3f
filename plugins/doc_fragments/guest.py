# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest that writes to a disk, group _GUEST."""

from __future__ import annotations


class ModuleDocFragment:
    """A running virtual machine, as libvirt knows it."""

    DOCUMENTATION = r"""
options:
  domain:
    description:
      - Name of the virtual machine in libvirt (C(DEPLOY_ID) of the virtual machine). Needed when it runs.
    type: str
    default: ''
  target:
    description:
      - Name of the disk in the virtual machine (C(TARGET) of the disk), for example V(vda). Needed when it runs. The
        path would not do, because libvirt knows it only as it was written when the machine was started.
    type: str
    default: ''
  libvirt_uri:
    description:
      - Where libvirt is found, on the host that has the disk.
    type: str
    default: qemu:///system
  quiesce:
    description:
      - How the guest is held at the moment that a snapshot or a copy keeps.
      - With V(agent), its file systems are frozen by its agent, so that they are consistent.
      - With V(suspend), all of it is suspended for that moment. The file systems are as after a power cut.
      - With V(auto), the agent is asked, and the guest is suspended when it has none or it does not answer.
      - What cannot be had is an error.
    type: str
    choices: [auto, agent, suspend]
    default: auto
  freeze_timeout:
    description:
      - Seconds for which the guest may be held. When they are over it goes on, and the action fails. It goes on, too,
        when this action is killed.
    type: int
    default: 60
"""
