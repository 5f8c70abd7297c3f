# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup images of a datastore, each held against what lies in its repository (contract-ds 10-12)."""

from __future__ import annotations

from ..module_utils._errors import BadCall, Missing, StorageError
from .by_hand import act
from .calls_backup import server_of, whose
from .documents import need, number, text
from .repositories import KINDS, BackupStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .calls import Context

#: IMAGE/TYPE of a backup, and IMAGE/STATE of one that is being made, or failed (contract-ds 1.6).
_BACKUP = 6
_LOCKED, _ERROR = 4, 5


def store_of(context: Context, word: str) -> BackupStore:
    """A backup datastore by its id or its name.

    :raises BadCall: there is none, or it is of other drivers.
    """
    found = [
        number(one, "ID")
        for one in context.oned.datastores().findall("DATASTORE")
        if word in (text(one, "ID"), text(one, "NAME"))
    ]
    if len(found) != 1:
        raise BadCall(f"{len(found) or 'No'} datastores are named '{word}'", todo="give its id")
    store = BackupStore(context, found[0])
    if store.kind not in KINDS:
        raise BadCall(
            f"Datastore {found[0]} is kept by the driver {store.mad}, and only {' and '.join(KINDS)} are known"
        )
    return store


def images_of(context: Context, store: BackupStore) -> list[int]:
    """Ids of the backup images of a datastore."""
    ident = number(store.document, "ID")
    return sorted(
        number(image, "ID")
        for image in context.oned.images().findall("IMAGE")
        if number(image, "DATASTORE_ID", -1) == ident and number(image, "TYPE", -1) == _BACKUP
    )


def verified(context: Context, store: BackupStore, image: int, contents: bool, restore: str) -> dict[str, Any]:
    """One image: a row with ``problems``, ``notes`` and what ``ds_backup_verify`` tells of each backup.

    What keeps it from being looked at is one of its problems.
    """
    row: dict[str, Any] = {"image": image, "name": "", "vm": -1, "problems": [], "notes": [], "backups": []}
    try:
        document = context.oned.image(image)
        row.update(name=text(document, "NAME"), vm=number(document, "VMS/ID", -1))
        if number(document, "DATASTORE_ID", -1) != number(store.document, "ID"):
            raise BadCall(f"Image {image} is not in this datastore")
        if number(document, "STATE", 0) == _LOCKED:
            row["notes"].append("A backup is being made, so it was not looked at")
        else:
            result = _looked_at(context, store, document, contents, restore)
            row["backups"] = result["backups"]
            for one in result["backups"]:
                where = f"increment {one['increment']} ({one['reference']})"
                row["problems"] += [f"{where}: {problem}" for problem in one["problems"]]
                row["notes"] += [f"{where}: {told}" for told in one["notes"]]
    except StorageError as error:
        row["problems"].append(str(error))
    row["sound"] = not row["problems"]
    return row


def _looked_at(context: Context, store: BackupStore, image: _Element, contents: bool, restore: str) -> dict[str, Any]:
    asked = whose(image)
    if not asked["increments"]:
        failed = number(image, "STATE", 0) == _ERROR
        raise Missing("OpenNebula knows of no backup in it" + (", as the one that was made failed" if failed else ""))
    options: dict[str, Any] = {
        **asked,
        **store.options,
        "datastore": need(store.document, "BASE_PATH"),
        "contents": contents,
        "restore": restore,
    }
    if store.kind == "restic":
        options["repository_program"] = context.settings.text("RESTIC", "restic")
    server = server_of(store.options)
    hosts = {"lead": server} if server else {}
    return act(context.settings, "ds_backup_verify", store.kind, hosts, options)
