# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a VM as volumes, for tests: actions on them, and somebody who has one open."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.unit.core.pools import Pools
from tests.unit.core.support import World, act

VM = 42


class Disks:
    """Disks of VM 42 in the system datastore 100 of a world, and volumes in the pools.

    :ivar pools: where the volumes are.
    """

    def __init__(self, pools: Pools, world: World) -> None:
        self.pools = pools
        self.world = world
        self.vm = world.root / "100" / str(VM)

    def path(self, disk: int = 0, vm: int = VM) -> Path:
        """Where oned says that a disk lies."""
        return self.world.root / "100" / str(vm) / f"disk.{disk}"

    def act(self, action: str, **more: Any) -> dict[str, Any]:
        """Run an action."""
        return act(action, **self.options(**more))

    def options(self, **more: Any) -> dict[str, Any]:
        """Options that every action has."""
        return self.pools.options(**{"datastore": self.world.system, "lock_timeout": 2, **more})

    def clone(self, number: int = 5, disk: int = 0, vm: int = VM, **more: Any) -> dict[str, Any]:
        """A disk of an image's own."""
        given = {"source": f"one/one-{number}", "destination": self.path(disk, vm), "force": True, **more}
        return self.act("tm_clone", **given)

    def delete(self, disk: int = 0, vm: int = VM, **more: Any) -> dict[str, Any]:
        """Delete a clone of image 5."""
        return self.act("tm_delete", **{"path": self.path(disk, vm), "image": "one/one-5", **more})


@contextmanager
def opened(pools: Pools, volume: str) -> Iterator[None]:
    """Somebody has a volume open, as a guest has."""
    code = (
        "import rados, rbd, sys\n"
        "c = rados.Rados(conffile=sys.argv[1], name='client.oneadmin'); c.connect()\n"
        "i = rbd.Image(c.open_ioctx('one'), sys.argv[2]); i.write(b'x', 0); print(flush=True); sys.stdin.read()\n"
        "i.close()\n"
    )
    argv = ["/usr/bin/python3", "-c", code, str(pools.cluster.conf), volume]
    guest = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert guest.stdin and guest.stdout
    try:
        assert guest.stdout.readline() == b"\n"
        yield
    finally:
        guest.stdin.close()
        guest.wait(20)
        guest.stdout.close()
