# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned does when somebody allocates an image from a backup or a path, or a template of VMs: it calls the drivers.

The size comes from the driver of the backup datastore while the caller waits; the copy is made by the driver of the
image's datastore afterwards (contract-ds 3, 10.5).
"""

from __future__ import annotations

import threading

from . import messages
from .answers import read_stat
from .datastores import parse
from .images import ImageLife
from .outcome import Outcome
from .states import DatastoreType, ImageType
from .store import next_id


class Allocation:
    """Allocates on behalf of the API. `ImageLife` has the runner that calls drivers."""

    def __init__(self, life: ImageLife) -> None:
        self.life = life
        self.outcomes: dict[int, Outcome] = {}
        self._copies: list[threading.Thread] = []
        #: Names of images or templates that oned refuses, for tests of what comes then.
        self.refuse: set[str] = set()

    def image(self, template: str, ds_id: int, uid: int) -> int:
        """one.image.allocate. Raises ValueError with oned's reason, NotFoundError."""
        values = parse(template)
        oned, runner = self.life.oned, self.life.runner
        name = values.pop("NAME", "")
        datastore = oned.datastore(ds_id)
        if not name or name in self.refuse:
            raise ValueError("Cannot allocate image, it is refused.")
        if any(one.name == name and one.uid == uid for one in oned.images.values()):
            raise ValueError("NAME is already taken by IMAGE.")
        if datastore.type is not DatastoreType.IMAGE:
            raise ValueError("Cannot allocate images in this datastore.")
        kind = ImageType[values.pop("TYPE", "OS")]
        path = values.get("PATH", "")
        if "FROM_BACKUP_DS" in values:
            backup = oned.datastore(int(values["FROM_BACKUP_DS"]))
            document = messages.backup_stat_action(path, backup, values.get("BACKUP_JOB_ID", ""))
            call = runner.ds_action("restore", "stat", backup.ds_mad, 0, document)
        else:
            document = messages.stat_action(path, datastore, kind)
            call = runner.ds_action("import", "stat", datastore.ds_mad, 0, document)
        if not call.ok:
            raise ValueError(f"Cannot determine Image SIZE. {call.reason}")
        image = self.life._allocate(name, datastore, kind, False, read_stat(call.stdout), values, None)
        image.path, image.uid = path, uid
        image.uname = next(user for user, number in oned.users.ids.items() if number == uid)
        thread = threading.Thread(target=self._copy, args=(image.id,), daemon=True)
        self._copies.append(thread)
        thread.start()
        return image.id

    def _copy(self, number: int) -> None:
        image = self.life.oned.image(number)
        datastore = self.life.oned.datastore(image.datastore_id)
        outcome = self.outcomes[number] = Outcome("restore", object_id=number)
        call = self.life._image_call("restore", "cp", image, datastore)
        self.life._arrived(outcome, call, image, "Error copying image in the datastore")

    def settle(self, seconds: float = 120) -> None:
        """Wait until all copies have ended."""
        for thread in self._copies:
            thread.join(seconds)
            assert not thread.is_alive(), "a copy does not end"

    def delete_image(self, number: int) -> None:
        """one.image.delete. Raises NotFoundError."""
        self.life.oned.image(number)
        self.settle()
        self.life.delete_image(number)

    def template(self, text: str, uid: int) -> int:
        """one.template.allocate. Raises ValueError."""
        values = parse(text)
        name = values.get("NAME", "")
        if not name or name in self.refuse:
            raise ValueError("Cannot allocate template, it is refused.")
        oned = self.life.oned
        with oned.lock:
            number = next_id(oned.templates)
            oned.templates[number] = (uid, text)
        return number
