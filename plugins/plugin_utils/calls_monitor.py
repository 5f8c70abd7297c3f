# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitoring calls of system datastores: oned's, on the front-end, and the probe's, on a node (contract-tm 9)."""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, StorageError
from ..module_utils.drivers.base import clean_path
from .calls import Call, Context, arguments, identifier, refuse
from .documents import decode, need, number, parse, read_stdin, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .answer import Voice

#: The probe comes every 30 seconds (contract-tm 9.2) and waits: it must have its answer before it is due again.
_PROBE_SECONDS = 25


def monitor(given: list[str], volumes: bool = False) -> Call:
    """``tm/<mad>/monitor DATASTORE_ID``, with the document on stdin, which has to be read in any case (13).

    :param volumes: whether the disks are volumes of a pool, which the document tells how to reach.
    """
    (store,) = arguments("monitor", given, "DATASTORE_ID", optional=1)
    data = read_stdin()
    # storage that is each host's own has nothing to ask of the document, and none is fine
    document = parse(decode(data)) if data.strip() else None

    def complete(context: Context, _here: bool) -> dict[str, Any]:
        element = None if document is None else document.find("DATASTORE")
        if document is None or element is None:
            raise BadCall("The document on stdin has no DATASTORE" if data.strip() else "There is no document on stdin")
        name = identifier(store, "datastore") if store else number(element, "ID")
        refuse(element, f"Datastore {name}", ("NFS_AUTO_ENABLE",))
        location = text(document, "DATASTORE_LOCATION").strip()
        template = element.find("TEMPLATE")
        reached: dict[str, Any] = {}
        if volumes:
            from .calls_ceph import ceph_options

            reached = ceph_options(context.settings, [] if template is None else [template], f"Datastore {name}")
        return {
            **context.settings.common(),
            **reached,
            "datastore": os.path.join(location, str(name)) if location else need(element, "BASE_PATH"),
            "vm_disks": number(document, "MONITOR_VM_DISKS", 0) > 0,
        }

    def reply(voice: Voice, result: dict[str, Any]) -> None:
        voice.lines([f"{name}_MB={result[name.lower() + '_mb']}" for name in ("USED", "FREE", "TOTAL")])
        _warn(voice, result)
        if result["vms"]:
            try:
                _send(result["vms"])
            except StorageError as error:
                # the totals are told, and the sizes come again with the next round
                voice.log("WARN", f"monitord is not told the sizes of disks: {error}")

    bridges = "" if document is None else text(document, "DATASTORE/TEMPLATE/BRIDGE_LIST")
    return Call("tm_monitor", complete, early={"vm_disks": False}, reply=reply, bridges=bridges.split())


def monitor_ds(given: list[str]) -> Call:
    """``tm/<mad>/monitor_ds DIRECTORY``, run on a node by its monitoring probe; nothing is on stdin."""
    (folder,) = arguments("monitor_ds", given, "DIRECTORY")
    path = clean_path(folder, "datastore")

    def complete(context: Context, _here: bool) -> dict[str, Any]:
        common = context.settings.common()
        for name in ("command_timeout", "stall_timeout"):
            common[name] = min(common[name], _PROBE_SECONDS)
        return {**common, "datastore": path}

    def reply(voice: Voice, result: dict[str, Any]) -> None:
        from .monitord import vm_lines

        voice.lines(vm_lines(result["vms"], 'VM = [ ID = {id}, MONITOR = "{text}" ]'))
        _warn(voice, result)

    return Call("tm_monitor_ds", complete, reply=reply)


def _warn(voice: Voice, result: dict[str, Any]) -> None:
    for sentence in result["missed"]:
        voice.log("WARN", sentence)


def _send(vms: list[dict[str, Any]]) -> None:
    from .monitord import Monitord, settings

    found = settings()
    if found is not None:
        Monitord(found).send_vms(vms)
