# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups over three hosts: oned's wrapper on the front-end, the VM on one node, the backup server is the other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import wait_for
from tests.lab.scene import ANSIBLE
from tests.unit.core.keeping import KINDS, PASSWORD, document

STORE, SYSTEM, VM = 230, 231, 22
DEPLOY = "a-name-of-libvirts"
REMOTES = "/var/lib/one/remotes/datastore"


class Place:
    """A VM's prepared backup on the first node, and a repository on the second."""

    def __init__(self, ground: LabGround, kind: str) -> None:
        self.ground, self.kind = ground, kind
        self.node, self.server = ground.nodes
        self.base = f"{ground.oned.settings.datastore_location}/{STORE}"
        self.vm = f"{ground.oned.settings.datastore_location}/{SYSTEM}/{VM}"
        self.more = ""

    def prepare(self, size: int) -> None:
        folder = self.ground.path(self.node, f"{self.vm}/backup")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "disk.0.0"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, f"{size}"], check=True)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -s /dev/urandom 0 {size}", path], check=True)
        (folder / "vm.xml").write_bytes(document((0,), size))
        self.ground.own(self.node, str(Path(self.vm).parent))
        self.ground.lab.run(self.server, ["install", "-d", "-o", "oneadmin", "-g", "oneadmin", self.base], user="root")

    def data(self, more: str = "") -> bytes:
        prefix = "RSYNC_HOST RSYNC_USER" if self.kind == "rsync" else "RESTIC_SFTP_SERVER RESTIC_SFTP_USER"
        host, user = prefix.split()
        return (
            f"<DS_DRIVER_ACTION_DATA>{more}<DATASTORE><ID>{STORE}</ID><BASE_PATH>{self.base}</BASE_PATH><TYPE>3</TYPE>"
            f"<TEMPLATE><{host}>{self.server}</{host}><{user}>oneadmin</{user}><RESTIC_PASSWORD><![CDATA[{PASSWORD}]]>"
            f"</RESTIC_PASSWORD>{self.more}</TEMPLATE></DATASTORE></DS_DRIVER_ACTION_DATA>"
        ).encode()

    @property
    def line(self) -> list[str]:
        words = [f"{self.node}:{self.vm}", "0", DEPLOY, "-", str(VM), str(SYSTEM)]
        return [f"{REMOTES}/{self.kind}/backup", *words]

    def run(self, argv: list[str], stdin: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
        # as oned's own: the agent of the front-end is lent to the node
        given = {**self.ground.runner().environment, **environment}
        return self.ground.lab.run(self.ground.frontend, argv, input=stdin, env=given, check=False, timeout=120)

    def action(self, name: str, more: str, *words: str, **environment: str) -> str:
        done = self.run([f"{REMOTES}/{self.kind}/{name}", *words], self.data(more), **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def kept(self) -> list[str]:
        """What is in the repository."""
        folder = self.ground.path(self.server, f"{self.base}/{VM}")
        folder = folder if self.kind == "rsync" else folder / "snapshots"
        return sorted(path.name[:8] for path in folder.iterdir()) if folder.is_dir() else []

    def logins(self) -> int:
        """How often the node has logged in at the server, as its sshd tells."""
        return (
            self.ground.path(self.server, "/var/log/sshd.log").read_text(errors="replace").count("Accepted publickey")
        )

    def close(self) -> None:
        for host in (self.node, self.server, self.ground.frontend):
            for number in (STORE, SYSTEM):
                path = self.ground.path(host, f"{self.ground.oned.settings.datastore_location}/{number}")
                shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place(tidy: LabGround, kind: str) -> Iterator[Place]:
    made = Place(tidy, kind)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_node_to_another(place: Place) -> None:
    place.prepare(1 << 20)
    before = place.logins()
    done = place.run(place.line, place.data())
    assert done.returncode == 0, done.stderr
    assert place.logins() - before == 1, "rsync and restic go over the session that is there"
    sockets = place.ground.path(place.node, "/var/lib/one/.ssh").glob("one_storage-*-*[0-9]")
    assert [path.name for path in sockets if path.is_socket()] == []
    found = re.fullmatch(r"([0-9a-f]+) \d+ raw\n", done.stdout.decode())
    assert found and place.kept() == [found[1]]
    image = f"<IMAGE><ID>7</ID><SOURCE>{found[1]}</SOURCE><FORMAT>raw</FORMAT><VMS><ID>{VM}</ID></VMS></IMAGE>"
    url = json.loads(place.action("ls", image))["0"]
    assert place.action("stat", f"<IMAGE><PATH>{url}</PATH></IMAGE>") == "1\n"
    assert "TOTAL_MB=" in place.action("monitor", "")
    if place.kind == "rsync":
        there = place.ground.path(place.server, f"{place.base}/{VM}/{found[1]}/disk.0.0").read_bytes()
        assert there == place.ground.path(place.node, f"{place.vm}/backup/disk.0.0").read_bytes()
    # a server that has none of our files is served by Ansible
    assert (
        json.loads(place.action("ls", image, ONE_STORAGE_LAUNCHER="ansible", ONE_STORAGE_ANSIBLE=ANSIBLE))["0"] == url
    )
    assert place.action("rm", image) == "" and place.kept() == []


@pytest.mark.parametrize("kind", ["rsync"])
def test_cancelled_on_the_front_end_it_is_taken_back_on_both_hosts(place: Place) -> None:
    place.prepare(20 << 20)
    place.more = "<RSYNC_ARGS>-aS --bwlimit=500</RSYNC_ARGS>"
    given = place.ground.runner().environment
    ends: list[subprocess.CompletedProcess[bytes]] = []
    thread = threading.Thread(
        target=lambda: ends.append(
            place.ground.lab.run(place.ground.frontend, place.line, input=place.data(), env=given, check=False)
        )
    )
    thread.start()
    hidden = place.ground.path(place.server, f"{place.base}/.one_storage")
    wait_for("data on the server", lambda: any(path.is_file() for path in hidden.glob("new-*/*/*/*")))
    began = time.monotonic()
    cancel = [f"{REMOTES}/rsync/backup_cancel", f"{place.node}:{place.vm}", DEPLOY]
    done = place.run(cancel, b"<VM><ID>22</ID></VM>")
    assert done.returncode == 0, done.stderr
    thread.join(60)
    assert time.monotonic() - began < 40 and ends[0].returncode != 0
    assert b"cancelled" in ends[0].stderr
    wait_for("a clean server", lambda: place.kept() == [] and [path.name for path in hidden.iterdir()] == ["locks"])
