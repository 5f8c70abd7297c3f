# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``local``: every host has a system datastore of its own, and qcow2 disks are chains of layers in it.

It copies like ``ssh`` (contract-tm 7.6). What differs is where a qcow2 disk lies: its first layer is
``disk.<n>.snap/0`` and ``disk.<n>`` a link to it, so that a snapshot is a new layer, not a copy.

Layers name their backing file with its folder, ``disk.<n>.snap/0``, and the folder has a link to itself, as with
``qcow2`` (6.1). A name alone, which stock's ``local`` writes, is not found when qemu opens the chain by ``disk.<n>``.
It is read.
"""

from __future__ import annotations

from .._errors import Refused
from .base import Request, base, parent
from .ssh import Ssh
from .vm_files import Disk


class Local(Ssh):
    """Copies over SSH, kept in layers."""

    name = "local"
    layered = True

    def first_layer(self, request: Request, disk: Disk, entries: list[list[str]]) -> str:
        """Layer 0 of a qcow2 disk.

        :raises Refused: the image is one file and has numbered files beside it that are something else: snapshots that
            another driver made as copies.
        """
        if request["format"] != "qcow2" or not disk.name.startswith("disk."):
            return ""
        image = request.site.lead.real(request["source"])
        # a link from layer 0 to the image stands for the image itself, which is copied anyway
        entries[:] = [entry for entry in entries if entry[0] != image]
        for path, _name in entries:
            if base(path).isdigit():
                raise Refused(
                    f"The image {request['source']} is one file, and {path} beside it is not a layer of it",
                    request.site.lead.name,
                    todo=f"is {parent(path)} of another driver",
                )
        return f"{disk.name}.snap/0"
