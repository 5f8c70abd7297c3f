# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second host of an action, group _PEER."""

from __future__ import annotations


class ModuleDocFragment:
    """The peer."""

    DOCUMENTATION = r"""
options:
  peer:
    description:
      - The second host of the action, by the name or address under which the lead's SSH client reaches it. User,
        port, key and jump hosts are those of the SSH configuration on the lead.
      - Without it everything happens on the lead.
    type: str
  peer_python:
    description: Path of the Python interpreter on the peer. Nothing else is needed there.
    type: str
    default: /usr/bin/python3
  ciphers:
    description:
      - SSH ciphers to prefer on the connection to the peer, in OpenSSH's notation. The cipher is what limits the speed of
        a copy between two hosts, and the default is the fastest where processors have AES instructions.
      - With V(none) OpenSSH and its configuration choose.
    type: str
    default: aes128-gcm@openssh.com
  connect_timeout:
    description:
      - Seconds in which the connection to the peer must stand. A host that refuses because too many log in at once is
        asked again until then.
    type: int
    default: 30
notes:
  - To the peer goes one SSH session, and one more for each stream of data. What is sent is hashed at both ends.
  - With O(peer) set, C(become) is of use only if the user that one becomes can log in on the peer by key. An SSH
    agent that was forwarded does not reach that user.
"""
