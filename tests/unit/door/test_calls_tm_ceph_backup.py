# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls around backups of volumes: from the VM's document to options, and who leads."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, StorageError, Unsupported
from plugins.plugin_utils import calls_tm
from tests.unit.door.support import Documents, complete
from tests.unit.door.test_calls_ds import stdin

DIRECTORY = "host01:/var/lib/one//datastores/105/4"
VM = """<VM><ID>4</ID><DEPLOY_ID>one-4</DEPLOY_ID><BACKUPS><BACKUP_CONFIG><MODE>INCREMENT</MODE>
<LAST_INCREMENT_ID>{last}</LAST_INCREMENT_ID><FS_FREEZE>SUSPEND</FS_FREEZE>{more}</BACKUP_CONFIG>
<BACKUP_IDS><ID>7</ID><ID>9</ID></BACKUP_IDS></BACKUPS><TEMPLATE>
<DISK><DISK_ID>0</DISK_ID><TM_MAD>{mad}</TM_MAD><FORMAT>raw</FORMAT><SOURCE>one/one-7</SOURCE><CLONE>YES</CLONE>
<CEPH_USER>libvirt</CEPH_USER><CEPH_CONF>/etc/one/ceph.conf</CEPH_CONF><POOL_NAME>one</POOL_NAME><TARGET>vda</TARGET></DISK>
<DISK><DISK_ID>1</DISK_ID><TM_MAD>ceph</TM_MAD><FORMAT>raw</FORMAT><SOURCE>two/one-8</SOURCE><CLONE>NO</CLONE>
<CEPH_USER>{user}</CEPH_USER><CEPH_CONF>/etc/one/ceph.conf</CEPH_CONF><POOL_NAME>two</POOL_NAME><TARGET>vdb</TARGET></DISK>
</TEMPLATE></VM>"""
WANTED = {
    "path": "/var/lib/one/datastores/105/4",
    "disks": ["0:raw", "1:raw"],
    "images": ["0:one/one-7", "1:two/one-8"],
    "persistent": ["1"],
    "ceph_user": "libvirt",
    "ceph_conf": "/etc/one/ceph.conf",
    "mode": "increment",
    "last_increment": 2,
}


@pytest.fixture(autouse=True)
def _not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is at work is told in a folder of the machine's own."""
    monkeypatch.setattr("plugins.plugin_utils.running.note", lambda *_given: None)


def document(last: int = 2, mad: str = "ceph", user: str = "libvirt", more: str = "") -> bytes:
    return VM.format(last=last, mad=mad, user=user, more=more).encode()


def called(
    action: str, data: bytes, image_format: str = "raw", more: str = ""
) -> tuple[dict[str, Any], dict[str, str]]:
    """Options and hosts of a call."""
    with stdin(data):
        call = calls_tm.call(action, [DIRECTORY, "0:1:", "one-4", "-", "4", "105"], "ceph")
        oned = Documents(image_9=f"<IMAGE><ID>9</ID><FORMAT>{image_format}</FORMAT>{more}</IMAGE>")
        found = complete(call, oned, False)
    _options.check("x", _actions.ACTIONS[f"tm_{action}"].options, {**found, "driver": "ceph"})
    return found, call.hosts


@pytest.mark.parametrize("action", ["prebackup", "prebackup_live", "postbackup", "postbackup_live"])
def test_volumes_and_their_cluster_are_told(action: str) -> None:
    found, hosts = called(action, document())
    assert {name: found[name] for name in WANTED} == WANTED
    assert hosts == {"destination": "host01"}
    if action.endswith("live"):
        assert (found["domain"], found["targets"]) == ("one-4", ["0:vda", "1:vdb"])
    if action == "prebackup_live":
        assert found["freeze"] == "suspend"


def test_the_bridge_leads_from_which_the_repository_takes_the_files() -> None:
    _found, hosts = called("prebackup", document(more="<LAST_BRIDGE>bridge1</LAST_BRIDGE>"))
    assert hosts == {"destination": "bridge1"}


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (document(mad="qcow2"), Unsupported, "Disk 0 of VM 4 is kept by the driver qcow2, and is no volume"),
        (document(user="other"), Unsupported, "Disk 1 of VM 4 lies in another cluster"),
        (b"", BadCall, "document"),
    ],
)
def test_what_cannot_be_backed_up_is_told(data: bytes, error: type[StorageError], words: str) -> None:
    with pytest.raises(error, match=words):
        called("prebackup", data)


def test_a_chain_that_stock_began_goes_on_in_its_form() -> None:
    """What begins anew asks nobody, and has the form of today."""
    found, _hosts = called("prebackup", document(), "rbd", "<BACKUP_DISK_IDS><ID>0</ID></BACKUP_DISK_IDS>")
    assert (found["backup_format"], found["chain_disks"]) == ("rbd", ["0"])
    for last, image_format in ((2, "raw"), (-1, "rbd")):
        assert "backup_format" not in called("prebackup", document(last=last), image_format)[0]


def in_ssh(system: str = "ssh") -> bytes:
    """The same disks, of a VM whose own datastore is another driver's."""
    history = f"<HISTORY_RECORDS><HISTORY><TM_MAD>{system}</TM_MAD></HISTORY></HISTORY_RECORDS></VM>"
    return document(-1).replace(b"</VM>", history.encode()).replace(b"INCREMENT", b"FULL")


@pytest.mark.parametrize("action", ["prebackup", "prebackup_live", "postbackup", "postbackup_live"])
def test_disks_of_ceph_images_are_files_in_a_system_datastore_of_ssh(action: str) -> None:
    with stdin(in_ssh()):
        call = calls_tm.call(action, [DIRECTORY, "0:1:", "one-4", "-", "4", "105"], "ssh")
        found = complete(call, Documents(), False)
    _options.check("x", _actions.ACTIONS[f"tm_{action}"].options, {**found, "driver": "ssh"})
    assert (found["disks"], found["images"], found["persistent"]) == (["0:raw", "1:raw"], [], ["1"])
    assert "ceph_user" not in found


@pytest.mark.parametrize("system", ["qcow2", "shared", "local", "ceph"])
def test_and_nowhere_else(system: str) -> None:
    with stdin(in_ssh(system)), pytest.raises(Unsupported, match="is kept by the driver ceph, and not in a file here"):
        call = calls_tm.call("prebackup", [DIRECTORY, "0:1:", "one-4", "-", "4", "105"], "ssh")
        complete(call, Documents(), False)
