# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images between files and volumes: oned clones only between datastores of one driver, so the copy is a new image whose
PATH is the old one.

A file is a path of the front-end, which the destination has to allow (SAFE_DIRS). A volume is a URL, read on a bridge
of its datastore by the command ``rbd``.
"""

from __future__ import annotations

from ...module_utils._errors import Refused
from ..bridges import choose
from ..documents import number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .api import Api

#: Our names of drivers between which images cross.
_CROSSED = {("fs", "ceph"), ("ceph", "fs")}
#: IMAGE/TYPE as a word, of what is moved.
_TYPES = ("OS", "CDROM", "DATABLOCK")


def check(stores: tuple[dict[str, Any], dict[str, Any]], drivers: tuple[str, str], target: _Element) -> None:
    """Return when images can cross from one datastore to another.

    :param target: oned's document of the destination.
    :raises Refused: they cannot, or not as the datastores are set up.
    """
    origin, place = stores
    if drivers not in _CROSSED:
        raise Refused(
            f"Datastore {origin['id']} has the driver {origin['ds_mad']} and {place['id']} has {place['ds_mad']}: "
            "images are moved between datastores of one driver, and between files and Ceph"
        )
    if drivers[0] == "ceph":
        if not origin["bridges"]:
            raise Refused(
                f"Datastore {origin['id']} has no BRIDGE_LIST, so nobody can read its volumes for another one"
            )
        return
    if origin["bridges"]:
        raise Refused(f"The files of datastore {origin['id']} lie on its bridges, where {place['id']} cannot read them")
    safe = [path.rstrip("/") for path in text(target, "TEMPLATE/SAFE_DIRS").split()]
    if not any(origin["path"] == path or origin["path"].startswith(path + "/") for path in safe):
        raise Refused(
            f"Datastore {place['id']} does not take files out of {origin['path']}",
            todo=f'while images move, let its SAFE_DIRS be "{" ".join([*safe, origin["path"]])}"',
        )


def begin(api: Api, origin: _Element, name: str, stores: tuple[dict[str, Any], dict[str, Any]]) -> int:
    """Begin the copy of an image; the new image's id."""
    from lxml import etree

    values = {
        "NAME": name,
        "TYPE": _TYPES[number(origin, "TYPE", 0)],
        "PATH": _path(api, origin, stores[0]),
        # what a disk holds may begin like an archive
        "NO_DECOMPRESS": "yes",
    }
    root = etree.Element("TEMPLATE")
    for key, value in values.items():
        etree.SubElement(root, key).text = value
    return api.allocate_image(name, etree.tostring(root, encoding="unicode"), stores[1]["id"])


def _path(api: Api, origin: _Element, store: dict[str, Any]) -> str:
    source = text(origin, "SOURCE")
    if "settings" not in store:
        return source
    from ...module_utils.drivers.ceph_export import url_of

    bridge = choose(store["bridges"], number(origin, "ID"), api)
    return url_of(bridge.partition(":")[0], store["settings"], source)
