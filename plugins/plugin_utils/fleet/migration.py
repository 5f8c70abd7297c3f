# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One image moves to another datastore, as a copy that takes its place: name, owner, permissions, template.

oned has no move: the copy is a new image with a new id, a clone or, between files and Ceph, an import
(:mod:`.crossing`). Whatever happens the image is in one place for its users. Until the copy has been compared they have
the source. Then the source is disabled, so that no VM can take it any more, gives its name to the copy, and is deleted
at the very end.

Where a run was cut off follows from oned alone: the copy has a name that follows from the source's id, and then
attributes that say what it is a copy of. Every step finds out whether it has been done.
"""

from __future__ import annotations

import time

from ...module_utils._errors import Corrupt, Refused, StorageError, one_line
from ..bridges import choose
from ..documents import number, text
from . import crossing
from .api import DISABLED, ERROR, READY, Api
from .hosts import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from ...module_utils.tools.pace import Pace
    from .hosts import Hosts
    from .records import Records

#: Attributes of the copy: what it is a copy of, what that was called, and how far it is (``going``, ``done``).
FROM, NAME, STATE = "ONE_STORAGE_FROM", "ONE_STORAGE_NAME", "ONE_STORAGE_MIGRATION"
#: What a copy gets by being one, or what its datastore decides.
_OWN = (FROM, NAME, STATE, "DRIVER", "ERROR", "PATH", "FORMAT", "SIZE", "FS")
#: Most characters of an image's name in OpenNebula.
_LONGEST = 128


class Migration:
    """What the migrations of one run have in common.

    :param drivers: our names of the drivers of source and destination.
    :param patience: seconds that oned may take for one image.
    """

    def __init__(
        self,
        hosts: Hosts,
        records: Records,
        stores: tuple[dict[str, Any], dict[str, Any]],
        drivers: tuple[str, str],
        pace: Pace,
        patience: int,
        deadline: float,
    ) -> None:
        self._hosts = hosts
        self._records = records
        self._stores = stores
        self._drivers = drivers
        self._pace = pace
        self._patience = patience
        self._deadline = deadline

    def move(self, ident: int, copy: int) -> int:
        """Bring an image to its new place; the new id.

        :param copy: the copy that an earlier run began; -1 when there is none.
        :raises StorageError: the image stays, or is as good as moved; the sentence says which.
        """
        api = Api(deadline=self._deadline)
        until = time.monotonic() + self._patience
        origin = api.settled_image(ident, until)
        if origin is None:
            if copy < 0:
                raise Refused(f"Image {ident} is not there any more")
            return self._end(api, ident, copy)
        name = self._name_of(api, origin, copy)
        if copy < 0:
            copy = self._begin(api, origin)
            self._records.add(what="copied", old=ident, new=copy, name=name)
        try:
            self._prepare(api, origin, copy, name, until)
            origin = self._take(api, ident)
            digest = self._compare(api, origin, copy)
            self._adopt(api, origin, copy, name)
        except StorageError as error:
            raise self._back(api, ident, copy, name, error) from error
        self._records.add(what="compared", old=ident, new=copy, name=name, digest=digest)
        api.remove_image(ident)
        left = api.settled_image(ident, until)
        if left is not None:
            why = one_line(text(left, "TEMPLATE/ERROR"), 200) or "oned does not say why"
            raise Refused(f"Image {ident} has become {copy}, but cannot be deleted: {why}", todo="run it again")
        return self._end(api, ident, copy)

    def _begin(self, api: Api, origin: _Element) -> int:
        """Begin the copy; its id."""
        ident = number(origin, "ID")
        if self._drivers[0] != self._drivers[1]:
            return crossing.begin(api, origin, temporary(ident), self._stores)
        return api.clone_image(ident, temporary(ident), self._stores[1]["id"])

    @staticmethod
    def _name_of(api: Api, origin: _Element, copy: int) -> str:
        """The name that the image had before anything was renamed."""
        kept = text(api.image(copy), f"TEMPLATE/{NAME}") if copy >= 0 else ""
        return kept or text(origin, "NAME")

    def _prepare(self, api: Api, origin: _Element, copy: int, name: str, until: float) -> None:
        """Wait for the copy, and let it say what it is."""
        made = api.settled_image(copy, until)
        if made is None:
            raise Refused(f"Image {copy}, the copy, went away")
        if number(made, "STATE") == ERROR:
            raise Refused(f"The copy failed: {one_line(text(made, 'TEMPLATE/ERROR'), 300)}")
        there = {child.tag: child.text or "" for child in made.iterfind("TEMPLATE/*") if not len(child)}
        wanted = {
            child.tag: child.text or ""
            for child in origin.iterfind("TEMPLATE/*")
            if not len(child) and child.tag not in _OWN
        }
        # a copy of what was moved before has the attributes of that
        wanted |= {FROM: text(origin, "ID"), NAME: name, STATE: "going"}
        changed = {key: value for key, value in wanted.items() if there.get(key) != value}
        if changed:
            api.describe_image(copy, changed)

    def _take(self, api: Api, ident: int) -> _Element:
        """Keep the source from VMs: from here on nobody writes to it."""
        origin = api.image(ident)
        if number(origin, "STATE") == READY:
            api.enable_image(ident, False)
            origin = api.image(ident)
        if number(origin, "STATE") != DISABLED or origin.find("VMS/ID") is not None:
            raise Refused(f"Image {ident} came into use")
        return origin

    def _compare(self, api: Api, origin: _Element, copy: int) -> str:
        """The digest of what both hold."""
        made = api.image(copy)
        first = self._digest(api, origin, 0)
        second = self._digest(api, made, 1)
        if first["digest"] != second["digest"] or abs(first["size"] - second["size"]) >= 512:
            raise Corrupt(f"Image {copy} does not hold what {text(origin, 'ID')} holds: their digests differ")
        self._pace.take(first["data"])
        return str(first["digest"])

    def _digest(self, api: Api, image: _Element, side: int) -> dict[str, Any]:
        store = self._stores[side]
        host = choose(store["bridges"], number(image, "ID"), api) if store["bridges"] else ""
        options = {
            "driver": self._drivers[side],
            "datastore": store["path"],
            **store.get("settings", {}),
            "source": text(image, "SOURCE"),
            "format": text(image, "FORMAT", "raw").strip().lower(),
        }
        found = self._hosts.one(Job(host, "ds_digest", options))
        if isinstance(found, StorageError):
            raise found
        return found

    @staticmethod
    def _adopt(api: Api, origin: _Element, copy: int, name: str) -> None:
        """Make the copy what the source was, for its users; the name goes over last."""
        made = api.image(copy)
        if text(made, "PERSISTENT") != text(origin, "PERSISTENT"):
            api.persist_image(copy, text(origin, "PERSISTENT") == "1")
        api.permit_image(copy, origin)
        owner, group = number(origin, "UID"), number(origin, "GID")
        if (number(made, "UID"), number(made, "GID")) != (owner, group):
            api.own_image(copy, owner, group)
        if text(origin, "NAME") == name:
            ending = f" (moved to {copy})"
            api.rename_image(number(origin, "ID"), name[: _LONGEST - len(ending)] + ending)
        if text(made, "NAME") != name:
            api.rename_image(copy, name)

    def _back(self, api: Api, ident: int, copy: int, name: str, error: StorageError) -> StorageError:
        """Give the source everything back, and remove the copy: the image is where it was."""
        try:
            made = api.settled_image(copy, time.monotonic() + self._patience)
            origin = api.image(ident)
            if made is not None and text(made, "NAME") == name:
                api.rename_image(copy, temporary(ident))
            if text(origin, "NAME") != name:
                api.rename_image(ident, name)
            if made is not None:
                api.remove_image(copy)
            if number(origin, "STATE") == DISABLED:
                api.enable_image(ident, True)
            api.settled_image(copy, time.monotonic() + self._patience)
        except StorageError as trouble:
            error.undone = f"to take it back failed too: {trouble}; run it again"
        else:
            error.undone = "the image is where it was"
        self._records.add(what="failed", old=ident, new=copy, name=name, reason=str(error))
        return error

    def _end(self, api: Api, ident: int, copy: int) -> int:
        made = api.image(copy)
        # before the mark: no later run comes here once a copy is done, and a kill between them would lose the record
        self._records.add(what="moved", old=ident, new=copy, name=text(made, "NAME"))
        if text(made, f"TEMPLATE/{STATE}") != "done":
            api.describe_image(copy, {STATE: "done"})
        return copy


def temporary(ident: int) -> str:
    """The name of the copy until it takes the name of its source; nobody has two of them."""
    return f"one_storage copy of {ident}"


def begun(images: list[_Element], store: int) -> dict[int, int]:
    """Copies in a datastore that earlier runs began and did not end, by the ids of their sources."""
    found = {}
    beginning = temporary(0)[:-1]
    for image in images:
        if number(image, "DATASTORE_ID", -1) != store:
            continue
        name = text(image, "NAME")
        if text(image, f"TEMPLATE/{STATE}") == "going":
            found[number(image, f"TEMPLATE/{FROM}")] = number(image, "ID")
        elif name.startswith(beginning) and name[len(beginning) :].isdigit():
            found[int(name[len(beginning) :])] = number(image, "ID")
    return found
