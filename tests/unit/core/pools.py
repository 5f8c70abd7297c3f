# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of a real Ceph cluster for the tests of the core, and ways to look at what an action left in them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.rbd import Access
from plugins.module_utils.tools.rbd.cluster import Cluster
from tests.lab import ceph
from tests.unit.core.support import MIB, pattern

POOLS = ("one", "one2")
#: What stands of a volume: size and digest, the snapshot that it stands on, its snapshots with their digests.
Volume = tuple[Any, ...]


class Pools:
    """The pools ``one`` and ``one2``, empty, and a staging area in *folder*.

    :ivar look: a connection of the tests' own, as client.oneadmin.
    """

    def __init__(self, cluster: ceph.Cluster, look: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.look = look
        self.folder = folder
        self.staging = folder / "staging"
        self.staging.mkdir(exist_ok=True)
        self.clear()

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of the driver, and more."""
        return {
            "driver": "ceph",
            "datastore": "/var/lib/one/datastores/100",
            "ceph_user": "oneadmin",
            "ceph_conf": str(self.cluster.conf),
            "staging_dir": str(self.staging),
            "stall_timeout": 20,
            **more,
        }

    def new(self, image: int, **more: Any) -> dict[str, Any]:
        """Options for a new image."""
        return self.options(datastore_id=100, image_id=image, regtime=1767225600, **more)

    # ---------------------------------------------------------------- making

    def file(self, name: str = "source", content: bytes = b"") -> Path:
        """A raw image with a hole and zeros in it: 6 MiB, data at its beginning and at its end."""
        path = self.folder / name
        path.write_bytes(content or image(name))
        return path

    def volume(self, name: str, content: bytes = b"", pool: str = "one", data: str = "") -> None:
        """A volume of 6 MiB as stock imports it."""
        more = ["--data-pool", data] if data else []
        self.cluster.rbd("import", "--no-progress", *more, "-", f"{pool}/{name}", given=content or image(name))

    def snapshot(self, name: str, snapshot: str, pool: str = "one") -> None:
        """A snapshot as stock takes it, protected."""
        self.look.ask("snapshot", pool=pool, name=name, snapshot=snapshot)
        self.look.ask("protect", pool=pool, name=name, snapshot=snapshot)

    def clone(self, name: str, snapshot: str, to: str, pool: str = "one") -> None:
        """A clone as stock makes one for a VM."""
        self.look.ask("clone", pool=pool, name=name, snapshot=snapshot, to_pool=pool, to_name=to, data_pool="")

    def patch(self, name: str, seed: str, pool: str = "one", place: int = MIB) -> None:
        """Write 64 KiB into a volume, as a guest would."""
        found = self.look.look(pool, name)
        assert found
        self.look.ask("begin", pool=pool, name=name)
        self.look.write(pattern(seed, 65536), place)
        self.look.ask("finish", size=found["size"])

    def branched(self, name: str = "one-5") -> dict[str, bytes]:
        """An image with the snapshots 1, 2 and 3, as taken one after the other; what each of them holds."""
        self.volume(name)
        held = {}
        for number in ("1", "2", "3"):
            self.patch(name, number, place=int(number) * MIB)
            self.snapshot(name, number)
            held[number] = self.cluster.content(f"one/{name}@{number}")
        self.patch(name, "now", place=4 * MIB)
        held["now"] = self.cluster.content(f"one/{name}")
        return held

    def reverted(self, name: str = "one-5") -> dict[str, bytes]:
        """The same after stock reverted it to 2: by the commands that stock uses (contract-ds 9.7)."""
        held = self.branched(name)
        self.cluster.rbd("rename", f"one/{name}", f"one/{name}-1:2:3")
        self.cluster.rbd("clone", f"one/{name}-1:2:3@2", f"one/{name}")
        self.patch(name, "after", place=5 * MIB)
        held["now"] = self.cluster.content(f"one/{name}")
        return held

    # ---------------------------------------------------------------- looking

    def content(self, volume: str) -> bytes:
        """What a volume holds, by the command ``rbd``."""
        return self.cluster.content(volume)

    def names(self, pool: str = "one") -> list[str]:
        """The volumes of a pool."""
        found: list[str] = self.look.ask("names", pool=pool)
        return found

    def trash(self, pool: str = "one") -> list[str]:
        """Names of what lies in the trash."""
        return sorted(item["name"] for item in self.look.ask("trash", pool=pool))

    def tree(self) -> dict[str, Volume]:
        """Everything that stands in the pools, but what is ours to hide."""
        found: dict[str, Volume] = {}
        for pool in POOLS:
            for name in self.names(pool):
                volume = self.look.look(pool, name)
                assert volume
                parent = volume["parent"]
                found[f"{pool}/{name}"] = (
                    volume["size"],
                    volume["format"],
                    volume["data_pool"],
                    self._digest(pool, name),
                    f"{parent['name']}@{parent['snapshot']}" if parent else "",
                    {
                        one["name"]: (self._digest(pool, name, one["name"]), one["protected"])
                        for one in volume["snapshots"]
                    },
                )
            for item in self.trash(pool):
                found[f"{pool} trash {item}"] = ()
        return found

    def _digest(self, pool: str, name: str, snapshot: str = "") -> str:
        return str(self.look.ask("digest", pool=pool, name=name, snapshot=snapshot, kind="md5")[0])

    def left(self) -> list[str]:
        """What is left of journals, locks, unfinished volumes and workshops: nothing, after any action."""
        found = [f"{pool}/{name}" for pool in POOLS for name in self.names(pool) if not name.startswith("one-")]
        for pool in POOLS:
            for kind in ("journal/", "lock/"):
                found += [f"{pool} {kind}{key}" for key in self.look.ask("entries", pool=pool, prefix=kind)]
        hidden = self.staging / HIDDEN
        return found + [str(path) for path in hidden.rglob("*") if path.name != "locks"] if hidden.exists() else found

    def watched(self) -> list[str]:
        """Volumes that somebody has open."""
        return [
            f"{pool}/{name}"
            for pool in POOLS
            for name in self.names(pool)
            if (self.look.look(pool, name) or {"watchers": []})["watchers"]
        ]

    def clear(self) -> None:
        """Remove everything that stands in the pools, whatever stands on what."""
        for pool in POOLS:
            for item in self.look.ask("trash", pool=pool):
                self.look.ask("restore", pool=pool, number=item["id"], name=f"trashed-{item['id']}")
            for name in self.names(pool):
                self.look.ask("flatten", pool=pool, name=name)
        for pool in POOLS:
            for name in self.names(pool):
                volume = self.look.look(pool, name)
                for snapshot in volume["snapshots"] if volume else []:
                    self.look.ask("forget", pool=pool, name=name, snapshot=snapshot["name"])
                self.look.ask("remove", pool=pool, name=name)
            for kind in ("journal/", "lock/"):
                for key in self.look.ask("entries", pool=pool, prefix=kind):
                    self.look.ask("write_entry", pool=pool, entry=kind + key, text="")


def image(seed: str, size: int = 6 * MIB) -> bytes:
    """A raw image: data, zeros, data."""
    return pattern(seed, 300000).ljust(size - 70000, b"\0") + pattern(seed + "end", 70000)


def digest(data: bytes) -> str:
    """MD5 in hexadecimal digits."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def connection(cluster: ceph.Cluster) -> Cluster:
    """A connection for tests."""
    return Cluster(Access("oneadmin", conf=str(cluster.conf)), 30, 120)


def info(volume: str, cluster: ceph.Cluster) -> dict[str, Any]:
    """What ``rbd info`` says."""
    found: dict[str, Any] = json.loads(cluster.rbd("info", "--format", "json", volume))
    return found


def qemu(*words: str | Path) -> None:
    """qemu-img."""
    subprocess.run(["qemu-img", *(str(word) for word in words)], check=True, capture_output=True, timeout=60)
