# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""oned_conf.py of the role frontend: what it enters, what it leaves alone, that state absent gives back the bytes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.oned import stock

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "frontend" / "files" / "oned_conf.py"
_spec = importlib.util.spec_from_file_location("oned_conf", PROGRAM)
assert _spec and _spec.loader
oned_conf: Any = importlib.util.module_from_spec(_spec)
sys.modules["oned_conf"] = oned_conf
_spec.loader.exec_module(oned_conf)

CONF = """\
# A site's own words, with an odd "quote and a [bracket
LOG = [ SYSTEM = "file", DEBUG_LEVEL = 3 ]
DB = [ BACKEND = "mysql", PASSWD = "pa#ss[word]" ]
TM_MAD = [
    EXECUTABLE = "one_tm",   # the transfer manager
    ARGUMENTS = "-t 15 -d dummy,shared,qcow2,ssh"
]
# TM_MAD = [ ARGUMENTS = "-d commented" ]
DATASTORE_MAD = [
    EXECUTABLE = "one_datastore",
    ARGUMENTS  = "-t 15 -d dummy,fs -s shared,ssh,qcow2"
]
TM_MAD_CONF = [
    NAME = "qcow2", LN_TARGET = "SELF", CLONE_TARGET = "SYSTEM", SHARED = "YES"
]
"""
EXECRC = '# pairs\nLIVE_DISK_SNAPSHOTS="kvm-qcow2 kvm-ceph"\nOTHER="x"\n'
OURS = {"tm": ["dummy", "local", "qcow2", "shared", "ssh"], "ds": ["dummy", "fs"]}


class Files:
    """The two files, and runs of the program on them."""

    def __init__(self, folder: Path, conf: str = CONF, execrc: str = EXECRC) -> None:
        self.conf, self.execrc = folder / "oned.conf", folder / "vmm_execrc"
        self.conf.write_bytes(conf.encode("latin-1"))
        self.conf.chmod(0o640)
        self.execrc.write_text(execrc)

    def run(self, prefix: str = "", check: bool = False, good: bool = True, **more: Any) -> str:
        named = {kind: [prefix + name for name in names] for kind, names in OURS.items()}
        wish = {
            "conf": str(self.conf),
            "execrc": str(self.execrc),
            "prefix": prefix,
            "state": "present",
            "tm_conf": {},
            "ds_conf": {},
            "check": check,
            **named,
            "system": named["tm"],
            **more,
        }
        command = [sys.executable, "-I", str(PROGRAM), json.dumps(wish)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode == 0) == good, done.stderr
        return done.stdout if good else done.stderr

    def section(self, kind: str, name: str) -> dict[str, str]:
        found = [
            {key: value.text for key, value in one.values.items()}
            for one in oned_conf.sections(self.conf.read_text("latin-1"), "")
            if one.name == kind and one.values["NAME"].text == name
        ]
        assert len(found) == 1, found
        return found[0]

    def arguments(self, kind: str) -> str:
        [found] = [one for one in oned_conf.sections(self.conf.read_text("latin-1"), "") if one.name == kind]
        return str(found.values["ARGUMENTS"].text)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_names_of_its_own(files: Files) -> None:
    said = files.run("os_")
    assert files.arguments("TM_MAD") == "-t 15 -d dummy,shared,qcow2,ssh,os_dummy,os_local,os_qcow2,os_shared,os_ssh"
    assert files.arguments("DATASTORE_MAD") == (
        "-t 15 -d dummy,fs,os_dummy,os_fs -s shared,ssh,qcow2,os_dummy,os_local,os_qcow2,os_shared,os_ssh"
    )
    qcow2 = files.section("TM_MAD_CONF", "os_qcow2")
    assert (qcow2["TM_MAD_SYSTEM"], qcow2["CLONE_TARGET_OS_SSH"], qcow2["DRIVER"]) == ("os_ssh", "SYSTEM", "qcow2")
    assert files.section("DS_MAD_CONF", "os_fs")["MARKETPLACE_ACTIONS"] == "export"
    pairs = files.execrc.read_text().split('LIVE_DISK_SNAPSHOTS="')[1].split('"')[0]
    assert pairs.startswith("kvm-qcow2 kvm-ceph kvm-os_qcow2 ") and "qemu-os_local" in pairs
    assert "pa#ss" not in said and "ARGUMENTS" in said
    assert files.conf.stat().st_mode & 0o777 == 0o640
    assert Path(f"{files.conf}.one_storage").read_text() == CONF
    assert files.run("os_") == ""


def test_in_stocks_place_what_the_site_says_stays(files: Files) -> None:
    files.run()
    assert files.section("TM_MAD_CONF", "qcow2")["LN_TARGET"] == "SELF"
    assert files.arguments("TM_MAD") == "-t 15 -d dummy,shared,qcow2,ssh,local"
    assert files.section("TM_MAD_CONF", "local")["SHARED"] == "NO"


@pytest.mark.parametrize("name", sorted(stock.TM_MAD_CONF))
def test_values_of_transfer_drivers_are_stocks(name: str) -> None:
    ours, theirs = oned_conf.TM_CONF[name], stock.TM_MAD_CONF[name]
    assert ours["LN_TARGET"] == theirs.ln_target and ours["CLONE_TARGET"] == theirs.clone_target
    assert ours["SHARED"] == theirs.shared and ours.get("DRIVER") == theirs.driver
    assert ours.get("DISK_TYPE") == theirs.disk_type
    assert ours.get("ALLOW_ORPHANS", "NO") == theirs.allow_orphans
    assert ours.get("PERSISTENT_SNAPSHOTS", "YES") == theirs.persistent_snapshots
    assert ours.get("DS_MIGRATE", "YES") == theirs.ds_migrate
    assert ours.get("DS_LIVE_MIGRATE", "NO") == theirs.ds_live_migrate
    assert ours.get("DS_MIGRATE_SNAP", "NO") == theirs.ds_migrate_snap
    assert ours.get("TM_MAD_SYSTEM", "") == ",".join(theirs.mixed)
    for system, mode in theirs.mixed.items():
        assert ours[f"LN_TARGET_{system.upper()}"] == mode.ln_target
        assert ours[f"DISK_TYPE_{system.upper()}"] == mode.disk_type


@pytest.mark.parametrize("name", sorted(stock.DS_MAD_CONF))
def test_values_of_datastore_drivers_are_stocks(name: str) -> None:
    ours, theirs = oned_conf.DS_CONF[name], stock.DS_MAD_CONF[name]
    assert tuple(filter(None, ours["REQUIRED_ATTRS"].split(","))) == theirs.required
    assert ours["PERSISTENT_ONLY"] == ("YES" if theirs.persistent_only else "NO")
    assert tuple(filter(None, ours.get("MARKETPLACE_ACTIONS", "").split(","))) == theirs.marketplace_actions


@pytest.mark.parametrize("prefix", ["", "os_"])
@pytest.mark.parametrize(
    ("conf", "execrc"),
    [
        (CONF, EXECRC),
        (CONF.rstrip("\n"), EXECRC.rstrip("\n")),
        (CONF.replace("\n", "\r\n"), "# none\n"),
        (CONF.replace(" -d dummy,fs -s shared,ssh,qcow2", ""), ""),
        (CONF.replace("-d dummy,shared", "--tm-types=dummy,shared") + "# ümlaut\n", EXECRC),
    ],
)
def test_absent_gives_back_the_bytes(tmp_path: Path, prefix: str, conf: str, execrc: str) -> None:
    files = Files(tmp_path, conf, execrc)
    before = files.conf.read_bytes(), files.execrc.read_bytes()
    promised = files.run(prefix, check=True)
    assert (files.conf.read_bytes(), files.execrc.read_bytes()) == before
    assert files.run(prefix) == promised != ""
    files.run("x_")
    files.run(prefix, state="absent")
    assert (files.conf.read_bytes(), files.execrc.read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"oned.conf", "vmm_execrc"}
    assert files.run(prefix, state="absent") == ""


def test_what_others_change_meanwhile_stays(files: Files) -> None:
    files.run("os_")
    text = files.conf.read_text().replace("-t 15 -d dummy,shared", "-t 30 -d dummy,mine,shared") + "# more\n"
    files.conf.write_text(text)
    files.run("os_", state="absent")
    assert files.conf.read_text() == CONF.replace("-t 15 -d dummy,shared", "-t 30 -d dummy,mine,shared") + "# more\n"


def test_drivers_of_others_have_their_values(files: Files) -> None:
    files.run(tm=["mine"], ds=["theirs"], system=["mine"], tm_conf={"mine": {"LN_TARGET": "NONE", "SHARED": "YES"}})
    assert files.section("TM_MAD_CONF", "mine") == {"NAME": "mine", "LN_TARGET": "NONE", "SHARED": "YES"}
    assert files.arguments("DATASTORE_MAD").endswith("-d dummy,fs,theirs -s shared,ssh,qcow2,mine")


@pytest.mark.parametrize(
    ("conf", "more", "sentence"),
    [
        (CONF.replace('ssh"\n]', 'ssh"\n'), {}, "bracket too many"),
        (CONF + 'X = [ A = "open\n', {}, "open quote in line 16"),
        (CONF + 'X = [ A = "b"\n', {}, "X has no closing bracket"),
        (CONF.replace("DATASTORE_MAD", "OTHER_MAD"), {}, "has no DATASTORE_MAD"),
        (CONF + "# BEGIN one_storage.drivers\n", {}, "without '# END"),
        (CONF, {"tm": ["x"], "tm_conf": {"x": {"LN_TARGET": 'a"b'}}}, "has a quote in it"),
        (CONF, {"tm": ["x"], "tm_conf": {"x": {"LN TARGET": "a"}}}, "no name of an attribute"),
    ],
)
def test_what_cannot_be_read_or_written_is_told_and_stays(
    tmp_path: Path, conf: str, more: dict[str, Any], sentence: str
) -> None:
    files = Files(tmp_path, conf)
    said = files.run("os_", good=False, **more)
    assert sentence in said and said.count("\n") == 1
    assert files.conf.read_text() == conf and files.execrc.read_text() == EXECRC


_NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True), min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(there=_NAMES, wanted=_NAMES, tail=st.sampled_from(["", "\n", "\n\n# end", "\nA = b\n"]))
def test_whatever_is_added_can_be_taken_out(there: list[str], wanted: list[str], tail: str) -> None:
    text = f'TM_MAD = [ ARGUMENTS = "-d {",".join(there)} -t 3" ]\nDATASTORE_MAD = [ ARGUMENTS = "-t 1" ]{tail}'
    wish = {"conf": "x", "prefix": "", "tm": wanted, "ds": [], "system": wanted, "tm_conf": {}, "ds_conf": {}}
    changed = oned_conf.entered(text, wish)
    assert set(oned_conf._listed(changed, "x", "TM_MAD", "-d")) == {*there, *wanted}
    assert oned_conf.without_ours(changed, "x") == text
