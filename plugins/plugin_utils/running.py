# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backups that run on this front-end: one small file per VM, so that a second one is refused and a cancel finds the
first (contract-ds 10.7).

The file is locked by the process that it speaks of as long as that lives: a file that nobody has locked is stale,
whoever may have the process id by now. It stays there for the next backup.
"""

from __future__ import annotations

import errno
import os
import time

from ..module_utils._errors import Busy, Cancelled, StorageError, from_os
from ..module_utils.tools.manifest import is_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings

_PREFIX = "backup-"
_LIMIT = 4096
#: Scripts that a backup is the work of.
_SCRIPTS = ("backup", "prebackup", "prebackup_live")
#: struct flock, as the kernel has it.
_FORM = "hhqqixxxx"


def folder_of(settings: Settings) -> str:
    """The folder of these files: RUN_DIRECTORY, else ``.one_storage/running`` beside the remotes directory."""
    default = os.path.join(os.path.dirname(settings.root.rstrip("/")), ".one_storage", "running")
    return settings.text("RUN_DIRECTORY", default)


class Running:
    """This process in the register, from :func:`enter` to :meth:`leave` or its end."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def leave(self) -> None:
        """The backup is over."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1


def enter(settings: Settings, vm: int, deploy_id: str, action: str) -> Running:
    """Note that this process backs a VM up.

    :param vm: its id.
    :param deploy_id: its name in libvirt, which a cancel goes by.
    :param action: ``prebackup``, ``prebackup_live``, ``backup`` …
    :raises Busy: when another process does so already.
    """
    import fcntl

    from ..module_utils.tools.codec import dumps

    folder = folder_of(settings)
    path = os.path.join(folder, f"{_PREFIX}{vm}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise from_os(error, f"note the backup of VM {vm} in {folder}") from None
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK))
    except OSError as error:
        other = _read(handle)
        os.close(handle)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise from_os(error, f"lock {path}") from None
        at_work = f"{other.get('action', 'backup')} runs as process {other.get('pid', '?')}"
        raise Busy(
            f"VM {vm} is being backed up already: {at_work}",
            todo="wait for it, or cancel it",
        ) from None
    record = {"pid": os.getpid(), "started": int(time.time()), "vm": vm, "deploy_id": deploy_id, "action": action}
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, dumps(record) + b"\n", 0)
    except OSError as error:
        os.close(handle)
        raise from_os(error, f"write {path}") from None
    return Running(handle)


#: This process in the register, for as long as it lives.
_noted: list[Running] = []


def note(settings: Settings, vm: int, deploy_id: str, action: str) -> None:
    """Note this process until it ends, and let a cancel end it: the work is taken back wherever it is done.

    The parameters, and what is raised, are those of :func:`enter`.
    """
    import signal

    _noted.append(enter(settings, vm, deploy_id, action))
    signal.signal(signal.SIGTERM, _cancelled)


def _cancelled(_number: int, _frame: Any) -> None:
    """The session to the node is closed by this, and the node takes back what it did."""
    raise Cancelled("The backup was cancelled")


def find(settings: Settings, deploy_id: str) -> list[dict[str, Any]]:
    """The records of live processes that back up the VM of that name: pid, started, vm, deploy_id, action."""
    folder = folder_of(settings)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os(error, f"look at {folder}") from None
    found = [_alive(os.path.join(folder, name)) for name in names if name.startswith(_PREFIX)]
    return [record for record in found if record and record.get("deploy_id") == deploy_id]


def _alive(path: str) -> dict[str, Any]:
    """What a file says; empty when nobody holds it."""
    import fcntl
    import struct

    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return {}
    try:
        # asked, not taken: a backup that begins now must not find the file locked by who only looks
        held = struct.unpack(_FORM, fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK)))[0]
        return {} if held == fcntl.F_UNLCK else _read(handle)
    finally:
        os.close(handle)


def _lock(kind: int) -> bytes:
    """The whole file, as fcntl takes it."""
    import struct

    return struct.pack(_FORM, kind, os.SEEK_SET, 0, 0, 0)


def _read(handle: int) -> dict[str, Any]:
    from ..module_utils.tools.codec import loads

    try:
        found = loads(os.pread(handle, _LIMIT, 0))
    except (OSError, ValueError):
        # it is being written just now
        return {}
    return found if isinstance(found, dict) and is_whole(found.get("pid")) else {}


def foreign(deploy_id: str) -> list[dict[str, Any]]:
    """Processes of other drivers that back up the VM of that name: Ruby scripts of ours, with it as an argument
    (contract-ds 10.7)."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read(_LIMIT * 16).decode("utf-8", "replace").split("\0")
        except OSError:
            # it has ended
            continue
        scripts = {os.path.basename(word) for word in words[1:3]}
        if os.path.basename(words[0]).startswith("ruby") and deploy_id in words and not scripts.isdisjoint(_SCRIPTS):
            found.append({"pid": int(name)})
    return found


def stop(records: list[dict[str, Any]], patience: float) -> None:
    """End these processes and wait until what they did is undone.

    :param patience: seconds in which they must have ended.
    :raises StorageError: when one has not.
    """
    import select
    import signal

    until = time.monotonic() + patience
    waiting = []
    for record in records:
        try:
            # the handle is that process and no other: its id may be another's by the time it is used
            waiting.append((os.pidfd_open(record["pid"]), record["pid"]))
        except ProcessLookupError:
            continue
    try:
        for handle, _pid in waiting:
            try:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise from_os(error, f"end the process {_pid}") from None
        for handle, pid in waiting:
            if not select.select([handle], [], [], max(until - time.monotonic(), 0))[0]:
                raise StorageError(
                    f"Unable to stop the backup: process {pid} has not ended within {patience:g} seconds",
                    todo="it takes back what it did, look again in a while",
                )
    finally:
        for handle, _pid in waiting:
            os.close(handle)
