# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls around a backup: from recorded command lines and documents to options, and what is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import Busy, Cancelled, Missing, StorageError, Unsupported
from plugins.module_utils.drivers.registry import load
from plugins.plugin_utils import calls_tm, running
from plugins.plugin_utils.door import Wrapper
from tests.unit.door.support import CAPTURES, Documents, complete, context, sentence

ACTIONS = ("prebackup", "prebackup_live", "postbackup", "postbackup_live")
HERE = ["node01:/var/lib/one//datastores/100/5", "0:1", "one-5", "-", "5", "100"]
DISKS = (
    "<DISK><DISK_ID>0</DISK_ID><FORMAT>qcow2</FORMAT><CLONE>YES</CLONE><TARGET>vda</TARGET><TM_MAD>qcow2</TM_MAD>"
    "<SOURCE>/var/lib/one//datastores/1/abc</SOURCE></DISK>"
    "<DISK><DISK_ID>1</DISK_ID><FORMAT>raw</FORMAT><CLONE>NO</CLONE><TARGET>vdb</TARGET><TM_MAD>qcow2</TM_MAD>"
    "<SOURCE>/var/lib/one//datastores/1/def</SOURCE></DISK>"
    "<DISK><DISK_ID>2</DISK_ID><FORMAT>qcow2</FORMAT><TARGET>vdc</TARGET><TM_MAD>ceph</TM_MAD></DISK>"
)
STORE = (
    "<DATASTORE><ID>108</ID><DS_MAD>restic</DS_MAD><TEMPLATE><RESTIC_NICE>7</RESTIC_NICE>"
    "<RESTIC_CPU_QUOTA>50</RESTIC_CPU_QUOTA><RSYNC_IONICE>3</RSYNC_IONICE>"
    "<REQUIRE_QUIESCE>YES</REQUIRE_QUIESCE></TEMPLATE></DATASTORE>"
)


def vm(config: str = "", more: str = "", template: str = DISKS) -> str:
    """A VM's document with this configuration of its backups."""
    return (
        f"<VM><ID>5</ID><DEPLOY_ID>one-5</DEPLOY_ID><TEMPLATE>{template}<OS><UUID>an-uuid</UUID></OS></TEMPLATE>"
        f"<BACKUPS><BACKUP_CONFIG><LAST_DATASTORE_ID>108</LAST_DATASTORE_ID>{config}</BACKUP_CONFIG></BACKUPS>{more}</VM>"
    )


@pytest.fixture(autouse=True)
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A register of our own, left when a test ends, and no handler of signals."""
    monkeypatch.setenv("ONE_STORAGE_RUN_DIRECTORY", str(tmp_path / "running"))
    monkeypatch.setattr("signal.signal", lambda *_arguments: None)
    yield
    while running._noted:
        running._noted.pop().leave()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Options of an action on VM 5, or of arguments, with this document on stdin."""

    def asked(action: str, document: str, given: list[str] | None = None, root: str = "/nowhere") -> dict[str, Any]:
        monkeypatch.setattr("plugins.plugin_utils.documents.read_stdin", document.encode)
        return complete(calls_tm.call(action, given or HERE), Documents(datastore_108=STORE), root=root)

    return asked


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("driver", ["qcow2", "shared", "ssh", "local"])
def test_recorded_calls_are_understood(driver: str, action: str, ask: Any) -> None:
    recorded = (CAPTURES / f"script-stdin.tm-{driver}-{action}.txt").read_text()
    command = re.search(r"^CMD \S+ (.*)$", recorded, re.M)
    assert command
    document = recorded[recorded.index("<VM>") :].strip()
    arguments = command[1].split()
    given = ask(action, document, arguments)
    path = arguments[0].split(":")[1].replace("//", "/")
    assert (given["path"], given["datastore"]) == (path, path.rpartition("/")[0])
    assert [item.partition(":")[0] for item in given["disks"]] == arguments[1].split(":")
    assert (given["mode"], given["last_increment"]) == ("full", -1)
    if action.startswith("pre"):
        assert given["document"] == document
    given["driver"] = driver
    checked = _options.check("x", _actions.ACTIONS[f"tm_{action}"].options, given)
    assert load("tm", driver).claims_for(action, checked)[0].key == f"vm-{arguments[4]}"


def test_an_increment(ask: Any) -> None:
    config = "<MODE>INCREMENT</MODE><INCREMENT_MODE>SNAPSHOT</INCREMENT_MODE><LAST_INCREMENT_ID>11</LAST_INCREMENT_ID>"
    document = vm(config, "<SNAPSHOTS><DISK_ID>1</DISK_ID></SNAPSHOTS>")
    assert ask("prebackup", document) == {
        "datastore": "/var/lib/one/datastores/100",
        "path": "/var/lib/one/datastores/100/5",
        "disks": ["0:qcow2", "1:raw"],
        "images": ["0:/var/lib/one/datastores/1/abc", "1:/var/lib/one/datastores/1/def"],
        "persistent": ["1"],
        "mode": "increment",
        "increment_mode": "snapshot",
        "last_increment": 11,
        "document": document,
        "nice": 7,
        "cpu_quota": 50,
        "backup_datastore_id": 108,
    }


def test_a_running_guest(ask: Any) -> None:
    given = ask("prebackup_live", vm("<FS_FREEZE>agent</FS_FREEZE><MODE>INCREMENT</MODE>"))
    assert (given["domain"], given["targets"]) == ("one-5", ["0:vda", "1:vdb"])
    assert (given["freeze"], given["require_quiesce"], given["increment_mode"]) == ("agent", True, "cbt")


def test_a_tpm(ask: Any) -> None:
    given = ask("prebackup", vm(template=DISKS + "<TPM><MODEL>tpm-crb</MODEL></TPM>"))
    assert (given["tpm"], given["vtpm_setup"]) == ("an-uuid", "/var/tmp/one/vmm/kvm/vtpm_setup")


def test_the_base_path_of_backups(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "etc" / "datastore").mkdir(parents=True)
    (tmp_path / "etc" / "datastore" / "datastore.conf").write_text('BACKUP_BASE_PATH="/srv/my backups"\n')
    assert ask("prebackup", vm(), root=str(tmp_path))["backup_path"] == "/srv/my backups"


@pytest.mark.parametrize(("more", "failed"), [("", False), ("<BACKUP_RESULT>FAILURE</BACKUP_RESULT>", True)])
def test_the_outcome(ask: Any, more: str, failed: bool) -> None:
    given = ask("postbackup", vm("<INTERACTIVE>YES</INTERACTIVE>", more))
    assert given["failed"] is failed
    assert "document" not in given


def test_documents_in_base64_and_without_a_job_are_taken(ask: Any) -> None:
    plain = ask("postbackup", vm())
    encoded = base64.encodebytes(vm().encode()).decode()
    assert ask("postbackup", encoded, [*HERE[:3], *HERE[4:]]) == plain
    assert ask("postbackup", vm(), [HERE[0], "0:1:", *HERE[2:]]) == plain


@pytest.mark.parametrize(
    ("document", "given", "said"),
    [
        (vm("<INTERACTIVE>YES</INTERACTIVE>"), HERE, "Interactive backups (INTERACTIVE=YES) are not supported"),
        (vm("<MODE>OFTEN</MODE>"), HERE, "MODE=OFTEN, and FULL and INCREMENT are supported"),
        (vm("<INCREMENT_MODE>MAGIC</INCREMENT_MODE>"), HERE, "INCREMENT_MODE=MAGIC"),
        (vm(), [HERE[0], "0:2", *HERE[2:]], "Disk 2 of VM 5 is kept by the driver ceph"),
        (vm(), [HERE[0], "0:7", *HERE[2:]], "VM 5 has no disk 7"),
        (vm(), [HERE[0], "0:x", *HERE[2:]], "'x' is not the id of a disk"),
        (vm(), [*HERE[:4], "6", "100"], "belongs to VM 5, the call to VM 6"),
        (vm().replace("<ID>5<", "<ID>6<"), HERE, "the document on stdin to another one"),
        (vm(), [HERE[0] + "/disk.0", *HERE[1:]], "is not a VM's directory"),
        (vm(), HERE[:4], "prebackup takes 6 arguments"),
        ("", HERE, "There is no document on stdin"),
        ("<VM", HERE, "not XML"),
        (
            vm(
                "<MODE>INCREMENT</MODE><INCREMENT_MODE>SNAPSHOT</INCREMENT_MODE>",
                "<SNAPSHOTS><DISK_ID>0</DISK_ID><SNAPSHOT><ID>0</ID></SNAPSHOT></SNAPSHOTS>",
            ),
            HERE,
            "Disk 0 of VM 5 has snapshots, and increments by layers would destroy them",
        ),
    ],
)
def test_what_cannot_be_is_said(ask: Any, document: str, given: list[str], said: str) -> None:
    with pytest.raises(StorageError) as caught:
        ask("prebackup", document, given)
    assert said in sentence(caught.value)
    assert not running._noted


def test_a_guest_that_cannot_be_held_as_asked(ask: Any) -> None:
    with pytest.raises(Unsupported, match="FS_FREEZE=PRAYER"):
        ask("prebackup_live", vm("<FS_FREEZE>PRAYER</FS_FREEZE>"))
    with pytest.raises(Unsupported, match="need kvm or qemu, and this one has lxc"):
        ask("prebackup_live", vm(more="<HISTORY_RECORDS><HISTORY><VM_MAD>lxc</VM_MAD></HISTORY></HISTORY_RECORDS>"))


def test_a_repository_that_oned_does_not_know(ask: Any) -> None:
    with pytest.raises(Missing, match="datastore 109"):
        ask("prebackup", vm().replace("108", "109"))


def test_a_second_backup_is_refused_and_the_first_can_be_found(ask: Any) -> None:
    ask("prebackup", vm())
    records = running.find(context().settings, "one-5")
    assert [(record["vm"], record["action"]) for record in records] == [(5, "prebackup")]
    with pytest.raises(Busy, match="VM 5 is being backed up already"):
        ask("prebackup_live", vm())
    ask("postbackup", vm())


def test_a_signal_ends_it_with_a_sentence() -> None:
    with pytest.raises(Cancelled, match="The backup was cancelled"):
        running._cancelled(15, None)


@pytest.mark.parametrize("name", ["pre_backup", "pre_backup_live", "post_backup", "post_backup_live"])
def test_older_names(name: str) -> None:
    assert Wrapper(f"/var/lib/one/remotes/tm/qcow2/{name}").action == name.replace("_", "", 1)
