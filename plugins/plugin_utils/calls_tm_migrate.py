# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls around a live migration, and those that they make of other drivers (contract-tm 1.2, 1.5, 2).

The driver of the system datastore is called. It has the VM's directory; a disk that another driver keeps elsewhere is
that driver's own, which is called here, on the front-end, with the same arguments and the caller's name after them.
"""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, Missing, ToolFailed, from_os, one_line
from ..module_utils.tools.ssh import check_host
from .calls import Call, Context, arguments
from .calls_tm import Place, image_format
from .documents import number, text
from .settings import prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

#: Drivers whose disks are files in the VM's directory and nothing else: there is nothing to call them for.
_IN_THE_DIRECTORY = ("dummy", "local", "qcow2", "shared", "ssh")


def hook(action: str, given: list[str]) -> Call:
    """The call of ``premigrate``, ``postmigrate`` or ``failmigrate``.

    The datastore that the VM leaves does not stand on the command line: the record of its history before the last one
    has it. The document on stdin has the last one alone, so oned is asked.
    """
    source, target, path, vm, store, caller = arguments(
        action, given, "SOURCE_HOST DESTINATION_HOST DIRECTORY VM_ID DATASTORE_ID CALLER", optional=3
    )
    place = Place(f"{check_host(target)}:{path}", "directory")
    if place.is_disk:
        raise BadCall(f"{place.path} is not a VM's directory")
    place.check_ids(vm, store)
    hosts = {"source": check_host(source), "destination": place.host}
    if caller:
        from .documents import drain

        # who sends a document waits until it is read
        drain()
        return Call(f"tm_{action}", _nothing, hosts, {"caller": caller})
    others = _Others(action, given)

    def complete(context: Context, here: bool) -> dict[str, Any]:
        from .documents import read_stdin

        others.document = read_stdin()
        known = context.vm(place.vm)
        others.learn(known, context)
        left = os.path.join(os.path.dirname(place.root), str(_left_datastore(known, place)))
        return {
            **context.settings.common(),
            "datastore": place.root,
            "source_datastore": left,
            "source": os.path.join(left, str(place.vm)),
            "destination": place.path,
            "disks": _written_disks(known),
        }

    # other drivers may take their time, and a node that is called waits for us a minute only
    return Call(f"tm_{action}", complete, hosts, hasty=False, asks=[("vm", place.vm)], others=others)


def _nothing(_context: Context, _here: bool) -> dict[str, Any]:
    raise BadCall("A hook that another driver called has nothing to complete")


def _left_datastore(vm: _Element, place: Place) -> int:
    records = vm.findall("HISTORY_RECORDS/HISTORY")
    if len(records) < 2:
        return place.datastore
    return number(records[-2], "DS_ID", place.datastore, f"The history of VM {place.vm}")


def _written_disks(vm: _Element) -> list[str]:
    """``<id>:<format>`` of the disks that the guest may write to."""
    found = []
    for disk in vm.findall("TEMPLATE/DISK"):
        name = text(disk, "DISK_ID").strip()
        only_read = text(disk, "READONLY").strip().upper() == "YES" or _kind(disk) in ("CDROM", "FILESYSTEM")
        if name and not only_read:
            found.append(f"{name}:{image_format(disk)}")
    return found


def _kind(disk: _Element) -> str:
    return text(disk, "TYPE").strip().upper()


class _Others:
    """The hooks of other drivers that a VM has disks of: all of them are called, and each has to succeed (Q26).

    :ivar document: what came on stdin, for them to read.
    """

    def __init__(self, action: str, given: list[str]) -> None:
        self.document = b""
        self._action = action
        self._given = given[:5]
        self._drivers: list[str] = []
        self._root = ""
        self._deadline = 0

    def learn(self, vm: _Element, context: Context) -> None:
        """Which drivers the VM's disks have."""
        names = {text(disk, "TM_MAD").strip() for disk in vm.findall("TEMPLATE/DISK") if _kind(disk) != "FILESYSTEM"}
        self._root = context.settings.root
        prefix = prefix_of(self._root)
        self._drivers = sorted(name for name in names - {""} if name.removeprefix(prefix) not in _IN_THE_DIRECTORY)
        self._deadline = context.settings.number("COMMAND_TIMEOUT", 3600)

    def __call__(self, caller: str) -> None:
        """Call them, one after the other.

        :param caller: the driver that was called itself.
        """
        for name in self._drivers:
            if name != caller:
                self._call(name, caller)

    def _call(self, name: str, caller: str) -> None:
        from ..module_utils.tools.command import run

        if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
            raise BadCall(f"'{one_line(name, 40)}' is not the name of a driver")
        script = os.path.join(self._root, "tm", name, self._action)
        if not os.path.exists(script):
            raise Missing(f"{script} is not there, and the virtual machine has disks of the driver {name}")
        try:
            ended = run([script, *self._given, caller], self._deadline, stdin=self.document, variables=dict(os.environ))
        except OSError as error:
            raise from_os(error, f"run {script}") from error
        if ended["rc"] != 0:
            lines = [line for line in str(ended["err"]).splitlines() if line.strip() and not _is_log(line)]
            said = one_line(lines[-1], 300) if lines else f"it ended with code {ended['rc']}"
            raise ToolFailed(f"The driver {name} fails to {self._action}: {said}", detail=one_line(ended["err"], 2000))


def _is_log(line: str) -> bool:
    return line.split(":", 1)[0] in ("ERROR", "INFO", "WARN", "DEBUG")
