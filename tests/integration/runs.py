# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's modules and playbooks through the real Ansible, on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
NODE_PYTHON = "/usr/bin/python3"
COLLECTION = "one_storage.drivers"
SECONDS = 180


@dataclass(frozen=True)
class Said:
    """What a run of Ansible said.

    :ivar out: its standard output.
    :ivar err: its error output.
    """

    code: int
    out: str
    err: str

    def count(self, what: str) -> int:
        """A number of the recap, of all hosts together: ``changed``, ``failed`` and so on."""
        return sum(map(int, re.findall(rf"\b{what}=(\d+)", self.out)))


class Ansible:
    """Ansible with the collection from *collections*, working in *folder*, with nothing of the user's own settings.

    Every run ends within three minutes, else ``subprocess.TimeoutExpired`` is raised.
    """

    def __init__(self, collections: Path, folder: Path) -> None:
        self.folder = folder
        settings = folder / "ansible.cfg"
        settings.touch()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(settings),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PYTHON_INTERPRETER": NODE_PYTHON,
        }

    def command(self, program: str, *arguments: str, **environment: str) -> Said:
        """Run one of Ansible's commands to its end."""
        ran = subprocess.run(
            [str(BIN / program), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Said(ran.returncode, ran.stdout, ran.stderr)

    def playbook(self, name: str, *arguments: str, variables: dict[str, Any], **environment: str) -> Said:
        """Run a playbook, by its path or its name in a collection."""
        return self.command("ansible-playbook", name, "-e", json.dumps(variables), *arguments, **environment)

    def tasks(self, tasks: list[dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
        """Run tasks one after the other on this machine, also past failures; their results in order."""
        results = self.folder / "results.json"
        results.unlink(missing_ok=True)
        names = [f"result_{number}" for number in range(len(tasks))]
        play: dict[str, Any] = {"hosts": "localhost", "gather_facts": False, "ignore_errors": True}
        play["tasks"] = [{**task, "register": name} for task, name in zip(tasks, names, strict=True)]
        content = "{{ [" + ", ".join(names) + "] | to_json }}"
        play["tasks"].append({"ansible.builtin.copy": {"content": content, "dest": str(results), "mode": "0600"}})
        path = self.folder / "tasks.yml"
        path.write_text(json.dumps([play]), encoding="utf-8")
        said = self.playbook(str(path), variables={}, **environment)
        assert said.code == 0, said.out + said.err
        told: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))
        return told

    def ad_hoc(self, module: str, options: dict[str, Any], *arguments: str, **environment: str) -> dict[str, Any]:
        """Run one module of the collection ad hoc; what the callback *result* wrote of it."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        said = self.command(
            "ansible",
            *("localhost", "-c", "local", "-m", f"{COLLECTION}.{module}", "-a", json.dumps(options), *arguments),
            ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
            ANSIBLE_STDOUT_CALLBACK=f"{COLLECTION}.result",
            ONE_STORAGE_RESULT_FILE=str(answer),
            **environment,
        )
        assert said.out == "", said.out
        told: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return told


def everything(folder: Path) -> dict[str, str]:
    """Each path below a folder with what is there: the target of a link, size and time of a file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        told = os.readlink(path) if path.is_symlink() else f"{info.st_mode:o} {info.st_size} {info.st_mtime_ns}"
        found[str(path.relative_to(folder))] = told if not path.is_dir() or path.is_symlink() else "directory"
    return found
