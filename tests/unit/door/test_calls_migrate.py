# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of a live migration: from the recorded command line to options, and the calls of other drivers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, Missing, StorageError, ToolFailed
from plugins.module_utils.drivers.registry import load
from plugins.plugin_utils import calls_tm
from tests.unit.door.support import CAPTURES, Documents, complete, sentence

HOOKS = ("premigrate", "postmigrate", "failmigrate")
HERE = ["host01", "host02", "/var/lib/one//datastores/106/4", "4", "106"]
DISK = "<DISK><DISK_ID>{}</DISK_ID><FORMAT>{}</FORMAT><TYPE>{}</TYPE><TM_MAD>{}</TM_MAD>{}</DISK>"
RECORDS = "<HISTORY><SEQ>0</SEQ><DS_ID>105</DS_ID></HISTORY><HISTORY><SEQ>1</SEQ><DS_ID>106</DS_ID></HISTORY>"


def vm(*disks: str, records: str = RECORDS) -> Documents:
    """An oned with one VM."""
    return Documents(
        vm_4=f"<VM><ID>4</ID><TEMPLATE>{''.join(disks)}</TEMPLATE><HISTORY_RECORDS>{records}</HISTORY_RECORDS></VM>"
    )


@pytest.fixture(autouse=True)
def document(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What comes on stdin, and who read it."""
    read: list[str] = []

    def given() -> bytes:
        read.append("read")
        return b"<VM/>"

    monkeypatch.setattr("plugins.plugin_utils.documents.read_stdin", given)
    monkeypatch.setattr("plugins.plugin_utils.documents.drain", lambda: read.append("drained"))
    return read


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("driver", ["qcow2", "shared", "ssh", "local"])
def test_recorded_calls_are_understood(driver: str) -> None:
    text = (CAPTURES / f"script-stdin.tm-{driver}-premigrate.txt").read_text()
    command = re.search(r"^CMD \S+ (.*)$", text, re.M)
    assert command
    arguments = command[1].split()
    recorded = text[text.index("<VM>") :].strip()
    number, store = arguments[3], arguments[4]
    oned = Documents(**{f"vm_{number}": recorded})
    call = calls_tm.call("premigrate", arguments)
    assert call.hosts == {"source": "host02", "destination": "host01"}
    given = complete(call, oned)
    path = f"/var/lib/one/datastores/{store}/{number}"
    assert (given["source"], given["destination"]) == (path, path)
    assert given["disks"] and all(re.fullmatch(r"\d:(raw|qcow2)", disk) for disk in given["disks"])
    given["driver"] = driver
    _options.check("x", _actions.ACTIONS["tm_premigrate"].options, given)


def test_the_datastore_that_is_left_stands_in_the_history() -> None:
    oned = vm(DISK.format(0, "QCOW2", "FILE", "ssh", ""))
    assert complete(calls_tm.call("postmigrate", HERE), oned) == {
        "datastore": "/var/lib/one/datastores/106",
        "source_datastore": "/var/lib/one/datastores/105",
        "source": "/var/lib/one/datastores/105/4",
        "destination": "/var/lib/one/datastores/106/4",
        "disks": ["0:qcow2"],
    }
    assert oned.asked == ["vm 4"]


def test_a_vm_without_a_past_stays_in_its_datastore() -> None:
    given = complete(calls_tm.call("premigrate", HERE), vm(records="<HISTORY><DS_ID>106</DS_ID></HISTORY>"))
    assert given["source"] == given["destination"]


def test_only_what_the_guest_writes_to_is_named() -> None:
    disks = [
        DISK.format(0, "raw", "FILE", "ssh", ""),
        DISK.format(1, "raw", "CDROM", "ssh", "<READONLY>YES</READONLY>"),
        DISK.format(2, "qcow2", "FILE", "ssh", "<READONLY>YES</READONLY>"),
        DISK.format(3, "", "FILESYSTEM", "virtiofs", ""),
        DISK.format(4, "raw", "swap", "ssh", ""),
        DISK.format(5, "qcow2", "fs", "ssh", "<READONLY>NO</READONLY>"),
    ]
    assert complete(calls_tm.call("premigrate", HERE), vm(*disks))["disks"] == ["0:raw", "4:raw", "5:qcow2"]


def test_stdin_is_always_read(document: list[str]) -> None:
    complete(calls_tm.call("premigrate", HERE), vm())
    assert document == ["read"]
    calls_tm.call("premigrate", [*HERE, "ssh"])
    assert document == ["read", "drained"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("driver", ["qcow2", "shared", "ssh", "local"])
def test_a_call_of_another_driver_does_nothing(driver: str, hook: str) -> None:
    """The VM's directory is the caller's; our disks have nothing elsewhere (contract-tm 1.5)."""
    call = calls_tm.call(hook, [*HERE, "ceph"])
    assert call.early and load("tm", driver).idle(hook, call.early)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (HERE[:2], "premigrate takes 3 to 6 arguments"),
        ([*HERE, "ssh", "7"], "premigrate takes 3 to 6 arguments"),
        (["-oProxyCommand=id", *HERE[1:]], "is not the name of a host"),
        ([HERE[0], "a b", *HERE[2:]], "is not the name of a host"),
        ([*HERE[:2], "/var/lib/one/datastores/106/4/disk.0", "4"], "is not a VM's directory"),
        ([*HERE[:2], "datastores/106/4"], "is not host:path"),
        ([*HERE[:2], "/ds/106/../4"], r"contains '\.\.'"),
        ([*HERE[:3], "5"], "belongs to VM 4, the call to VM 5"),
    ],
)
def test_bad_calls_give_one_sentence(given: list[str], wanted: str) -> None:
    with pytest.raises(BadCall, match=wanted) as caught:
        calls_tm.call("premigrate", given)
    sentence(caught.value)


def test_trailing_ids_may_be_missing() -> None:
    assert complete(calls_tm.call("failmigrate", HERE[:3]), vm())["destination"] == "/var/lib/one/datastores/106/4"


# ---------------------------------------------------------------- other drivers


def other(root: Path, name: str, text: str, hook: str = "premigrate") -> Path:
    """A driver of somebody else, which notes how it was called."""
    path = root / "tm" / name / hook
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncat > "$0.stdin"\nprintf "%s\\n" "$@" > "$0.called"\nenv > "$0.env"\n{text}\n')
    path.chmod(0o755)
    return path


def called(root: Path, *disks: str, hook: str = "premigrate", caller: str = "ssh") -> None:
    """Complete a call, and let it call the others."""
    call = calls_tm.call(hook, HERE)
    complete(call, vm(*disks), root=str(root))
    assert call.others
    call.others(caller)


CEPH = DISK.format(0, "raw", "RBD", "ceph", "")
OWN = DISK.format(1, "qcow2", "FILE", "qcow2", "")


@pytest.mark.parametrize("hook", HOOKS)
def test_each_other_driver_is_called_once_with_the_same(
    tmp_path: Path, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE_LOCATION", "/opt/one")
    scripts = [other(tmp_path, name, "exit 0", hook) for name in ("ceph", "lvm", "qcow2")]
    called(tmp_path, CEPH, CEPH.replace(">0<", ">7<"), OWN, DISK.format(2, "raw", "BLOCK", "lvm", ""), hook=hook)
    for script in scripts[:2]:
        assert Path(f"{script}.called").read_text().split("\n") == [*HERE, "ssh", ""]
        assert Path(f"{script}.stdin").read_bytes() == b"<VM/>"
        assert "ONE_LOCATION=/opt/one" in Path(f"{script}.env").read_text()
    # files in the VM's directory are nobody's but the caller's
    assert not Path(f"{scripts[2]}.called").exists()


def test_the_caller_is_not_called_again(tmp_path: Path) -> None:
    script = other(tmp_path, "ceph", "exit 1")
    called(tmp_path, CEPH, caller="ceph")
    assert not Path(f"{script}.called").exists()


FAILURES: list[tuple[str, str, type[StorageError]]] = [
    (
        "echo 'INFO: premigrate: mapping' >&2; echo 'no such pool' >&2; exit 3",
        "The driver ceph fails to premigrate: no such pool",
        ToolFailed,
    ),
    ("exit 3", "The driver ceph fails to premigrate: it ended with code 3", ToolFailed),
    ("sleep 60", "ceph/premigrate did not end within 1 seconds", StorageError),
]


@pytest.mark.parametrize(("text", "wanted", "kind"), FAILURES, ids=["a reason", "no reason", "no end"])
def test_a_failure_of_another_driver_is_ours(
    tmp_path: Path, text: str, wanted: str, kind: type[StorageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock passes over it (Q26)."""
    monkeypatch.setenv("ONE_STORAGE_COMMAND_TIMEOUT", "1")
    other(tmp_path, "ceph", text)
    with pytest.raises(kind, match=wanted) as caught:
        called(tmp_path, CEPH)
    sentence(caught.value)


def test_a_driver_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="tm/ceph/premigrate is not there"):
        called(tmp_path, CEPH)


@pytest.mark.parametrize("name", ["../qcow2", "a/b", "$(id)", ".", "ä"])
def test_a_name_that_is_none_runs_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadCall, match="is not the name of a driver"):
        called(tmp_path, DISK.format(0, "raw", "FILE", name, ""))
    assert os.listdir(tmp_path) == []
