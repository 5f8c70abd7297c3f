# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all steps on volumes of a Ceph pool have in common, and what is looked at (contract-tm 6.6)."""

from __future__ import annotations

import errno
import time

from .._errors import Busy
from ..tools.command import going_on
from ..tools.rbd import unfinished_of
from .base import LEAD, Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..tools.rbd.cluster import Cluster


def shown_volume(pool: str, name: str, snapshot: str = "") -> str:
    """A volume as people should read it: one that is being built goes by the name that it will have."""
    return f"{pool}/{unfinished_of(name)}" + (f"@{snapshot}" if snapshot else "")


class VolumeStep(Step):
    """A step on one volume."""

    def __init__(self, pool: str, name: str) -> None:
        super().__init__(LEAD)
        self.pool = pool
        self.name = name

    def shown(self, snapshot: str = "") -> str:
        """The volume, for sentences."""
        return shown_volume(self.pool, self.name, snapshot)

    def standing(self, site: Site, path: str) -> str:
        name, at, snapshot = path.partition("/")[2].partition("@")
        cluster = site.volumes()
        there = snapshot_of(cluster, self.pool, name, snapshot) if at else id_of(cluster, self.pool, name)
        return ("snapshot" if at else "volume") if there else "absent"

    def ask(self, site: Site, operation: str, **values: Any) -> Any:
        """Call the cluster about this volume."""
        return site.volumes().ask(operation, pool=self.pool, name=self.name, **values)


def id_of(cluster: Cluster, pool: str, name: str) -> str:
    """By what a volume is known whatever its name; empty when it is not there."""
    return str(cluster.ask("number", pool=pool, name=name)) if name else ""


def snapshot_of(cluster: Cluster, pool: str, name: str, snapshot: str) -> dict[str, Any] | None:
    """A snapshot of a volume, or None."""
    volume = cluster.seen(pool, name)
    for found in volume["snapshots"] if volume else []:
        if found["name"] == snapshot:
            return dict(found)
    return None


def leave_alone(site: Site, pool: str, names: Sequence[str], patience: float) -> None:
    """Return when nobody has these volumes open.

    A guest that was killed counts for half a minute more, until the cluster misses it.

    :param patience: seconds to wait, for all of them.
    :raises Busy: somebody has one open, and still had it then.
    """
    until = time.monotonic() + patience
    for name in names:
        pause = 0.05
        volume = site.volumes().seen(pool, name)
        while True:
            if volume is None or not volume["watchers"]:
                break
            if time.monotonic() >= until:
                raise Busy(
                    f"The volume {shown_volume(pool, name)} is open at {', '.join(volume['watchers'])}",
                    todo="end what uses it, is the virtual machine still running there",
                )
            going_on()
            time.sleep(pause)
            pause = min(2 * pause, 1)
            volume = site.volumes().look(pool, name)


def purge(cluster: Cluster, pool: str, name: str) -> None:
    """Delete a volume with its snapshots; fine when it is gone."""
    try:
        cluster.ask("remove", pool=pool, name=name)
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    volume = cluster.look(pool, name)
    for snapshot in volume["snapshots"] if volume else []:
        cluster.ask("forget", pool=pool, name=name, snapshot=snapshot["name"])
    cluster.ask("remove", pool=pool, name=name)
