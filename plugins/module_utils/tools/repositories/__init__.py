# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of backups: what is done with them is the same whichever kind they are (:class:`.base.Repository`).

Where one is, and how it is used, is plain data: :func:`place_of` takes it out of an action's options, so that a journal
can hold it; the secrets stay apart.
"""

from __future__ import annotations

from ..._errors import Unsupported, one_line
from .base import Kept, Repository, Stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..host import Host

__all__ = ["PREFIX", "SECRETS", "Kept", "Repository", "Stored", "open_repository", "place_of", "secrets_of"]

#: Options of an action that are about its repository begin with this.
PREFIX = "repository_"
#: Of these, the ones that are nobody's business.
SECRETS = ("repository_password", "repository_s3_access_key_id", "repository_s3_secret_access_key")


def place_of(options: dict[str, Any], path: str, kind: str = "") -> dict[str, Any]:
    """Where a repository is, by the options of an action, without secrets.

    :param path: BASE_PATH of the backup datastore, where the repository lies.
    :param kind: ``rsync`` or ``restic``; by default the action's driver.
    """
    found = {
        name[len(PREFIX) :]: value for name, value in options.items() if name.startswith(PREFIX) and name not in SECRETS
    }
    return {
        **found,
        "kind": kind or options["driver"],
        "path": path,
        "vm": options.get("vm_id", -1),
        "job": options.get("backup_job_id", -1),
    }


def secrets_of(options: dict[str, Any]) -> dict[str, str]:
    """The secrets of an action's repository, by option."""
    return {name: options[name] for name in SECRETS if options.get(name)}


def open_repository(
    place: dict[str, Any],
    secrets: dict[str, str],
    host: Host,
    command: float = 3600,
    stall: float = 60,
    lock: float = 120,
) -> Repository:
    """A repository by its place; nothing is asked of it yet. The parameters are those of :class:`.base.Repository`."""
    if place["kind"] == "rsync":
        from .rsync import Rsync

        return Rsync(place, secrets, host, command, stall, lock)
    if place["kind"] == "restic":
        from .restic import Restic

        return Restic(place, secrets, host, command, stall, lock)
    raise Unsupported(f"'{one_line(str(place['kind']), 40)}' is not a kind of backup repository")
