# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of volumes and their snapshots. Runs as a program; an operation is a call into librbd."""

from __future__ import annotations

import errno
import queue
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .beds import Cluster

    #: Told now and then how much of a long call is done.
    Passed = Callable[[int, int], object]

_TRASH_USER = 0
#: Volumes that stay open after they have been looked at.
_KEPT = 32
#: Volumes that are looked at at once.
_AT_ONCE = 16
#: The volume's own note of what it was made for.
_LABEL = "one_storage.image"
#: More bytes than an id has.
_ID = 256


class Looked:
    """A volume that is open to be looked at, and stays open for a while after that.

    The thread of librbd that has opened a volume touches it once more after the call by which it was opened has come
    back. When that thread is held up, and the volume is closed meanwhile, the process aborts. Nobody at the cluster
    knows of a volume that is open so, and all are closed with the process.
    """

    def __init__(self, image: Any, looked: deque[Any]) -> None:
        self._image = image
        self._looked = looked

    def __enter__(self) -> Any:
        return self._image

    def __exit__(self, *_error: object) -> None:
        self._looked.append(self._image)
        if len(self._looked) > _KEPT:
            self._looked.popleft().close()


class Volumes:
    """Operations on volumes; each opens what it needs and closes it.

    Pools and names are text, sizes bytes. What is not there is an ``rbd.ImageNotFound``, unless it says otherwise.
    """

    def __init__(self, cluster: Cluster, passed: Passed) -> None:
        self.cluster = cluster
        self.rbd = cluster.rbd
        self.passed = passed
        self._looked: deque[Any] = deque()

    def open(self, pool: str, name: str, snapshot: str = "", read_only: bool = False) -> Any:
        """An open volume, to be closed; one that is only looked at is for a ``with``."""
        image = self.rbd.Image(self.cluster.pool(pool), name, snapshot=snapshot or None, read_only=read_only)
        return Looked(image, self._looked) if read_only else image

    def discarded(self, pool: str, number: str) -> Looked:
        """A volume of the trash, by its id, to be looked at."""
        image = self.rbd.Image(self.cluster.pool(pool), image_id=number, read_only=True)
        return Looked(image, self._looked)

    def each(self, names: list[str], task: Callable[[str], None]) -> None:
        """Do something for each of many volumes, some at a time; what is gone meanwhile is left out."""
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in names:
            waiting.put(name)
        trouble: list[BaseException] = []

        def work() -> None:
            while not trouble:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    task(name)
                except self.rbd.ImageNotFound:
                    continue
                except BaseException as error:
                    trouble.append(error)
                self.passed(len(names) - waiting.qsize(), len(names))

        workers = [threading.Thread(target=work) for _one in range(min(_AT_ONCE, len(names)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if trouble:
            raise trouble[0]

    # ---------------------------------------------------------------- looking

    def names(self, pool: str) -> list[str]:
        """The volumes of a pool."""
        return sorted(self.rbd.RBD().list(self.cluster.pool(pool)))

    def number(self, pool: str, name: str) -> str:
        """By what a volume is known whatever its name; empty when it is not there. It is not opened for that.

        Its id, which stands, behind four bytes for its length, in an object that its name gives the name to. One of
        format 1 has no id, but a name of its objects that no other volume has.
        """
        objects = self.cluster.pool(pool)
        try:
            return str(objects.read(f"rbd_id.{name}", _ID)[4:], "utf-8")
        except self.cluster.rados.ObjectNotFound:
            pass
        try:
            objects.stat(f"{name}.rbd")
        except self.cluster.rados.ObjectNotFound:
            return ""
        found = self.look(pool, name)
        return str(found["id"]) if found else ""

    def look(self, pool: str, name: str) -> dict[str, Any] | None:
        """A volume; None when it is not there.

        ``id``, ``size``, ``format`` (1 or 2), ``data_pool``, ``parent`` (pool, name, snapshot; None for none),
        ``snapshots`` in the order in which they were taken (name, size, protected), ``watchers`` (addresses of others
        that have it open).
        """
        try:
            opened = self.open(pool, name, read_only=True)
        except self.rbd.ImageNotFound:
            return None
        with opened as image:
            return self.told(image)

    def told(self, image: Any) -> dict[str, Any]:
        """What :meth:`look` tells, of an open volume."""
        old = bool(image.old_format())
        snapshots = sorted(image.list_snaps(), key=lambda snapshot: int(snapshot["id"]))
        return {
            # one of format 1 has no id, but a name of its objects that no other volume has
            "id": image.block_name_prefix() if old else image.id(),
            "size": image.size(),
            "format": 1 if old else 2,
            "data_pool": "" if old else self._data_pool(image),
            "parent": self._parent(image),
            "snapshots": [
                {
                    "name": snapshot["name"],
                    "size": snapshot["size"],
                    "protected": bool(not old and image.is_protected_snap(snapshot["name"])),
                }
                for snapshot in snapshots
                # what the trash keeps for clones, and what mirroring keeps, is nobody's to use
                if snapshot.get("namespace", 0) == 0
            ],
            "watchers": [
                watcher["addr"]
                for watcher in ([] if old else image.watchers_list())
                if watcher["addr"] != self.cluster.address
            ],
        }

    def _data_pool(self, image: Any) -> str:
        found = image.data_pool_id()
        return "" if found < 0 else self._pool_name(found)

    def _pool_name(self, number: int) -> str:
        return str(self.cluster.pool_name(number))

    def _parent(self, image: Any) -> dict[str, str] | None:
        try:
            spec = image.get_parent_image_spec()
        except self.rbd.ImageNotFound:
            return None
        return {"pool": spec["pool_name"], "name": spec["image_name"], "snapshot": spec["snap_name"]}

    def children(self, pool: str, name: str, snapshot: str) -> list[dict[str, Any]]:
        """The clones of a snapshot: ``pool``, ``name``, ``id``, ``trash`` (whether the clone lies in the trash)."""
        with self.open(pool, name, snapshot, read_only=True) as image:
            return [
                {"pool": child["pool"], "name": child["image"], "id": child["id"], "trash": bool(child["trash"])}
                for child in image.list_children2()
            ]

    def trash(self, pool: str) -> list[dict[str, Any]]:
        """What lies in a pool's trash: ``id``, ``name``."""
        found = self.rbd.RBD().trash_list(self.cluster.pool(pool))
        return [{"id": item["id"], "name": item["name"]} for item in found]

    # ---------------------------------------------------------------- making and removing

    def create(self, pool: str, name: str, size: int, image_format: int, data_pool: str) -> None:
        """Make an empty volume."""
        # as the command does without a format: the cluster's default, which is 2 wherever 1 cannot be made any more
        old = image_format == 1 and not data_pool
        more = {"data_pool": data_pool} if data_pool else {}
        self.rbd.RBD().create(self.cluster.pool(pool), name, size, old_format=old, **more)

    def clone(self, pool: str, name: str, snapshot: str, to_pool: str, to_name: str, data_pool: str) -> None:
        """Make a volume that stands on a protected snapshot."""
        more = {"data_pool": data_pool} if data_pool else {}
        source, target = self.cluster.pool(pool), self.cluster.pool(to_pool)
        self.rbd.RBD().clone(source, name, snapshot, target, to_name, **more)

    def rename(self, pool: str, name: str, new: str) -> None:
        """Give a volume another name, which nobody may have."""
        self.rbd.RBD().rename(self.cluster.pool(pool), name, new)

    def remove(self, pool: str, name: str) -> None:
        """Delete a volume, which has no snapshots; fine when it is gone."""
        try:
            self.rbd.RBD().remove(self.cluster.pool(pool), name, on_progress=self.passed)
        except self.rbd.ImageNotFound:
            # librbd says so too when a full pool has no room for the list of what it is deleting
            if name in self.names(pool):
                raise OSError(errno.ENOSPC, "the pool is too full to delete its first volume") from None

    def resize(self, pool: str, name: str, size: int, shrink: bool = False) -> None:
        """Change a volume's size."""
        with self.open(pool, name) as image:
            if size < image.size() and not shrink:
                raise OSError(errno.EINVAL, f"it has {image.size()} bytes, and would lose some")
            image.resize(size)

    def flatten(self, pool: str, name: str) -> None:
        """Let a volume stand on nothing: what it has from its parent is copied."""
        with self.open(pool, name) as image:
            if self._parent(image) is not None:
                image.flatten(on_progress=self.passed)

    def discard(self, pool: str, name: str) -> None:
        """Move a volume to the pool's trash."""
        self.rbd.RBD().trash_move(self.cluster.pool(pool), name, _TRASH_USER)

    def restore(self, pool: str, number: str, name: str) -> None:
        """Take a volume, by its id, out of the pool's trash."""
        self.rbd.RBD().trash_restore(self.cluster.pool(pool), number, name)

    def label(self, pool: str, name: str) -> str:
        """What :meth:`set_label` wrote; empty without it."""
        with self.open(pool, name, read_only=True) as image:
            try:
                return str(image.metadata_get(_LABEL))
            except (KeyError, self.rbd.Error):
                return ""

    def set_label(self, pool: str, name: str, text: str) -> None:
        """Write on a volume for what it was made. Format 1 has no place for it."""
        with self.open(pool, name) as image:
            if not image.old_format():
                image.metadata_set(_LABEL, text)

    # ---------------------------------------------------------------- snapshots

    def snapshot(self, pool: str, name: str, snapshot: str, protect: bool = False) -> None:
        """Take a snapshot, and protect it; fine when it is there."""
        with self.open(pool, name) as image:
            try:
                image.create_snap(snapshot)
            except self.rbd.ImageExists:
                pass
            if protect:
                self._protect(image, snapshot)

    def protect(self, pool: str, name: str, snapshot: str) -> None:
        """Protect a snapshot, so that it can be cloned and is not removed."""
        with self.open(pool, name) as image:
            self._protect(image, snapshot)

    def _protect(self, image: Any, snapshot: str) -> None:
        if not image.is_protected_snap(snapshot):
            try:
                image.protect_snap(snapshot)
            except self.rbd.ImageBusy:
                # somebody else did in this moment
                if not image.is_protected_snap(snapshot):
                    raise

    def forget(self, pool: str, name: str, snapshot: str) -> None:
        """Remove a snapshot, protected or not; fine when it is gone. One that has clones stays, which is an error."""
        with self.open(pool, name) as image:
            try:
                if image.is_protected_snap(snapshot):
                    image.unprotect_snap(snapshot)
                image.remove_snap(snapshot)
            except self.rbd.ImageNotFound:
                pass
