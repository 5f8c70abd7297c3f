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


def ceph_options(settings: Settings, elements: list[_Element], where: str) -> dict[str, Any]:
    """Options of the driver ``ceph`` out of attributes of a datastore's template, or of a VM's disk.

    :param elements: what has the attributes as its children; the first that has one counts.
    :param where: whose they are, for sentences.
    """

    def attribute(name: str) -> str:
        return next((found for element in elements if (found := text(element, name).strip())), "")

    def either(name: str) -> str:
        return attribute(name) or settings.stock(_FILE, name).strip()

    number = either("RBD_FORMAT")
    if number not in ("1", "2"):
        raise BadCall(f"{where} has RBD_FORMAT={one_line(number, 40)}: it must be 1 or 2")
    return {
        "pool": either("POOL_NAME"),
        "data_pool": attribute("EC_POOL_NAME"),
        "ceph_user": attribute("CEPH_USER"),
        "ceph_key": attribute("CEPH_KEY"),
        "ceph_conf": attribute("CEPH_CONF"),
        "ceph_host": attribute("CEPH_HOST"),
        "rbd_format": int(number),
        "ceph_trash": yes(either("CEPH_TRASH")),
        "staging_dir": either("STAGING_DIR"),
    }
