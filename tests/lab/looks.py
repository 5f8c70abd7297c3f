# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at on every host after each event: contents byte for byte, what lies in the VM's directory and for
every image, by name, and that nothing else is there. What has to be there is told by :mod:`.model`."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.lab.ground import LabGround
from tests.lab.looking import layout, left_of_ours
from tests.lab.model import Disk, Image
from tests.lab.model_pool import BASE, VolumeDisk, family_of
from tests.lab.pool import VOLUME, described
from tests.lab.story import Check, Pairing, Story

#: A second system datastore of each driver that moves disks to one, by the first one.
OTHER_SYSTEM = {101: (108,), 103: (109,), 105: (110,), 107: (111,)}
#: Datastores of kernels, by whether the nodes see them.
FILES = {True: 113, False: 112}
#: What a VM boots from, which comes from there.
BOOT = ("kernel", "initrd")
#: The ISO is the last disk that a VM is made with.
_CONTEXT = 4


class Looks(Story):
    """A story that knows what has to be where.

    :ivar model: the disks that come from images, by number; :ivar known: the images, by label.
    :ivar system_ds: the system datastore that the VM is in; :ivar gone: VMs that are no more.
    :ivar stays: of persistent disks that were detached, what stays on the host until the VM's directory goes.
    """

    def __init__(self, ground: LabGround, pairing: Pairing, environment: dict[str, str] | None = None) -> None:
        super().__init__(ground, pairing, environment)
        self.lab_ground = ground
        self.model: dict[int, Disk] = {}
        self.known: dict[str, Image] = {}
        self.system_ds = pairing.system_ds
        self.files = FILES[pairing.shared_images]
        self.gone: list[int] = []
        self.stays: dict[str, str] = {}
        self._seen: dict[tuple[str, str], tuple[object, str]] = {}

    def _directory(self) -> str:
        return f"{self.ground.oned.settings.datastore_location}/{self.system_ds}/{self.vm}"

    def _look(self) -> list[Check]:
        checks = []
        alive = bool(self.model)
        if alive:
            checks += self._look_contents()
        checks += [*self._look_images_all(), *self._look_pool()]
        for host in (self.ground.frontend, *self.ground.nodes):
            checks += self._look_host(host, alive)
        left = left_of_ours(self.ground)
        checks.append(Check("nothing of ours is left", not left, ", ".join(left)))
        return checks

    def _same_bytes(self, what: str, host: str, path: str, disk_format: str, golden: bytes) -> Check:
        found, wanted = self._content(host, path, disk_format), hashlib.sha256(golden).hexdigest()
        return Check(what, found == wanted, "" if found == wanted else f"on {host}: {found[:12]} is not {wanted[:12]}")

    def _content(self, host: str, path: str, disk_format: str) -> str:
        """As any story; what no file has changed of since the last look is not read again."""
        key = (host, path)
        state = self._state_of(host, path)
        if key not in self._seen or self._seen[key][0] != state:
            self._seen[key] = (state, super()._content(host, path, disk_format))
        return self._seen[key][1]

    def _state_of(self, host: str, path: str) -> object:
        """Inode, size and time of a file, of all in the folder that it really lies in, and of all layers of images.

        Of a volume nothing but its content tells whether it changed.
        """
        if path.startswith(VOLUME):
            return object()
        seen = self.lab_ground.lab.path(host, path, follow=True)
        store = self.lab_ground.lab.path(self.ground.frontend, self._store())
        files = [seen, *seen.parent.iterdir(), *store.glob("*"), *store.glob("*.snap/*")]
        found = [(str(file), file.lstat()) for file in files]
        return sorted((name, info.st_ino, info.st_size, info.st_mtime_ns) for name, info in found)

    def _store(self) -> str:
        return f"{self.ground.oned.settings.datastore_location}/{self.pairing.image_ds}"

    def _look_contents(self) -> list[Check]:
        host, directory, checks = self._where(), self._directory(), []
        for disk in self.model.values():
            checks.append(self._same_bytes(disk.name, host, disk.place(directory), disk.format, bytes(disk.now)))
            for number, content in disk.snapshots.items():
                path = disk.place_of(number, directory, self._source(disk.image.id))
                checks.append(self._same_bytes(f"{disk.name}, snapshot {number}", host, path, disk.format, content))
        checks += [self._filesystem(host), self._context(host)]
        for name in BOOT:
            found = self.ground.path(host, f"{directory}/{name}").read_bytes()
            checks.append(Check(name, found == self.known[name].content))
        return checks

    def _source(self, image: int) -> str:
        return super()._source(image).replace("//", "/")

    def _look_images_all(self) -> list[Check]:
        """Every image by its name, but those that a VM writes to in place: these are looked at as its disks."""
        busy = [disk.image.label for disk in self.model.values() if disk.linked]
        frontend = self.ground.frontend
        return [
            self._same_bytes(f"image {label}", frontend, self._file_of(image) + image.top, image.format, image.content)
            for label, image in self.known.items()
            if label not in busy and image.id in self.ground.oned.images
        ]

    def _file_of(self, image: Image) -> str:
        """Where an image is; files to boot from are never volumes."""
        if image.label in BOOT:
            return self.ground.oned.image(image.id).source.replace("//", "/")
        return self._source(image.id)

    def _look_pool(self) -> list[Check]:
        """All volumes by name, what each stands on, and its snapshots."""
        pool = self.ground.pool
        if not self.pairing.images_in_pool or pool is None:
            return []
        wanted: dict[str, str] = {}
        volumes = [disk for disk in self.model.values() if isinstance(disk, VolumeDisk)]
        cloned = {disk.image.id for disk in volumes if not disk.persistent}
        for image in self.known.values():
            if image.id in self.ground.oned.images and image.label not in BOOT:
                wanted.update(family_of(image).volumes((BASE,) if image.id in cloned else ()))
        for disk in volumes:
            if not disk.persistent:
                wanted.update(disk.family.volumes())
        if self.pairing.disks_in_pool and self.model:
            numbers = [disk.id for disk in self._vm().disks if disk.is_volatile]
            wanted.update({f"one-sys-{self.vm}-{number}": described() for number in numbers})
        left = pool.left()
        return [
            self._compared("the cluster", "pool", pool.volumes(), wanted),
            Check("nothing of ours is left in the pool", not left, ", ".join(left)),
        ]

    def _look_host(self, host: str, alive: bool) -> list[Check]:
        settings, pairing = self.ground.oned.settings, self.pairing
        names: dict[str, str] = {}
        for label, image in self.known.items():
            if image.id in self.ground.oned.images:
                source = self._file_of(image)
                names.update({source: label.upper(), source.rsplit("/", 1)[1]: label})
        wanted: dict[str, dict[str, str]] = {}
        sees_images = host == self.ground.frontend or pairing.shared_images
        in_files = sees_images and not pairing.images_in_pool
        wanted[self._store()] = self._wanted_images(False) if in_files else {}
        files = f"{settings.datastore_location}/{self.files}"
        wanted[files] = self._wanted_images(True) if sees_images else {}
        for store in (pairing.system_ds, *OTHER_SYSTEM.get(pairing.system_ds, ())):
            path = f"{settings.datastore_location}/{store}"
            here = alive and store == self.system_ds and (not pairing.local or host == self._where())
            wanted[path] = self._wanted_directory() if here else {}
            if pairing.own_disks and (here or self.ground.path(host, f"{path}/.monitor").exists()):
                # it says who monitors this host from the first VM on
                wanted[path][".monitor"] = "text ssh\n"
        return [
            self._compared(host, path, self._found(host, path, names), names_wanted)
            for path, names_wanted in wanted.items()
            # what all hosts have in common is looked at once
            if host == self.ground.frontend or int(path.rsplit("/", 1)[1]) not in self.lab_ground.lab.shared
        ]

    def _found(self, host: str, path: str, names: dict[str, str]) -> dict[str, Any]:
        found = layout(self.ground, host, path, names)
        mine = {str(number) for number in (*self.gone, self.vm)}
        others = {name for name in found if name.split("/")[0].isdigit() and name.split("/")[0] not in mine}
        return {name: _folded(what) for name, what in found.items() if name not in others}

    @staticmethod
    def _compared(host: str, path: str, found: dict[str, Any], wanted: dict[str, str]) -> Check:
        wrong = [
            f"{name} is {found.get(name)}, not {wanted.get(name)}"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
        return Check(f"{path} on {host}", not wrong, "; ".join(wrong))

    def _wanted_images(self, of_files: bool) -> dict[str, str]:
        wanted: dict[str, str] = {}
        used = {disk.image.label: disk for disk in self.model.values() if disk.linked}
        for label, image in self.known.items():
            if image.id in self.ground.oned.images and (label in BOOT) == of_files:
                wanted.update(used[label].beside_image() if label in used else image.around)
        return wanted

    def _wanted_directory(self) -> dict[str, str]:
        number, kind = str(self.vm), "qcow2" if self.pairing.disk_format == "qcow2" else "raw"
        inside = {**self.stays, "disk.4": "iso", **dict.fromkeys(BOOT, "raw")}
        if not self.pairing.disks_in_pool:
            inside.update({"disk.2": kind, "disk.3": "swap"})
            more = [disk for disk in self._vm().disks if disk.is_volatile and disk.id > _CONTEXT]
            inside.update({f"disk.{disk.id}": disk.format for disk in more})
        for known in self.model.values():
            inside.update(known.in_directory())
        return {number: "directory", **{f"{number}/{name}": what for name, what in inside.items()}}


def _folded(what: str) -> str:
    """A layer's name without the folder's link to itself: libvirt joins the names of two layers when it drops the one
    between them, which leads to the same file."""
    return re.sub(r"\b(disk\.\d+\.snap/)\1+", r"\1", what)
