# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned and the site say of a Ceph cluster (contract-ds 7.1, 7.2, 9), for calls of images and of disks alike."""

from __future__ import annotations

from ..module_utils._errors import BadCall, one_line
from .documents import text, yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .settings import Settings

_FILE = "datastore/ceph/ceph.conf"
#: Attributes that the site's file has no value for, by option.
_ATTRIBUTES = {
    "data_pool": "EC_POOL_NAME",
    "ceph_user": "CEPH_USER",
    "ceph_key": "CEPH_KEY",
    "ceph_conf": "CEPH_CONF",
    "ceph_host": "CEPH_HOST",
}


def ceph_options(settings: Settings, elements: list[_Element], where: str) -> dict[str, Any]:
    """Options of the driver ``ceph`` out of attributes of a datastore's template, or of a VM's disk.

    :param elements: what has the attributes as its children; the first that has one counts.
    :param where: whose they are, for sentences.
    """
    number = _attribute(elements, "RBD_FORMAT", settings.stock(_FILE, "RBD_FORMAT"))
    if number not in ("1", "2"):
        raise BadCall(f"{where} has RBD_FORMAT={one_line(number, 40)}: it must be 1 or 2")
    trash = _attribute(elements, "CEPH_TRASH", settings.stock(_FILE, "CEPH_TRASH"))
    return {**reached(settings, elements), "rbd_format": int(number), "ceph_trash": yes(trash)}


def reached(settings: Settings, elements: list[_Element]) -> dict[str, Any]:
    """Those of them that say which pool it is and how its cluster is reached."""
    return {
        **{option: _attribute(elements, name, "") for option, name in _ATTRIBUTES.items()},
        "pool": _attribute(elements, "POOL_NAME", settings.stock(_FILE, "POOL_NAME")),
        "staging_dir": _attribute(elements, "STAGING_DIR", settings.stock(_FILE, "STAGING_DIR")),
    }


def _attribute(elements: list[_Element], name: str, default: str) -> str:
    return next((found for element in elements if (found := text(element, name).strip())), default.strip())
