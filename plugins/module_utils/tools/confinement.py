# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the copying of backups is held back, so that guests beside it do not suffer (contract-ds 10.6).

With a limit on disk operations, CPU or memory it runs in a slice of the user's systemd, one for all backups of a
datastore; else under ``nice`` and ``ionice``, if these are set. What cannot be done here is an error, not silence: a
site that set a limit counts on it.
"""

from __future__ import annotations

import os

from .._errors import BadCall, ToolFailed, Unsupported, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Host

OPTIONS = ("nice", "ionice", "max_riops", "max_wiops", "cpu_quota", "memory_max_mb")
#: Limits of a slice: option, property, how its value is written (``{value}``, ``{path}`` for the directory read from).
_LIMITS = (
    ("cpu_quota", "CPUQuota", "{value}%"),
    ("memory_max_mb", "MemoryMax", "{value}M"),
    ("max_riops", "IOReadIOPSMax", "{path} {value}"),
    ("max_wiops", "IOWriteIOPSMax", "{path} {value}"),
)
#: Seconds that systemd may take to hear of a slice.
_SYSTEMD = 30


def limits_of(options: dict[str, Any]) -> dict[str, int]:
    """The limits that are set, by option; -1 is no limit.

    :raises BadCall: for numbers that nice or ionice do not know.
    """
    found = {name: options[name] for name in OPTIONS if options.get(name, -1) != -1}
    for name, least, most in (("nice", -20, 19), ("ionice", 0, 7)):
        if name in found and not least <= found[name] <= most:
            raise BadCall(f"{name} is {found[name]}: it must be from {least} to {most}")
    for name in OPTIONS[2:]:
        if found.get(name, 1) <= 0:
            raise BadCall(f"{name} is {found[name]}: it must be more than 0, or -1 for no limit")
    return found


def slice_name(datastore: int) -> str:
    """The slice of a backup datastore."""
    return f"backup.{datastore}.slice"


def unit_of(run: str) -> str:
    """The name of what a run has systemd do, by which it can be stopped."""
    return f"one_storage-{run}"


def slice_text(limits: dict[str, int], path: str) -> str:
    """The unit file of a slice.

    :param path: a directory on the file system that is read from.
    """
    lines = ["[Slice]"]
    for option, name, form in _LIMITS:
        if option in limits:
            lines.append(f"{name}={form.format(value=limits[option], path=_quoted(path))}")
    return "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    """A path in a unit file: specifiers and quotes mean something there."""
    plain = path.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{plain}"' if any(char in plain for char in ' "\\') else plain


def command(limits: dict[str, int], datastore: int, run: str, variables: tuple[str, ...] = ()) -> list[str]:
    """What stands in front of a command to hold it back; empty without limits.

    :param limits: of :func:`limits_of`.
    :param run: id of the run.
    :param variables: names of variables that the command needs; their values never stand in a command line.
    """
    if uses_slice(limits):
        found = ["env", *(f"{name}={value}" for name, value in session().items())]
        found += ["systemd-run", "--user", "--quiet", "--pipe", "--collect", "--wait", "--service-type=exec"]
        found += [f"--unit={unit_of(run)}", f"--slice={slice_name(datastore)}"]
        found += [f"--setenv={name}" for name in variables]
        if "nice" in limits:
            found.append(f"--nice={limits['nice']}")
        if "ionice" in limits:
            found += ["--property=IOSchedulingClass=best-effort", f"--property=IOSchedulingPriority={limits['ionice']}"]
        return [*found, "--"]
    found = ["nice", "-n", str(limits["nice"])] if "nice" in limits else []
    return [*found, "ionice", "-c2", f"-n{limits['ionice']}"] if "ionice" in limits else found


def uses_slice(limits: dict[str, int]) -> bool:
    """Whether systemd is needed."""
    return any(option in limits for option, _name, _form in _LIMITS)


def prepare(host: Host, limits: dict[str, int], datastore: int, path: str) -> None:
    """Let systemd know the slice.

    :param path: the directory that is read from.
    :raises Unsupported: when the user has no systemd there.
    """
    folder = os.path.join(os.path.expanduser("~"), ".config", "systemd", "user")
    try:
        host.make_directory(folder)
        text = slice_text(limits, path)
        unit = os.path.join(folder, slice_name(datastore))
        if host.read(unit) != text:
            if host.stat(unit):
                host.remove(unit, folder)
            host.write(unit, text, folder)
        said = host.run(["systemctl", "--user", "daemon-reload"], _SYSTEMD, (), "", session())
    except FileNotFoundError:
        said = {"rc": 1, "err": "systemctl is not installed"}
    if said["rc"]:
        raise Unsupported(
            "CPU, memory and disk operations of backups can only be limited by a user's systemd, which does not "
            f"answer: {one_line(str(said['err']), 200)}",
            host.name,
            todo="let it run (loginctl enable-linger oneadmin), or set no such limit in the backup datastore",
        )


def stop(host: Host, run: str) -> None:
    """End what systemd does for a run; fine when it does nothing."""
    try:
        said = host.run(["systemctl", "--user", "stop", f"{unit_of(run)}.service"], _SYSTEMD, (), "", session())
    except FileNotFoundError:
        return
    # without a systemd nothing can have begun
    if said["rc"] and not any(text in said["err"] for text in ("not loaded", "Failed to connect", "not been booted")):
        raise ToolFailed(f"Cannot stop the backup's unit: {one_line(str(said['err']), 200)}", host.name)


def session() -> dict[str, str]:
    """Where the user's systemd listens: a session over SSH may not know."""
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}
