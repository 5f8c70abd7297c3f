# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine has of the programs that the drivers call: there, new enough, and doing what it should.

A need is the name of a command, ``python:NAME`` for a module of /usr/bin/python3, which runs the drivers, or
``qemu-block:NAME`` for what QEMU loads to reach a storage.
"""

from __future__ import annotations

import os

from .command import run, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How a program tells its version: arguments, what stands before it, and the oldest that the drivers are used with:
#: qemu-img has bitmaps since 5.1, libvirt backup jobs since 6.0; older ones of restic and rsync were never tried.
_TOLD = {
    "qemu-img": (["--version"], "qemu-img version ", "5.1"),
    "qemu-nbd": (["--version"], "qemu-nbd ", "5.1"),
    "restic": (["version"], "restic ", "0.14"),
    "rsync": (["--version"], "rsync  version ", "3.1"),
    "ssh": (["-V"], "OpenSSH_", "7.6"),
}
_BLOCK = "qemu-block:"
#: Where distributions have what QEMU loads.
_MODULES = ("/usr/lib/*/qemu", "/usr/lib/qemu", "/usr/lib64/qemu", "/usr/lib64/qemu-kvm")
_LIBVIRT = "6.0"
_PYTHON = "3.9"
_SECONDS = 20
_ASK = """
import json, sys
found = {"python": "%d.%d.%d" % sys.version_info[:3]}
for name in sys.argv[1:]:
    try:
        module = __import__(name)
        found[name] = str(getattr(module, "getVersion", lambda: getattr(module, "__version__", "there"))())
    except Exception as error:
        found[name] = "!" + str(error)
print(json.dumps(found))
"""


def look(needs: list[str], scratch: str) -> list[dict[str, Any]]:
    """A row for each need: ``name``, ``version`` (empty when it tells none) and ``problem``, a sentence or nothing.

    :param scratch: a folder of our own, in which qemu-img is tried.
    """
    modules = [need[len("python:") :] for need in needs if need.startswith("python:")]
    rows = _python(modules)
    rows += [_qemu_block(need) for need in needs if need.startswith(_BLOCK)]
    rows += [_command(need, scratch) for need in needs if not need.startswith(("python:", _BLOCK))]
    return rows


def older(version: str, than: str) -> bool:
    """Whether a version is below another; what is no version is not."""
    return bool(_numbers(version)) and _numbers(version) < _numbers(than)


def _numbers(version: str) -> list[int]:
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return found


def _row(name: str, version: str, problem: str) -> dict[str, Any]:
    return {"name": name, "version": version, "problem": problem}


def _python(modules: list[str]) -> list[dict[str, Any]]:
    import json

    try:
        ended = run(["/usr/bin/python3", "-I", "-c", _ASK, *modules], _SECONDS)
        found: dict[str, str] = json.loads(ended["out"])
    except (OSError, ValueError) as error:
        return [_row("python", "", f"/usr/bin/python3 does not work: {error}; install Python {_PYTHON} or newer")]
    version, problem = found.pop("python"), ""
    if older(version, _PYTHON):
        problem = f"/usr/bin/python3 is Python {version}; install {_PYTHON} or newer"
    rows = [_row("python", version, problem)]
    for name, told in found.items():
        if told.startswith("!"):
            rows.append(_row(f"python:{name}", "", f"Python has no module {name} ({told[1:]}); install python3-{name}"))
            continue
        if name == "libvirt" and told.isdigit():
            told = f"{int(told) // 1000000}.{int(told) // 1000 % 1000}.{int(told) % 1000}"
            if older(told, _LIBVIRT):
                rows.append(_row("python:libvirt", told, f"libvirt is {told}; install {_LIBVIRT} or newer"))
                continue
        rows.append(_row(f"python:{name}", told, ""))
    return rows


def _qemu_block(need: str) -> dict[str, Any]:
    import glob

    name = need[len(_BLOCK) :]
    if any(glob.glob(f"{folder}/block-{name}.so") for folder in _MODULES):
        return _row(need, "", "")
    packages = "qemu-block-extra, or qemu-kvm-block-" + name
    return _row(need, "", f"QEMU has no module for {name}, so no guest can have a disk there; install {packages}")


def _command(name: str, scratch: str) -> dict[str, Any]:
    try:
        path = which(name)
    except FileNotFoundError:
        return _row(name, "", f"{name} is not installed; install it")
    if name not in _TOLD:
        return _row(name, "", "")
    arguments, before, oldest = _TOLD[name]
    try:
        ended = run([path, *arguments], _SECONDS)
    except OSError as error:
        return _row(name, "", f"{path} does not run: {error.strerror}; install {name} anew")
    said = str(ended["out"]) + str(ended["err"])
    _head, found, rest = said.partition(before)
    version = rest[: len(rest) - len(rest.lstrip("0123456789."))].strip(".")
    if ended["rc"] != 0 or not found or not version:
        first = (said.strip().splitlines() or ["nothing"])[0][:80]
        wrong = f"{path} is not the right {name}: asked for its version it says '{first}'; install it anew"
        return _row(name, "", wrong)
    if older(version, oldest):
        return _row(name, version, f"{path} is version {version}; install {oldest} or newer")
    return _row(name, version, _try_qemu_img(path, scratch) if name == "qemu-img" else "")


def _try_qemu_img(path: str, scratch: str) -> str:
    """What is wrong with a qemu-img that makes a qcow2 file and reads it again."""
    import json

    file, size = os.path.join(scratch, "trial.qcow2"), 1 << 20
    try:
        made = run([path, "create", "-q", "-f", "qcow2", "-o", "compat=1.1", file, str(size)], _SECONDS)
        read = run([path, "info", "-f", "qcow2", "--output=json", file], _SECONDS)
        told = json.loads(read["out"]) if read["rc"] == 0 else {}
    except (OSError, ValueError) as error:
        return f"{path} cannot make a qcow2 file and read it: {error}"
    if made["rc"] != 0 or told.get("virtual-size") != size or told.get("format") != "qcow2":
        said = (str(made["err"]) + str(read["err"])).strip().splitlines() or ["what it reads is not right"]
        return f"{path} cannot make a qcow2 file and read it: {said[-1][:200]}"
    return ""
