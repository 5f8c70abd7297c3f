# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dead runs left in the hidden folder of a datastore, and who may take it away."""

from __future__ import annotations

import os
import time

from .hidden import ARRIVED, EXPORTS, HIDDEN, PROBE, QUARANTINE, STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host

_PROBE_SECONDS = 3600
_EXPORT_SECONDS = 86400
_KEPT_SECONDS = 86400


def sweep(host: Host, datastore: str) -> list[str]:
    """Remove workshops that no journal speaks of and nobody else holds; their keys are returned.

    The file that told how far a dead run was (:mod:`.progress`) goes with them, and so does the receipt of a VM's
    directory that somebody else removed.

    For the time before the first step: what is there then is not ours, whoever holds the lock.
    """
    folder = os.path.join(datastore, HIDDEN)
    names = host.entries(folder)
    swept = []
    for key in names:
        path = os.path.join(folder, key)
        if key.startswith(PROBE):
            _remove_old(path, _PROBE_SECONDS)
        if key == QUARANTINE:
            continue
        if key == EXPORTS:
            for name in host.entries(path):
                _remove_old(os.path.join(path, name), _EXPORT_SECONDS)
            continue
        told = key.endswith(STATUS)
        key = key[: -len(STATUS)] if told else key
        vm = ""
        if key.startswith("vm-") and key.endswith(ARRIVED):
            key, told = key[: -len(ARRIVED)], True
            vm = os.path.join(datastore, key[3:])
        if key + ".journal" in names or not (told or os.path.isdir(path)) or (vm and os.path.lexists(vm)):
            continue
        ours = host.holds(datastore, key)
        try:
            if not ours:
                host.lock(datastore, key, False, 0)
            try:
                # looked at again, now that nobody else can change it
                if not os.path.exists(os.path.join(folder, key + ".journal")) and not (vm and os.path.lexists(vm)):
                    if told:
                        host.remove(path, datastore)
                    elif not host.clear(datastore, key, True):
                        swept.append(key)
            finally:
                if not ours:
                    host.unlock(datastore, key)
        except OSError:
            # it is somebody's, or this host may only read here
            continue
    return swept


def is_kept(path: str) -> bool:
    """Whether something was written there not long ago."""
    newest = 0.0
    for place, _folders, files in os.walk(path):
        for name in files:
            newest = max(newest, os.lstat(os.path.join(place, name)).st_mtime)
    return time.time() - newest < _KEPT_SECONDS


def _remove_old(path: str, seconds: float) -> None:
    """Remove a file that was written longer ago than whoever needs it could need it for."""
    try:
        if time.time() - os.lstat(path).st_mtime > seconds:
            os.unlink(path)
    except OSError:
        pass
