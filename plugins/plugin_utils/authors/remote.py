# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts on other hosts, for authors of drivers (contract-ds 5.5, contract-tm 5.1, 5.4).

A script is the author's own text and goes to ``bash -s`` on stdin. Values go beside it, quoted one by one, and are
``"$1"``, ``"$2"``, … there. The host ends a script, with all that it started, when its time is over.
"""

from __future__ import annotations

import math
import os
import time

from ...module_utils._errors import BadCall, from_os, one_line
from ...module_utils.drivers.base import clean_path
from ...module_utils.tools import ssh
from ...module_utils.tools.seat import Seat
from ..settings import Settings, remotes
from .commands import CommandFailed, Result, TimedOut, arguments, failure, perform, script_of, seconds
from .speech import error_message, log_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _perform(host: str, script: bytes, values: Sequence[str], timeout: float | None, forward: bool) -> Result:
    """Run a script on a host, whatever becomes of it; ``TimedOut`` when it had to be ended."""
    deadline = seconds(timeout)
    connect = Settings(remotes()).number("CONNECT_TIMEOUT", 30)
    limit = str(math.ceil(deadline))
    remote = ["timeout", "--kill-after=5", limit, *arguments(["bash", "-s", "--", *values])]
    ssh.check_host(host)
    until, pause = time.monotonic() + connect, 0.1
    while True:
        seat = None if forward else Seat(host)
        try:
            connection = seat.connection if seat else None
            argv = ssh.command(host, remote, connection=connection, agent=forward, connect=min(10, connect))
            begun = time.monotonic()
            # what the host does not end in time, we do; ssh needs the agent's address out of our environment
            result = perform(argv, deadline + connect + 15, script, {**os.environ, "LANG": "C", "LC_ALL": "C"})
        finally:
            if seat:
                seat.leave()
        if result.code == 255 and ssh.turned_away(result.err) and time.monotonic() + pause < until:
            time.sleep(pause * (0.5 + os.getrandom(1)[0] / 256))
            pause = min(pause * 2, 2)
            continue
        if result.code in (124, 137) and time.monotonic() - begun >= deadline:
            raise TimedOut(f"Timeout executing a script: it did not end within {deadline:g} seconds", host)
        return result


def _failure(host: str, result: Result, message: str, name: str = "a script") -> CommandFailed:
    if not message and result.code == 255 and ssh.turned_away(result.err):
        message = "Cannot log in"
    return failure(name, result, message, host)


def ssh_exec_and_log(
    host: str,
    script: str,
    message: str = "",
    timeout: float | None = None,
    values: Sequence[str] = (),
    forward: bool = False,
) -> None:
    """Run a script on a host.

    :param script: the author's own text; it ends at its first command that fails.
    :param message: the sentence for the user when it fails; the host's name is added.
    :param timeout: seconds, else ``COMMAND_TIMEOUT``.
    :param values: ``"$1"``, ``"$2"``, … of the script.
    :param forward: lend the host our SSH agent, for a script that logs in elsewhere (stock's ``ssh_forward``).
    :raises CommandFailed: with the script's exit code, or 255 when there was no login.
    """
    result = _perform(host, script_of(script), values, timeout, forward)
    if result.code:
        raise _failure(host, result, message)


def ssh_exec_and_log_no_error(
    host: str,
    script: str,
    message: str = "",
    ok: int = 0,
    timeout: float | None = None,
    values: Sequence[str] = (),
    forward: bool = False,
) -> int:
    """Run a script on a host and go on whatever happens; its exit code.

    :param ok: one more code that is no failure. Any other is logged, and told to the user.
    """
    try:
        result = _perform(host, script_of(script), values, timeout, forward)
    except TimedOut as error:
        log_error(str(error))
        error_message(message or str(error))
        return error.exit_code
    if result.code and result.code != ok:
        failed = _failure(host, result, message)
        log_error(failed.detail)
        error_message(str(failed))
    return result.code


def ssh_exec_and_log_stdin(
    host: str,
    script: str,
    file: str,
    message: str = "",
    timeout: float | None = None,
    values: Sequence[str] = (),
    forward: bool = False,
) -> None:
    """Run a script on a host, after the text of a file of ours: a library of functions.

    :raises CommandFailed: with the script's exit code.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            library = opened.read(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        if not isinstance(error, OSError):
            raise BadCall(f"{one_line(file, 200)} is not text in UTF-8") from None
        raise from_os(error, f"read {one_line(file, 200)}") from None
    ssh_exec_and_log(host, f"{library}\n{script}", message, timeout, values, forward)


def ssh_monitor_and_log(
    host: str,
    script: str,
    name: str = "monitor script",
    timeout: float | None = None,
    values: Sequence[str] = (),
) -> str:
    """Run a script on a host for what it prints: the last MB of it.

    :raises CommandFailed: with the script's exit code.
    """
    result = _perform(host, script_of(script), values, timeout, False)
    if result.code:
        raise _failure(host, result, "", f"the {name}")
    return result.out


def ssh_make_path(host: str, path: str, timeout: float | None = None) -> None:
    """Make a directory with its parents on a host; fine when it is there."""
    folder = clean_path(path, "directory")
    ssh_exec_and_log(
        host,
        'test -d "$1" || mkdir -p -- "$1"',
        f"Cannot create the directory {one_line(folder, 200)}",
        timeout,
        [folder],
    )


def enable_local_monitoring(host: str, path: str, driver: str) -> None:
    """Let a host report on the datastore of a VM by itself: the marker ``.monitor`` beside the VM's directory.

    :param path: the VM's directory, ``<datastore>/<VM id>``.
    :param driver: name of the TM driver whose ``monitor_ds`` the host shall run.
    """
    if not driver or not driver.replace("-", "").replace("_", "").isalnum():
        raise BadCall(f"'{one_line(driver, 40)}' is not the name of a driver")
    script = """
test "$(cat "$1" 2>/dev/null)" = "$2" && exit 0
mkdir -p -- "$(dirname -- "$1")"
printf '%s\\n' "$2" >"$1.$$.new"
mv -f -- "$1.$$.new" "$1"
"""
    ssh_exec_and_log(host, script, "Cannot enable local monitoring", values=[_marker(path), driver])


def disable_local_monitoring(host: str, path: str) -> None:
    """Take the marker away. :param path: the VM's directory."""
    ssh_exec_and_log(host, 'rm -f -- "$1"', "Cannot disable local monitoring", values=[_marker(path)])


def _marker(path: str) -> str:
    """The marker of the datastore that a VM's directory lies in; a datastore's own directory is a mistake (Q3)."""
    parts = clean_path(path, "directory").split("/")
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[-2:]):
        raise BadCall(f"'{one_line(path, 120)}' is not the directory of a VM in a datastore")
    return "/".join([*parts[:-1], ".monitor"])
