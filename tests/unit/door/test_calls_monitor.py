# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitoring calls of system datastores: from command line and document to options, and what is answered."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, Unreachable, Unsupported
from plugins.module_utils.drivers.registry import load
from plugins.plugin_utils import calls_tm, monitord
from plugins.plugin_utils.answer import Voice
from plugins.plugin_utils.launch import Placement
from plugins.plugin_utils.settings import Settings
from tests.unit.door.support import CAPTURES, complete, context, sentence
from tests.unit.door.test_calls_ds import stdin

VMS = [{"id": 7, "disks": [{"id": 0, "size_mb": 2, "snapshots": [{"id": 1, "size_mb": 3}]}]}]
LIST = base64.b64encode(
    b"DISK_SIZE = [ ID=0, SIZE=2 ]\nSNAPSHOT_SIZE = [ ID=1, DISK_ID=0, SIZE=3 ]\n"
).decode()  # fmt: skip
TOTALS = {"used_mb": 1, "free_mb": 2, "total_mb": 3}


def document(store: str = "<ID>101</ID><BASE_PATH>/ds//101</BASE_PATH>", template: str = "", more: str = "") -> bytes:
    """A document as oned makes it, encoded."""
    inside = f"<DATASTORE>{store}<TEMPLATE>{template}</TEMPLATE></DATASTORE>{more}"
    return base64.b64encode(f"<DS_DRIVER_ACTION_DATA>{inside}</DS_DRIVER_ACTION_DATA>".encode())


def options(data: bytes, *given: str) -> dict[str, Any]:
    """The options of the call, without the timeouts."""
    with stdin(data):
        return complete(calls_tm.call("monitor", list(given)))


@pytest.mark.parametrize("driver", ["qcow2", "shared"])
def test_recorded_documents_are_understood(driver: str) -> None:
    given = options((CAPTURES / f"ds.monitor.--{driver}.success.xml").read_bytes(), "101")
    assert given == {"datastore": "/var/lib/one//datastores/101", "vm_disks": True}
    _options.check("x", _actions.ACTIONS["tm_monitor"].options, {"driver": driver, **given})


@pytest.mark.parametrize(
    ("more", "given", "folder", "vm_disks"),
    [
        ("", ["101"], "/ds//101", False),
        ("<MONITOR_VM_DISKS>0</MONITOR_VM_DISKS>", ["101"], "/ds//101", False),
        ("<MONITOR_VM_DISKS>1</MONITOR_VM_DISKS>", [], "/ds//101", True),
        ("<DATASTORE_LOCATION>/srv/</DATASTORE_LOCATION>", [], "/srv/101", False),
        ("<DATASTORE_LOCATION>/srv</DATASTORE_LOCATION>", ["102"], "/srv/102", False),
    ],
)
def test_where_is_looked_and_at_what(more: str, given: list[str], folder: str, vm_disks: bool) -> None:
    assert options(document(more=more), *given) == {"datastore": folder, "vm_disks": vm_disks}


@pytest.mark.parametrize(
    ("data", "given", "wanted"),
    [
        (b"", ["101"], "There is no document on stdin"),
        (b"  \n", ["101"], "There is no document on stdin"),
        (b"<A/>", ["101"], "The document on stdin has no DATASTORE"),
        (b"%", ["101"], "The document on stdin is neither XML nor base64"),
        (document(""), [], "The document on stdin has no ID"),
        (document("<ID>1</ID>"), ["1"], "The document on stdin has no BASE_PATH"),
        (document(), ["x"], "'x' is not the id of a datastore"),
        (document(), ["1", "2"], "monitor takes 0 to 1 arguments (DATASTORE_ID), not 2"),
        (
            document(more="<MONITOR_VM_DISKS>x</MONITOR_VM_DISKS>"),
            ["1"],
            "The document on stdin has 'x' for MONITOR_VM_DISKS, which is not a number",
        ),
        (
            document(template="<NFS_AUTO_ENABLE>yes</NFS_AUTO_ENABLE>"),
            ["101"],
            "Datastore 101 has NFS_AUTO_ENABLE=yes, which these drivers do not support",
        ),
    ],
)
def test_bad_calls_give_one_sentence(data: bytes, given: list[str], wanted: str) -> None:
    with pytest.raises((BadCall, Unsupported)) as caught:
        options(data, *given)
    assert sentence(caught.value) == wanted


@pytest.mark.parametrize("data", [b"", b"\n", document()])
def test_storage_of_each_host_needs_no_document_but_reads_it(data: bytes) -> None:
    """Who writes the document must not be left with a pipe that nobody reads (contract-tm 13, 3)."""
    with stdin(data):
        call = calls_tm.call("monitor", ["101"])
        assert os.read(0, 10) == b""
    for driver in ("ssh", "local"):
        assert load("tm", driver).idle("monitor", call.early)
    for driver in ("qcow2", "shared"):
        assert not load("tm", driver).idle("monitor", call.early)


def test_a_bridge_leads() -> None:
    with stdin(document(template="<BRIDGE_LIST>h1 h2</BRIDGE_LIST>")):
        call = calls_tm.call("monitor", ["101"])
    assert call.bridges == ["h1", "h2"]
    rule = load("tm", "qcow2").leads["monitor"]
    placement = Placement(rule, call.hosts, Settings("/nowhere"), "tm", "h2")
    assert (placement.lead, placement.peer, placement.here) == ("h2", "", False)
    placement = Placement(rule, call.hosts, Settings("/nowhere"), "tm")
    assert placement.here and not placement.pinned


# ---------------------------------------------------------------- answers


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What monitord is told, by somebody who listens to the call."""
    found: list[Any] = []
    monkeypatch.setattr(monitord, "settings", monitord.Target)
    monkeypatch.setattr(monitord.Monitord, "send_vms", lambda _self, vms: found.append(vms))
    return found


def replied(action: str, result: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a call says to this result: stdout and stderr."""
    with stdin(document()):
        call = calls_tm.call(action, ["/ds/101"] if action == "monitor_ds" else ["101"])
    call.reply(Voice(f"/x/{action}"), result)
    said = capfd.readouterr()
    return said.out, said.err


def test_totals_go_to_oned_and_disks_to_monitord(sent: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    said = replied("monitor", {**TOTALS, "vms": VMS, "missed": []}, capfd)
    assert said == ("USED_MB=1\nFREE_MB=2\nTOTAL_MB=3\n", "")
    assert sent == [VMS]
    assert replied("monitor", {**TOTALS, "vms": [], "missed": []}, capfd) == said
    assert sent == [VMS]


def test_what_was_missed_is_a_line_of_the_log(sent: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    out, err = replied("monitor", {**TOTALS, "vms": VMS, "missed": ["It hangs", "a\nb"]}, capfd)
    assert out.startswith("USED_MB=1\n") and err == "WARN: monitor: It hangs\nWARN: monitor: a b\n"
    out, err = replied("monitor_ds", {"vms": VMS, "missed": ["It hangs"]}, capfd)
    assert out.count("\n") == 1 and err == "WARN: monitor_ds: It hangs\n"


def test_without_a_configuration_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(monitord, "settings", lambda: None)
    assert replied("monitor", {**TOTALS, "vms": VMS, "missed": []}, capfd)[1] == ""


def test_the_totals_are_told_although_monitord_cannot_be(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_self: Any, _vms: Any) -> None:
        raise Unreachable("Cannot send")

    monkeypatch.setattr(monitord, "settings", monitord.Target)
    monkeypatch.setattr(monitord.Monitord, "send_vms", fail)
    out, err = replied("monitor", {**TOTALS, "vms": VMS, "missed": []}, capfd)
    assert out == "USED_MB=1\nFREE_MB=2\nTOTAL_MB=3\n"
    assert err == "WARN: monitor: monitord is not told the sizes of disks: Cannot send\n"


def test_the_probe_gets_a_line_a_vm(capfd: pytest.CaptureFixture[str]) -> None:
    two = [*VMS, {"id": 8, "disks": [{"id": 0, "size_mb": 2, "snapshots": []}]}]
    out, err = replied("monitor_ds", {"vms": two, "missed": []}, capfd)
    lines = out.splitlines()
    assert lines[0] == f'VM = [ ID = 7, MONITOR = "{LIST}" ]' and lines[1].startswith("VM = [ ID = 8, ")
    assert len(lines) == 2 and err == ""
    assert replied("monitor_ds", {"vms": [], "missed": []}, capfd) == ("", "")


# ---------------------------------------------------------------- monitor_ds


def test_the_probe_has_its_answer_before_it_is_due_again() -> None:
    call = calls_tm.call("monitor_ds", ["/var/lib/one//datastores/105/"])
    given = call.complete(context(), True)
    assert given.pop("lock_timeout") == 120
    assert given == {"datastore": "/var/lib/one/datastores/105", "command_timeout": 25, "stall_timeout": 25}
    _options.check("x", _actions.ACTIONS["tm_monitor_ds"].options, {"driver": "ssh", **given})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], "monitor_ds takes 1 arguments (DIRECTORY), not 0"),
        (["105"], "The datastore '105' is not an absolute path"),
        (["/ds/../105"], "The datastore '/ds/../105' contains '..'"),
    ],
)
def test_bad_calls_of_the_probe(given: list[str], wanted: str) -> None:
    with pytest.raises(BadCall) as caught:
        calls_tm.call("monitor_ds", given)
    assert sentence(caught.value) == wanted


@pytest.mark.parametrize("driver", ["qcow2", "shared", "ssh", "local"])
def test_a_probe_stays_on_its_host(driver: str) -> None:
    """Whatever launcher the front-end's settings, which nodes get too, ask for."""
    placement = Placement(load("tm", driver).leads["monitor_ds"], {}, Settings("/nowhere"), "tm")
    assert placement.here and placement.pinned and not placement.peer
