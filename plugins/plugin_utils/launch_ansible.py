# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launcher *ansible*: an ad hoc run of the same module, for nodes without our build and sites with ways of their own.

The parameters travel in a file of mode 0600 in which every string is tagged ``!unsafe``: values from oned are never
templates, and never stand on a command line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time

from ..module_utils._errors import Missing, StorageError, Unreachable, Unsupported, from_record, one_line
from ..module_utils.tools.command import which
from ..module_utils.tools.ssh import check_login, turned_away

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings

COLLECTION = "one_storage.drivers"
PREFIX = "one_storage-"


class Ansible:
    """Runs an action through the ``ansible`` command."""

    name = "ansible"

    def __init__(self, host: str, settings: Settings, here: bool, agent: bool) -> None:
        self.host = check_login(host)
        self._settings = settings
        self._here = here
        self._agent = agent

    def run(self, action: str, options: dict[str, Any], check: bool, fault: str) -> dict[str, Any]:
        """The result of the action; ``StorageError`` when it failed or Ansible could not run it."""
        program = self._settings.text("ANSIBLE", "ansible")
        try:
            program = which(program)
        except OSError:
            raise Missing(
                f"{self.host} needs the ansible launcher and the command {one_line(program, 120)} is not installed",
                todo="deploy the drivers to the node (onehost sync, or the role node), or install ansible-core here",
            ) from None
        if options.get("peer") and self._settings.text("ANSIBLE_BECOME").lower() in ("yes", "true", "1"):
            raise Unsupported(
                f"{action} needs the agent on {self.host}, which become takes away",
                todo="set ANSIBLE_BECOME=no, or deploy the drivers to the node",
            )
        until = time.monotonic() + self._settings.number("CONNECT_TIMEOUT", 30)
        pause = 0.5
        while True:
            folder, lock = _folder()
            try:
                return self._run(program, folder, action, options, check, fault)
            except Unreachable as error:
                # many actions start at once and sshd refuses some logins: jitter keeps them apart
                if not turned_away(error.detail) or time.monotonic() + pause > until:
                    raise
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
            time.sleep(pause * (0.5 + os.getrandom(1)[0] / 256))
            pause = min(pause * 2, 4)

    def delivered(self) -> None:
        """Nothing is left open."""

    def _run(
        self, program: str, folder: str, action: str, options: dict[str, Any], check: bool, fault: str
    ) -> dict[str, Any]:
        variables, given = _variables(options)
        answer = os.path.join(folder, "result.json")
        path = os.path.join(folder, "variables.yml")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(variables)
        command = [program, self.host, "-i", f"{self.host},", "-m", f"{COLLECTION}.{action}"]
        command += ["-a", json.dumps(given), "-e", f"@{path}", "-c", "local" if self._here else "ssh"]
        if check:
            command.append("--check")
        deadline = options["command_timeout"] + options["connect_timeout"] if "connect_timeout" in options else 7200
        try:
            # setpriv: when this process is killed, so is Ansible
            ran = subprocess.run(
                [which("setpriv"), "--pdeathsig", "TERM", "--", *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=deadline,
                env=self._environment(folder, answer, fault),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"Ansible did not end on {self.host} within {deadline} seconds") from None
        return self._read(answer, ran)

    def _environment(self, folder: str, answer: str, fault: str) -> dict[str, str]:
        collection = os.path.join(folder, "ansible_collections", *COLLECTION.split("."))
        os.makedirs(os.path.dirname(collection))
        os.symlink(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), collection)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "USER", "LANG", "SSH_AUTH_SOCK", "TMPDIR") or name.startswith("ANSIBLE_")
        }
        environment.setdefault("PATH", "/usr/bin:/bin")
        environment.update(
            ANSIBLE_COLLECTIONS_PATH=folder,
            ANSIBLE_COLLECTIONS_PATHS=folder,
            ANSIBLE_STDOUT_CALLBACK=f"{COLLECTION}.result",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
            ANSIBLE_LOCALHOST_WARNING="0",
            ANSIBLE_DEPRECATION_WARNINGS="0",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_RETRY_FILES_ENABLED="0",
            ONE_STORAGE_RESULT_FILE=answer,
        )
        python = self._settings.text("NODE_PYTHON", "/usr/bin/python3")
        environment.setdefault("ANSIBLE_PYTHON_INTERPRETER", python)
        environment.setdefault("ANSIBLE_PIPELINING", "1")
        environment.setdefault("ANSIBLE_HOST_KEY_CHECKING", "1")
        if self._agent:
            environment["ANSIBLE_SSH_ARGS"] = "-o ForwardAgent=yes -o ControlMaster=no -o ControlPath=none"
        if self._settings.text("ANSIBLE_BECOME").lower() in ("yes", "true", "1"):
            environment["ANSIBLE_BECOME"] = "1"
        if fault:
            environment["ONE_STORAGE_FAULT"] = fault
        return environment

    def _read(self, answer: str, ran: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
        said = (ran.stderr + b"\n" + ran.stdout).decode("utf-8", "replace").strip()
        try:
            with open(answer, encoding="utf-8") as file:
                told = json.load(file)
        except (OSError, ValueError):
            last = one_line(said.splitlines()[-1] if said else f"code {ran.returncode}", 200)
            raise StorageError(f"Ansible could not run on {self.host}: {last}", detail=said) from None
        result: dict[str, Any] = told.get("result") or {}
        if told.get("state") == "ok":
            return _native(result)
        if told.get("state") == "unreachable":
            raise Unreachable(f"Cannot reach {self.host}: {one_line(str(result.get('msg', '')), 200)}", detail=said)
        if isinstance(result.get("error"), dict):
            failure = from_record(result["error"])
            failure.host = failure.host or self.host
            raise failure
        raise StorageError(
            f"{one_line(str(result.get('msg') or said or 'Ansible failed'), 400)}", self.host, detail=said
        )


def _folder() -> tuple[str, int]:
    """A new folder of our own and the handle that locks it; what killed runs left is removed."""
    temporary = tempfile.gettempdir()
    with os.scandir(temporary) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(PREFIX)]
    for name in names:
        path = os.path.join(temporary, name)
        try:
            info = os.lstat(path)
            # a young one may not have got its lock yet
            if info.st_uid == os.geteuid() and time.time() - info.st_mtime > 60:
                lock = _lock(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
        except OSError:
            # it lives, or it is gone
            continue
    path = tempfile.mkdtemp(prefix=PREFIX)
    return path, _lock(path)


def _lock(path: str) -> int:
    """Lock a folder until the handle is closed, or we die; ``OSError`` when somebody else has it."""
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _native(result: dict[str, Any]) -> dict[str, Any]:
    """The result as the other launchers give it: Ansible's diff is our list of changes."""
    changes = [
        {"path": entry["after_header"], "before": entry["before"].strip(), "after": entry["after"].strip()}
        for entry in result.pop("diff", [])
    ]
    return {**result, "changes": changes}


def _variables(options: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The variables file, every string in it unsafe, and the module's arguments, which only name the variables."""
    lines = ["---"]
    given = {}
    for name, value in options.items():
        if value is None:
            continue
        lines.append(f"one_storage_{name}: {_yaml(value)}")
        given[name] = "{{ one_storage_" + name + " }}"
    return "\n".join(lines) + "\n", given


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    # JSON strings are YAML strings
    return "!unsafe " + json.dumps(str(value))
