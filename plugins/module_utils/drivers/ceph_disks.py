# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: disks of VMs as volumes: clone, ln, mvds, delete, mkimage, mkswap, resize (contract-tm 6.6, 7.7).

A disk is named by its place in the VM's directory, where nothing of it lies. A clone is ``<image>-<vm>-<disk>``, a
persistent disk the image itself, a volatile one ``one-sys-<vm>-<disk>``.
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, Refused
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import SetAside
from ..steps.volume_base import id_of, leave_alone, snapshot_of
from ..steps.volume_names import DiscardVolume, DropVolume, PublishVolume
from ..steps.volume_snapshots import ForgetSnapshot, ReleaseBase, SnapshotVolume
from ..steps.volumes import CloneImage, CopyVolume, CreateVolume, FillVolume, ResizeVolume
from ..tools.chain import is_number
from ..tools.rbd import unfinished, volume_of
from .base import Answer, Plan, Request, base
from .ceph_images import CephVolumes, Member, claim_of, family, is_retired, needed, refuse_foreign
from .ceph_snapshots import gone
from .vm_files import Disk, VmFiles, check_fs, check_size, empty_image, is_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.rbd.cluster import Cluster
    from .base import Reply

#: The snapshot of an image on which all of its clones stand.
BASE = "snap"


class CephDisks(CephVolumes, VmFiles):
    """Disks that come, go and grow."""

    name = "ceph"
    kind = "tm"

    def idle(self, action: str, options: dict[str, Any]) -> bool:
        """A persistent disk was the image all the time, and the hypervisor itself grows that of a running VM."""
        if action == "delete":
            return bool(options.get("persistent"))
        if action == "resize":
            return bool(options.get("running"))
        return action == "mvds"

    # ------------------------------------------------------------ clone, ln, mvds

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        disk, image = Disk(options["destination"], options["datastore"]), volume_of(options["source"])
        own = claim_of(image[0], clone_name(image[1], disk))
        return [own, claim_of(*image, shared=True), Claim(LEAD, disk.datastore, disk.key)]

    def clone(self, request: Request) -> Reply:
        """Give a VM a volume of its own that stands on the image; of format 1 it is a copy."""
        disk, (pool, image) = Disk(request["destination"], request["datastore"]), volume_of(request["source"])
        name = clone_name(image, disk)
        if settled(request, pool, name):
            return Answer(path=disk.path)
        found = needed(request.site.volumes(), pool, image)
        part = unfinished(name, request.site.run)
        grows = request["original_size"] and request["size"] > request["original_size"]
        size = check_size(request["size"]) << 20 if grows else 0
        if found["format"] == 1:
            steps: list[Step] = [CopyVolume((pool, image), "", pool, part, 1, request["data_pool"])]
            steps += [ResizeVolume(pool, part, size)] if size else []
        else:
            steps = [SnapshotVolume(pool, image, BASE)]
            steps.append(CloneImage((pool, image), BASE, pool, part, request["data_pool"], size))
        return Plan(steps + published(request, pool, part, name) + unmarked(request, disk))

    def claims_ln(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        return [claim_of(*volume_of(options["source"])), Claim(LEAD, disk.datastore, disk.key)]

    def ln(self, request: Request) -> Reply:
        """Let a VM write to the image itself: the snapshot for clones goes, which would be out of date from now on."""
        disk, (pool, name) = Disk(request["destination"], request["datastore"]), volume_of(request["source"])
        needed(request.site.volumes(), pool, name)
        steps = unmarked(request, disk)
        steps += without_base(request, pool, name)
        return Plan(steps) if steps else Answer(path=disk.path, target=f"{pool}/{name}")

    def mvds(self, request: Request) -> Reply:
        """Nothing: a persistent disk was the image all the time."""
        return Answer()

    # ------------------------------------------------------------ delete

    def claims_delete(self, options: dict[str, Any]) -> list[Claim]:
        path, _datastore = self._deleted(options)
        if not is_disk(path):
            return super().claims_delete(options)
        claims = [claim_of(*disk_volume(options, path))]
        return [*claims, claim_of(*volume_of(options["image"]), shared=True)] if options["image"] else claims

    def delete(self, request: Request) -> Reply:
        """Delete a disk with its snapshots, or a VM's directory with the volume of its saved memory.

        With CEPH_TRASH a disk goes to the trash, on its own feet. The image's snapshot for clones goes with the last of
        them.
        """
        path, _datastore = self._deleted(request.options)
        if not is_disk(path):
            return self._delete_directory(request)
        cluster = request.site.volumes()
        pool, name = disk_volume(request.options, path)
        members = family(cluster, pool, name) or remains(cluster, pool, name)
        if request.ran and not members:
            return Answer(path=path)
        refuse_foreign(members, pool, name, "deleted")
        closed(request, pool, [member.name for member in members])
        steps = gone(request, pool, members)
        if request["image"]:
            image = volume_of(request["image"])
            if snapshot_of(cluster, *image, BASE):
                steps.append(ReleaseBase(*image, BASE))
        return Plan(steps) if steps else Answer(path=path)

    def _delete_directory(self, request: Request) -> Reply:
        """The directory goes also from a host that does not reach the cluster, such as the front-end."""
        reply = super().delete(request)
        if not isinstance(reply, Plan):
            return reply
        pool, name = request["pool"], f"one-sys-{base(request['path'])}-checkpoint"
        try:
            if id_of(request.site.volumes(), pool, name):
                reply.steps.append(DropVolume(pool, name))
        except OSError as error:
            request.site.warn(f"Whether there is a volume {pool}/{name} is not known: {error.strerror}")
        return reply

    # ------------------------------------------------------------ mkimage, mkswap

    def claims_mkimage(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        return [claim_of(options["pool"], volatile_name(disk)), Claim(LEAD, disk.datastore, disk.key)]

    claims_mkswap = claims_mkimage

    def _empty(self, request: Request, image_format: str, fs: str) -> Reply:
        disk, pool = Disk(request["destination"], request["datastore"]), request["pool"]
        name, size = volatile_name(disk), check_size(request["size"])
        if settled(request, pool, name):
            return Answer(path=disk.path)
        part = unfinished(name, request.site.run)
        more = (request["rbd_format"], request["data_pool"])
        if not fs and image_format != "swap":
            return Plan([CreateVolume(pool, part, size << 20, *more), *published(request, pool, part, name)])
        if fs:
            check_fs(fs, request["supported_fs"])
        file = os.path.join(request.shop(Claim(LEAD, disk.datastore, disk.key)), disk.name)
        kind = "swap" if image_format == "swap" else "raw"
        steps = empty_image(file, disk.datastore, kind, size, fs, request["fs_options"] if fs else [])
        return Plan([*steps, FillVolume(file, pool, part, *more), *published(request, pool, part, name)])

    # ------------------------------------------------------------ resize

    def claims_resize(self, options: dict[str, Any]) -> list[Claim]:
        return [claim_of(*disk_volume(options, options["path"]))]

    def resize(self, request: Request) -> Reply:
        """Let the volume that is written to be larger. Snapshots keep their size."""
        size = check_size(request["size"])
        pool, name = disk_volume(request.options, request["path"])
        before = int(needed(request.site.volumes(), pool, name)["size"])
        if before > size << 20:
            raise Refused(
                f"The volume {pool}/{name} cannot be made smaller: it has {-(-before >> 20)} MB, not {size} MB"
            )
        if before == size << 20:
            return Answer(path=request["path"])
        return Plan([ResizeVolume(pool, name, size << 20)])


# -------------------------------------------------------------------- names


def _numbers(disk: Disk) -> str:
    vm, number = base(disk.directory), disk.name[len("disk.") :]
    if not disk.name.startswith("disk.") or not is_number(vm) or not is_number(number):
        raise BadCall(f"{disk.path} is not the place of a disk, such as 100/42/disk.0")
    return f"{vm}-{number}"


def clone_name(image: str, disk: Disk) -> str:
    """The volume of a VM's disk that was made from an image."""
    return f"{image}-{_numbers(disk)}"


def volatile_name(disk: Disk) -> str:
    """The volume of a VM's disk that was made empty."""
    return f"one-sys-{_numbers(disk)}"


def disk_volume(options: dict[str, Any], path: str) -> tuple[str, str]:
    """Pool and name of the volume that a disk is: options ``image``, empty for a volatile disk, and ``persistent``."""
    disk = Disk(path, options["datastore"])
    if not options["image"]:
        pool, name = volume_of(f"{options['pool']}/{volatile_name(disk)}")
        return pool, name
    pool, image = volume_of(options["image"])
    return pool, image if options["persistent"] else clone_name(image, disk)


# -------------------------------------------------------------------- what actions share


def settled(request: Request, pool: str, name: str) -> bool:
    """Whether a volume is there and may stay: our own work, or, without ``force``, that of an earlier run."""
    if not id_of(request.site.volumes(), pool, name):
        if request.ran:
            raise Missing(f"The volume {pool}/{name} is not there although it was made", request.site.lead.name)
        return False
    return request.ran or not request["force"]


def published(request: Request, pool: str, part: str, name: str) -> list[Step]:
    """Steps that give a finished volume its name; what an earlier run left under it is deleted at the end."""
    cluster, run = request.site.volumes(), request.site.run
    members = family(cluster, pool, name) or remains(cluster, pool, name)
    refuse_foreign(members, pool, name, "replaced")
    closed(request, pool, [member.name for member in members])
    there = any(member.name == name for member in members)
    aside = unfinished(f"{name}.old", run) if there else ""
    steps: list[Step] = [PublishVolume(pool, part, name, aside, "disk")]
    for member in members:
        old = aside if member.name == name else member.name
        steps.append(DiscardVolume(pool, old, old if old == aside else unfinished(old, run)))
    return steps


def remains(cluster: Cluster, pool: str, name: str) -> list[Member]:
    """What a crash of stock's revert left: retired volumes of a disk that itself is not there (contract-tm Q27)."""
    found = []
    for other in cluster.ask("names", pool=pool):
        if is_retired(name, other):
            volume = needed(cluster, pool, other)
            ids = set(other[len(name) + 1 :].split(":"))
            if {snapshot["name"] for snapshot in volume["snapshots"]} & ids:
                found.append(Member(other, volume, True))
    return found


def without_base(request: Request, pool: str, name: str) -> list[Step]:
    """Steps that remove an image's snapshot for clones.

    :raises Refused: something stands on it, and would be right no longer.
    """
    cluster = request.site.volumes()
    if not snapshot_of(cluster, pool, name, BASE):
        return []
    for child in cluster.ask("children", pool=pool, name=name, snapshot=BASE):
        raise Refused(
            f"{pool}/{name} cannot be written to: the volume {child['pool']}/{child['name']} stands on its snapshot "
            f"{BASE}",
            todo="purge the trash first" if child["trash"] else "delete the virtual machine that it belonged to",
        )
    return [ForgetSnapshot(pool, name, BASE)]


def unmarked(request: Request, disk: Disk) -> list[Step]:
    """Steps that say that no host monitors this datastore by itself (contract-tm 5.4)."""
    path = os.path.join(disk.datastore, ".monitor")
    if not request.look(path):
        return []
    shop = request.shop(Claim(LEAD, disk.datastore, disk.key))
    return [SetAside(LEAD, path, os.path.join(shop, "monitor"), disk.datastore, "marker")]


def closed(request: Request, pool: str, names: list[str]) -> None:
    """Return when nobody has these volumes open; a check does not wait for that.

    :raises Busy: somebody has, and still had when ``lock_timeout`` was over.
    """
    leave_alone(request.site, pool, names, 0 if request.site.check else request.site.timeouts.lock)
