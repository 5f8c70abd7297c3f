# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned knows of a pool, by exact names: images, their snapshots, disks of VMs that are at rest, all of others."""

from __future__ import annotations

from plugins.plugin_utils.documents import parse
from plugins.plugin_utils.fleet.volumes import is_pool, known_in
from plugins.plugin_utils.site import pool_of

IMAGES = """<P>
<IMAGE><ID>1</ID><STATE>1</STATE><SOURCE>one/one-1</SOURCE><VMS/></IMAGE>
<IMAGE><ID>10</ID><STATE>3</STATE><SOURCE>one/one-10</SOURCE><VMS/><SNAPSHOTS><SNAPSHOT><ID>0</ID></SNAPSHOT><SNAPSHOT>
<ID>12</ID></SNAPSHOT></SNAPSHOTS></IMAGE>
<IMAGE><ID>2</ID><STATE>2</STATE><SOURCE>one/gold</SOURCE><VMS><ID>42</ID></VMS></IMAGE>
<IMAGE><ID>3</ID><STATE>1</STATE><SOURCE>two/one-3</SOURCE><VMS/></IMAGE>
<IMAGE><ID>4</ID><STATE>1</STATE><SOURCE>/var/lib/one//datastores/1/abc</SOURCE><VMS/></IMAGE>
<IMAGE><ID>5</ID><STATE>4</STATE><SOURCE></SOURCE><VMS/></IMAGE>
</P>"""
VMS = """<P>
<VM><ID>42</ID><TEMPLATE>
<DISK><DISK_ID>0</DISK_ID><CLONE>YES</CLONE><SOURCE>one/one-1</SOURCE></DISK>
<DISK><DISK_ID>1</DISK_ID><CLONE>NO</CLONE><SOURCE>one/gold</SOURCE></DISK>
<DISK><DISK_ID>2</DISK_ID><TYPE>fs</TYPE></DISK>
<DISK><DISK_ID>3</DISK_ID><CLONE>YES</CLONE><SOURCE>/var/lib/one//datastores/1/abc</SOURCE></DISK>
</TEMPLATE></VM>
<VM><ID>7</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><CLONE>YES</CLONE><SOURCE>one/one-1</SOURCE></DISK></TEMPLATE></VM>
</P>"""


def test_exact_names() -> None:
    images, vms = parse(IMAGES.encode(), "images").findall("IMAGE"), parse(VMS.encode(), "VMs").findall("VM")
    assert known_in("one", images, vms, {"42"}) == sorted(
        "one-1 one-1@ one-10 one-10@ one-10@0 one-10@12 gold one-1-42-0 one-sys-42-2 one-sys-42-checkpoint @7".split()
    )
    assert known_in("two", images, [], set()) == ["one-3", "one-3@"]


def test_a_pool_of_one_name_in_another_cluster_is_another() -> None:
    first = {"id": 1, "settings": {"pool": "one", "ceph_conf": "", "ceph_host": "", "ceph_user": "a"}}
    same = {"id": 2, "settings": {**first["settings"], "ceph_user": "b"}}  # type: ignore[dict-item]
    other = {"id": 3, "settings": {**first["settings"], "ceph_conf": "/etc/ceph/far.conf"}}  # type: ignore[dict-item]
    assert pool_of(first) == pool_of(same) != pool_of(other)
    assert is_pool(first) and not is_pool({"id": 4})
