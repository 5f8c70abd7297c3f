# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody at the front-end who does what the pages say: their commands, and a place to run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab.ground import LabGround
from tests.lab.hosts import repository
from tests.tools.stage import stage

FOLDER = "/var/tmp/operator"
SYSTEMCTL = '#!/bin/sh\necho "$@" >>/var/tmp/systemctl\n'
#: oned's port, where the pages and the drivers look for it when nobody says otherwise.
USUAL = 2633
SECONDS = 600


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of a page below `docs` that are of one kind: commands (`sh`), files (`yaml`)."""
    text = (repository() / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Every command of a page in its order, a continued one in one piece."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    return [line for line in lines if line.strip()]


@contextmanager
def clean_environment() -> Iterator[Path]:
    """A folder that front-ends of labs see: the archive in `dist`, and in `venv` what its requirements name."""
    folder = repository() / ".cache" / f"operating-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        collection = stage(target=folder / "collection")
        command = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection", "build"]
        subprocess.run([*command, "--output-path", str(folder / "dist")], cwd=collection, check=True, timeout=SECONDS)
        venv.create(folder / "venv", with_pip=True)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--no-input"]
        constraints = ["-c", str(repository() / "requirements/dev.txt")]
        wanted = ["ansible-core", "lxml"]
        subprocess.run([*pip, *constraints, *wanted], check=True, stdin=subprocess.DEVNULL, timeout=SECONDS)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def checkout() -> Iterator[Path]:
    """The same in a second: Ansible is this checkout's, and the collection is installed already."""
    folder = repository() / ".cache" / f"operating-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        stage(target=folder / "collections" / "ansible_collections" / "one_storage" / "drivers")
        (folder / "venv").symlink_to(repository() / ".venv")
        yield folder
    finally:
        shutil.rmtree(folder)


class Operator:
    """Somebody at a site's front-end, as oneadmin, with oned at its usual port.

    :param place: what :func:`clean_environment` or :func:`checkout` made.
    """

    def __init__(self, ground: LabGround, place: Path) -> None:
        self.ground, self.place = ground, place
        self.tool("systemctl", SYSTEMCTL)
        self.folder = self.ground.path(self.ground.frontend, FOLDER)
        self.folder.mkdir()
        if (place / "dist").exists():
            shutil.copytree(place / "dist", self.folder / "dist")

    def tool(self, name: str, text: str) -> None:
        """A command that the front-end of a site has and that of a lab has not."""
        path = self.ground.path(self.ground.frontend, f"/usr/local/bin/{name}")
        path.write_text(text)
        path.chmod(0o755)

    def write(self, files: Mapping[str, str]) -> None:
        """Files beside each other, as a page shows them."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def say(self, script: str, code: int = 0, seconds: float = SECONDS) -> str:
        """What a script says, which has to end with that code."""
        ground = self.ground
        ground.own(ground.frontend, FOLDER)
        env = {"PATH": f"{self.place}/venv/bin:/usr/local/bin:/usr/bin:/bin"}
        env |= {"ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", "ANSIBLE_PIPELINING": "1"}
        if (self.place / "collections").exists():
            env["ANSIBLE_COLLECTIONS_PATH"] = f"{self.place}/collections"
        argv = ["/bin/bash", "-euo", "pipefail", "-c", f"cd {FOLDER}\n{script}"]
        done = ground.lab.run(ground.frontend, argv, env=env, timeout=seconds, check=False)
        text = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == code, f"{script}\n{done.returncode}\n{text}"
        return text
