# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small world of real datastores for the tests of the core, and ways to look at what an action left in it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plugins.module_utils import _actions, _options, _run
from plugins.module_utils._errors import StorageError
from plugins.module_utils.drivers.base import Answer, Plan, Request
from plugins.module_utils.drivers.registry import load
from plugins.module_utils.steps.base import Site, Step, Timeouts
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.host import Host

RUN = "abcdef012345"
MIB = 1 << 20
#: Names of the images that a world is given, by what they are.
PLAIN = "11111111111111111111111111111111"
OVERLAID = "22222222222222222222222222222222"
CHAINED = "33333333333333333333333333333333"


def tool(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a command of the system to its end, at most 60 s; its stdout. A failure shows what it said."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def pattern(seed: str, size: int) -> bytes:
    """*size* bytes that look random, always the same for a seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


class World:
    """Two image datastores (1, 2) and two system datastores (100, 101) in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for number in (1, 2, 100, 101):
            (root / str(number)).mkdir()
        self.images = root / "1"
        self.system = root / "100"

    def raw(self, name: str = PLAIN, content: bytes = b"", size: int = 2 * MIB) -> Path:
        """A raw image of *size* bytes in datastore 1 with *content* at its beginning and a hole behind."""
        path = self.images / name
        path.write_bytes(content or pattern(name, 70000))
        os.truncate(path, size)
        return path

    def qcow2(self, name: str = PLAIN, content: bytes = b"", size: int = 2 * MIB, folder: Path | None = None) -> Path:
        """A qcow2 image of *size* virtual bytes with *content* at its beginning."""
        path = (folder or self.images) / name
        seed = self.root / "seed"
        seed.write_bytes(content or pattern(name, 70000))
        os.truncate(seed, size)
        tool("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", seed, path)
        seed.unlink()
        return path

    def layered(self, name: str = CHAINED) -> Path:
        """A persistent image as `ln` and snapshots leave it (contract-tm 6.2): a link to the second of two layers."""
        snap = self.images / f"{name}.snap"
        snap.mkdir()
        (snap / f"{name}.snap").symlink_to(".")
        self.qcow2("0", folder=snap, content=pattern(name, 70000))
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", snap / "0", snap / "1")
        tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x5a 64k 64k", snap / "1")
        (self.images / name).symlink_to(f"{name}.snap/1")
        return self.images / name

    def disk(self, name: str = "disk.0", vm: int = 5, system: int = 100) -> Path:
        """Where a disk of a VM belongs."""
        return self.root / str(system) / str(vm) / name

    def tree(self) -> dict[str, tuple[str, ...]]:
        """Everything in the world but what is ours to hide: kind, link target or content by relative path."""
        return tree(self.root)

    def hidden(self) -> dict[str, list[str]]:
        """Names below each datastore's folder for journals and workshops."""
        return {
            str(number): sorted(
                str(path.relative_to(self.root / str(number) / HIDDEN))
                for path in (self.root / str(number) / HIDDEN).rglob("*")
            )
            for number in (1, 2, 100, 101)
            if (self.root / str(number) / HIDDEN).is_dir()
        }

    def is_tidy(self) -> bool:
        """Whether nothing is left of journals and workshops but the lock files; receipts are left on purpose.

        That of a VM that was moved stands as long as the VM's directory.
        """
        return all(
            [name for name in names if name not in self.receipts() and not self._arrived(number, name)] == ["locks"]
            for number, names in self.hidden().items()
        )

    def _arrived(self, datastore: str, name: str) -> bool:
        return name.endswith(".arrived") and (self.root / datastore / name[3 : -len(".arrived")]).is_dir()

    def receipts(self) -> list[str]:
        """Names of the receipts of live migrations, in all datastores."""
        return sorted(name for names in self.hidden().values() for name in names if name.endswith(".receipt"))


def tree(root: Path) -> dict[str, tuple[str, ...]]:
    """Kind and content of everything below a folder, without what belongs to journals and workshops."""
    found: dict[str, tuple[str, ...]] = {}
    for folder, folders, files in os.walk(root):
        if HIDDEN in folders:
            folders.remove(HIDDEN)
        for name in folders + files:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = ("link", os.readlink(path))
            elif path.is_dir():
                found[key] = ("directory",)
            else:
                found[key] = content(path)
    return found


def content(path: Path) -> tuple[str, ...]:
    """What a file holds; of file systems, swap areas and ISOs, which carry dates and ids, kind and size."""
    data = path.read_bytes()
    if data[1080:1082] == b"\x53\xef":
        return "ext", str(len(data))
    if data[:4] == b"QFI\xfb" and b"lost+found" in data:
        return "qcow2 with ext", str(int.from_bytes(data[24:32], "big"))
    if data[:4] == b"XFSB":
        return "xfs", str(len(data))
    if data[4086:4096] == b"SWAPSPACE2":
        return "swap", str(len(data)), data[1052:1068].rstrip(b"\0").decode()
    if data[32769:32774] == b"CD001":
        return "iso", iso_listing(path)
    return "file", hashlib.sha256(data).hexdigest(), str(len(data))


def iso_listing(path: Path) -> str:
    """Names and sizes of the files in an ISO."""
    said = tool("xorriso", "-no_rc", "-indev", f"stdio:{path}", "-find", "/", "-type", "f", "-exec", "lsdl", "--")
    return "\n".join(" ".join((line.split()[4], line.split(None, 8)[-1])) for line in said.splitlines())


def info(path: Path) -> dict[str, Any]:
    """What `qemu-img info` says."""
    found: dict[str, Any] = json.loads(tool("qemu-img", "info", "--output=json", path))
    return found


def bytes_of(path: Path, image_format: str, count: int = 0) -> bytes:
    """The guest's view of an image: *count* bytes from the beginning, 0 for all."""
    raw = path.parent / f"{path.name}.guest-view"
    tool("qemu-img", "convert", "-q", "-f", image_format, "-O", "raw", path, raw)
    try:
        return raw.read_bytes()[: count or None]
    finally:
        raw.unlink()


# ---------------------------------------------------------------- actions


def act(action: str, **given: Any) -> dict[str, Any]:
    """Run an action to its end; its result."""
    outcome = _run.run(action, strings(given), _run.Mode())
    outcome.close()
    return outcome.result


def explained(action: str, **given: Any) -> dict[str, Any]:
    """The result of an action in check mode."""
    outcome = _run.run(action, strings(given), _run.Mode(check=True))
    outcome.close()
    return outcome.result


def strings(given: dict[str, Any]) -> dict[str, Any]:
    """Options with every path as text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}


def plan(action: str, **given: Any) -> list[Step] | dict[str, Any]:
    """What a driver answers when it is asked: its next steps, or the values of its answer. Nothing is done."""
    entry = _actions.ACTIONS[action]
    options = _options.check(action, entry.options, strings(given))
    driver = load(entry.kind, options["driver"], options.get("system_driver") or "")
    request = Request(entry.name, options, Site(Host("here"), None, RUN, Timeouts()))
    reply = driver.method(entry.name)(request)
    if isinstance(reply, Answer):
        return reply.values
    assert isinstance(reply, Plan)
    return reply.steps


def kinds(steps: list[Step] | dict[str, Any]) -> list[str]:
    """The kinds of steps, in order."""
    assert isinstance(steps, list), f"an answer and no steps: {steps}"
    return [step.kind for step in steps]


def words(steps: list[Step] | dict[str, Any], world: World) -> list[str]:
    """What steps say, with the world's folder left out."""
    assert isinstance(steps, list), f"an answer and no steps: {steps}"
    return [step.words().replace(str(world.root), "") for step in steps]


# ---------------------------------------------------------------- other processes


@contextmanager
def child(task: Callable[[], Any]) -> Iterator[int]:
    """A forked process that runs *task* and ends with 0, or 1 after an error; it is killed when the block ends."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            task()
            code = 0
        except StorageError as error:
            os.write(2, f"{error}\n".encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def ended(pid: int) -> int:
    """Wait for a child: its exit code, negative for a signal. The test's own deadline ends a child that hangs."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(fault: str, action: str, given: dict[str, Any]) -> bool:
    """Run an action in a process that dies at a point; False when it survived because there is no such point."""

    def task() -> None:
        _run.run(action, strings(given), _run.Mode(fault=fault)).close()

    with child(task) as pid:
        code = ended(pid)
    assert code in (0, -signal.SIGKILL), f"{action} ended with {code}"
    return code != 0


#: Calls that change what is on a disk.
CHANGES = ("rename", "link", "unlink", "symlink", "mkdir", "rmdir", "ftruncate", "fsync", "write", "open")


def killed_at_change(number: int, action: str, given: dict[str, Any]) -> bool:
    """Run an action in a process that dies before its n-th call that changes the disk; False when it survived."""

    def task() -> None:
        left = number

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                # of opens, those that make a file
                if real is not os_open or arguments[1] & os.O_CREAT:
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return real(*arguments, **named)

            return call

        os_open = os.open
        for name in CHANGES:
            setattr(os, name, deadly(getattr(os, name)))
        _run.run(action, strings(given), _run.Mode()).close()

    with child(task) as pid:
        code = ended(pid)
    assert code in (0, -signal.SIGKILL), f"{action} ended with {code}"
    return code != 0
