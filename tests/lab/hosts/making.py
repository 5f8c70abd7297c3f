# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the hosts of a lab: folders, keys, processes, wires, so that the hosts build themselves side by side."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import network, trust
from .commands import USER_ID
from .proc import ProcessRef, child_of, namespace_of
from .rights import INSIDE
from .state import HostState, LabError, LabState


@dataclass(frozen=True)
class Wishes:
    """What the caller of `Lab.up` asked for; the words are explained there."""

    names: Sequence[str]
    sudo: bool
    binds: Sequence[Path]
    masks: Sequence[Path]
    root_size_mb: int


class Maker:
    """Brings up what a new lab's state describes and writes down what holds it up.

    `children` are the processes started; they are complete even when making failed half-way.
    """

    def __init__(self, state_dir: Path, lab_state: LabState, wishes: Wishes, deadline: float) -> None:
        self._dir = state_dir
        self._state = lab_state
        self._wishes = wishes
        self._deadline = deadline
        self.children: list[subprocess.Popen[bytes]] = []

    def make(self) -> None:
        """Make all of it, or raise LabError (OSError when the disk refuses)."""
        for number, name in enumerate(self._wishes.names):
            self._state.hosts[name] = HostState(name, f"{self._state.subnet}.{10 + number}", f"p{number}")
        self._start_switch()
        self._make_folders()
        self._make_trust()
        started = {host.name: self._start_host(host.name) for host in self._hosts()}
        for name, process in started.items():
            _send(process, json.dumps(self._orders(name)))
        for name, process in started.items():
            self._expect(name, process, b"born\n")
        switch = self.children[0].pid
        try:
            network.plug_in(switch, [(host, started[host.name].pid) for host in self._hosts()])
        except LabError:
            # A host that ended meanwhile has no network to plug in; its own words tell more than those of `ip`. One
            # that is just ending has lost its namespaces a moment before it can be waited for.
            until = min(self._deadline, time.monotonic() + 1)
            while time.monotonic() < until:
                for name, process in started.items():
                    if process.poll() is not None:
                        raise LabError(f"{name} does not come up: {self._log(name)}") from None
                time.sleep(0.01)
            raise
        for name, process in started.items():
            self._expect(name, process, b"ready\n")
            self._note(self._state.hosts[name], process.pid)
        self._state.save(self._dir)
        for process in started.values():
            _send(process, "keep")
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _note(self, host: HostState, holder: int) -> None:
        leader = child_of(holder)
        if leader is None:
            raise LabError(f"{host.name} ended as soon as it was up: {self._log(host.name)}")
        host.holder = ProcessRef.of(holder)
        host.leader = ProcessRef.of(leader)

    def _hosts(self) -> list[HostState]:
        return list(self._state.hosts.values())

    def _folder(self, name: str) -> Path:
        return self._dir / "hosts" / name

    def _tied(self) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", "--"] if self._state.tie else []

    def _start_switch(self) -> None:
        process = subprocess.Popen(
            [*self._tied(), "unshare", "--net", "--", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.children.append(process)
        self._state.switch = ProcessRef.of(process.pid)
        self._state.save(self._dir)
        mine = namespace_of(os.getpid(), "net")
        while namespace_of(process.pid, "net") in (mine, None):
            if process.poll() is not None:
                raise LabError("the switch's network namespace could not be made")
            if time.monotonic() > self._deadline:
                raise LabError("the switch does not come up in time")
            time.sleep(0.001)
        network.make_switch(process.pid)

    def _make_folders(self) -> None:
        (self._dir / "hosts").mkdir()
        for number in self._state.shared:
            _own_folder(self._dir / "shared" / str(number))
        for name in self._state.hosts:
            home = self._folder(name) / "one"
            _own_folder(home)
            _own_folder(home / "datastores")
            for number in self._state.shared:
                _own_folder(home / "datastores" / str(number))
            for scratch in ("tmp", "var_tmp"):
                (self._folder(name) / scratch).mkdir()
                (self._folder(name) / scratch).chmod(0o1777)
            (self._folder(name) / "top").mkdir()

    def _make_trust(self) -> None:
        user_key = self._dir / trust.KEY
        keys = {host.name: self._folder(host.name) / trust.HOST_KEY for host in self._hosts()}
        trust.make_keys([(user_key, "oneadmin"), *((key, name) for name, key in keys.items())])
        homes = [(host, self._folder(host.name) / "one") for host in self._hosts()]
        trust.fill_homes(homes, list(keys.values()), user_key)

    def _start_host(self, name: str) -> subprocess.Popen[bytes]:
        line = [*self._tied(), "unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        line += ["--propagation", "private", "--", "/usr/bin/python3", "-I", str(INSIDE)]
        with open(self._folder(name) / "init.log", "wb") as log:
            process = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Unbuffered: nothing is kept to be written to a host that has ended.
                bufsize=0,
                # Services must not inherit what this process was started with.
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        self.children.append(process)
        return process

    def _orders(self, name: str) -> dict[str, object]:
        folder = self._folder(name)
        first = name == next(iter(self._state.hosts))
        masks = [] if first else [str(one.resolve()) for one in self._wishes.masks]
        return {
            "name": name,
            "hosts": {one.name: one.address for one in self._hosts()},
            "machine_id": f"{zlib.crc32(name.encode()):08x}" + os.urandom(12).hex(),
            "top": str(folder / "top"),
            "root_size_mb": self._wishes.root_size_mb,
            "tmp": str(folder / "tmp"),
            "var_tmp": str(folder / "var_tmp"),
            "home": str(folder / "one"),
            "host_key": str(folder / trust.HOST_KEY),
            "shared": {str(number): str(self._dir / "shared" / str(number)) for number in self._state.shared},
            "binds": [str(one.resolve()) for one in self._wishes.binds] if first else [],
            # The lab's own folder holds the keys and homes of all hosts.
            "masks": [*masks, str(self._dir)],
            "sudo": self._wishes.sudo,
            "agent": first,
        }

    def _expect(self, name: str, process: subprocess.Popen[bytes], word: bytes) -> None:
        """Read the next word of a host's first process. Raises LabError with its log when another or none comes."""
        if process.stdout is None:
            raise LabError(f"{name} has no stdout")
        said = b""
        while not said.endswith(b"\n"):
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise LabError(f"{name} is not {word.decode().strip()} in time: {self._log(name)}")
            # One byte at a time: a word read ahead would be missed by the next call's select.
            byte = os.read(process.stdout.fileno(), 1)
            if not byte:
                raise LabError(f"{name} does not come up: {self._log(name)}")
            said += byte
        if said != word:
            raise LabError(f"{name} said {said!r}, not {word!r}: {self._log(name)}")

    def _log(self, name: str) -> str:
        try:
            text = (self._folder(name) / "init.log").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return str(error)
        return " | ".join(text.split("\n")[-6:]).strip(" |") or "it said nothing"


def _send(process: subprocess.Popen[bytes], line: str) -> None:
    if process.stdin is None:
        raise LabError("the host's first process has no stdin")
    try:
        process.stdin.write(line.encode() + b"\n")
    except BrokenPipeError:
        # It ended; why is told when its answer is missed.
        pass


def _own_folder(path: Path) -> None:
    path.mkdir(parents=True)
    os.chown(path, USER_ID, USER_ID)
    path.chmod(0o755)
