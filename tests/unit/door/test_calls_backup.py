# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of backup datastores: which host leads, what its options are, what oned hears."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, StorageError, Unsupported
from plugins.plugin_utils import calls_ds
from plugins.plugin_utils.calls import Call, Context
from plugins.plugin_utils.launch import Placement
from plugins.plugin_utils.oned import Oned
from plugins.plugin_utils.settings import Settings
from tests.unit.door.support import complete
from tests.unit.door.test_calls_ds import stdin

RSYNC = "<RSYNC_HOST>store</RSYNC_HOST><RSYNC_USER>bob</RSYNC_USER><RSYNC_NICE>5</RSYNC_NICE>"
RESTIC = "<RESTIC_SFTP_SERVER>store</RESTIC_SFTP_SERVER><RESTIC_PASSWORD><![CDATA[a&b]]></RESTIC_PASSWORD>"
S3 = "<RESTIC_BACKEND>S3</RESTIC_BACKEND><RESTIC_S3_BUCKET>b</RESTIC_S3_BUCKET>"
IMAGE = "<ID>7</ID><SOURCE>2106dd</SOURCE><FORMAT>raw</FORMAT><VMS><ID>0</ID></VMS>"
CHAIN = (
    "<BACKUP_INCREMENTS><INCREMENT><ID>10</ID><SOURCE>bbbbbb</SOURCE></INCREMENT>"
    "<INCREMENT><ID>9</ID><SOURCE>aaaaaa</SOURCE></INCREMENT></BACKUP_INCREMENTS>"
)
BACKUP = ["host01:/var/lib/one//datastores/101/22", "0:1", "one-22", "-", "22", "101"]


def document(template: str, image: str = IMAGE, more: str = "", vm: str = "") -> bytes:
    return (
        f"<DS_DRIVER_ACTION_DATA><IMAGE>{image}</IMAGE><VM>{vm}</VM><DATASTORE><ID>108</ID><BASE_PATH>/ds//108"
        f"</BASE_PATH><TYPE>3</TYPE><TEMPLATE>{template}</TEMPLATE></DATASTORE>{more}</DS_DRIVER_ACTION_DATA>"
    ).encode()


def called(kind: str, action: str, given: list[str], data: bytes) -> Call:
    with stdin(data):
        return calls_ds.call(kind, action, given)


def options(call: Call, tmp_path: Path) -> dict[str, Any]:
    """What the module gets, checked as it is there."""
    found = complete(call, root=str(tmp_path / "remotes"))
    return _options.check("x", _actions.ACTIONS[call.action].options, {"driver": "x", **found})


@pytest.mark.parametrize(
    ("kind", "template", "lead", "peer"),
    [
        ("rsync", RSYNC, "host01", "bob@store"),
        ("restic", RESTIC, "host01", "oneadmin@store"),
        ("restic", RESTIC + S3, "host01", ""),
    ],
)
def test_a_backup_leads_on_the_vms_host(kind: str, template: str, lead: str, peer: str, tmp_path: Path) -> None:
    call = called(kind, "backup", BACKUP, document(template))
    placement = Placement("node", call.hosts, Settings(str(tmp_path)), "ds")
    assert (placement.lead, placement.peer) == (lead, peer)
    found = options(call, tmp_path)
    assert found["source"] == "/var/lib/one/datastores/101/22/backup"
    assert (found["vm_id"], found["backup_job_id"], found["datastore"]) == (22, -1, "/ds//108")
    assert found["nice"] == (5 if kind == "rsync" else -1)
    if kind == "restic":
        assert found["repository_password"] == "a&b"


def test_a_bridge_leads_where_one_was_recorded(tmp_path: Path) -> None:
    vm = "<BACKUPS><BACKUP_CONFIG><LAST_BRIDGE>bridge9</LAST_BRIDGE></BACKUP_CONFIG></BACKUPS>"
    assert called("rsync", "backup", BACKUP, document(RSYNC, vm=vm)).hosts["lead"] == "bridge9"


def test_a_backup_path_of_the_site(tmp_path: Path) -> None:
    settings = tmp_path / "remotes" / "etc" / "datastore"
    settings.mkdir(parents=True)
    (settings / "datastore.conf").write_text('BACKUP_BASE_PATH="/srv/backups"\n')
    found = options(called("rsync", "backup", BACKUP, document(RSYNC)), tmp_path)
    assert found["source"] == "/srv/backups/22/backup"


def test_a_job_and_five_arguments(tmp_path: Path) -> None:
    of_job = [*BACKUP[:3], "4", *BACKUP[4:]]
    assert options(called("rsync", "backup", of_job, document(RSYNC)), tmp_path)["backup_job_id"] == 4
    older = [*BACKUP[:3], *BACKUP[4:]]
    found = options(called("rsync", "backup", older, document(RSYNC)), tmp_path / "again")
    assert (found["vm_id"], found["backup_job_id"]) == (22, -1)


@pytest.mark.parametrize("action", ["rm", "ls", "monitor", "increment_flatten"])
@pytest.mark.parametrize(
    ("kind", "template", "lead"),
    [("rsync", RSYNC, "bob@store"), ("restic", RESTIC, "oneadmin@store"), ("restic", RESTIC + S3, "")],
)
def test_all_else_leads_where_the_repository_lies(
    action: str, kind: str, template: str, lead: str, tmp_path: Path
) -> None:
    keep = "<EXTRA_DATA><KEEP_LAST>3</KEEP_LAST></EXTRA_DATA>"
    call = called(kind, action, ["7"], document(template, IMAGE + CHAIN, keep))
    placement = Placement("node", call.hosts, Settings(str(tmp_path)), "ds")
    assert (placement.lead, placement.peer, placement.here) == (lead, "", not lead)
    found = options(call, tmp_path)
    if action != "monitor":
        assert found["increments"] == ["9:aaaaaa", "10:bbbbbb"], "by number, not as text"
        assert found["vm_id"] == 0
    if action == "increment_flatten":
        assert found["keep_last"] == 3


def test_a_server_that_is_this_machine(tmp_path: Path) -> None:
    import pwd

    settings = Settings(str(tmp_path))
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert Placement("node", {"lead": f"{me}@{os.uname().nodename}"}, settings, "ds").here
    assert not Placement("node", {"lead": f"another@{os.uname().nodename}"}, settings, "ds").here
    assert Placement("node", {"lead": "host01", "peer": f"{me}@host01"}, settings, "ds").peer == ""


def test_stat_ends_before_oned_stops_waiting(tmp_path: Path) -> None:
    path = "<PATH>rsync://108//0:aaaaaa/ds/108/5/aaaaaa/disk.0.0</PATH>"
    call = called("rsync", "stat", ["0"], document(RSYNC, path))
    found = call.complete(Context(Oned(), Settings(str(tmp_path))), False)
    assert max(found["command_timeout"], found["stall_timeout"], found["lock_timeout"]) <= 70
    assert found["datastore"] == "/ds//108"


@pytest.mark.parametrize(
    ("words", "wanted"), [(["7"], -1), (["-i", "0", "7"], 0), (["--increment", "9"], 9), (["-i", "-1", "7"], -1)]
)
def test_which_increment_is_listed(words: list[str], wanted: int, tmp_path: Path) -> None:
    call = called("rsync", "ls", words, document(RSYNC))
    assert options(call, tmp_path)["increment_id"] == wanted


@pytest.mark.parametrize(
    ("action", "given", "template", "said"),
    [
        ("backup", [], RSYNC, "backup takes 6 arguments"),
        ("backup", ["host01", *BACKUP[1:]], RSYNC, "is not the directory of a VM"),
        ("backup", ["host01:/a/../b", *BACKUP[1:]], RSYNC, "contains '..'"),
        ("backup", BACKUP, "", "Datastore 108 has no RSYNC_HOST"),
        ("backup", BACKUP, RSYNC + "<RSYNC_ARGS>'</RSYNC_ARGS>", "RSYNC_ARGS of the datastore has an open quote"),
        ("ls", ["-i", "x"], RSYNC, "'x' is not the id of a backup's increment"),
        ("ls", ["-i"], RSYNC, "'' is not the id of a backup's increment"),
        ("rm", ["1", "2"], RSYNC, "rm takes 0 to 1 arguments"),
        ("cp", ["7"], RSYNC, "ds/rsync cp: Operation not supported"),
    ],
)
def test_calls_that_are_none(action: str, given: list[str], template: str, said: str) -> None:
    kind: type[StorageError] = Unsupported if action == "cp" else BadCall
    with pytest.raises(kind) as caught:
        called("rsync", action, given, document(template))
    assert said in str(caught.value)
