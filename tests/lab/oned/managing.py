# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator asks of oned: copies, owners, rights and names of images; migrations and snapshots of VMs.

As with oned, what takes a driver's work is begun and answered at once, and goes on in a thread; who asked has to look.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from .common import Permissions
from .datastores import parse
from .life import Life
from .outcome import Outcome
from .states import DatastoreType, ImageState, ImageType, VmState
from .xmldoc import Element, cdata, node, text

#: Kinds of images that oned clones; others it refuses.
_CLONED = (ImageType.OS, ImageType.CDROM, ImageType.DATABLOCK)


class Managing:
    """Answers methods of the API. `refuse` names methods that oned refuses, for tests of what comes then."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.oned = life.oned
        self.outcomes: list[Outcome] = []
        self.refuse: dict[str, str] = {}
        #: Called before each method, with its name: tests stop things here.
        self.before: Callable[[str], None] = lambda method: None
        self._threads: list[threading.Thread] = []
        self._methods: dict[str, Callable[[int, Sequence[object], int], int]] = {
            "one.image.clone": self._clone,
            "one.image.chown": self._chown,
            "one.image.chmod": self._chmod,
            "one.image.update": self._update,
            "one.image.rename": self._rename,
            "one.image.persistent": self._persistent,
            "one.image.enable": self._enable,
            "one.image.delete": self._delete,
            "one.image.snapshotflatten": self._flatten,
            "one.image.snapshotdelete": self._snapshot_delete,
            "one.vm.migrate": self._migrate,
            "one.vm.recover": self._recover,
            "one.vm.disksnapshotdelete": self._disk_snapshot_delete,
        }

    def __contains__(self, method: str) -> bool:
        return method in self._methods

    def call(self, method: str, given: Sequence[object], uid: int) -> int:
        """The id of the object. Raises ValueError with oned's reason, NotFoundError."""
        self.before(method)
        if method in self.refuse:
            raise ValueError(self.refuse[method])
        return self._methods[method](_int(given[0]), given[1:], uid)

    def settle(self, seconds: float = 120) -> None:
        """Wait until all that was begun has ended."""
        for thread in list(self._threads):
            thread.join(seconds)
            assert not thread.is_alive(), "what oned began does not end"
        self._threads.clear()

    def template_pool(self) -> str:
        """All templates of VMs."""
        found = []
        for number, (uid, words) in sorted(self.oned.templates.items()):
            values = _template(words)
            name = str(values.pop("NAME", [f"template {number}"])[0])
            children = [text("ID", number), text("UID", uid), text("NAME", name)]
            inner = [item for key in sorted(values) for item in values[key]]
            names = [key for key in sorted(values) for _item in values[key]]
            leaves = [
                cdata(key, item) if isinstance(item, str) else _vector(key, item)
                for key, item in zip(names, inner, strict=True)
            ]
            found.append(node("VMTEMPLATE", [*children, node("TEMPLATE", leaves)]))
        return self.oned.pool("VMTEMPLATE_POOL", found)

    # ------------------------------------------------------------ images

    def _clone(self, number: int, given: Sequence[object], uid: int) -> int:
        origin, name = self.oned.image(number), str(given[0])
        store = self.oned.datastore(origin.datastore_id if _int(given[1]) < 0 else _int(given[1]))
        if origin.type not in _CLONED:
            raise ValueError(f"{origin.type.name} images cannot be cloned.")
        if origin.snapshots.entries:
            raise ValueError("Cannot clone images with snapshots")
        if store.type is not DatastoreType.IMAGE:
            raise ValueError("Clone only supported for IMAGE_DS Datastores")
        if store.ds_mad != self.oned.datastore(origin.datastore_id).ds_mad:
            raise ValueError("Clone only supported to same DS_MAD Datastores")
        self._free(name, uid)
        image, finish = self.life.begin_clone(number, name, store.id)
        image.persistent, image.uid = origin.persistent, uid
        self._go_on(finish)
        return image.id

    def _chown(self, number: int, given: Sequence[object], uid: int) -> int:
        image = self.oned.image(number)
        owner, group = _int(given[0]), _int(given[1])
        if owner >= 0 and owner != image.uid:
            self._free(image.name, owner)
            image.uid = owner
            image.uname = next((name for name, known in self.oned.users.ids.items() if known == owner), str(owner))
        if group >= 0:
            image.gid = group
        return number

    def _chmod(self, number: int, given: Sequence[object], uid: int) -> int:
        image = self.oned.image(number)
        bits = [_int(value) for value in given[:9]]
        old = [image.permissions.owner, image.permissions.group, image.permissions.other]
        new = []
        for place, before in enumerate(old):
            value = 0
            for asked, bit in zip(bits[place * 3 : place * 3 + 3], (4, 2, 1), strict=True):
                value |= bit if asked == 1 or (asked == -1 and before & bit) else 0
            new.append(value)
        image.permissions = Permissions(*new)
        return number

    def _update(self, number: int, given: Sequence[object], uid: int) -> int:
        image, values = self.oned.image(number), parse(str(given[0]))
        image.template = {**image.template, **values} if given[1] == 1 else values
        return number

    def _rename(self, number: int, given: Sequence[object], uid: int) -> int:
        image = self.oned.image(number)
        self._free(str(given[0]), image.uid)
        image.name = str(given[0])
        return number

    def _persistent(self, number: int, given: Sequence[object], uid: int) -> int:
        self.oned.image(number).persistent = bool(given[0])
        return number

    def _enable(self, number: int, given: Sequence[object], uid: int) -> int:
        image = self.oned.image(number)
        wanted = ImageState.READY if given[0] else ImageState.DISABLED
        if image.state not in (ImageState.READY, ImageState.DISABLED) or image.vms:
            raise ValueError(f"Could not disable image: it is {image.state.name}")
        image.settle(wanted)
        return number

    def _delete(self, number: int, given: Sequence[object], uid: int) -> int:
        image = self.oned.image(number)
        if image.state is ImageState.CLONE:
            raise ValueError(f"There are {image.cloning_ops} active clone operations.")
        if image.vms and image.type is not ImageType.BACKUP:
            raise ValueError(f"There are {len(image.vms)} VMs using it.")
        image.state = ImageState.DELETE
        self._go_on(lambda: self.life.delete_image(number))
        return number

    def _flatten(self, number: int, given: Sequence[object], uid: int) -> int:
        return self._image_snapshot(number, "snap_flatten", given)

    def _snapshot_delete(self, number: int, given: Sequence[object], uid: int) -> int:
        return self._image_snapshot(number, "snap_delete", given)

    def _image_snapshot(self, number: int, action: str, given: Sequence[object]) -> int:
        image, wanted = self.oned.image(number), _int(given[0])
        if image.state is not ImageState.READY:
            raise ValueError("Image is not ready")
        if wanted not in image.snapshots.entries:
            raise ValueError("Snapshot does not exist")
        image.state = ImageState.LOCKED

        def work() -> Outcome:
            image.state = ImageState.READY
            return self.life.image_snapshot(number, action, wanted)

        self._go_on(work)
        return number

    def _free(self, name: str, uid: int) -> None:
        taken = [image.id for image in self.oned.images.values() if image.name == name and image.uid == uid]
        if taken:
            raise ValueError(f"NAME is already taken by IMAGE {taken[0]}.")

    # ------------------------------------------------------------ VMs

    def _migrate(self, number: int, given: Sequence[object], uid: int) -> int:
        vm, host = self.oned.vm(number), self.oned.host(_int(given[0]))
        store = _int(given[3])
        if given[1]:
            raise ValueError("this stand-in migrates live by its own method")
        if vm.state is not VmState.POWEROFF:
            raise ValueError(f"Migrate action is not available for state {vm.state.name}")
        if vm.record.host_id == host.id and store in (-1, vm.record.ds_id):
            raise ValueError(f"VM is already running on host [{host.id}] and datastore [{vm.record.ds_id}]")
        self._go_on(lambda: self.life.migrate(number, host.name, None if store < 0 else store))
        return number

    def _recover(self, number: int, given: Sequence[object], uid: int) -> int:
        if given[0] != 2:
            raise ValueError("this stand-in only retries")
        self._go_on(lambda: self.life.retry(number))
        return number

    def _disk_snapshot_delete(self, number: int, given: Sequence[object], uid: int) -> int:
        vm, disk, wanted = self.oned.vm(number), _int(given[0]), _int(given[1])
        snapshots = vm.snapshots.get(disk)
        if snapshots is None or wanted not in snapshots.entries:
            raise ValueError("Snapshot does not exist")
        if vm.state is not VmState.POWEROFF:
            raise ValueError(f"Could not delete a snapshot of VM in state {vm.state.name}")
        reason = undeletable(snapshots.entries[wanted].children, snapshots.active == wanted)
        if snapshots.allow_orphans != "YES" and reason:
            raise ValueError(reason)
        self._go_on(lambda: self.life.delete_snapshot(number, disk, wanted))
        return number

    def _go_on(self, work: Callable[[], Outcome]) -> None:
        begun = threading.Event()

        def run() -> None:
            begun.set()
            self.outcomes.append(work())

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        begun.wait(10)


def undeletable(children: Sequence[int], active: bool) -> str:
    """Why oned does not delete a snapshot whose tree has no orphans; empty when it does (contract-tm 4.3)."""
    if active and children:
        return "Cannot delete the active snapshot"
    return "Cannot delete a snapshot with several children" if len(children) > 1 else ""


def _vector(key: str, values: dict[str, str]) -> Element:
    return node(key, [cdata(name, values[name]) for name in sorted(values)])


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _template(words: str) -> dict[str, list[str | dict[str, str]]]:
    """A template in oned's own words, or in XML, with its vectors."""
    found: dict[str, list[str | dict[str, str]]] = {}
    if words.lstrip().startswith("<"):
        import xml.etree.ElementTree as ElementTree

        for child in ElementTree.fromstring(words):
            inner: str | dict[str, str] = {leaf.tag: leaf.text or "" for leaf in child} or (child.text or "")
            found.setdefault(child.tag.upper(), []).append(inner)
        return found
    vector = re.compile(r"^\s*([A-Z_]+)\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)
    for name, body in vector.findall(words):
        found.setdefault(name, []).append(dict(re.findall(r'([A-Z_]+)\s*=\s*"([^"]*)"', body)))
    for name, value in parse(vector.sub("", words)).items():
        found.setdefault(name, []).append(value)
    return found
