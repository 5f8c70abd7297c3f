# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a volume is, by its name (contract-tm 6.6).

Names are read whole, from the left: ``one-1`` has nothing to do with ``one-10``. ``one-5`` is an image, ``one-5-7`` and
``one-5-7:9`` are what reverts retired of it, ``one-5-42-0`` is disk 0 of VM 42, ``one-5-42-0-7:9`` is retired of that,
``one-sys-42-1`` is a disk that was made empty, ``one-sys-42-checkpoint`` the saved memory of VM 42.
"""

from __future__ import annotations

import re

from ..tools.rbd import UNFINISHED

_NAME = re.compile(
    r"(?P<image>one-(?:\d+|sys))(?:-(?P<vm>\d+)-(?P<disk>\d+))?(?:-(?P<retired>\d+(?::\d+)*))?", re.ASCII
)
_MEMORY = re.compile(r"one-sys-(\d+)-checkpoint", re.ASCII)


class Named:
    """What a volume's name says.

    :ivar what: ``image``, ``disk``, ``memory`` (of a VM that was suspended or stopped), ``unfinished`` (a run of ours
        makes it, or set it aside) or ``other``.
    :ivar owner: the name of the volume that it is, or, when a revert retired it, was.
    :ivar retired: ids of the snapshots for which it was kept; empty for all others.
    :ivar vm: -1 for what is of no VM; :ivar disk: the same.
    """

    def __init__(self, what: str, owner: str, retired: str = "", vm: int = -1, disk: int = -1) -> None:
        self.what = what
        self.owner = owner
        self.retired = retired
        self.vm = vm
        self.disk = disk


def named(name: str, known: frozenset[str] | set[str] = frozenset()) -> Named:
    """What a volume's name says.

    :param known: names of images, which need not be those that OpenNebula gives: a volume may have been registered.
    """
    if name in known:
        return Named("image", name)
    if name.startswith(UNFINISHED):
        return Named("unfinished", name)
    memory = _MEMORY.fullmatch(name)
    if memory:
        return Named("memory", name, vm=int(memory[1]))
    found = _NAME.fullmatch(name)
    if found is None or (found["image"] == "one-sys" and found["vm"] is None):
        return _of_registered(name, known) or Named("other", name)
    retired = found["retired"] or ""
    owner = name[: -len(retired) - 1] if retired else name
    if found["vm"] is None:
        return Named("image", owner, retired)
    return Named("disk", owner, retired, int(found["vm"]), int(found["disk"]))


def _of_registered(name: str, known: frozenset[str] | set[str]) -> Named | None:
    """A clone, or a retired volume, of an image that has a name of its own; of two images that of the longer name."""
    for image in sorted(known, key=len, reverse=True):
        if name.startswith(image + "-"):
            found = named("one-0" + name[len(image) :])
            if found.what in ("image", "disk"):
                return Named(found.what, image + found.owner[len("one-0") :], found.retired, found.vm, found.disk)
    return None
