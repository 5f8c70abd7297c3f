# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real wrappers answer: to recorded documents, twice in a row, in explain mode, and when nobody listens."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from tests.lab.oned.answers import read_clone, read_cp, read_mkfs, read_monitor, read_stat
from tests.lab.oned.messages import encode, monitor_action
from tests.unit.door.front_end import MIB, STORES, VM, FrontEnd, Said, refused
from tests.unit.door.support import CAPTURES

#: All that an import says in oned's log: one line at its end.
IMPORTED = r"INFO: cp: imported [^\n]*/s, run [0-9a-f]{12}\n"
#: Actions on snapshots, in migrations and of backups, which need more than a disk: the tests of their own wrappers
#: explain them.
ELSEWHERE = (
    *("snap_", "premigrate", "postmigrate", "failmigrate", "resize", "cpds"),
    *("prebackup", "postbackup", "pre_backup", "post_backup", "restore"),
)
#: Wrappers of actions that a driver lacks.
NOT_SUPPORTED = [f"datastore/fs/{name}" for name in ("backup", "backup_cancel", "increment_flatten", "ls", "restore")]


def format_of(path: Path) -> str:
    """What qemu-img takes a file for."""
    command = ["qemu-img", "info", "--output=json", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)["format"]
    return str(found)


# ---------------------------------------------------------------- recorded documents


class Recorded:
    """A recorded document, its paths moved to a front-end's folders, and what it speaks of there."""

    def __init__(self, front_end: FrontEnd, name: str) -> None:
        text = (CAPTURES / name).read_text()
        text = text.replace("/var/lib/one/", f"{front_end.root}/").replace("/srv/images", str(front_end.sources))
        self.text = text
        self.root = etree.fromstring(text.encode())
        self.folder = self.text_of("DATASTORE/BASE_PATH")
        seed = ":".join(self.text_of(path) for path in ("DATASTORE/ID", "IMAGE/ID", "IMAGE/REGTIME"))
        # oned's own spelling of the folder, with its double slash
        self.source = f"{self.folder}/{hashlib.md5(seed.encode()).hexdigest()}"
        assert "//" in self.source

    def text_of(self, path: str) -> str:
        return self.root.findtext(path) or ""

    @property
    def stdin(self) -> bytes:
        return encode(self.text)


def recorded(action: str) -> list[str]:
    return sorted(path.name for path in CAPTURES.glob(f"ds.{action}.fs-*.success.xml"))


@pytest.mark.parametrize("name", recorded("cp"))
def test_recorded_cp(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    source = Path(document.text_of("IMAGE/PATH"))
    kind = "qcow2" if source.suffix == ".qcow2" else "raw"
    size = int(document.text_of("IMAGE/SIZE")) * MIB
    front_end.qcow2(source, size) if kind == "qcow2" else front_end.raw(source, size)
    wanted = document.text_of("DATASTORE/TEMPLATE/DRIVER") or kind
    said = front_end.run("datastore/fs/cp", "0", stdin=document.stdin)
    assert (said.code, said.out) == (0, f"{document.source} {wanted}\n")
    assert re.fullmatch(IMPORTED, said.err)
    assert read_cp(said.out) == (document.source, wanted)
    assert format_of(Path(document.source)) == wanted
    before = front_end.state()
    again = front_end.run("datastore/fs/cp", "0", stdin=document.stdin)
    assert (again.code, again.out, again.err) == (0, said.out, "")
    assert front_end.state() == before and front_end.hidden() == []


@pytest.mark.parametrize("name", recorded("mkfs"))
def test_recorded_mkfs(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    wanted = document.text_of("IMAGE/FORMAT")
    said = front_end.run("datastore/fs/mkfs", "0", stdin=document.stdin)
    assert (said.code, said.out, said.err) == (0, f"{document.source}\n", "")
    assert read_mkfs(said.out) == document.source
    assert wanted == "save_as" or format_of(Path(document.source)) == wanted
    # only a name is made up for a disk that is saved: the image comes later
    assert Path(document.source).exists() is (wanted != "save_as")
    before = front_end.state()
    assert front_end.run("datastore/fs/mkfs", "0", stdin=document.stdin) == said
    assert front_end.state() == before and front_end.hidden() == []


@pytest.mark.parametrize("name", recorded("clone"))
def test_recorded_clone(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    origin, kind = Path(document.text_of("IMAGE/PATH")), document.text_of("IMAGE/FORMAT")
    front_end.qcow2(origin) if kind == "qcow2" else front_end.raw(origin)
    wanted = document.text_of("DATASTORE/TEMPLATE/DRIVER") or kind
    said = front_end.run("datastore/fs/clone", "0", stdin=document.stdin)
    assert (said.code, said.out, said.err) == (0, f"{document.source} {wanted}\n", "")
    assert read_clone(said.out, kind) == (document.source, wanted)
    assert format_of(Path(document.source)) == wanted
    before = front_end.state()
    assert front_end.run("datastore/fs/clone", "0", stdin=document.stdin) == said
    assert front_end.state() == before and front_end.hidden() == []


@pytest.mark.parametrize("name", recorded("rm"))
def test_recorded_rm(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    source = Path(document.text_of("IMAGE/SOURCE"))
    other = front_end.raw(source.parent / "other")
    front_end.raw(source)
    front_end.raw(source.with_name(source.name + ".snap") / "1")
    source.with_name(source.name + ".md5sum").write_text("x")
    for _again in range(2):
        said = front_end.run("datastore/fs/rm", "0", stdin=document.stdin)
        assert (said.code, said.out, said.err) == (0, "", "")
        assert sorted(path.name for path in source.parent.iterdir() if path.name != ".one_storage") == [other.name]
    assert front_end.hidden() == []


@pytest.mark.parametrize("name", recorded("stat"))
def test_recorded_stat(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    source = Path(document.text_of("IMAGE/PATH"))
    front_end.qcow2(source, 16 * MIB) if source.suffix == ".qcow2" else front_end.raw(source, 15 * MIB + 1)
    before = front_end.state()
    said = front_end.run("datastore/fs/stat", "0", stdin=document.stdin)
    assert (said.code, said.out, said.err) == (0, "16\n", "")
    assert read_stat(said.out) == 16
    assert front_end.state() == before


def df(folder: Path) -> str:
    """What stock's monitor would print."""
    line = subprocess.run(["df", "-B1M", "-P", folder], check=True, capture_output=True, text=True, timeout=10)
    _device, total, used, free = line.stdout.splitlines()[1].split()[:4]
    return f"USED_MB={used}\nFREE_MB={free}\nTOTAL_MB={total}\n"


@pytest.mark.parametrize("name", recorded("monitor"))
def test_recorded_monitor(front_end: FrontEnd, name: str) -> None:
    document = Recorded(front_end, name)
    shape = (CAPTURES / name.replace(".xml", ".reply-decoded.txt")).read_text().rstrip("\n").splitlines()
    for _try in range(10):
        # others write to this file system too
        Path(document.folder).mkdir(exist_ok=True)
        before = df(Path(document.folder))
        said = front_end.run("datastore/fs/monitor", "0", stdin=document.stdin)
        if said.out == before or said.out == df(Path(document.folder)):
            break
    else:
        pytest.fail(f"{said.out} is not {before}")
    assert (said.code, said.err) == (0, "")
    assert [line.split("=")[0] for line in said.out.splitlines()] == [line.split("=")[0] for line in shape]
    assert read_monitor(said.out)["TOTAL_MB"] > 0


# ---------------------------------------------------------------- each action, explained and done

Case = tuple[str, list[str], bytes]


def _cases(front_end: FrontEnd) -> dict[str, Case]:
    """A call of every wrapper that has something to do; the files it needs are made."""
    here = os.uname().nodename
    source = front_end.raw(front_end.sources / "a.img")
    packed = front_end.qcow2(front_end.sources / "a.qcow2")
    stored = front_end.raw(front_end.store(100) / "origin")
    inside = f"{front_end.root}//datastores/100"
    cases: dict[str, Case] = {
        "datastore/fs/cp raw": ("datastore/fs/cp", ["1"], front_end.cp(source)),
        "datastore/fs/cp qcow2": (
            "datastore/fs/cp",
            ["1"],
            front_end.cp(packed, number=2, attributes={"DRIVER": "raw"}),
        ),
        "datastore/fs/mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(number=3, image_format="qcow2", fs="ext4")),
        "datastore/fs/clone": ("datastore/fs/clone", ["1"], front_end.clone(f"{inside}/{stored.name}", number=4)),
        "datastore/fs/export": ("datastore/fs/export", ["1"], front_end.export(f"{inside}/{stored.name}")),
        "datastore/fs/rm": ("datastore/fs/rm", ["1"], front_end.rm(f"{inside}/{stored.name}")),
        "datastore/fs/stat": ("datastore/fs/stat", ["1"], front_end.stat(source)),
        "datastore/fs/monitor": ("datastore/fs/monitor", ["1"], front_end.monitor()),
    }
    plain = [(mad, "") for mad in STORES]
    for mad, suffix in (*plain, ("qcow2", ".ssh"), ("shared", ".ssh")):
        images, system = STORES[mad][0], STORES["ssh" if suffix else mad][1]
        folder = f"{front_end.root}//datastores/{system}"
        front_end.raw(front_end.store(images) / "image")
        front_end.raw(front_end.store(images) / "persistent")
        front_end.raw(front_end.store(system) / "3" / "disk.0")
        front_end.raw(front_end.store(system) / "4" / "disk.0")
        place = f"localhost:{folder}/{VM}"
        ids = [str(VM), str(images)]
        calls: dict[str, list[str]] = {
            "clone": [front_end.image(mad), f"{place}/disk.0", *ids],
            "ln": [front_end.image(mad, "persistent"), f"{place}/disk.1", *ids],
            "mvds": [f"{place}/disk.1", f"{front_end.root}//datastores/{images}/persistent", *ids],
            "mv": [f"localhost:{folder}/3", f"{here}:{front_end.root}//datastores/{system + 100}/3", "3", str(system)],
        }
        if not suffix:
            calls |= {
                "mkimage": ["2", "raw", f"{place}/disk.1", str(VM), str(system)],
                "mkswap": ["1", f"{place}/disk.2", str(VM), str(system)],
                "context": ["/etc/hostname", f"{place}/disk.3", str(VM), str(system)],
                "delete": [f"localhost:{folder}/4", "4", str(system)],
                "monitor": [str(system)],
                "monitor_ds": [folder],
            }
        for action, arguments in calls.items():
            stdin = encode(monitor_action(front_end.oned.settings, front_end.oned.datastores[system]))
            name = f"tm/{mad}/{action}{suffix}"
            cases[name] = (name, arguments, stdin if action == "monitor" else b"")
    return cases


def _every_wrapper(remotes: Path) -> set[str]:
    """Those that have something to do here: not dummy's nor backups', nor Ceph's, whose tests have a cluster
    (test_wrappers_ceph.py), and not those that only say "not supported"."""
    found = {str(path.relative_to(remotes)) for top in ("tm", "datastore") for path in (remotes / top).rglob("*")}
    empty = set(NOT_SUPPORTED) | {name for name in found if name.split("/")[1] in ("dummy", "rsync", "restic", "ceph")}
    return {
        name for name in found - empty if (remotes / name).is_file() and not name.split("/")[-1].startswith(ELSEWHERE)
    }


#: Nothing moves on shared storage, and what only looks has no steps.
NOTHING = ("/stat", "/monitor", "/export", "qcow2/mvds", "shared/mvds")


def test_explain_changes_nothing_and_the_action_does_what_was_said(front_end: FrontEnd, remotes: Path) -> None:
    front_end.oned.vms[3] = front_end.vm()
    front_end.oned.vms[3].id = 3
    front_end.vm()
    cases = _cases(front_end)
    assert {case[0] for case in cases.values()} == _every_wrapper(remotes)
    for number in (201, 203, 205, 207):
        front_end.store(number).mkdir()
    for name, (wrapper, arguments, stdin) in cases.items():
        if name.endswith(("/mv", "/mv.ssh")):
            front_end.raw(Path(arguments[0].partition(":")[2]) / "disk.0")
        if name.endswith(("ssh/mvds", "mvds.ssh")):
            front_end.raw(Path(arguments[0].partition(":")[2]))
        before = front_end.state()
        said = front_end.run(wrapper, *arguments, stdin=stdin, env={"ONE_STORAGE_EXPLAIN": "1"})
        assert (said.code, said.err) == (0, ""), (name, said)
        assert front_end.state() == before, name
        if any(end in name for end in NOTHING) and not name.endswith("mvds.ssh"):
            assert said.out.endswith(": nothing to do\n"), (name, said.out)
        else:
            head, *steps = said.out.splitlines()
            assert head.endswith(" would:") and len(steps) >= 1, (name, said.out)
            assert [step.split(".")[0].strip() for step in steps] == [str(n) for n in range(1, len(steps) + 1)]
        done = front_end.run(wrapper, *arguments, stdin=stdin)
        assert done.code == 0 and re.fullmatch(IMPORTED if "/cp " in name else "", done.err), (name, done)
        assert (front_end.state() != before) is said.out.split("\n")[0].endswith(" would:"), name
        assert done.out == "" or wrapper.startswith("datastore") or "/monitor" in wrapper, (name, done)
    # the proof that VM 3 came stays as long as its directory
    assert {Path(name).name for name in front_end.hidden()} == {"vm-3.arrived"}


@pytest.mark.parametrize("value", ["", "0"])
def test_explain_switched_off(front_end: FrontEnd, value: str) -> None:
    said = front_end.run("datastore/fs/mkfs", "1", stdin=front_end.mkfs(), env={"ONE_STORAGE_EXPLAIN": value})
    assert said.code == 0 and Path(said.out.strip()).exists()


def test_explain_of_a_disk_that_travels_with_its_directory(front_end: FrontEnd) -> None:
    disk = front_end.disk("ssh")
    env = {"ONE_STORAGE_EXPLAIN": "1"}
    assert front_end.run("tm/ssh/mv", disk, disk, env=env).out == "ssh mv: nothing to do\n"
    assert front_end.run("tm/ssh/mv", disk, disk).out == ""
    # nobody was asked
    assert front_end.server.requests == []


def test_explain_says_what_is_wrong(front_end: FrontEnd) -> None:
    said = front_end.run("tm/qcow2/clone", "x", "y", env={"ONE_STORAGE_EXPLAIN": "1"})
    assert said.code == 1 and said.out == "" and said.reason


def test_explain_of_a_datastore_that_is_not_there(front_end: FrontEnd) -> None:
    front_end.store(100).rmdir()
    source = front_end.raw(front_end.sources / "a.img")
    before = front_end.state()
    for action, stdin, answer in (
        ("cp", front_end.cp(source), " would:"),
        ("mkfs", front_end.mkfs(), " would:"),
        ("monitor", front_end.monitor(), ": nothing to do"),
    ):
        said = front_end.run(f"datastore/fs/{action}", "1", stdin=stdin, env={"ONE_STORAGE_EXPLAIN": "1"})
        assert said.code == 0 and answer in said.out
        assert front_end.state() == before


# ---------------------------------------------------------------- requests


def test_one_request_for_each_object(front_end: FrontEnd) -> None:
    cases = {name: case for name, case in _cases(front_end).items() if name.startswith("tm/")}
    counts: dict[str, int] = {}
    for name, (wrapper, arguments, stdin) in cases.items():
        front_end.server.requests.clear()
        front_end.run(wrapper, *arguments, stdin=stdin)
        asked = [(request.method, request.arguments) for request in front_end.server.requests]
        assert len(asked) == len(set(asked)), (name, asked)
        counts[name] = len(asked)
    assert counts["tm/qcow2/clone"] == counts["tm/ssh/ln"] == 3
    assert counts["tm/qcow2/mkimage"] == counts["tm/ssh/mv"] == 1
    # the command line tells it all
    assert {counts[f"tm/{mad}/{action}"] for mad in STORES for action in ("delete", "context", "mkswap")} == {0}
    assert counts["tm/qcow2/mvds"] == 0


def test_datastores_ask_nobody(front_end: FrontEnd) -> None:
    for name, (wrapper, arguments, stdin) in _cases(front_end).items():
        if name.startswith("datastore/"):
            assert front_end.run(wrapper, *arguments, stdin=stdin).code == 0
    assert front_end.server.requests == []


# ---------------------------------------------------------------- nobody listens

Ending = Callable[[FrontEnd, str, bytes], None]


def _reader_gone(front_end: FrontEnd, wrapper: str, stdin: bytes) -> None:
    """The answer is written to a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [front_end.remotes / wrapper, "1"],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=front_end.environment(),
        cwd=front_end.root,
    )
    os.close(writer)
    _out, err = process.communicate(stdin, 60)
    assert process.returncode == 1 and b"Traceback" not in err


def _killed(front_end: FrontEnd, wrapper: str, stdin: bytes) -> None:
    """The wrapper is killed when the work is done and the answer is not yet out."""
    said = front_end.run(wrapper, "1", stdin=stdin, env={"ONE_STORAGE_FAULT": "end"})
    assert said.code == -signal.SIGKILL and said.out == ""


@pytest.mark.parametrize("ending", [_reader_gone, _killed])
@pytest.mark.parametrize("action", ["cp", "mkfs", "clone"])
@pytest.mark.parametrize("then", ["the same", "another", "rm"])
def test_an_image_that_nobody_was_told_of(front_end: FrontEnd, ending: Ending, action: str, then: str) -> None:
    """oned never learns of such an image: the next action on the datastore takes it back."""
    source = front_end.raw(front_end.sources / "a.img")
    origin = front_end.raw(front_end.store(100) / "origin")
    stdin = {
        "cp": front_end.cp(source),
        "mkfs": front_end.mkfs(),
        "clone": front_end.clone(str(origin)),
    }[action]
    image = front_end.store(100) / hashlib.md5(b"100:1:1001").hexdigest()
    ending(front_end, f"datastore/fs/{action}", stdin)
    if ending is _reader_gone and action != "mkfs" and not image.exists():
        # what may take long is stopped when its reader goes away, if it has not ended by then
        assert front_end.hidden() == []
    else:
        assert image.exists() and front_end.hidden()
    if then == "the same":
        said = front_end.run(f"datastore/fs/{action}", "1", stdin=stdin)
        assert said.code == 0 and said.out.split()[0].replace("//", "/") == str(image)
        assert image.exists()
    elif then == "another":
        assert front_end.run("datastore/fs/mkfs", "2", stdin=front_end.mkfs(number=2)).code == 0
        assert not image.exists()
    else:
        assert front_end.run("datastore/fs/rm", "1", stdin=front_end.rm(str(image))).code == 0
        assert not image.exists()
    assert front_end.hidden() == [] and origin.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_wrapper_that_is_told_to_end(front_end: FrontEnd, number: signal.Signals) -> None:
    """Its commands are ended and what was done is undone; oned is told why."""
    tools = front_end.root / "bin"
    tools.mkdir()
    begun = front_end.root / "begun"
    (tools / "qemu-img").write_text(f"#!/bin/sh\necho $$ >{begun}.new\nmv {begun}.new {begun}\nexec sleep 60\n")
    (tools / "qemu-img").chmod(0o755)
    before = front_end.state()
    process = subprocess.Popen(
        [front_end.remotes / "datastore/fs/mkfs", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=front_end.environment(PATH=f"{tools}:/usr/bin:/bin"),
        cwd=front_end.root,
    )
    assert process.stdin
    process.stdin.write(front_end.mkfs(image_format="qcow2"))
    process.stdin.close()
    process.stdin = None
    until = time.monotonic() + 30
    while not begun.exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    said = Said(process.returncode, out.decode(), err.decode())
    refused(front_end, said, "The caller went away while we were to create an empty qcow2 image of 1 MB", before)
    assert not Path("/proc", begun.read_text().strip()).exists()
    assert front_end.hidden() == []


def test_an_answer_that_was_read_stays(front_end: FrontEnd) -> None:
    said = front_end.run("datastore/fs/mkfs", "1", stdin=front_end.mkfs())
    assert front_end.run("datastore/fs/mkfs", "2", stdin=front_end.mkfs(number=2)).code == 0
    assert Path(said.out.strip()).exists()


@pytest.mark.parametrize("mad", STORES)
def test_a_disk_counts_whether_anybody_listens_or_not(front_end: FrontEnd, mad: str) -> None:
    """Transfers have no answer that could get lost."""
    front_end.raw(front_end.store(STORES[mad][0]) / "image")
    arguments = [front_end.image(mad), front_end.disk(mad), str(VM), str(STORES[mad][0])]
    said = front_end.run(f"tm/{mad}/clone", *arguments, env={"ONE_STORAGE_FAULT": "end"})
    assert said.code == -signal.SIGKILL
    disk = front_end.store(STORES[mad][1]) / str(VM) / "disk.0"
    inode = disk.stat().st_ino
    # the next action on the VM leaves it alone
    swap = [front_end.disk(mad, "disk.2"), str(VM), str(STORES[mad][1])]
    assert front_end.run(f"tm/{mad}/mkswap", "1", *swap).code == 0
    assert disk.stat().st_ino == inode and front_end.hidden() == []
