# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer calls of volumes: from a command line to options, and who leads when the front-end has no cluster."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall
from plugins.plugin_utils import calls_tm
from tests.unit.door.support import Documents, complete, context

DISK = "host01:/var/lib/one//datastores/105/4/disk.0"
VOLATILE = "host01:/var/lib/one//datastores/105/4/disk.1"
DIRECTORY = "host01:/var/lib/one//datastores/105/4"
VM = """
<VM><ID>4</ID><LCM_STATE>3</LCM_STATE>
<HISTORY_RECORDS><HISTORY><SEQ>0</SEQ><HOSTNAME>host01</HOSTNAME></HISTORY></HISTORY_RECORDS>
<TEMPLATE>
<DISK><DISK_ID>0</DISK_ID><DATASTORE_ID>100</DATASTORE_ID><FORMAT>raw</FORMAT><SIZE>40</SIZE>
<ORIGINAL_SIZE>16</ORIGINAL_SIZE><SOURCE>one/one-7</SOURCE><CLONE>{clone}</CLONE><POOL_NAME>one</POOL_NAME>
<CEPH_USER>libvirt</CEPH_USER><CEPH_KEY>/etc/one/key</CEPH_KEY><CEPH_CONF>/etc/one/ceph.conf</CEPH_CONF>
<CEPH_HOST>mon1 mon2</CEPH_HOST><CEPH_TRASH>yes</CEPH_TRASH><RBD_FORMAT>2</RBD_FORMAT></DISK>
<DISK><DISK_ID>1</DISK_ID><FORMAT>raw</FORMAT><SIZE>9</SIZE><TYPE>FS</TYPE></DISK>
</TEMPLATE></VM>
"""
IMAGES = """<DATASTORE><ID>100</ID><TEMPLATE><BRIDGE_LIST>bridge1 bridge2</BRIDGE_LIST>
<EC_POOL_NAME>ec_images</EC_POOL_NAME></TEMPLATE></DATASTORE>"""
SYSTEM = """<DATASTORE><ID>105</ID><TEMPLATE><POOL_NAME>system</POOL_NAME><CEPH_USER>system</CEPH_USER>
<EC_POOL_NAME>ec_system</EC_POOL_NAME></TEMPLATE></DATASTORE>"""
#: How the disk's own attributes say that its cluster is reached.
OWN = {
    "pool": "one",
    "ceph_user": "libvirt",
    "ceph_key": "/etc/one/key",
    "ceph_conf": "/etc/one/ceph.conf",
    "ceph_host": "mon1 mon2",
    "rbd_format": 2,
    "ceph_trash": True,
}


def known(clone: str = "YES") -> Documents:
    return Documents(vm_4=VM.format(clone=clone), datastore_100=IMAGES, datastore_105=SYSTEM)


def options(action: str, *given: str, clone: str = "YES", system: str = "") -> dict[str, Any]:
    found = complete(calls_tm.call(action, list(given), "ceph", system), known(clone), False)
    _options.check("x", _actions.ACTIONS[f"tm_{action}"].options, {**found, "driver": "ceph"})
    return found


#: Action, arguments, and what is special in its options.
CALLS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("clone", ["fe:one/one-7", DISK, "4", "100"], {**OWN, "source": "one/one-7", "data_pool": "ec_system", "size": 40}),
    (
        "clone",
        ["one/one-7", DISK],
        {**OWN, "source": "one/one-7", "destination": "/var/lib/one/datastores/105/4/disk.0"},
    ),
    ("ln", ["fe:one/one-7", DISK, "4", "100"], {**OWN, "source": "one/one-7"}),
    ("mvds", [DISK, "one/one-7", "4", "100"], {**OWN, "destination": "one/one-7"}),
    ("delete", [DISK, "4", "100"], {**OWN, "image": "one/one-7", "persistent": False}),
    ("delete", [VOLATILE, "4", "105"], {"pool": "system", "ceph_user": "system", "image": "", "ceph_trash": False}),
    ("delete", [DIRECTORY, "4", "105"], {"pool": "system", "ceph_user": "system", "ceph_conf": ""}),
    ("mkimage", ["9", "raw", VOLATILE, "4", "105"], {"pool": "system", "data_pool": "ec_system", "size": 9}),
    ("mkswap", ["9", VOLATILE, "4", "105"], {"pool": "system", "data_pool": "ec_system", "size": 9}),
    ("resize", [DISK, "50", "4", "100"], {**OWN, "image": "one/one-7", "size": 50}),
    ("snap_create", [DISK, "3", "4", "100"], {**OWN, "image": "one/one-7", "snapshot_id": 3, "data_pool": ""}),
    ("snap_revert", [DISK, "3", "4", "100"], {**OWN, "image": "one/one-7"}),
    ("snap_delete", [DISK, "3", "4", "100"], {**OWN, "image": "one/one-7"}),
    ("cpds", [DISK, "one/one-9", "-1", "4", "100"], {**OWN, "destination": "one/one-9", "data_pool": "ec_images"}),
]


@pytest.mark.parametrize(
    ("action", "given", "wanted"), CALLS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_call_has_the_volume_and_how_it_is_reached(action: str, given: list[str], wanted: dict[str, Any]) -> None:
    found = options(action, *given)
    assert {name: found[name] for name in wanted} == wanted


def test_a_persistent_disk_is_told_as_one() -> None:
    assert options("delete", DISK, "4", "100", clone="NO")["persistent"] is True


def test_moves_and_context_have_nothing_of_the_cluster() -> None:
    assert "pool" not in options("mv", DIRECTORY, DIRECTORY.replace("host01", "host02"), "4", "105")
    assert "pool" not in options("context", "/var/lib/one/context.sh", VOLATILE, "4", "105")


def test_a_disk_of_an_undeployed_machine_is_reached_by_a_bridge() -> None:
    at_home = calls_tm.call("delete", [DISK.replace("host01", "frontend"), "4", "100"], "ceph")
    assert at_home.away and at_home.away(context(known())) == ["bridge1", "bridge2"]
    running = calls_tm.call("delete", [DISK, "4", "100"], "ceph")
    assert running.away and running.away(context(known())) == []
    volatile = calls_tm.call("delete", [VOLATILE.replace("host01", "frontend"), "4", "105"], "ceph")
    assert volatile.away and volatile.away(context(known())) == []


def test_files_of_the_mixed_mode_are_where_they_are() -> None:
    assert calls_tm.call("delete", [DISK, "4", "100"], "ceph", "ssh").away is None
    assert calls_tm.call("delete", [DIRECTORY, "4", "105"], "ceph").away is None


def test_a_format_that_is_none_is_refused() -> None:
    bad = Documents(vm_4=VM.format(clone="YES").replace("<RBD_FORMAT>2", "<RBD_FORMAT>3"), datastore_105=SYSTEM)
    with pytest.raises(BadCall, match=r"Disk 0 of VM 4 has RBD_FORMAT=3: it must be 1 or 2"):
        complete(calls_tm.call("delete", [DISK, "4", "100"], "ceph"), bad)
