# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastores as oned makes and changes them: from a template, in XML or in oned's own words."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

from .datastore import Datastore, complete_template
from .states import DatastoreType, DiskType
from .store import Oned, next_id

#: The ways of one.datastore.update.
REPLACE, MERGE = 0, 1


def create(
    oned: Oned,
    name: str,
    type: DatastoreType,
    ds_mad: str,
    tm_mad: str,
    template: Mapping[str, str] | None = None,
    ds_id: int | None = None,
    base_path: str | None = None,
) -> Datastore:
    """A new datastore; ids count from 100. Raises ValueError when oned would not accept it."""
    ds_mad = "-" if type is DatastoreType.SYSTEM else ds_mad
    tm_mad = "-" if type is DatastoreType.BACKUP else tm_mad
    with oned.lock:
        number = max(100, next_id(oned.datastores)) if ds_id is None else ds_id
        values = complete_template(type, ds_mad, tm_mad, template)
        datastore = Datastore(
            id=number,
            name=name,
            ds_mad=ds_mad,
            tm_mad=tm_mad,
            base_path=base_path or f"{oned.settings.datastore_location}/{number}",
            type=type,
            disk_type=DiskType[values.get("DISK_TYPE", "FILE").upper()],
            template=values,
        )
        oned.datastores[number] = datastore
    return datastore


def parse(template: str) -> dict[str, str]:
    """The attributes of a template. Raises ValueError for what oned cannot read."""
    if template.lstrip().startswith("<"):
        try:
            return {child.tag.upper(): child.text or "" for child in ElementTree.fromstring(template)}
        except ElementTree.ParseError as error:
            raise ValueError(f"Parse error: {error}") from None
    found = re.findall(r'^\s*([A-Za-z0-9_]+)\s*=\s*"((?:[^"\\]|\\.)*)"\s*$', template, re.MULTILINE)
    return {name.upper(): value.replace('\\"', '"') for name, value in found}


def allocate(oned: Oned, template: str) -> Datastore:
    """one.datastore.allocate. Raises ValueError with oned's reason."""
    values = parse(template)
    name = values.pop("NAME", "")
    if not name:
        raise ValueError("No NAME in template for Datastore.")
    if any(one.name == name for one in oned.datastores.values()):
        taken = next(one.id for one in oned.datastores.values() if one.name == name)
        raise ValueError(f"NAME is already taken by DATASTORE {taken}.")
    words = {one.word: one for one in DatastoreType}
    kind = words.get(values.pop("TYPE", "IMAGE_DS"))
    if kind is None:
        raise ValueError("Unknown datastore type.")
    ds_mad, tm_mad = values.pop("DS_MAD", ""), values.pop("TM_MAD", "")
    if kind is not DatastoreType.SYSTEM and not ds_mad:
        raise ValueError("No DS_MAD in template.")
    if kind is not DatastoreType.BACKUP and not tm_mad:
        raise ValueError("No TM_MAD in template.")
    return create(oned, name, kind, ds_mad, tm_mad, values)


def update(oned: Oned, number: int, template: str, way: int) -> None:
    """one.datastore.update; the type of a datastore stays. Raises ValueError with oned's reason, NotFoundError."""
    store = oned.datastore(number)
    given = parse(template)
    values = {**(store.template if way == MERGE else {}), **given}
    ds_mad, tm_mad = values.get("DS_MAD") or store.ds_mad, values.get("TM_MAD") or store.tm_mad
    fresh = complete_template(store.type, ds_mad, tm_mad, {k: v for k, v in values.items() if k != "TYPE"})
    disk_type = DiskType[fresh.get("DISK_TYPE", "FILE").upper()]
    with oned.lock:
        store.template, store.ds_mad, store.tm_mad, store.disk_type = fresh, ds_mad, tm_mad, disk_type
