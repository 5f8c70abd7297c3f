# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site with many images and some nodes, for work on all of it at once: what oned knows, and what lies on disks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.ground import REMOTE, LabGround
from tests.lab.hosts import Lab
from tests.lab.oned import DatastoreType, Image, ImageState, Life, Managing
from tests.lab.oned.states import DiskType

SIZE = 16 << 20
#: Two image datastores that all hosts see, one system datastore of each host's own.
FROM, TO, SYSTEM = 100, 102, 105
COMMANDS = "/var/lib/one/remotes/one_storage"


class Fleet:
    """Hosts with the drivers, an oned with its administrator's API, and datastores.

    :param deploy: lay the drivers out; else somebody else does.
    :param port: where oned listens; 0 for any that is free.
    """

    def __init__(self, lab: Lab, deploy: bool = True, port: int = 0) -> None:
        self.ground = LabGround(lab, port)
        if deploy:
            self._deploy()
        self.life = Life(self.ground.oned, self.ground.runner())
        self.managing = self.ground.oned.managing = Managing(self.life)
        self.life.create_datastore("from", tm_mad="ssh", ds_id=FROM)
        self.life.create_datastore("to", tm_mad="ssh", ds_id=TO)
        self.life.create_datastore("own", tm_mad="ssh", type=DatastoreType.SYSTEM, ds_id=SYSTEM)

    def _deploy(self) -> None:
        """One build for all hosts, made once."""
        ground = self.ground
        ground.deploy(nodes=[])
        core = ground.path(ground.frontend, COMMANDS)
        for node in ground.nodes:
            shutil.copytree(core, ground.path(node, REMOTE) / "one_storage", symlinks=True)
            ground.own(node, REMOTE)

    def close(self) -> None:
        """oned ends; the lab is its maker's."""
        self.managing.settle()
        self.ground.close()

    def folder(self, store: int, host: str = "") -> Path:
        """A datastore as it is seen from here."""
        return self.ground.path(host or self.ground.frontend, f"/var/lib/one/datastores/{store}")

    def images(self, count: int, store: int = FROM, size: int = SIZE, kind: str = "raw") -> list[Image]:
        """Sparse images that oned knows: a little data, different in each, at both ends. *kind* is raw or qcow2."""
        folder = self.folder(store)
        folder.mkdir(parents=True, exist_ok=True)
        made = []
        oned = self.ground.oned
        for _number in range(count):
            ident = max(oned.images, default=-1) + 1
            name = hashlib.md5(f"{store}:{ident}:1700000000".encode()).hexdigest()
            sparse(folder / name, ident, size)
            if kind != "raw":
                other = folder / f"{name}.{kind}"
                convert = ["qemu-img", "convert", "-f", "raw", "-O", kind, str(folder / name), str(other)]
                subprocess.run(convert, check=True, timeout=60)
                other.rename(folder / name)
            image = Image(
                id=ident,
                name=f"image {ident}",
                regtime=1_700_000_000,
                source=f"{oned.settings.datastore_location}/{store}/{name}",
                path="/var/tmp/source",
                format=kind,
                size=size >> 20,
                datastore_id=store,
                datastore=oned.datastore(store).name,
                disk_type=DiskType.FILE,
                template={"DEV_PREFIX": "vd", "DESCRIPTION": f"number {ident} <&>"},
            )
            image.settle(ImageState.READY)
            oned.images[ident] = image
            oned.datastore(store).images.add(ident)
            made.append(image)
        return made

    def own(self, store: int, host: str = "") -> None:
        """Give what was made from here to the drivers' user."""
        self.ground.own(host or self.ground.frontend, f"/var/lib/one/datastores/{store}")

    def file(self, image: Image) -> Path:
        """The file of an image as it is seen from here."""
        return self.ground.path(self.ground.frontend, image.source)

    def start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the front-end."""
        return self.ground.lab.popen(
            self.ground.frontend,
            [f"{COMMANDS}/{command}", *arguments],
            env={"ONE_XMLRPC": self.ground.server.url},
            stdin=subprocess.DEVNULL,
        )

    def run(self, command: str, *arguments: str, code: int = 0, timeout: float = 120) -> dict[str, Any]:
        """The report of a command, which has to end with that code."""
        process = self.start(command, "--json", *arguments)
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, (process.returncode, out.decode(), err.decode())
        assert not err, err.decode()
        report: dict[str, Any] = json.loads(out)
        return report

    def refuses(self, command: str, *arguments: str) -> str:
        """The one sentence of a command that has to refuse."""
        process = self.start(command, *arguments)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (1, 2) and not out, (process.returncode, out.decode())
        assert "Traceback" not in err.decode()
        return err.decode().strip().splitlines()[-1]


def sparse(path: Path, seed: int, size: int = SIZE) -> None:
    """A sparse file whose first and last 4 KiB follow from a number."""
    block = hashlib.sha256(str(seed).encode()).digest() * 128
    with open(path, "wb") as file:
        file.write(block)
        file.seek(size - len(block))
        file.write(block)


def contents(path: Path) -> str:
    """The digest of a file, read whole."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def age(paths: Sequence[Path], seconds: float = 10) -> None:
    """Let files look as if nobody had changed them for so long; the ctime cannot be set, so that is waited for."""
    then = time.time() - seconds
    for path in paths:
        os.utime(path, (then, then), follow_symlinks=False)
