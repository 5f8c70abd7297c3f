# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfer calls: from a command line to options or to one sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall, Missing, StorageError, Unsupported
from plugins.plugin_utils import calls_tm
from tests.unit.door.support import CAPTURES, Captured, Documents, KnowsNothing, complete, context, sentence

IMAGE = "/var/lib/one//datastores/100/bbfc"
DISK = "host01:/var/lib/one//datastores/105/4/disk.0"
DIRECTORY = "host01:/var/lib/one//datastores/105/4"
CLEAN = "/var/lib/one/datastores/105/4"
VM = (
    "<VM><ID>4</ID><LCM_STATE>3</LCM_STATE><TEMPLATE>"
    "<DISK><DISK_ID>3</DISK_ID><FORMAT>raw</FORMAT><SIZE>9</SIZE></DISK>"
    "<DISK><DISK_ID>0</DISK_ID><FORMAT>QCOW2</FORMAT><SIZE>40</SIZE><ORIGINAL_SIZE>16</ORIGINAL_SIZE><FS> Ext4 </FS>"
    "</DISK></TEMPLATE></VM>"
)
IMAGES = "<DATASTORE><ID>100</ID><TEMPLATE/></DATASTORE>"
SYSTEM = "<DATASTORE><ID>105</ID><TEMPLATE/></DATASTORE>"


def known() -> Documents:
    return Documents(vm_4=VM, datastore_100=IMAGES, datastore_105=SYSTEM)


def options(action: str, *given: str, here: bool = True) -> dict[str, Any]:
    return complete(calls_tm.call(action, list(given)), known(), here)


# ---------------------------------------------------------------- what oned really wrote


def _lines() -> list[tuple[str, str]]:
    """(file, line) of every recorded transfer line that this build has an action for."""
    found = []
    for path in sorted(CAPTURES.glob("tm.transfer.*.txt")):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[0].split(".")[0].lower() in calls_tm._CALLS and words[1] in ("qcow2", "shared", "ssh"):
                found.append((path.name, line))
    return found


def _place(line: str) -> tuple[str, str]:
    """The VM and the disk that a line is about; the disk is empty for a directory."""
    found = re.search(r"/datastores/\d+/(\d+)(?:/disk\.(\d+))?(?:\s|$)", line)
    assert found
    return found[1], found[2] or ""


def _captured(line: str) -> Captured:
    """The documents of the VM that a line is about."""
    (path,) = CAPTURES.glob(f"*.running.show-x.onevm.{_place(line)[0]}.xml")
    return Captured(path.name.split(".running")[0])


def _recorded(line: str, attribute: str) -> str:
    """An attribute of the disk that a line is about."""
    vm, disk = _place(line)
    found = _captured(line).documents[f"vm {vm}"].xpath(f"TEMPLATE/DISK[DISK_ID='{disk}']/{attribute}")
    return str(found[0].text)


@pytest.mark.parametrize(("name", "line"), _lines(), ids=lambda value: value[:60])
def test_recorded_lines_are_understood(name: str, line: str) -> None:
    word, driver, *arguments = line.split()
    action = word.split(".")[0].lower()
    call = calls_tm.call(action, arguments)
    on_disks = "resize snap_create snap_delete snap_revert"
    host = {"source": "mvds cpds", "destination": f"clone ln delete mkimage mkswap context {on_disks}"}
    where = re.findall(r"(\S+?):/", line)
    if action == "mv":
        assert call.hosts == {"source": where[0], "destination": where[1]}
    else:
        role = next(role for role, actions in host.items() if action in actions.split())
        assert call.hosts == {role: where[-1] if action in ("clone", "ln") else where[0]}
    try:
        given = call.complete(context(_captured(line)), True)
    except Missing as error:
        # the recorded moment is after this disk was detached, or before it was attached
        assert "attach" in name and re.fullmatch(r"VM \d has no disk \d", str(error))
        return
    assert "//" not in "".join(value for value in given.values() if isinstance(value, str))
    given["driver"] = driver
    checked = _options.check("x", _actions.ACTIONS[f"tm_{action}"].options, given)
    if action in ("clone", "ln", "mvds", "cpds", *on_disks.split()):
        assert checked["format"] == _recorded(line, "FORMAT")
    if action in ("clone", "ln"):
        assert (str(checked["size"]), str(checked["original_size"])) == (
            _recorded(line, "SIZE"),
            _recorded(line, "ORIGINAL_SIZE"),
        )


def test_recorded_lines_cover_every_recorded_pairing() -> None:
    covered = {(line.split()[0].lower(), line.split()[1]) for _name, line in _lines()}
    assert {("clone", "qcow2"), ("clone.ssh", "qcow2"), ("clone", "ssh"), ("ln.ssh", "shared")} <= covered
    assert {("snap_delete.ssh", "shared"), ("snap_create", "ssh"), ("cpds.ssh", "qcow2"), ("resize", "ssh")} <= covered
    assert {("mv", "ssh"), ("mvds.ssh", "qcow2"), ("delete.ssh", "shared"), ("mkimage", "ssh")} <= covered
    assert len(_lines()) > 60


@pytest.mark.parametrize("drivers", ["qcow2", "shared", "ssh", "qcow2+ssh", "shared+ssh"])
def test_a_recorded_clone_asks_oned_once_for_each_object(drivers: str) -> None:
    oned = Captured(drivers)
    line = next(
        line
        for name, line in _lines()
        if name.startswith("tm.transfer.prolog.clone.")
        and name.endswith(f".{drivers}.txt")
        and line.startswith("CLONE")
    )
    call = calls_tm.call("clone", line.split()[2:])
    given = complete(call, oned)
    assert sorted(oned.asked) == sorted(set(oned.asked))
    assert [name.split()[0] for name in oned.asked] == ["datastore", "datastore", "vm"]
    assert given["size"] == given["original_size"] == 16


def test_one_datastore_for_image_and_system_is_asked_for_once() -> None:
    oned = known()
    complete(calls_tm.call("clone", [IMAGE, DISK, "4", "105"]), oned)
    assert oned.asked == ["datastore 105", "vm 4"]


# ---------------------------------------------------------------- options


def test_clone_gives_all_options_of_the_module() -> None:
    assert options("clone", f"frontend:{IMAGE}", DISK, "4", "100") == {
        "datastore": "/var/lib/one/datastores/105",
        "source": "/var/lib/one/datastores/100/bbfc",
        "destination": f"{CLEAN}/disk.0",
        "force": True,
        "format": "qcow2",
        "size": 40,
        "original_size": 16,
        "sparse": True,
        "standalone": False,
        "qcow2_options": [],
    }


@pytest.mark.parametrize(
    "source", [f"frontend:{IMAGE}", IMAGE, "frontend:/var/lib/one/./datastores/100//bbfc", f"fe.example:{IMAGE}"]
)
@pytest.mark.parametrize("ids", [[], ["4"], ["4", "100"], ["", ""]])
@pytest.mark.parametrize("action", ["clone", "ln"])
def test_front_end_prefix_and_trailing_ids_may_be_missing(action: str, source: str, ids: list[str]) -> None:
    given = options(action, source, DISK, *ids)
    assert given["source"] == "/var/lib/one/datastores/100/bbfc"
    assert given["destination"] == f"{CLEAN}/disk.0"


@pytest.mark.parametrize("target", [f"frontend:{IMAGE}", IMAGE])
def test_mvds_takes_the_image_with_and_without_the_front_end(target: str) -> None:
    assert options("mvds", DISK, target, "4", "100") == {
        "datastore": "/var/lib/one/datastores/105",
        "source": f"{CLEAN}/disk.0",
        "destination": "/var/lib/one/datastores/100/bbfc",
        "format": "qcow2",
    }


def test_on_a_node_an_image_lies_below_the_nodes_own_datastores() -> None:
    disk = "host01:/data/one/105/4/disk.0"
    assert options("clone", f"fe:{IMAGE}", disk, here=False)["source"] == "/data/one/100/bbfc"
    assert options("clone", f"fe:{IMAGE}", disk, here=True)["source"] == "/var/lib/one/datastores/100/bbfc"
    assert options("mvds", disk, IMAGE, here=False)["destination"] == "/data/one/100/bbfc"


@pytest.mark.parametrize("boot", ["kernel", "initrd"])
def test_kernel_and_initrd_are_plain_copies(boot: str) -> None:
    given = options("clone", f"fe:{IMAGE}", f"{DIRECTORY}/{boot}", "4", "100")
    assert given["destination"] == f"{CLEAN}/{boot}" and "format" not in given
    checked = _options.check("x", _actions.ACTIONS["tm_clone"].options, {**given, "driver": "ssh"})
    assert checked["format"] == "raw" and checked["size"] == 0


def test_mv_and_delete_take_disks_and_directories() -> None:
    other = DIRECTORY.replace("host01", "host02").replace("105", "106")
    given = options("mv", DIRECTORY, other, "4", "105")
    assert given == {
        "datastore": "/var/lib/one/datastores/106",
        "source_datastore": "/var/lib/one/datastores/105",
        "source": CLEAN,
        "destination": "/var/lib/one/datastores/106/4",
        "source_lost": False,
    }
    assert options("mv", DISK, DISK.replace("host01", "host02"))["source"] == f"{CLEAN}/disk.0"
    assert options("delete", DISK)["path"] == f"{CLEAN}/disk.0"
    assert options("delete", f"{DIRECTORY}/", "4", "105") == {
        "datastore": "/var/lib/one/datastores/105",
        "path": CLEAN,
    }


@pytest.mark.parametrize(("state", "lost"), [("3", False), ("60", True), ("61", True), ("", False)])
def test_a_lost_source_host_is_known_from_the_state(state: str, lost: bool) -> None:
    oned = Documents(vm_4=f"<VM><ID>4</ID><LCM_STATE>{state}</LCM_STATE></VM>")
    call = calls_tm.call("mv", [DIRECTORY, DIRECTORY.replace("host01", "host02")])
    assert complete(call, oned)["source_lost"] is lost
    # nobody may be called before that is known
    assert call.hasty is False


def test_empty_disks() -> None:
    assert options("mkswap", "8", DISK, "4", "105")["size"] == 8
    given = options("mkimage", "20", "qcow2", DISK, "4", "105")
    assert (given["size"], given["format"], given["fs"]) == (20, "qcow2", "ext4")
    assert given["supported_fs"] == ["ext2", "ext3", "ext4", "xfs"] and given["fs_options"] == []
    # swap made by mkimage, as mkswap asks other drivers to, has no file system and asks nobody
    call = calls_tm.call("mkimage", ["8", "swap", DISK])
    assert complete(call, KnowsNothing())["fs"] == ""


@pytest.mark.parametrize(
    ("disk", "name", "value"),
    [
        ("<SPARSE>NO</SPARSE>", "sparse", False),
        ("<SPARSE> no </SPARSE>", "sparse", False),
        ("<SPARSE>yes</SPARSE>", "sparse", True),
        ("<QCOW2_STANDALONE>YES</QCOW2_STANDALONE>", "standalone", True),
        ("<FORMAT/>", "format", "raw"),
        ("<FORMAT>vmdk</FORMAT>", "format", "raw"),
        ("<SIZE/>", "size", 0),
    ],
)
def test_attributes_of_a_disk(disk: str, name: str, value: object) -> None:
    oned = Documents(
        vm_4=f"<VM><ID>4</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID>{disk}</DISK></TEMPLATE></VM>",
        datastore_105=SYSTEM,
    )
    assert complete(calls_tm.call("clone", [f"fe:{IMAGE}", DISK]), oned)[name] == value


def test_qcow2_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCOW2_OPTIONS", "-o 'cluster_size=2M' -o lazy_refcounts=on")
    assert options("clone", IMAGE, DISK)["qcow2_options"] == ["-o", "cluster_size=2M", "-o", "lazy_refcounts=on"]
    monkeypatch.setenv("QCOW2_OPTIONS", "-o 'cluster")
    with pytest.raises(BadCall, match="^QCOW2_OPTIONS has an open quote$"):
        options("clone", IMAGE, DISK)


# ---------------------------------------------------------------- context


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["/v/context.sh"], ["/v/context.sh"]),
        (["/v/context.sh", "/d/1/f:'init.sh'"], ["/v/context.sh", "/d/1/f:init.sh"]),
        (
            ["/v/context.sh", "/d/1/f:'my", "init", "file.sh'", "/d/1/g"],
            ["/v/context.sh", "/d/1/f:my init file.sh", "/d/1/g"],
        ),
        (["/v/context.sh", "/d/f:'a'", "/d/g:'b", "c'"], ["/v/context.sh", "/d/f:a", "/d/g:b c"]),
        (["/v/context.sh", "http://h/x.sh"], ["/v/context.sh", "http://h/x.sh"]),
        (["/v/context.sh", "/d/f:'$(id)'", "/d/g:'{{", "x", "}}'"], ["/v/context.sh", "/d/f:$(id)", "/d/g:{{ x }}"]),
        (["/v/context.sh", "7"], ["/v/context.sh", "7"]),
    ],
)
@pytest.mark.parametrize("ids", [[], ["4"], ["4", "105"]])
def test_context_files(words: list[str], files: list[str], ids: list[str]) -> None:
    given = options("context", *words, DISK, *ids)
    assert given["files"] == files
    assert given["destination"] == f"{CLEAN}/disk.0"


def test_context_asks_nobody() -> None:
    oned = KnowsNothing()
    complete(calls_tm.call("context", ["/v/context.sh", DISK, "4", "105"]), oned)
    assert oned.asked == []


# ---------------------------------------------------------------- disks that are there

SOURCE = "/var/lib/one/datastores/100/bbfc"


def used(state: str = "53", policy: str = "NO", **more: str) -> Documents:
    """An oned with VM 4, whose disk 0 has a snapshot; further attributes of the disk by name."""
    attributes = {"DISK_ID": "0", "FORMAT": "qcow2", "CLONE": "YES", "SOURCE": IMAGE, **more}
    disk = "".join(f"<{name}>{value}</{name}>" for name, value in attributes.items())
    other = "<SNAPSHOTS><ALLOW_ORPHANS>LINEAR</ALLOW_ORPHANS><DISK_ID>1</DISK_ID></SNAPSHOTS>"
    ours = f"<SNAPSHOTS><ALLOW_ORPHANS>{policy}</ALLOW_ORPHANS><DISK_ID>0</DISK_ID></SNAPSHOTS>"
    return Documents(
        vm_4=f"<VM><ID>4</ID><LCM_STATE>{state}</LCM_STATE><TEMPLATE><DISK>{disk}</DISK></TEMPLATE>{other}{ours}</VM>"
    )


THERE = {
    "datastore": "/var/lib/one/datastores/105",
    "image": SOURCE,
    "persistent": False,
    "format": "qcow2",
    "running": False,
}
ON_DISK = {**THERE, "path": f"{CLEAN}/disk.0"}
OLD_DISKS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("snap_create", ["2"], {**ON_DISK, "snapshot_id": 2, "force": True}),
    ("snap_delete", ["0"], {**ON_DISK, "snapshot_id": 0}),
    ("snap_revert", ["10"], {**ON_DISK, "snapshot_id": 10, "linear": False}),
    ("resize", ["40"], {**ON_DISK, "size": 40, "sparse": True}),
    *[
        (
            "cpds",
            [new, number],
            {
                **THERE,
                "source": f"{CLEAN}/disk.0",
                "destination": "/var/lib/one/datastores/100/new",
                "snapshot_id": wanted,
                "force": True,
            },
        )
        for new in ("/var/lib/one//datastores/100/new", "fe:/var/lib/one//datastores/100/new")
        for number, wanted in (("-1", -1), ("3", 3), ("", -1))
    ],
]


@pytest.mark.parametrize(("action", "given", "wanted"), OLD_DISKS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("ids", [["4", "100"], ["4"], []])
def test_actions_on_disks_that_are_there(action: str, given: list[str], wanted: dict[str, Any], ids: list[str]) -> None:
    oned = used()
    assert complete(calls_tm.call(action, [DISK, *given, *ids]), oned) == wanted
    assert oned.asked == ["vm 4"]


@pytest.mark.parametrize(
    ("disk", "wanted"),
    [
        ({"CLONE": "NO"}, {"persistent": True, "image": SOURCE}),
        ({"CLONE": "no"}, {"persistent": True}),
        ({"SOURCE": ""}, {"image": "", "persistent": False}),
        ({"FORMAT": "raw"}, {"format": "raw"}),
        ({"FORMAT": ""}, {"format": "raw"}),
    ],
)
def test_what_a_disk_is(disk: dict[str, str], wanted: dict[str, Any]) -> None:
    found = complete(calls_tm.call("snap_delete", [DISK, "1"]), used(**disk))
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("state", "running"),
    [*((state, False) for state in "0 27 28 51 53 56 63 64 67 68".split()),
     *((state, True) for state in "3 26 57 59 62".split())],
)  # fmt: skip
def test_whether_a_guest_writes(state: str, running: bool) -> None:
    for action, given in (("snap_delete", ["1"]), ("resize", ["9"]), ("cpds", [IMAGE])):
        assert complete(calls_tm.call(action, [DISK, *given]), used(state))["running"] is running


@pytest.mark.parametrize(("policy", "linear"), [("NO", False), ("YES", False), ("mixed", False), ("LINEAR", True)])
def test_the_policy_of_this_disk_counts(policy: str, linear: bool) -> None:
    assert complete(calls_tm.call("snap_revert", [DISK, "1"]), used(policy=policy))["linear"] is linear


def test_on_a_node_a_saved_image_lies_below_the_nodes_own_datastores() -> None:
    found = complete(calls_tm.call("cpds", ["host01:/data/one/105/4/disk.0", IMAGE]), used(), here=False)
    assert (found["destination"], found["image"]) == ("/data/one/100/bbfc", "/data/one/100/bbfc")


def test_a_disk_with_replicas_is_named() -> None:
    with pytest.raises(Unsupported, match="^Disk 0 of VM 4 has RECOVERY_SNAPSHOT_FREQ, which"):
        complete(calls_tm.call("snap_create", [DISK, "1"]), used(RECOVERY_SNAPSHOT_FREQ="60"))


# ---------------------------------------------------------------- sentences

FOUR = "(SOURCE DESTINATION VM_ID DATASTORE_ID)"
OUTSIDE = "not in a VM's directory of a datastore"
DIFFERENT = "are not the same disk, or directory, of one VM"
BAD: list[tuple[str, list[str], str]] = [
    ("clone", [], f"clone takes 2 to 4 arguments {FOUR}, not 0"),
    ("clone", [IMAGE], f"clone takes 2 to 4 arguments {FOUR}, not 1"),
    ("ln", [IMAGE, DISK, "4", "100", "x"], f"ln takes 2 to 4 arguments {FOUR}, not 5"),
    ("mv", [DISK], f"mv takes 2 to 4 arguments {FOUR}, not 1"),
    ("mvds", [DISK, IMAGE, "4", "100", ""], f"mvds takes 2 to 4 arguments {FOUR}, not 5"),
    ("delete", [], "delete takes 1 to 3 arguments (PATH VM_ID DATASTORE_ID), not 0"),
    ("delete", [DISK, "4", "100", "1"], "delete takes 1 to 3 arguments (PATH VM_ID DATASTORE_ID), not 4"),
    ("mkswap", ["8"], "mkswap takes 2 to 4 arguments (SIZE DESTINATION VM_ID DATASTORE_ID), not 1"),
    ("mkimage", ["8", "raw"], "mkimage takes 3 to 5 arguments (SIZE FORMAT DESTINATION VM_ID DATASTORE_ID), not 2"),
    ("context", [], "context takes at least 2 arguments (FILE... DESTINATION VM_ID DATASTORE_ID)"),
    ("context", [DISK, "4", "105"], "context takes at least 2 arguments (FILE... DESTINATION VM_ID DATASTORE_ID)"),
    ("context", ["/v/context.sh", DISK, "4", "105", "1"], "The disk '4' is not host:path"),
    ("context", ["/v/context.sh", "/f:'my", DISK], "The quote in '/f:'my' is not closed"),
    ("context", ["/v/context.sh", f"{DIRECTORY}/kernel"], f"{CLEAN}/kernel is not a disk"),
    # ids
    ("clone", [IMAGE, DISK, "5", "100"], f"The path {CLEAN}/disk.0 belongs to VM 4, the call to VM 5"),
    ("context", ["/v/c.sh", DISK, "5"], f"The path {CLEAN}/disk.0 belongs to VM 4, the call to VM 5"),
    ("delete", [DIRECTORY, "40"], f"The path {CLEAN} belongs to VM 4, the call to VM 40"),
    ("mkswap", ["8", DISK, "x"], "'x' is not the id of a VM"),
    ("mkswap", ["8", DISK, "-4"], "'-4' is not the id of a VM"),
    ("mkswap", ["8", DISK, "٤"], "'٤' is not the id of a VM"),
    ("mkswap", ["8", DISK, "4²"], "'4²' is not the id of a VM"),
    ("mvds", [DISK, IMAGE, "4" * 5000], f"'{'4' * 37}...' is not the id of a VM"),
    ("mvds", [DISK, IMAGE, "4", "$(id)"], "'$(id)' is not the id of a datastore"),
    ("delete", [DISK, "4", "--help"], "'--help' is not the id of a datastore"),
    ("mv", [DIRECTORY, DIRECTORY, "4", "1e3"], "'1e3' is not the id of a datastore"),
    ("ln", [IMAGE, DISK, "4", "²"], "'²' is not the id of a datastore"),
    # hosts
    ("clone", [IMAGE, "/ds/105/4/disk.0"], "The disk '/ds/105/4/disk.0' is not host:path"),
    ("clone", [IMAGE, ":/ds/105/4/disk.0"], "'' is not the name of a host"),
    ("clone", [IMAGE, "-oProxyCommand=id:/ds/105/4/disk.0"], "'-oProxyCommand=id' is not the name of a host"),
    ("delete", ["-host:/ds/105/4"], "'-host' is not the name of a host"),
    ("delete", ["a b:/ds/105/4"], "'a b' is not the name of a host"),
    ("delete", ["$(id):/ds/105/4"], "'$(id)' is not the name of a host"),
    ("delete", ["h\n:/ds/105/4"], "'h' is not the name of a host"),
    ("delete", ["{{x}}:/ds/105/4"], "'{{x}}' is not the name of a host"),
    ("delete", ["root@host:/ds/105/4"], "'root@host' is not the name of a host"),
    ("delete", ["h" * 300 + ":/ds/105/4"], f"'{'h' * 77}...' is not the name of a host"),
    ("mv", [DIRECTORY, "..:/ds/105/4"], "'..' is not the name of a host"),
    # paths
    ("clone", [IMAGE, "host:disk.0"], "The disk 'host:disk.0' is not host:path"),
    ("clone", [IMAGE, "host01"], "The disk 'host01' is not host:path"),
    ("clone", [IMAGE, "h:/ds/105/4/../5/disk.0"], "The disk '/ds/105/4/../5/disk.0' contains '..'"),
    ("clone", [IMAGE, "h:/ds/105/4/disk.0\nx"], "The disk '/ds/105/4/disk.0 x' contains control characters"),
    ("clone", [IMAGE, "h:/ds/105/4"], "/ds/105/4 is not a disk"),
    ("clone", [IMAGE, "h:/ds/105/x/disk.0"], f"The disk '/ds/105/x/disk.0' is {OUTSIDE}"),
    ("clone", [IMAGE, "h:/ds/x/4/disk.0"], "The disk '/ds/x/4/disk.0' is not in a VM's directory of a datastore"),
    ("clone", [IMAGE, "h:/4/disk.0"], "The disk '/4/disk.0' is not in a VM's directory of a datastore"),
    ("clone", [IMAGE, "h:/ds/105/²/disk.0"], "The disk '/ds/105/²/disk.0' is not in a VM's directory of a datastore"),
    ("clone", [IMAGE, "h:/ds/105/4/disk.²"], "The disk '/ds/105/4/disk.²' is not in a VM's directory of a datastore"),
    ("clone", [IMAGE, f"h:/105/{'4' * 11}/disk.0"], f"The disk '/105/{'4' * 11}/disk.0' is {OUTSIDE}"),
    ("clone", [IMAGE, "h:/ds/105/4/disk.0.snap/0"], f"The disk '/ds/105/4/disk.0.snap/0' is {OUTSIDE}"),
    ("clone", ["ceph:pool/image/x", DISK], "The image 'pool/image/x' is not an absolute path"),
    ("clone", ["", DISK], "The image '' is not an absolute path"),
    ("clone", ["fe:/ds/100/../../etc/x", DISK], "The image '/ds/100/../../etc/x' contains '..'"),
    ("mvds", [DISK, "fe:image"], "The image 'fe:image' is not an absolute path"),
    ("delete", ["h:/"], "The path '/' is not in a VM's directory of a datastore"),
    ("delete", ["h:/ds/105"], "The path '/ds/105' is not in a VM's directory of a datastore"),
    ("delete", ["h:/ds/105/4/disk.0.snap"], f"The path '/ds/105/4/disk.0.snap' is {OUTSIDE}"),
    ("mv", [DISK, DIRECTORY], f"{CLEAN}/disk.0 and {CLEAN} are not the same disk, or directory, of one VM"),
    ("mv", [DISK, DISK[:-1] + "1"], f"{CLEAN}/disk.0 and {CLEAN}/disk.1 {DIFFERENT}"),
    ("mv", [DIRECTORY, DIRECTORY[:-1] + "5"], f"{CLEAN} and {CLEAN[:-1]}5 {DIFFERENT}"),
    ("mvds", [f"{DIRECTORY}/kernel", IMAGE], f"{CLEAN}/kernel is not a disk"),
    ("mkimage", ["8", "raw", f"{DIRECTORY}/initrd"], f"{CLEAN}/initrd is not a disk"),
    ("mkswap", ["8", DIRECTORY], f"{CLEAN} is not a disk"),
    # snapshots
    ("snap_create", [DISK], "snap_create takes 2 to 4 arguments (DISK SNAPSHOT_ID VM_ID DATASTORE_ID), not 1"),
    ("snap_revert", [DISK, "-1", "4", "100"], "'-1' is not the id of a snapshot"),
    ("snap_delete", [DISK, "1;id", "4", "100"], "'1;id' is not the id of a snapshot"),
    ("snap_create", [DISK, "1", "5", "100"], f"The path {CLEAN}/disk.0 belongs to VM 4, the call to VM 5"),
    ("snap_create", [DIRECTORY, "1", "4", "100"], f"{CLEAN} is not a disk"),
    ("cpds", [DISK], "cpds takes 2 to 5 arguments (SOURCE DESTINATION SNAPSHOT_ID VM_ID DATASTORE_ID), not 1"),
    ("cpds", [DISK, IMAGE, "-2", "4", "100"], "'-2' is not the id of a snapshot"),
    ("cpds", [DISK, "image", "-1", "4", "100"], "The image 'image' is not an absolute path"),
    ("resize", [DISK, "4G", "4", "100"], "'4G' is not a size in MB"),
    ("resize", [f"{DIRECTORY}/kernel", "4"], f"{CLEAN}/kernel is not a disk"),
    # sizes
    ("mkswap", ["", DISK], "'' is not a size in MB"),
    ("mkswap", ["8M", DISK], "'8M' is not a size in MB"),
    ("mkswap", ["-8", DISK], "'-8' is not a size in MB"),
    ("mkimage", ["8.5", "raw", DISK], "'8.5' is not a size in MB"),
    ("mkimage", ["²", "raw", DISK], "'²' is not a size in MB"),
    ("mkimage", ["9" * 5000, "raw", DISK], f"'{'9' * 37}...' is not a size in MB"),
    # what is not here
    ("recovery_snap", [DISK, IMAGE], "recovery_snap: Operation not supported"),
    ("", [], ": Operation not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "given", "wanted"), BAD, ids=lambda value: str(value)[:50])
def test_bad_calls_give_one_sentence(action: str, given: list[str], wanted: str) -> None:
    oned = known()
    with pytest.raises(StorageError) as caught:
        complete(calls_tm.call(action, given), oned)
    assert sentence(caught.value) == wanted
    assert isinstance(caught.value, (BadCall, Unsupported))
    # what the command line alone shows is not asked of oned
    assert oned.asked == []


DOCUMENTS: list[tuple[dict[str, str], str]] = [
    ({}, "oned does not give datastore 100: [one.datastore.info] Error getting datastore [100]."),
    (
        {"datastore_100": IMAGES, "datastore_105": SYSTEM},
        "oned does not give vm 4: [one.vm.info] Error getting vm [4].",
    ),
    (
        {"datastore_100": "<D><TEMPLATE><NFS_AUTO_ENABLE>YES</NFS_AUTO_ENABLE></TEMPLATE></D>"},
        "Datastore 100 has NFS_AUTO_ENABLE=YES, which these drivers do not support",
    ),
    (
        {"datastore_100": "<D><TEMPLATE><CACHE_ENABLE>yes</CACHE_ENABLE></TEMPLATE></D>"},
        "Datastore 100 has CACHE_ENABLE=yes, which these drivers do not support",
    ),
    (
        {"datastore_100": IMAGES, "datastore_105": "<D><TEMPLATE><REPLICA_HOST>r1\nx</REPLICA_HOST></TEMPLATE></D>"},
        "Datastore 105 has REPLICA_HOST=r1 x, which these drivers do not support",
    ),
    (
        {"datastore_100": IMAGES, "datastore_105": SYSTEM, "vm_4": "<VM><ID>4</ID></VM>"},
        "VM 4 has no disk 0",
    ),
    (
        {
            "datastore_100": IMAGES,
            "datastore_105": SYSTEM,
            "vm_4": "<VM><ID>4</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><SIZE>a lot</SIZE></DISK></TEMPLATE></VM>",
        },
        "Disk 0 of VM 4 has 'a lot' for SIZE, which is not a number",
    ),
    (
        {
            "datastore_100": IMAGES,
            "datastore_105": SYSTEM,
            "vm_4": "<VM><ID>4</ID><TEMPLATE><DISK><DISK_ID>0</DISK_ID><RECOVERY_SNAPSHOT_FREQ>60"
            "</RECOVERY_SNAPSHOT_FREQ></DISK></TEMPLATE></VM>",
        },
        "Disk 0 of VM 4 has RECOVERY_SNAPSHOT_FREQ, which these drivers do not support",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "wanted"), DOCUMENTS, ids=lambda value: str(value)[:50])
def test_documents_that_do_not_help(documents: dict[str, str], wanted: str) -> None:
    with pytest.raises(StorageError) as caught:
        complete(calls_tm.call("clone", [IMAGE, DISK, "4", "100"]), Documents(**documents))
    assert sentence(caught.value) == wanted


@pytest.mark.parametrize("value", ["NO", "no", "false", " ", ""])
def test_what_is_switched_off_is_no_reason(value: str) -> None:
    store = f"<D><TEMPLATE><NFS_AUTO_ENABLE>{value}</NFS_AUTO_ENABLE></TEMPLATE></D>"
    oned = Documents(vm_4=VM, datastore_100=store, datastore_105=store)
    assert complete(calls_tm.call("clone", [IMAGE, DISK, "4", "100"]), oned)["format"] == "qcow2"
