# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How monitord is told the sizes of VMs' disks: its configuration, its messages, the datagrams (contract-tm 9.1, 9.3).

A message is ``<TYPE> <RESULT> <object> <time> <payload>`` and a line end; the payload is base64 of zlib of a template,
or of the template in the site's RSA encryption.
"""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, StorageError, Unreachable, from_os, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Where stock's drivers look for monitord's configuration, the first that is there (contract-tm 9.3).
PLACES = ("/var/tmp/one_db/etc/monitord.conf", "/etc/one/monitord.conf")
#: Bytes of template in one message: encrypted and encoded, a longer one may not fit into a datagram (Q23).
TEMPLATE_BYTES = 40_000
#: The longest datagram there is: 64 KiB without the headers of IP and UDP.
DATAGRAM_BYTES = 65_507
#: Seconds until a full send buffer counts as an error.
_PATIENCE = 5.0


class Target:
    """Where messages go.

    :ivar key: file with the public key that they are encrypted for; empty for plain ones.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 4124, key: str = "") -> None:
        self.address = address
        self.port = port
        self.key = key


def settings() -> Target | None:
    """monitord's address out of its configuration; None without one: then nobody listens."""
    places = list(PLACES)
    if os.environ.get("ONE_LOCATION"):
        places.append(os.path.join(os.environ["ONE_LOCATION"], "etc", "monitord.conf"))
    for path in places:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                if os.fstat(file.fileno()).st_uid not in (0, os.getuid()):
                    # anybody may make files below /var/tmp
                    continue
                values = network(file.read(1 << 20))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise from_os(error, f"read {path}") from None
        address = values.get("MONITOR_ADDRESS", "auto")
        port = values.get("PORT", "4124")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
            raise BadCall(f"{path} has '{one_line(port, 40)}' for PORT")
        # with "auto" monitord tells the hosts which address of this machine is theirs; here it is this machine
        return Target("127.0.0.1" if address in ("", "auto") else address, int(port), values.get("PUBKEY", ""))
    return None


def network(text: str) -> dict[str, str]:
    """The attributes of NETWORK in a configuration file of OpenNebula's syntax: ``NETWORK = [ NAME = "value", … ]``."""
    tokens = _tokens(text)
    for place in range(len(tokens) - 2):
        if tokens[place : place + 3] == ["NETWORK", "=", "["]:
            inside = tokens[place + 3 :]
            inside = inside[: inside.index("]")] if "]" in inside else inside
            return {
                inside[at - 1].upper(): _plain(inside[at + 1])
                for at in range(1, len(inside) - 1)
                if inside[at] == "=" and inside[at + 1] not in "=,["
            }
    return {}


def _tokens(text: str) -> list[str]:
    """Words, quoted values (with their first quote) and the signs ``= [ ] ,``; comments are left out."""
    found: list[str] = []
    letters = iter(text)
    word = ""
    for letter in letters:
        if letter in '=[],"# \t\r\n':
            if word:
                found.append(word)
            word = ""
        if letter == '"':
            value = '"'
            for inner in letters:
                if inner == '"':
                    break
                value += next(letters, "") if inner == "\\" else inner
            found.append(value)
        elif letter == "#":
            for inner in letters:
                if inner == "\n":
                    break
        elif letter in "=[],":
            found.append(letter)
        elif not letter.isspace():
            word += letter
    return [*found, word] if word else found


def _plain(token: str) -> str:
    return token[1:] if token.startswith('"') else token


# ---------------------------------------------------------------- what is told


def vm_lines(vms: list[dict[str, Any]], form: str) -> list[str]:
    """A line of template for each VM, in a form with places for ``id`` and ``text``, the encoded list of its disks."""
    return [form.format(id=vm["id"], text=_encoded(disk_list(vm).encode())) for vm in vms]


def disk_list(vm: dict[str, Any]) -> str:
    """Disks and snapshots of a VM as a template, a line each. Sizes are in MB."""
    lines = []
    for disk in vm["disks"]:
        lines.append(f"DISK_SIZE = [ ID={disk['id']}, SIZE={disk['size_mb']} ]\n")
        for snapshot in disk["snapshots"]:
            where = f"ID={snapshot['id']}, DISK_ID={disk['id']}"
            lines.append(f"SNAPSHOT_SIZE = [ {where}, SIZE={snapshot['size_mb']} ]\n")
    return "".join(lines)


def _encoded(data: bytes) -> str:
    # base64 itself loads re
    from binascii import b2a_base64

    return b2a_base64(data, newline=False).decode()


class Monitord:
    """monitord, as far as it can be heard: nothing ever comes back."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def send_vms(self, vms: list[dict[str, Any]]) -> None:
        """Tell the sizes of VMs' disks, in as many messages as it takes.

        :raises StorageError: they cannot be sent. That they arrive nobody knows.
        """
        key = None
        if self._target.key:
            from .rsa import read_key

            key = read_key(self._target.key)
        messages = []
        for part in _parts(vm_lines(vms, 'VM=[ID={id}, MONITOR="{text}"]\n')):
            data = part.encode()
            message = _message("MONITOR_VM", key.encrypt(data) if key else data)
            if len(message) > DATAGRAM_BYTES:
                raise StorageError(f"What there is to say of one VM has {len(message)} bytes, too many for a message")
            messages.append(message)
        self._send(messages)

    def _send(self, messages: list[bytes]) -> None:
        import socket

        where = f"monitord at {self._target.address}:{self._target.port}"
        try:
            found = socket.getaddrinfo(self._target.address, self._target.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _name, address = found[0]
            with socket.socket(family, kind, protocol) as line:
                line.settimeout(_PATIENCE)
                line.connect(address)
                for message in messages:
                    line.send(message)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unreachable(f"Cannot send to {where}: {one_line(reason, 200)}") from None


def _parts(lines: list[str]) -> list[str]:
    """The lines in portions that fit into a message; a VM is never torn apart."""
    parts = [""]
    for line in lines:
        if parts[-1] and len(parts[-1]) + len(line) > TEMPLATE_BYTES:
            parts.append("")
        parts[-1] += line
    return [part for part in parts if part]


def _message(kind: str, payload: bytes) -> bytes:
    """A message that speaks of no host in particular: object -1, time 0."""
    import zlib

    return f"{kind} SUCCESS -1 0 {_encoded(zlib.compress(payload))}\n".encode()
