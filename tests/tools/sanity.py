# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test's sanity tests on the staged copy, on this machine, without a container and without ~/.ansible.

Three things stand in the way of that, and are put right here:

* ansible-test makes virtual environments without pip and downloads a script to install it. A stand-in for that script
  lies where the download would be kept; it uses the pip that comes with Python.
* It passes hardly any of the environment on. The settings of this machine's pip are written to a pip.conf, in a home
  folder of our own.
* The launchers of version managers (pyenv and its like) get in its way. PATH names the real interpreter's folder.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.tools.stage import ROOT, STAGE

HOME = ROOT / ".cache" / "ansible-home"
SANITY_SECONDS = 1800
PIP_SECONDS = 60

GET_PIP = '''\
"""Stand-in for get-pip.py: the pip that comes with this Python, then the version that was asked for."""
import subprocess
import sys

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
if arguments:
    sys.exit(subprocess.call([sys.executable, "-m", "pip", "install"] + arguments))
'''


def write(path: Path, text: str) -> None:
    """Write a file only its owner may read (pip's settings may hold a password), with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def pip_settings() -> str:
    """What pip was told on this machine, by files and by variables, as the text of a pip.conf."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=PIP_SECONDS).stdout
    # ansible-test makes a dozen environments: only errors are of interest.
    settings: dict[str, dict[str, str]] = {"global": {"quiet": "2"}}
    for line in listed.splitlines():
        name, value = line.split("=", 1)
        section, key = name.rsplit(".", 1)
        # Later lines win in pip as well: a variable (:env:) beats the files.
        place = "global" if section == ":env:" else section
        settings.setdefault(place, {})[key] = str(ast.literal_eval(value)).replace("\n", "\n    ")
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) + "\n"
        for section, values in settings.items()
    )


def interpreter() -> Path:
    """The real file of the Python this runs on, past virtual environments and version managers."""
    return Path(sys.executable).resolve()


def environment() -> dict[str, str]:
    """The environment for ansible-test: our home, and a PATH with the tools, the real interpreter and the system."""
    folders = [str(Path(sys.executable).parent), str(interpreter().parent)]
    path = os.pathsep.join(dict.fromkeys([*folders, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]))
    return {**os.environ, "HOME": str(HOME), "PATH": path, "ANSIBLE_HOME": str(HOME / ".ansible"), "LC_ALL": "C.UTF-8"}


def main(arguments: list[str]) -> int:
    """Run the sanity tests (all, or as the arguments say) and return ansible-test's exit code."""
    write(HOME / ".config" / "pip" / "pip.conf", pip_settings())
    for version in ("24_2", "25_2"):
        # ansible-core 2.19 asks for the first, 2.21 for the second.
        write(HOME / ".ansible" / "test" / "cache" / f"get_pip_{version}.py", GET_PIP)
    command = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--color", "no"]
    command += ["--python", "{}.{}".format(*sys.version_info[:2])]
    # The tests are no Ansible code: ruff and mypy look at them, by the project's own rules.
    command += ["--exclude", "tests/", *arguments]
    return subprocess.run(
        command, cwd=STAGE, env=environment(), stdin=subprocess.DEVNULL, check=False, timeout=SANITY_SECONDS
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
