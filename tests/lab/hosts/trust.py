# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who trusts whom, as OpenNebula sets it up.

oneadmin's private key is on the front-end alone. Every host lets the key in and knows every host's key, so that a
connection from node to node needs the front-end's agent, forwarded, and nothing ever asks or learns a host key.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .commands import USER_ID
from .state import HostState, LabError

KEY = "id_ed25519"
HOST_KEY = "ssh_host_ed25519_key"
_LIMIT = 20.0

_CLIENT_CONFIG = """\
Host *
    StrictHostKeyChecking yes
"""


def make_keys(paths: Sequence[tuple[Path, str]]) -> None:
    """Make key pairs without a passphrase, each given as a file and a comment. Raises LabError."""
    running = [
        (path, subprocess.Popen(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ))
        for path, comment in paths
    ]  # fmt: skip
    for path, process in running:
        try:
            said = process.communicate(timeout=_LIMIT)[1]
        except subprocess.TimeoutExpired as error:
            for _, one in running:
                one.kill()
            raise LabError(f"ssh-keygen did not end within {_LIMIT:.0f} s") from error
        if process.returncode:
            raise LabError(f"ssh-keygen could not make {path}: {said.decode('utf-8', 'replace').strip()}")


def fill_homes(homes: Sequence[tuple[HostState, Path]], host_keys: Sequence[Path], user_key: Path) -> None:
    """Give each home its `.ssh`; the first is the front-end's. The user's private key moves there."""
    known = ""
    for (host, _), key in zip(homes, host_keys, strict=True):
        kind, blob = key.with_suffix(".pub").read_text(encoding="ascii").split()[:2]
        known += f"{host.name},{host.address} {kind} {blob}\n"
    public = user_key.with_suffix(".pub").read_text(encoding="ascii")
    for number, (_, home) in enumerate(homes):
        folder = home / ".ssh"
        folder.mkdir(mode=0o700)
        _write(folder / "authorized_keys", public)
        _write(folder / "known_hosts", known)
        _write(folder / "config", _CLIENT_CONFIG)
        if number == 0:
            _write(folder / f"{KEY}.pub", public)
            _write(folder / KEY, user_key.read_text(encoding="ascii"))
        os.chown(folder, USER_ID, USER_ID)
    user_key.unlink()


def _write(path: Path, text: str) -> None:
    """A file that only oneadmin may read, private from its first moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    os.chown(path, USER_ID, USER_ID)
