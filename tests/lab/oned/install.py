# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the one* commands and a session file where drivers look for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .execute import LabLike
from .store import Settings

BIN = Path(__file__).resolve().parent / "bin"
COMMANDS = ("onevm", "oneimage", "onedatastore", "onehost")
_LIBRARY = "onecli"


def install_commands(folder: Path) -> None:
    """Copies the commands and their library to a folder that is (to be) on the PATH."""
    (folder / _LIBRARY).mkdir(parents=True, exist_ok=True)
    for source in (*(BIN / name for name in COMMANDS), *(BIN / _LIBRARY).glob("*.py")):
        target = folder / source.relative_to(BIN)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.name in COMMANDS else 0o644)


def write_session(path: Path, session: str, owner: tuple[int, int] | None = None) -> None:
    """Writes a session (user:password) as `one_auth`: readable by its owner alone. `owner`: user and group number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(session + "\n")
    if owner is not None:
        shutil.chown(path, *owner)
        shutil.chown(path.parent, *owner)


def equip_front_end(lab: LabLike, host: str, settings: Settings, folder: str = "/usr/local/bin") -> None:
    """Makes a lab host an OpenNebula front-end, drivers aside: commands on the PATH, session, oned's own folders."""
    home = lab.path(host, settings.var_location, follow=True)
    owner = home.stat()
    install_commands(lab.path(host, folder, follow=True))
    write_session(home / ".one" / "one_auth", settings.session, (owner.st_uid, owner.st_gid))
    for path in (settings.vms_location, settings.remotes):
        made = lab.path(host, path)
        made.mkdir(parents=True, exist_ok=True)
        shutil.chown(made, owner.st_uid, owner.st_gid)
