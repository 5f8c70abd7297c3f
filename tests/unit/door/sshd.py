# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real sshd on this machine's loopback, for tests of what is sent to another host."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "/usr/sbin/sshd"
NODE = "node-7"


@dataclass
class Node:
    """A host that can be logged in to.

    :ivar name: how it is called; :ivar home: a home with ``.ssh`` for who logs in; :ivar ssh: the ssh to use.
    """

    name: str
    home: Path
    ssh: Path


@contextmanager
def loopback() -> Iterator[Node]:
    """A node of this machine: its sshd lets the present user in with a key."""
    folder = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=30)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host_key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"{NODE} {host_key}")
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
        "Subsystem sftp internal-sftp\n"
    )
    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "ssh_config").write_text(
        f"Host {NODE}\n  HostName 127.0.0.1\n  HostKeyAlias {NODE}\n  Port {port}\n  User {user}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
    )
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec ssh -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [PROGRAM, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if daemon.poll() is not None or time.monotonic() > until:
                    raise AssertionError((folder / "log").read_text()) from None
                time.sleep(0.02)
        yield Node(NODE, home, ssh)
    finally:
        for path in (home / ".ssh").glob("one_storage-*"):
            if path.is_socket():
                # a shared connection would stay for a minute
                subprocess.run(
                    [str(ssh), "-O", "exit", "-o", f"ControlPath={path}", NODE], capture_output=True, timeout=10
                )
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait(10)
        shutil.rmtree(folder)
