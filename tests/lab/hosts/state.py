# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab writes down about itself, so that another process can use it, end it, or clear up after it."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .proc import ProcessRef

STATE_FILE = "lab.json"
STATE_VARIABLE = "ONE_LAB_STATE"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class LabError(Exception):
    """The lab cannot do what was asked; the sentence says why."""


def repository() -> Path:
    """The root of the checkout this file belongs to."""
    return Path(__file__).resolve().parents[3]


def labs_dir() -> Path:
    """The folder below which labs keep their state: `.cache/lab` of the checkout, else of the temporary folder."""
    for parent in (repository() / ".cache" / "lab", Path(tempfile.gettempdir()) / "one_storage-lab"):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            (parent / ".gitignore").write_text("*\n", encoding="ascii")
        except OSError:
            continue
        return parent
    raise LabError("no folder for the lab's state can be written, neither .cache/lab in the checkout nor below TMPDIR")


def default_state_dir() -> Path:
    """Where the command line keeps its lab, unless ONE_LAB_STATE names a folder."""
    given = os.environ.get(STATE_VARIABLE)
    return Path(given).resolve() if given else labs_dir() / "main"


@dataclass
class HostState:
    """One host: its address, its port on the switch, its pid 1 and the `unshare` that waits for it."""

    name: str
    address: str
    port: str
    holder: ProcessRef | None = None
    leader: ProcessRef | None = None

    def processes(self) -> list[ProcessRef]:
        """Those two processes in the order in which to end them: the holder reaps the leader and ends by itself."""
        return [one for one in (self.leader, self.holder) if one is not None]


@dataclass
class LabState:
    """A lab: who made it, whether it dies with its maker, its switch and its hosts."""

    owner: ProcessRef
    tie: bool
    subnet: str
    """The first three numbers of the hosts' addresses."""
    shared: list[int]
    switch: ProcessRef | None = None
    hosts: dict[str, HostState] = field(default_factory=dict)

    def processes(self) -> list[ProcessRef]:
        """All processes that hold the lab up, in the order in which to end them."""
        found = [one for host in self.hosts.values() for one in host.processes()]
        return found + ([self.switch] if self.switch is not None else [])

    def alive(self) -> bool:
        """Whether any part of the lab runs, or its maker may still be at work on it."""
        return any(one.alive() for one in self.processes()) or (self.switch is None and self.owner.alive())

    def save(self, state_dir: Path) -> None:
        """Write it down, whole or not at all."""
        target = state_dir / STATE_FILE
        scratch = target.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        scratch.replace(target)

    @classmethod
    def load(cls, state_dir: Path) -> LabState | None:
        """What a lab in this folder wrote down; None when there is none."""
        try:
            data = json.loads((state_dir / STATE_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        data["owner"] = ProcessRef(**data["owner"])
        data["switch"] = _ref(data["switch"])
        data["hosts"] = {
            name: HostState(**{**host, "holder": _ref(host["holder"]), "leader": _ref(host["leader"])})
            for name, host in data["hosts"].items()
        }
        return cls(**data)


def _ref(data: dict[str, Any] | None) -> ProcessRef | None:
    return None if data is None else ProcessRef(**data)


def remove(state_dir: Path) -> None:
    """Delete a lab's folder. Its mounts were in its hosts' namespaces only, so nothing else can be below it."""
    shutil.rmtree(state_dir, ignore_errors=False)


def sweep(parent: Path) -> None:
    """Delete the folders of labs whose makers were killed: their hosts died with them, their files stayed."""
    for one in parent.iterdir():
        if one.is_symlink() or not one.is_dir():
            continue
        try:
            state = LabState.load(one)
            if state is not None and not state.alive():
                remove(one)
        except (OSError, ValueError, KeyError, TypeError):
            # Another process clears the same folder, or it is no lab of this version: not ours to judge.
            continue
