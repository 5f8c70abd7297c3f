# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of images and datastores: what oned does around the actions of datastore drivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import datastores, messages
from .answers import read_clone, read_cp, read_mkfs, read_monitor, read_stat
from .datastore import Datastore
from .image import Image
from .outcome import Outcome
from .runner import Call, Runner
from .states import DatastoreType, DiskType, ImageState, ImageType
from .stock import TM_MAD_CONF
from .store import Oned, next_id

_DEV_PREFIX = "sd"


class ImageLife:
    """Datastores and images of one oned. All sizes are in MB."""

    def __init__(self, oned: Oned, runner: Runner) -> None:
        self.oned = oned
        self.runner = runner
        self._requests = 0

    # -- datastores ------------------------------------------------------------------------------------------------

    def create_datastore(
        self,
        name: str,
        ds_mad: str = "fs",
        tm_mad: str = "qcow2",
        type: DatastoreType = DatastoreType.IMAGE,
        ds_id: int | None = None,
        base_path: str | None = None,
        template: Mapping[str, str] | None = None,
    ) -> Datastore:
        """A new datastore; ids count from 100. Raises ValueError when oned would not accept it."""
        return datastores.create(self.oned, name, type, ds_mad, tm_mad, template, ds_id, base_path)

    def monitor_datastore(self, ds_id: int) -> Outcome:
        """Asks a datastore for its room. Raises ValueError for a system datastore that hosts monitor themselves."""
        datastore = self.oned.datastore(ds_id)
        if datastore.type is DatastoreType.SYSTEM and not datastore.is_shared:
            raise ValueError(f"datastore {ds_id} is not shared: its hosts monitor it, oned does not")
        outcome = Outcome("monitor", object_id=ds_id)
        document = self._locked(lambda: messages.monitor_action(self.oned.settings, datastore))
        call = self.runner.ds_monitor(
            "monitor", datastore.type, datastore.ds_mad, datastore.tm_mad, datastore.id, document
        )
        if outcome.add(call):
            sizes = read_monitor(call.stdout)
            with self.oned.lock:
                datastore.total_mb, datastore.free_mb = sizes["TOTAL_MB"], sizes["FREE_MB"]
                datastore.used_mb = sizes["USED_MB"]
        return outcome

    # -- images ----------------------------------------------------------------------------------------------------

    def import_image(
        self,
        name: str,
        ds_id: int,
        path: str,
        type: ImageType = ImageType.OS,
        persistent: bool = False,
        template: Mapping[str, str] | None = None,
        image_id: int | None = None,
    ) -> Outcome:
        """An image from a path or URL: stat, then cp."""
        datastore = self.oned.datastore(ds_id)
        outcome = Outcome("import")
        document = self._locked(lambda: messages.stat_action(path, datastore, type))
        self._requests += 1
        call = self.runner.ds_action("import", "stat", datastore.ds_mad, self._requests, document)
        if not outcome.add(call):
            return outcome.fail(f"Cannot parse image SIZE: {call.info}")
        try:
            size = read_stat(call.stdout)
        except ValueError:
            return outcome.fail(f"Cannot parse image SIZE: {call.info}")
        image = self._allocate(name, datastore, type, persistent, size, template, image_id)
        image.path = path
        outcome.object_id = image.id
        call = self._image_call("import", "cp", image, datastore)
        return self._arrived(outcome, call, image, "Error copying image in the datastore")

    def create_datablock(
        self,
        name: str,
        ds_id: int,
        size: int,
        format: str | None = None,
        fs: str = "",
        type: ImageType = ImageType.DATABLOCK,
        persistent: bool = False,
        template: Mapping[str, str] | None = None,
        image_id: int | None = None,
    ) -> Outcome:
        """An empty image of `size` MB: mkfs. The datastore's DRIVER goes before `format`."""
        datastore = self.oned.datastore(ds_id)
        outcome = Outcome("mkfs")
        image = self._allocate(name, datastore, type, persistent, size, template, image_id)
        conf = TM_MAD_CONF.get(datastore.tm_mad)
        driver = datastore.template.get("DRIVER") or (conf.driver if conf is not None else None)
        image.format, image.fs = driver or format or "raw", fs
        if driver:
            image.template["DRIVER"] = driver
        outcome.object_id = image.id
        call = self._image_call("mkfs", "mkfs", image, datastore)
        return self._arrived(outcome, call, image, "Error creating datablock")

    def clone_image(self, image_id: int, name: str, ds_id: int | None = None, new_id: int | None = None) -> Outcome:
        """A copy of an image, in its own datastore or another one. Raises ValueError when the image is not free."""
        _image, finish = self.begin_clone(image_id, name, ds_id, new_id)
        return finish()

    def begin_clone(
        self, image_id: int, name: str, ds_id: int | None = None, new_id: int | None = None
    ) -> tuple[Image, Callable[[], Outcome]]:
        """The new image, and what copies it: oned gives the id away before it calls the driver."""
        origin = self.oned.image(image_id)
        datastore = self.oned.datastore(origin.datastore_id if ds_id is None else ds_id)
        if origin.state not in (ImageState.READY, ImageState.USED):
            raise ValueError(f"image {image_id} is {origin.state.name}")
        outcome = Outcome("clone")
        kept = {key: value for key, value in origin.template.items() if not key.startswith("SAVED_")}
        image = self._allocate(name, datastore, origin.type, False, origin.size, kept, new_id)
        with self.oned.lock:
            image.path, image.format, image.fs, image.cloning_id = origin.source, origin.format, origin.fs, origin.id
            before: ImageState = origin.state
            origin.cloning_ops += 1
            if not origin.vms:
                origin.settle(ImageState.CLONE)
        outcome.object_id = image.id
        return image, lambda: self._finish_clone(outcome, origin, before, image, datastore)

    def _finish_clone(
        self, outcome: Outcome, origin: Image, before: ImageState, image: Image, datastore: Datastore
    ) -> Outcome:
        source_ds = self.oned.datastore(origin.datastore_id)
        bridges = source_ds.template.get("BRIDGE_LIST", "") if source_ds.id != datastore.id else ""
        document = self._locked(lambda: messages.clone_action(image, datastore, bridges))
        call = self.runner.ds_action("clone", "clone", datastore.ds_mad, image.id, document)
        self._joined(image, datastore)
        with self.oned.lock:
            origin.cloning_ops -= 1
            if not origin.cloning_ops and not origin.vms:
                origin.settle(before)
            image.cloning_id = -1
        return self._arrived(outcome, call, image, "Error cloning from Image")

    def delete_image(self, image_id: int) -> Outcome:
        """Removes an image: rm, unless it never got a source. Raises ValueError when a VM uses it."""
        image = self.oned.image(image_id)
        if image.vms and image.type is not ImageType.BACKUP:
            raise ValueError(f"image {image_id} is used by VM {sorted(image.vms)[0]}")
        datastore = self.oned.datastore(image.datastore_id)
        outcome = Outcome("delete", object_id=image_id)
        if image.source:
            document = self._locked(lambda: messages.image_action(image, datastore))
            image.state = ImageState.DELETE
            call = self.runner.ds_action("delete", "rm", datastore.ds_mad, image.id, document)
            if not outcome.add(call) and image.template.get("FORCE_DELETE", "NO") != "YES":
                self._broken(image, f"Error removing image from datastore: {call.reason}")
                return outcome
        with self.oned.lock:
            self.oned.images.pop(image.id, None)
            datastore.images.discard(image.id)
        return outcome

    def image_snapshot(self, image_id: int, action: str, snapshot_id: int) -> Outcome:
        """`action` is snap_delete, snap_revert or snap_flatten, on a persistent image no VM uses. Raises ValueError."""
        image = self.oned.image(image_id)
        if image.state is not ImageState.READY or snapshot_id not in image.snapshots.entries:
            raise ValueError(f"image {image_id} is {image.state.name} or has no snapshot {snapshot_id}")
        datastore = self.oned.datastore(image.datastore_id)
        outcome = Outcome(action, object_id=image_id)
        image.target_snapshot = snapshot_id
        document = self._locked(lambda: messages.image_action(image, datastore))
        image.state = ImageState.LOCKED
        call = self.runner.ds_action(action, action, datastore.ds_mad, image.id, document)
        with self.oned.lock:
            image.target_snapshot = -1
            image.settle(ImageState.READY)
            if outcome.add(call):
                if action == "snap_delete":
                    image.snapshots.remove(snapshot_id)
                elif action == "snap_revert":
                    image.snapshots.revert(snapshot_id)
                else:
                    image.snapshots.entries.clear()
                    image.snapshots.active = None
            else:
                image.template["ERROR"] = call.reason
        return outcome

    # -- helpers ---------------------------------------------------------------------------------------------------

    def allocate_save_as(self, name: str, origin_id: int, size: int, vm_id: int, disk_id: int) -> tuple[Image, Outcome]:
        """The empty image that a VM's disk will be copied to: mkfs with the format `save_as`."""
        origin = self.oned.image(origin_id)
        datastore = self.oned.datastore(origin.datastore_id)
        saved = {"SAVED_DISK_ID": str(disk_id), "SAVED_IMAGE_ID": str(origin_id), "SAVED_VM_ID": str(vm_id)}
        template = {"DEV_PREFIX": origin.template.get("DEV_PREFIX", _DEV_PREFIX), **saved}
        image = self._allocate(name, datastore, origin.type, False, size, template, None)
        image.format = "save_as"
        outcome = Outcome("saveas", object_id=image.id)
        call = self._image_call("saveas", "mkfs", image, datastore)
        if outcome.add(call):
            try:
                image.source = read_mkfs(call.stdout)
            except ValueError as error:
                outcome.fail(str(error))
        if not outcome.ok:
            self._broken(image, f"Error creating datablock: {outcome.reason}")
        return image, outcome

    def _allocate(
        self,
        name: str,
        datastore: Datastore,
        type: ImageType,
        persistent: bool,
        size: int,
        template: Mapping[str, str] | None,
        image_id: int | None,
    ) -> Image:
        with self.oned.lock:
            now = self.oned.now()
            image = Image(
                id=next_id(self.oned.images) if image_id is None else image_id,
                name=name,
                type=type,
                disk_type=DiskType.CD_ROM if type is ImageType.CDROM else datastore.disk_type,
                persistent=persistent,
                regtime=now,
                modtime=now,
                size=size,
                datastore_id=datastore.id,
                datastore=datastore.name,
                template={"DEV_PREFIX": _DEV_PREFIX, **(template or {})},
            )
            self.oned.images[image.id] = image
        return image

    def _image_call(self, event: str, action: str, image: Image, datastore: Datastore) -> Call:
        document = self._locked(lambda: messages.image_action(image, datastore))
        call = self.runner.ds_action(event, action, datastore.ds_mad, image.id, document)
        self._joined(image, datastore)
        return call

    def _joined(self, image: Image, datastore: Datastore) -> None:
        # The message to the driver is built before the image is entered into its datastore.
        with self.oned.lock:
            datastore.images.add(image.id)

    def _arrived(self, outcome: Outcome, call: Call, image: Image, trouble: str) -> Outcome:
        """Reads the answer of cp, mkfs or clone; the image is READY or in ERROR then."""
        if not outcome.add(call):
            self._broken(image, trouble + ("" if call.reason.startswith("-") else f": {call.reason}"))
            return outcome
        try:
            if call.action == "mkfs":
                source, format = read_mkfs(call.stdout), image.format
            elif call.action == "cp":
                source, format = read_cp(call.stdout)
            else:
                source, format = read_clone(call.stdout, image.format)
        except ValueError as error:
            self._broken(image, f"{trouble}: {error}")
            return outcome.fail(str(error))
        with self.oned.lock:
            image.source, image.format = source, format
            image.settle(ImageState.READY)
        return outcome

    def _broken(self, image: Image, text: str) -> None:
        with self.oned.lock:
            image.template["ERROR"] = text
            image.settle(ImageState.ERROR)

    def _locked(self, make: messages.Maker) -> str:
        with self.oned.lock:
            return make()
