# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that oned knows: its settings and its objects, behind one lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .datastore import Datastore
from .host import Host
from .image import Image
from .states import HostState
from .users import Users
from .vm import History, Vm
from .xmldoc import Element, node

if TYPE_CHECKING:
    from .allocation import Allocation
    from .managing import Managing

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """oned's own configuration. `var_location` ends with a slash, as oned has it: hence the double one in all paths."""

    frontend: str = "frontend"
    var_location: str = "/var/lib/one/"
    session: str = "oneadmin:oneadmin"
    version: str = "7.5.80"
    monitor_vm_disks: int = 1

    @property
    def datastore_location(self) -> str:
        """DATASTORE_LOCATION; paths of VMs and BASE_PATH of datastores begin with it, double slash included."""
        return f"{self.var_location}/datastores"

    @property
    def vms_location(self) -> str:
        """Where oned keeps each VM's context and transfer files."""
        return f"{self.var_location}vms"

    @property
    def remotes(self) -> str:
        """The drivers' folder on the front-end."""
        return f"{self.var_location}remotes"

    def vm_home(self, vm_id: int) -> str:
        """The folder of one VM on the front-end (not the one with its disks)."""
        return f"{self.vms_location}/{vm_id}"

    def system_dir(self, ds_id: int, vm_id: int) -> str:
        """The folder with the disks of one VM, the same path on every host."""
        return f"{self.datastore_location}/{ds_id}/{vm_id}"

    def record_dir(self, record: History) -> str:
        """The folder with the disks that a history record stands for."""
        return self.system_dir(record.ds_id, record.vm_id)


class NotFoundError(LookupError):
    """There is no such object."""

    def __init__(self, kind: str, object_id: int) -> None:
        super().__init__(f"{kind} [{object_id}]")
        self.kind = kind
        self.object_id = object_id


class Oned:
    """The documents. Hold `lock` while changing several fields that must be seen together."""

    def __init__(self, settings: Settings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or Settings()
        self.lock = threading.RLock()
        self.vms: dict[int, Vm] = {}
        self.images: dict[int, Image] = {}
        self.datastores: dict[int, Datastore] = {}
        self.hosts: dict[int, Host] = {}
        self.templates: dict[int, tuple[int, str]] = {}
        """Owner and text of each template of VMs."""
        self.users = Users()
        self.allocation: Allocation | None = None
        """What makes images and templates for the API."""
        self.managing: Managing | None = None
        """What does for the API what administrators ask of images and VMs."""
        self._clock = clock

    def now(self) -> int:
        """Seconds since the epoch."""
        return int(self._clock())

    def vm(self, vm_id: int) -> Vm:
        """Raises NotFoundError."""
        return _get("virtual machine", self.vms, vm_id)

    def image(self, image_id: int) -> Image:
        """Raises NotFoundError."""
        return _get("image", self.images, image_id)

    def datastore(self, ds_id: int) -> Datastore:
        """Raises NotFoundError."""
        return _get("datastore", self.datastores, ds_id)

    def host(self, host_id: int) -> Host:
        """Raises NotFoundError."""
        return _get("host", self.hosts, host_id)

    def host_named(self, name: str) -> Host:
        """The host with this name. Raises NotFoundError."""
        for host in self.hosts.values():
            if host.name == name:
                return host
        raise NotFoundError(f"host {name}", -1)

    def add_host(self, name: str, host_id: int | None = None, state: HostState = HostState.MONITORED) -> Host:
        """A new host; ids count from 0 unless given."""
        with self.lock:
            host = Host(next_id(self.hosts) if host_id is None else host_id, name, state)
            self.hosts[host.id] = host
            return host

    def pool(self, tag: str, members: Iterable[Element]) -> str:
        """A pool document."""
        return node(tag, members).render()


def next_id(taken: Iterable[int]) -> int:
    """One more than the highest id in use."""
    return max(taken, default=-1) + 1


def _get(kind: str, objects: dict[int, T], object_id: int) -> T:
    try:
        return objects[object_id]
    except KeyError:
        raise NotFoundError(kind, object_id) from None
