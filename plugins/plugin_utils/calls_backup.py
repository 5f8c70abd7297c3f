# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of backup datastores, ``rsync`` and ``restic`` (contract-ds 10-12)."""

from __future__ import annotations

from ..module_utils._errors import BadCall, StorageError, Unsupported, one_line
from ..module_utils.drivers.base import clean_path
from .calls import Call, Context, arguments, identifier
from .documents import decode, need, number, parse, read_stdin, text
from .repositories import repository_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from .answer import Voice
    from .calls_ds import Data

#: Attributes that hold the copying of a backup back, each with the driver's name before it (contract-ds 10.6).
_LIMITS = ("NICE", "IONICE", "MAX_RIOPS", "MAX_WIOPS", "CPU_QUOTA", "MEMORY_MAX_MB")
#: Seconds that cancelled backups have to take back what they did.
_PATIENCE = 60
#: Seconds that ``stat`` may wait for anything.
_STAT = 70
#: What an object store is said to hold when nobody says more, in MB (contract-ds 12.6).
_TOTAL = 1 << 20


def call(kind: str, action: str, given: list[str], read: Callable[[], Data]) -> Call:
    """The call of ``datastore/<kind>/<action>``; ``Unsupported`` for what a backup datastore does not do.

    :param read: gives the document on stdin.
    """
    if action == "backup":
        return _backup(kind, given, read())
    if action == "backup_cancel":
        return _cancel(given)
    if action == "ls":
        return _ls(kind, given, read)
    if action == "monitor":
        arguments(action, given, "ID", optional=1)
        return _monitor(kind, read())
    found = _ACTIONS.get(action)
    if found is None:
        raise Unsupported(f"ds/{kind} {action}: Operation not supported")
    arguments(action, given, "ID", optional=1)
    more, reply = found
    return _where_it_lies(kind, action, read(), more, reply)


def _where_it_lies(
    kind: str,
    action: str,
    data: Data,
    more: Callable[[Data, str], dict[str, Any]],
    reply: Callable[[Voice, dict[str, Any]], None] | None,
) -> Call:
    """An action that leads where the repository lies."""
    access = repository_options(data.store, kind)

    def complete(context: Context, _here: bool) -> dict[str, Any]:
        common = context.settings.common()
        if action == "stat":
            # oned waits 90 seconds for this answer (contract-ds 3)
            common = {name: min(value, _STAT) for name, value in common.items()}
        return {
            **common,
            **access,
            **({"repository_program": context.settings.text("RESTIC", "restic")} if kind == "restic" else {}),
            "datastore": need(data.store, "BASE_PATH"),
            **more(data, kind),
        }

    server = server_of(access)
    return Call(f"ds_{action}", complete, hosts={"lead": server} if server else {}, reply=reply)


def server_of(access: dict[str, Any]) -> str:
    """``user@host`` of a repository's server; empty when whoever acts reaches it itself."""
    if access.get("repository_backend", "sftp") != "sftp":
        return ""
    return f"{access['repository_user']}@{access['repository_host']}"


def limits(store: _Element, kind: str) -> dict[str, int]:
    """How far the datastore holds its backups back, as options."""
    where = f"Datastore {text(store, 'ID', '?')}"
    return {name.lower(): number(store, f"TEMPLATE/{kind.upper()}_{name}", -1, where) for name in _LIMITS}


# ---------------------------------------------------------------- backup


def backup_folder(context: Context, vm_folder: str, vm: int) -> str:
    """The directory that a backup is prepared in, on the VM's host (contract-ds 10.1)."""
    base = context.settings.datastore("BACKUP_BASE_PATH")
    return clean_path(f"{base}/{vm}/backup" if base else f"{vm_folder}/backup", "backup")


def _place(word: str, what: str) -> tuple[str, str]:
    host, _colon, folder = word.partition(":")
    if not host or not folder.startswith("/"):
        raise BadCall(f"'{one_line(word, 120)}' is not {what}, such as host01:/var/lib/one/datastores/0/22")
    return host, clean_path(folder, "VM's directory")


def _backup(kind: str, given: list[str], data: Data) -> Call:
    if len(given) == 5:
        # older documents have no backup job (contract-ds 14, row 9)
        given = [*given[:3], "-", *given[3:]]
    words = arguments("backup", given, "HOST:VM_DIR DISKS DEPLOY_ID BACKUP_JOB_ID VM_ID DATASTORE_ID")
    where, _disks, deploy_id, job, vm_word, _store = words
    host, folder = _place(where, "the directory of a VM")
    vm = identifier(vm_word, "virtual machine")
    of_job = -1 if job in ("-", "") else identifier(job, "backup job")
    machine = data.root.find("VM")
    bridge = "" if machine is None else text(machine, "BACKUPS/BACKUP_CONFIG/LAST_BRIDGE").strip()
    access = repository_options(data.store, kind)

    def complete(context: Context, _here: bool) -> dict[str, Any]:
        from .running import note

        note(context.settings, vm, deploy_id, "backup")
        return {
            **context.settings.common(),
            **access,
            **limits(data.store, kind),
            **({"repository_program": context.settings.text("RESTIC", "restic")} if kind == "restic" else {}),
            "datastore": need(data.store, "BASE_PATH"),
            "datastore_id": number(data.store, "ID"),
            "limit_rate": data.setting("LIMIT_TRANSFER_BW").strip(),
            "source": backup_folder(context, folder, vm),
            "vm_id": vm,
            "backup_job_id": of_job,
        }

    server = server_of(access)
    hosts = {"lead": bridge or host, **({"peer": server} if server else {})}
    return Call("ds_backup", complete, hosts=hosts, reply=_kept)


def _kept(voice: Voice, result: dict[str, Any]) -> None:
    voice.answer(f"{result['reference']} {result['size']} {result['format']}")


def _cancel(given: list[str]) -> Call:
    where, deploy_id = arguments("backup_cancel", given, "HOST:VM_DIR DEPLOY_ID")
    host, folder = _place(where, "the directory of a VM")
    data = read_stdin()
    machine = parse(decode(data)) if data.strip() else None
    if machine is not None and machine.tag != "VM":
        machine = machine.find("VM")
    bridge = "" if machine is None else text(machine, "BACKUPS/BACKUP_CONFIG/LAST_BRIDGE").strip()

    def complete(context: Context, _here: bool) -> dict[str, Any]:
        from .running import find, foreign, stop

        try:
            stop([*find(context.settings, deploy_id), *foreign(deploy_id)], _PATIENCE)
        except StorageError as error:
            error.sentence = f"Unable to stop backup actions: {error.sentence}"
            raise
        vm = folder.rpartition("/")[2]
        base = context.settings.datastore("BACKUP_BASE_PATH")
        return {
            **context.settings.common(),
            "source": clean_path(f"{base}/{vm}/backup" if base else folder, "backup"),
            "patience": _PATIENCE,
        }

    return Call("ds_backup_cancel", complete, hosts={"lead": bridge or host})


# ---------------------------------------------------------------- what is kept


def whose(image: _Element) -> dict[str, Any]:
    """Whose backup an image is, and its increments (contract-ds 10.2)."""
    from .calls_ds_restore import increments

    there = text(image, "SOURCE").strip() or image.find("BACKUP_INCREMENTS/INCREMENT") is not None
    return {
        "vm_id": number(image, "VMS/ID", -1),
        "backup_job_id": _job(image),
        "increments": increments(image) if there else [],
    }


def _job(image: _Element) -> int:
    return number(image, "TEMPLATE/BACKUP_JOB_ID", number(image, "BACKUP_JOB_ID", -1))


def _rm(data: Data, _kind: str) -> dict[str, Any]:
    return {**whose(data.needed_image()), "source": text(data.needed_image(), "SOURCE").strip()}


def _stat(data: Data, _kind: str) -> dict[str, Any]:
    image = data.needed_image()
    return {"source": need(image, "PATH").strip(), "backup_job_id": _job(image)}


def _flatten(data: Data, kind: str) -> dict[str, Any]:
    # older documents have it where snapshots are named (contract-ds 14, row 7)
    keep = number(data.root, "EXTRA_DATA/KEEP_LAST", number(data.root, "EXTRA_DATA/TARGET_SNAPSHOT", 0))
    return {
        **whose(data.needed_image()),
        **limits(data.store, kind),
        "datastore_id": number(data.store, "ID"),
        "keep_last": keep,
        "format": text(data.needed_image(), "FORMAT", "raw").strip().lower(),
    }


def _flattened(voice: Voice, result: dict[str, Any]) -> None:
    if result.get("chain"):
        voice.answer(f"{result['size']} {','.join(result['chain'])}")


def _size(voice: Voice, result: dict[str, Any]) -> None:
    voice.answer(str(result["size"]))


def _monitor(kind: str, data: Data) -> Call:
    """Figures of the file system; an object store has none, so what oned counts is told (contract-ds 12.6)."""
    asked: list[Context] = []

    def reply(voice: Voice, result: dict[str, Any]) -> None:
        _totals(voice, result, data, asked[0])

    found = _where_it_lies(kind, "monitor", data, lambda _data, _kind: {}, reply)
    complete = found.complete

    def remembered(context: Context, here: bool) -> dict[str, Any]:
        asked.append(context)
        return complete(context, here)

    found.complete = remembered
    return found


def _totals(voice: Voice, result: dict[str, Any], data: Data, context: Context) -> None:
    figures = {name: int(result[f"{name.lower()}_mb"]) for name in ("USED", "FREE", "TOTAL")}
    if figures["TOTAL"] < 0:
        total = number(data.store, "TEMPLATE/TOTAL_MB", _TOTAL)
        store = number(data.store, "ID")
        images = context.oned.images().findall("IMAGE")
        used = sum(number(image, "SIZE", 0) for image in images if number(image, "DATASTORE_ID", -1) == store)
        figures = {"USED": used, "FREE": max(total - used, 0), "TOTAL": total}
    voice.lines([f"{name}_MB={value}" for name, value in figures.items()])


def _ls(kind: str, given: list[str], read: Callable[[], Data]) -> Call:
    words, wanted = list(given), -1
    for option in ("-i", "--increment"):
        if option in words:
            place = words.index(option)
            value = words[place + 1] if place + 1 < len(words) else ""
            if value != "-1":
                wanted = identifier(value, "backup's increment")
            del words[place : place + 2]
    arguments("ls", words, "ID", optional=1)

    def more(data: Data, _kind: str) -> dict[str, Any]:
        chosen = wanted if wanted >= 0 else max(number(data.root, "TEMPLATE/INCREMENT_ID", -1), -1)
        return {
            **whose(data.needed_image()),
            "datastore_id": number(data.store, "ID"),
            "increment_id": chosen,
            "format": text(data.needed_image(), "FORMAT", "raw").strip().lower(),
        }

    return _where_it_lies(kind, "ls", read(), more, _listed)


def _listed(voice: Voice, result: dict[str, Any]) -> None:
    from ..module_utils.tools.codec import dumps

    # a blank stands in a path only, and several of them are not one
    voice.answer(dumps(result["disks"]).decode().replace(" ", "\\u0020"))


_ACTIONS: dict[str, tuple[Callable[[Data, str], dict[str, Any]], Callable[[Voice, dict[str, Any]], None] | None]] = {
    "rm": (_rm, None),
    "stat": (_stat, _size),
    "increment_flatten": (_flatten, _flattened),
}
