# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What OpenNebula, libvirt and the disks know of a VM's backups, compared: the front-end's part of the doctor."""

from __future__ import annotations

from ..module_utils._errors import Missing, StorageError, Unsupported
from .by_hand import act
from .calls_disks import RUNNING
from .calls_tm import Place
from .calls_tm_backup import config_of, disk_options, guest_options, what_of
from .documents import need, number, text, yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .calls import Context

#: LCM states of a backup that is being made (contract-tm 3).
_BACKING_UP = (69, 70)
#: STATE of a VM that is active, suspended or powered off: its disks lie on its host.
_ON_ITS_HOST = (3, 5, 8)
#: Disks that are never backed up, and those that are so when it is asked for (contract-tm 8.1).
_NEVER, _VOLATILE = ("SWAP", "CDROM"), ("FS",)
_RESET = "begin a new chain: onevm backup --reset"


def visited(context: Context, vm: int, repair: bool) -> dict[str, Any]:
    """What the doctor says of a VM: a row with ``findings``, and ``done`` when it mended something.

    What keeps it from looking is one of the findings.
    """
    row: dict[str, Any] = {"vm": vm, "name": "", "findings": [], "done": []}
    try:
        machine = context.vm(vm)
        row["name"] = text(machine, "NAME")
        if number(machine, "LCM_STATE", 0) in _BACKING_UP:
            _add(row, "note", "backing-up", "A backup of it is being made", "ask again when it has ended")
        else:
            _compare_chain(context, machine, row)
            result = _looked_at(context, machine, repair)
            row["findings"] += result["findings"]
            row["done"] = result["actions"]
    except StorageError as error:
        _add(row, "problem", error.code, str(error), error.todo or "put that right, and ask again")
    row["sound"] = not any(found["level"] == "problem" for found in row["findings"])
    return row


def _add(row: dict[str, Any], level: str, code: str, sentence: str, todo: str) -> None:
    found = {"level": level, "code": code, "disk": -1, "sentence": sentence, "todo": todo, "repairable": False}
    row["findings"].append(found)


def _compare_chain(context: Context, machine: _Element, row: dict[str, Any]) -> None:
    """What OpenNebula says of the chain in two places: with the VM, and with the image that has the increments."""
    last = number(machine, "BACKUPS/BACKUP_CONFIG/LAST_INCREMENT_ID", -1)
    image = number(machine, "BACKUPS/BACKUP_CONFIG/INCREMENTAL_BACKUP_ID", -1)
    if last < 0 or config_of(machine, "MODE") != "INCREMENT":
        return
    if image < 0:
        _add(row, "problem", "no-image", f"Increment {last} is the last one, and no image is told that has it", _RESET)
        return
    try:
        document = context.oned.image(image)
    except Missing:
        _add(row, "problem", "no-image", f"Image {image}, which has the increments, is gone", _RESET)
        return
    numbers = [number(one, "ID") for one in document.findall("BACKUP_INCREMENTS/INCREMENT")]
    if not numbers or max(numbers) != last:
        has = f"ends with {max(numbers)}" if numbers else "has none"
        text = f"Increment {last} is the last one of the virtual machine, and image {image} {has}"
        _add(row, "problem", "other-chain", text, _RESET)


def _looked_at(context: Context, machine: _Element, repair: bool) -> dict[str, Any]:
    records = machine.findall("HISTORY_RECORDS/HISTORY")
    state, vm = number(machine, "STATE", 0), number(machine, "ID")
    if not records or state not in _ON_ITS_HOST:
        raise Unsupported(f"The disks of VM {vm} are on no host now", todo="ask again when it runs, or is powered off")
    last = records[-1]
    store = context.datastore(number(last, "DS_ID"))
    place = Place(f"{need(last, 'HOSTNAME')}:{need(store, 'BASE_PATH')}/{vm}", "directory")
    driver = need(last, "TM_MAD")
    wanted = _disks(machine)
    from .launch import Placement
    from .settings import prefix_of

    hosts = {"destination": place.host}
    here = Placement("node", hosts, context.settings, "tm").here
    options: dict[str, Any] = {
        "datastore": place.root,
        "path": place.path,
        "repair": repair,
        **what_of(machine),
        **disk_options(context, machine, place, wanted, here),
    }
    base = context.settings.datastore("BACKUP_BASE_PATH").strip()
    if base:
        options["backup_path"] = base
    if number(machine, "LCM_STATE", 0) in RUNNING:
        options.update(guest_options(context, machine, "", wanted))
    return act(
        context.settings, "tm_backup_doctor", driver.removeprefix(prefix_of(context.settings.root)), hosts, options
    )


def _disks(machine: _Element) -> list[int]:
    """The disks that go into a backup."""
    left_out = _NEVER if yes(config_of(machine, "BACKUP_VOLATILE")) else (*_NEVER, *_VOLATILE)
    found = [
        number(disk, "DISK_ID")
        for disk in machine.findall("TEMPLATE/DISK")
        if text(disk, "TYPE").strip().upper() not in left_out
    ]
    if not found:
        raise Missing(f"VM {number(machine, 'ID')} has no disk that is backed up")
    return found
