# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup datastores with real rsync and restic on this machine: what goes in comes out, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import (
    BadCall,
    Busy,
    Corrupt,
    Missing,
    NoAccess,
    NoSpace,
    StorageError,
)
from plugins.module_utils.tools import manifest as manifests
from plugins.module_utils.tools.host import Host
from tests.unit.core.keeping import KINDS, PASSWORD, SIZE, VM, Keeping, document
from tests.unit.core.support import MIB, act, explained

PER_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def keeping(folder: Path, kind: str) -> Keeping:
    return Keeping(folder, kind)


@pytest.fixture(autouse=True)
def longer() -> None:
    """restic takes half a second to open a repository, which makes passwords hard to guess."""
    signal.alarm(120)


def sentence(task: Callable[[], Any], kind: type[StorageError]) -> str:
    with pytest.raises(kind) as caught:
        task()
    return str(caught.value)


# ---------------------------------------------------------------- a backup and what is known of it


@PER_KIND
def test_a_backup_is_stored_listed_measured_and_removed(keeping: Keeping) -> None:
    result = keeping.back_up(0, disks=(0, 10), tpm=b"state of a TPM")
    reference = result["reference"]
    assert len(reference) == (6 if keeping.kind == "rsync" else 8)
    assert result["format"] == "raw" and result["size"] == 1
    assert keeping.restored(0) == keeping.golden[0][0]
    assert keeping.restored(0, 10) == keeping.golden[10][0]
    disks = act("ds_ls", **keeping.options, increments=keeping.chain, datastore_id=100)["disks"]
    assert sorted(disks) == ["0", "10", "tpm"]
    where = f"{keeping.base}/{VM}/{reference}" if keeping.kind == "rsync" else str(keeping.prepared)
    assert disks["10"] == f"{keeping.kind}://100//0:{reference}{where}/disk.10.0"
    known = {key: value for key, value in keeping.options.items() if key != "vm_id"}
    assert act("ds_stat", **known, source=disks["10"])["size"] == SIZE // MIB + 10
    figures = act("ds_monitor", **known)
    assert figures["total_mb"] > figures["free_mb"] > 0
    assert keeping.is_tidy()
    for _again in range(2):
        act("ds_rm", **keeping.options, source=reference, increments=keeping.chain)
        assert keeping.references() == [] and keeping.is_tidy()


@PER_KIND
def test_a_directory_that_other_drivers_filled_gets_a_manifest(keeping: Keeping) -> None:
    keeping.back_up(0)
    told = keeping.repository().manifest(keeping.chain[0].partition(":")[2])
    assert told and told["mode"] == "full" and told["consistency"] == "crash" and told["warnings"]
    assert told["files"]["disk.0.0"]["format"] == "qcow2" and told["files"]["disk.0.0"]["virtual_size"] == SIZE


@PER_KIND
def test_a_directory_that_does_not_fit_its_manifest_is_not_stored(keeping: Keeping) -> None:
    keeping.prepare(0)
    told = manifests.build(str(keeping.prepared), "x", VM, disks={})
    manifests.write(str(keeping.prepared), told)
    with open(keeping.prepared / "disk.0.0", "ab") as file:
        file.write(b"x")
    said = sentence(lambda: act("ds_backup", **keeping.backup_options), Corrupt)
    assert "disk.0.0" in said and keeping.references() == [] and keeping.is_tidy()


def test_what_arrives_altered_is_not_published(folder: Path) -> None:
    """The server reads what it got: content of the same size that differs is seen there."""
    keeping = Keeping(folder, "rsync")
    keeping.prepare(0)
    manifests.write(str(keeping.prepared), manifests.build(str(keeping.prepared), "x", VM, disks={}))
    path = keeping.prepared / "disk.0.0"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said = sentence(lambda: act("ds_backup", **keeping.backup_options), Corrupt)
    assert "SHA-256" in said and keeping.references() == [] and keeping.is_tidy()


@PER_KIND
def test_a_check_says_what_it_would_do_and_does_nothing(keeping: Keeping) -> None:
    keeping.prepare(0)
    before = sorted(os.listdir(keeping.prepared))
    actions = explained("ds_backup", **keeping.backup_options)["actions"]
    assert any("describe" in action for action in actions) and len(actions) >= 2
    assert sorted(os.listdir(keeping.prepared)) == before
    assert os.listdir(keeping.base) == []


# ---------------------------------------------------------------- flatten


@PER_KIND
@pytest.mark.parametrize("count", [3, pytest.param(12, marks=pytest.mark.full)])
def test_a_flattened_chain_has_every_point_that_is_left(keeping: Keeping, count: int) -> None:
    keeping.fill(count, tpm=b"tpm")
    first = list(keeping.chain)
    result = keeping.flatten(2)
    assert [word.partition(":")[0] for word in keeping.chain] == [str(count - 2), str(count - 1)]
    assert keeping.chain[-1] == first[-1] and result["size"] >= 1
    if keeping.kind == "rsync":
        assert keeping.chain[0] == first[-2], "the merged one keeps the newest's reference"
    for number in (count - 2, count - 1):
        assert keeping.restored(number) == keeping.golden[0][number]
    assert sorted(keeping.references()) == sorted(word.partition(":")[2] for word in keeping.chain)
    found = keeping.verify()
    assert found["sound"], found
    names = [file.name for file in keeping.repository().files(keeping.chain[0].partition(":")[2])]
    assert sorted(names) == sorted([f"disk.0.{count - 2}", "disk.tpm.0", "manifest.json", "vm.xml"])
    assert keeping.is_tidy()
    again = keeping.flatten(2)
    assert again["changed"] is False and not again.get("chain"), "there is nothing more to merge"
    keeping.back_up(count)
    keeping.flatten(1)
    assert keeping.restored(count) == keeping.golden[0][count]


#: restic in the full run only: what it shares with rsync is seen there.
RSYNC_FIRST = pytest.mark.parametrize("kind", ["rsync", pytest.param("restic", marks=pytest.mark.full)])


@RSYNC_FIRST
def test_disks_that_came_went_and_grew(keeping: Keeping) -> None:
    keeping.back_up(0, disks=(0, 1))
    keeping.back_up(1, disks=(0, 2), size=SIZE)
    keeping.back_up(2, disks=(0, 2), size=2 * SIZE)
    keeping.back_up(3, disks=(0, 2), size=2 * SIZE)
    keeping.flatten(2)
    names = [file.name for file in keeping.repository().files(keeping.chain[0].partition(":")[2])]
    assert sorted(names) == ["disk.0.2", "disk.2.2", "manifest.json", "vm.xml"], "disk 1 was detached before"
    assert keeping.restored(2) == keeping.golden[0][2] and len(keeping.golden[0][2]) == 2 * SIZE
    assert keeping.restored(3, 2) == keeping.golden[2][2]


@RSYNC_FIRST
def test_a_disk_in_one_of_the_merged_increments_only(keeping: Keeping) -> None:
    """Stock moves such a file onto itself and fails (contract-ds 11.7)."""
    keeping.back_up(0)
    keeping.back_up(1, disks=(0, 1))
    keeping.back_up(2, disks=(0, 1))
    keeping.flatten(2)
    assert keeping.restored(1, 1) == keeping.golden[1][0]
    assert keeping.restored(2, 1) == keeping.golden[1][1]


@RSYNC_FIRST
def test_what_was_altered_is_not_merged(keeping: Keeping) -> None:
    keeping.fill(3)
    alter(keeping, 1)
    before = keeping.references()
    sentence(lambda: keeping.flatten(1), StorageError)
    assert keeping.references() == before and keeping.is_tidy()


def test_stored_increments_are_not_written_to(folder: Path) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.fill(3)
    last = keeping.base / str(VM) / keeping.chain[2].partition(":")[2]
    before = {path.name: path.read_bytes() for path in last.iterdir()}
    keeping.flatten(2)
    assert {path.name: path.read_bytes() for path in last.iterdir()} == before


def test_a_chain_that_stock_merged_goes_on(folder: Path) -> None:
    """Stock commits into the first, gives it the last one's name, leaves that one's manifest (contract-ds 11.7)."""
    keeping = Keeping(folder, "rsync")
    keeping.fill(4)
    folders = [keeping.base / str(VM) / word.partition(":")[2] for word in keeping.chain]
    first, second = folders[0] / "disk.0.0", folders[1] / "disk.0.1"
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", first, second], check=True)
    subprocess.run(["qemu-img", "commit", "-q", "-f", "qcow2", "-b", first, second], check=True)
    first.rename(second)
    subprocess.run(["rm", "-rf", folders[0]], check=True)
    keeping.chain = keeping.chain[1:]
    found = keeping.verify()
    assert found["sound"] and "merged by other drivers" in found["backups"][0]["notes"][0]
    keeping.flatten(2)
    for number in (2, 3):
        assert keeping.restored(number) == keeping.golden[0][number]


# ---------------------------------------------------------------- verify


@pytest.mark.parametrize(
    "kind, count",
    [("rsync", 2), pytest.param("restic", 1, id="restic-short"), pytest.param("restic", 2, marks=pytest.mark.full)],
)
def test_a_restore_is_rehearsed(keeping: Keeping, count: int) -> None:
    """Every disk of every backup, with nothing left of it."""
    disks = (0, 10) if count > 1 else (0,)
    keeping.fill(count, disks=disks, tpm=b"a TPM")
    names = [*map(str, disks), "tpm"]
    found = keeping.verify(restore="all", contents=False)
    assert found["sound"] and not found["changed"] and keeping.is_tidy()
    assert [row["restored"] for row in found["backups"]] == [names] * count
    assert any(f"restore disk {disks[-1]} of" in step for step in found["actions"])
    if count > 1:
        last = keeping.verify(restore="last", contents=False)
        assert [row["restored"] for row in last["backups"]] == [[], names]
    shown = explained("ds_backup_verify", **keeping.options, increments=keeping.chain, restore="last")
    assert len([step for step in shown["actions"] if "restore" in step]) == len(names) and keeping.is_tidy()


def test_what_cannot_be_restored_is_told(folder: Path) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.fill(3, disks=(0, 1))
    references = [word.partition(":")[2] for word in keeping.chain]
    with open(keeping.base / str(VM) / references[1] / "disk.1.1", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    found = keeping.verify(restore="all", contents=False)
    assert [row["restored"] for row in found["backups"]] == [["0", "1"], ["0"], ["0"]] and not found["sound"]
    for row in found["backups"][1:]:
        assert row["problems"][0].startswith("Disk 1 cannot be restored: ") and "SHA-256" in row["problems"][0]
    assert keeping.is_tidy()
    # an image that was made so: its manifest tells the truth about it, and it is none that shows a disk
    (keeping.base / str(VM) / references[0] / "disk.0.0").write_bytes(b"QFI\xfb" + bytes(500))
    kept = keeping.base / str(VM) / references[0]
    manifests.write(str(kept), manifests.build(str(kept), "x", VM, disks={}))
    found = keeping.verify(restore="all")
    assert [row["restored"] for row in found["backups"]] == [["1"], [], []] and keeping.is_tidy()
    assert "Disk 0 cannot be restored" in found["backups"][0]["problems"][0]


def alter(keeping: Keeping, number: int) -> None:
    """Change a byte of what is stored of an increment."""
    reference = keeping.chain[number].partition(":")[2]
    if keeping.kind == "rsync":
        path = keeping.base / str(VM) / reference / f"disk.0.{number}"
    else:
        # blobs that are tree and disk alike are in packs: those of this snapshot came last
        packs = sorted((keeping.base / str(VM) / "data").glob("*/*"), key=lambda found: found.stat().st_mtime_ns)
        path = max(packs, key=lambda found: found.stat().st_size)
        os.chmod(path, 0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_truncated_missing_and_foreign_files_are_found(folder: Path) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.fill(3)
    places = [keeping.base / str(VM) / word.partition(":")[2] for word in keeping.chain]
    os.truncate(places[0] / "disk.0.0", 100000)
    (places[1] / "vm.xml").unlink()
    (places[2] / "disk.7.2").write_bytes(b"x")
    rows = keeping.verify(contents=False)["backups"]
    assert "100000 bytes" in rows[0]["problems"][0]
    assert "no vm.xml" in " ".join(rows[1]["problems"]) and "vm.xml is not there" in " ".join(rows[1]["problems"])
    assert rows[2]["problems"] == ["The file disk.7.2 is not in the manifest"]
    subprocess.run(["rm", "-rf", places[1]], check=True)
    assert "is not there" in keeping.verify(contents=False)["backups"][1]["problems"][0]


def test_a_backup_without_a_manifest_is_no_problem_and_says_so(folder: Path) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.fill(1)
    (keeping.base / str(VM) / keeping.references()[0] / "manifest.json").unlink()
    found = keeping.verify()
    assert found["sound"] and "no manifest" in found["backups"][0]["notes"][0]


# ---------------------------------------------------------------- restic


def test_the_password_is_told_to_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restic in between writes down what can be seen of each call."""
    keeping = Keeping(folder, "restic")
    seen = folder / "seen"
    program = folder / "restic-seen"
    program.write_text(f'#!/bin/sh\ntr "\\0" " " </proc/$$/cmdline >>{seen}\nenv >>{seen}\nexec restic "$@"\n')
    program.chmod(0o755)
    keeping.prepare(0)
    result = act("ds_backup", **keeping.backup_options, repository_program=str(program))
    assert "one-22" in seen.read_text() and PASSWORD not in seen.read_text() and "secret" not in seen.read_text()
    assert PASSWORD not in json.dumps(result)


def test_a_snapshot_that_lacks_a_file_is_none(folder: Path) -> None:
    """restic ends well, and its summary is of less than it was given."""
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    program = folder / "restic-less"
    drop = 'case " $* " in *" backup "*) set -- "${@:1:$#-1}";; esac'
    program.write_text(f'#!/bin/bash\n{drop}\nexec restic "$@"\n')
    program.chmod(0o755)
    keeping.prepare(1)
    given = {**keeping.backup_options, "repository_program": str(program)}
    said = sentence(lambda: act("ds_backup", **given), Corrupt)
    assert "files of" in said and "and not" in said and "nothing was changed" in said
    assert len(keeping.references()) == 1 and keeping.is_tidy()
    assert keeping.back_up(1)["reference"]


def test_a_wrong_password_changes_nothing(folder: Path) -> None:
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    keeping.prepare(1)
    wrong = {**keeping.backup_options, "repository_password": "another"}
    said = sentence(lambda: act("ds_backup", **wrong), NoAccess)
    assert "RESTIC_PASSWORD" in said and "nothing was changed" in said
    assert len(keeping.references()) == 1 and keeping.is_tidy()
    assert keeping.back_up(1)["reference"], "the right one goes on where it was"


def test_a_locked_repository_is_waited_for_and_then_named(folder: Path) -> None:
    """A lock of another host counts as held for half an hour, so it is not taken off."""
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    with another_lock(keeping):
        said = sentence(
            lambda: act("ds_rm", **keeping.options, source="x", increments=keeping.chain, lock_timeout=1), Busy
        )
        assert "locked by others" in said
        assert len(keeping.references()) == 1


class another_lock:
    """A living restic that has the repository locked."""

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping

    def __enter__(self) -> None:
        # it reads its input, which does not end
        self.process = subprocess.Popen(
            ["restic", f"--repo={self.keeping.base}/{VM}", "backup", "--stdin", "--quiet"],
            stdin=subprocess.PIPE,
            env={**os.environ, "RESTIC_PASSWORD": PASSWORD},
        )
        locks = self.keeping.base / str(VM) / "locks"
        # the lock itself, not the file that becomes it, which restic does not count
        while not any(name.isalnum() for name in os.listdir(locks)):
            pass

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()


def test_a_lock_that_a_dead_process_left_is_taken_off(folder: Path) -> None:
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    with another_lock(keeping):
        pass
    assert os.listdir(keeping.base / str(VM) / "locks"), "it was killed and left its lock"
    act("ds_rm", **keeping.options, source="x", increments=keeping.chain)
    assert keeping.references() == [] and keeping.is_tidy()


def test_a_repository_that_cannot_be_read_is_not_made_anew(folder: Path) -> None:
    """Stock initialises whenever a look fails (contract-ds 12.3)."""
    keeping = Keeping(folder, "restic")
    keeping.fill(1)
    (keeping.base / str(VM) / "config").rename(folder / "config")
    keeping.prepare(1)
    assert "has lost its file config" in sentence(lambda: act("ds_backup", **keeping.backup_options), Corrupt)
    (folder / "config").rename(keeping.base / str(VM) / "config")
    assert keeping.verify()["sound"]


# ---------------------------------------------------------------- misuse, no room


@PER_KIND
@pytest.mark.parametrize(
    ("change", "kind_of_error", "words"),
    [
        ({"source": "relative/backup"}, BadCall, "not an absolute path"),
        ({"source": "/x"}, BadCall, "not the directory of a backup"),
        ({"source": "{root}/none/22/backup"}, Missing, "no disks of a backup"),
        ({"vm_id": -1}, BadCall, "not the id of a VM"),
        ({"nice": 40}, BadCall, "nice is 40"),
        ({"cpu_quota": 0}, BadCall, "cpu_quota is 0"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_misuse_is_one_sentence(
    keeping: Keeping, change: dict[str, Any], kind_of_error: type[StorageError], words: str
) -> None:
    keeping.prepare(0)
    change = {name: value.format(root=keeping.root) if name == "source" else value for name, value in change.items()}
    assert words in sentence(lambda: act("ds_backup", **{**keeping.backup_options, **change}), kind_of_error)
    assert keeping.references() == [] and keeping.is_tidy()


@PER_KIND
def test_references_that_are_none(keeping: Keeping) -> None:
    for reference in ("", "../..", "0", "zzzzzzzz", "--help12"):
        for action, more in (("ds_rm", {"source": "x"}), ("ds_ls", {"datastore_id": 1})):
            with pytest.raises(BadCall):
                act(action, **keeping.options, **more, increments=[f"0:{reference}"])


@PER_KIND
def test_flatten_refuses_what_it_cannot_do(keeping: Keeping) -> None:
    keeping.chain = ["0:aaaaaaaa", "1:bbbbbbbb"]
    assert "at least one" in sentence(lambda: keeping.flatten(0), BadCall)


@PER_KIND
def test_a_full_server_is_seen_before_anything_is_written(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping.prepare(0)
    monkeypatch.setattr(Host, "space", lambda _host, _path: {"total": 1 << 30, "used": 1 << 30, "free": 1 << 20})
    said = sentence(lambda: act("ds_backup", **keeping.backup_options), NoSpace)
    assert "needs" in said and "1 MB free" in said
    assert keeping.references() == [] and not (keeping.prepared / "manifest.json").exists()


@pytest.mark.parametrize(
    "words", [["--delete"], ["-e", "x"], ["--rsh=x"], ["-aSe"], ["--remove-source-files"], ["/etc"], ["--"], ["-n"]]
)
def test_arguments_of_rsync_that_are_refused(folder: Path, words: list[str]) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.prepare(0)
    said = sentence(lambda: act("ds_backup", **keeping.backup_options, repository_args=words), BadCall)
    assert "RSYNC_ARGS" in said and keeping.references() == [] and keeping.is_tidy()


def test_other_arguments_of_rsync_are_taken(folder: Path) -> None:
    keeping = Keeping(folder, "rsync")
    keeping.prepare(0)
    act("ds_backup", **keeping.backup_options, repository_args=["-az", "--bwlimit=100000"])
    assert len(keeping.references()) == 1


@pytest.mark.parametrize(("kind", "given"), [("rsync", "--bwlimit=512"), ("restic", "--limit-upload=512")])
def test_a_limit_of_the_transfer_is_given_to_the_tool(folder: Path, kind: str, given: str) -> None:
    """A tool in between writes down how it is called."""
    keeping = Keeping(folder, kind)
    keeping.prepare(0)
    (folder / "bin").mkdir()
    program = folder / "bin" / kind
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/seen\nexec /usr/bin/{kind} "$@"\n')
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}/bin:{before}"
    try:
        act("ds_backup", **keeping.backup_options, limit_rate="512K")
    finally:
        os.environ["PATH"] = before
    assert given in (folder / "seen").read_text()


def test_the_size_of_a_disk_comes_from_the_document_alone() -> None:
    from plugins.module_utils.tools.vm_document import disk_size

    assert disk_size(document((0, 3), SIZE), 3, "x") == SIZE // MIB + 3
    for text in (b"<!DOCTYPE a [<!ENTITY b 'c'>]><VM/>", b"<VM>", b"!!", b"<VM><TEMPLATE/></VM>"):
        with pytest.raises((Corrupt, Missing)):
            disk_size(text, 0, "vm.xml")
