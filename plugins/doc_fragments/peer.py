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
  limit_rate:
    description:
      - Most bytes per second that go from one host to the other. A number, with K, M or G for powers of 1024
        (C(LIMIT_TRANSFER_BW) of the system datastore, or the setting of that name). Empty for no limit.
    type: str
    default: ''
notes:
  - To the peer goes one SSH session. What is sent is hashed at both ends, and holes do not travel.
  - When the connection breaks, what has come is kept for a day in the workshop of the receiver, and the same action run
    again compares it with the source, and is sent the rest.
  - With O(peer) set, C(become) is of use only if the user that one becomes can log in on the peer by key. An SSH
    agent that was forwarded does not reach that user.
"""
