# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Ceph cluster as hosts of the lab know it: configuration and key on each, a secret in libvirt, attributes for oned,
and ways to look at what is in its pools."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import ceph
from tests.lab.hosts import Lab
from tests.lab.virt import Hypervisor

CONF, RING = "/etc/ceph/one.conf", "/etc/ceph/one.keyring"
POOL = "one"
#: Of a place that is a volume: ``rbd:one/one-5@snap``, as the machines of the lab are told it too.
VOLUME = "rbd:"
_SECRET = "8f1c4f0e-3c6e-4a51-9a0b-6e0f1f7e2a10"
_LISTING = Path(__file__).with_name("pool_listing.py")


def begin(lab: Lab | None = None, size: int = 2 << 30) -> ceph.Cluster:
    """A running cluster in the lab's network, at an address that is no host's, or on this machine without a lab.

    :func:`end` ends it.

    :param size: bytes that it can hold, in memory.
    """
    address, prefix = lab.outside() if lab else ("127.0.0.1", [])
    made = ceph.Cluster(Path(tempfile.mkdtemp(prefix="ceph-")) / "c", address, prefix, size)
    try:
        made.start()
    except BaseException:
        end(made)
        raise
    return made


def end(cluster: ceph.Cluster) -> None:
    """End a cluster that :func:`begin` made; nothing of it stays."""
    cluster.stop()
    shutil.rmtree(cluster.folder.parent, ignore_errors=True)


class Pool:
    """The pools of a cluster.

    :param conf: the path of its configuration for clients, as hosts see it.
    :param bridges: hosts that reach it.
    """

    def __init__(self, cluster: ceph.Cluster, conf: str, bridges: Sequence[str]) -> None:
        self.cluster = cluster
        self.conf = conf
        self.bridges = bridges

    def template(self) -> dict[str, str]:
        """Attributes of a datastore in it (contract-ds 9)."""
        return {
            "BRIDGE_LIST": " ".join(self.bridges),
            "CEPH_CONF": self.conf,
            "CEPH_SECRET": _SECRET,
            "CEPH_USER": "oneadmin",
            "DISK_TYPE": "RBD",
            "POOL_NAME": POOL,
        }

    def opened(self, place: str) -> str:
        """A place as programs of QEMU open it: a path is one already."""
        return f"{place}:id=oneadmin:conf={self.conf}" if place.startswith(VOLUME) else place

    # ---------------------------------------------------------------- machines

    @property
    def source(self) -> str:
        """Where volumes are, as libvirt is told it."""
        port = self.cluster.conf.read_text().partition(f"{self.cluster.address}:")[2].partition("/")[0]
        return (
            f"<host name='{self.cluster.address}' port='{port}'/>"
            f"<auth username='oneadmin'><secret type='ceph' uuid='{_SECRET}'/></auth>"
        )

    def lend(self, hypervisor: Hypervisor) -> None:
        """Give libvirt on a host the key; it may have it already."""
        place = "/var/tmp/secret.xml"
        usage = "<usage type='ceph'><name>one</name></usage>"
        text = f"<secret ephemeral='no' private='yes'><uuid>{_SECRET}</uuid>{usage}</secret>"
        hypervisor.lab.path(hypervisor.host, place).write_text(text)
        hypervisor.virsh("secret-define", place)
        hypervisor.virsh("secret-set-value", _SECRET, self.cluster.keyfile.read_text().strip())

    # ---------------------------------------------------------------- looking

    def content(self, place: str) -> bytes:
        """All bytes of a volume or a snapshot."""
        return self.cluster.content(place[len(VOLUME) :])

    def listing(self) -> dict[str, Any]:
        """What :mod:`.pool_listing` tells of the pools that images are in."""
        line = [*self.cluster.prefix, "/usr/bin/python3", "-I", str(_LISTING), str(self.cluster.conf), "one", "one2"]
        done = subprocess.run(line, capture_output=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"the pools cannot be listed: {done.stderr.decode()[-800:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def volumes(self) -> dict[str, str]:
        """Every volume by its name: what it stands on, its snapshots; what lies in the trash as well."""
        found = {}
        for pool, has in self.listing().items():
            for name, item in has["volumes"].items():
                key = name if pool == POOL else f"{pool}/{name}"
                found[key] = described(item["parent"], [*item["snapshots"]])
            found.update({f"trash of {pool}: {name}": "" for name in has["trash"]})
        return found

    def watchers(self) -> dict[str, list[str]]:
        """Who has which volume of the pool open: addresses of clients."""
        return {name: item["watchers"] for name, item in self.listing()[POOL]["volumes"].items() if item["watchers"]}

    def left(self) -> list[str]:
        """What may not be there while nothing runs: journals and locks, volumes that are open, locked or unfinished,
        snapshots that are not protected."""
        left = []
        for pool, has in self.listing().items():
            left += [f"{pool}: {entry}" for entry in has["entries"]]
            for name, item in has["volumes"].items():
                left += [f"{pool}/{name} is open at {watcher}" for watcher in item["watchers"]]
                left += [f"{pool}/{name} is locked by {locker}" for locker in item["lockers"]]
                left += [f"{pool}/{name}@{one} is not protected" for one, safe in item["snapshots"].items() if not safe]
                left += [f"{pool}/{name}"] if name.startswith("one_storage") else []
        return left

    def strays(self) -> list[str]:
        """Objects of no volume: the cluster needs a while to clear those of snapshots that went."""
        return [f"{pool}: {key}" for pool, has in self.listing().items() for key in has["objects"]]

    def empty(self) -> None:
        """Remove all volumes, whatever stands on what; for tests that do not come to a disk's own end."""
        rbd = self.cluster.rbd
        for pool, has in self.listing().items():
            rbd("trash", "purge", "--no-progress", pool)
            for name, item in has["volumes"].items():
                if item["parent"]:
                    rbd("flatten", "--no-progress", f"{pool}/{name}")
            for name, item in has["volumes"].items():
                for snapshot, protected in item["snapshots"].items():
                    if protected:
                        rbd("snap", "unprotect", f"{pool}/{name}@{snapshot}")
                rbd("snap", "purge", "--no-progress", f"{pool}/{name}")
                rbd("rm", "--no-progress", f"{pool}/{name}")


class LabPool(Pool):
    """The same, with hosts of the lab that are told of it until :meth:`hide`."""

    def __init__(self, lab: Lab, cluster: ceph.Cluster, hosts: Sequence[str]) -> None:
        super().__init__(cluster, CONF, [host for host in hosts if host != lab.frontend])
        self._lab, self._hosts = lab, hosts
        ring = (cluster.folder / "ceph.client.oneadmin.keyring").read_text()
        text = cluster.conf.read_text().replace(f"{cluster.folder}/ceph.$name.keyring", RING)
        for host in hosts:
            lab.run(host, ["mkdir", "-p", "/etc/ceph"], user="root")
            lab.path(host, RING).write_text(ring)
            lab.path(host, CONF).write_text(text)

    def hide(self) -> None:
        """Take it away from the hosts again."""
        for host in self._hosts:
            self._lab.run(host, ["rm", "-f", CONF, RING], user="root")


def described(parent: str = "", snapshots: Sequence[str] = ()) -> str:
    """A volume in words: by itself it stands on nothing and has no snapshot."""
    return f"on {parent or 'nothing'}, snapshots {' '.join(sorted(snapshots)) or 'none'}"
