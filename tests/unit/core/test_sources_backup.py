# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks out of repositories: pseudo-URLs, chains, manifests, faults, several readers at once, nothing left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, NoAccess, NoSpace, StorageError
from plugins.module_utils.tools import scratch
from plugins.module_utils.tools.sources import Options, open_source
from plugins.module_utils.tools.sources.backup import BackupUrl
from tests.unit.core.reading import read
from tests.unit.core.stored import SECRETS, Restic, Rsync, Stored, shown, tpm_state

KINDS = {"rsync": Rsync, "restic": Restic}


@pytest.fixture(params=["rsync", pytest.param("restic", marks=pytest.mark.full)])
def stored(request: pytest.FixtureRequest, folder: Path) -> Stored:
    found: Stored = KINDS[request.param](folder)
    return found


@pytest.fixture
def rsync(folder: Path) -> Rsync:
    return Rsync(folder)


def fetched(stored: Stored, url: str) -> tuple[bytes, str]:
    """What a source gives, and its warning."""
    data, source = read(url, repository=stored.place, secrets=SECRETS)
    assert os.listdir(stored.scratch) == []
    return data, source.warning


def failed(stored: Stored, url: str, kind: type[StorageError], said: str) -> None:
    """A source that ends with this sentence, and leaves nothing."""
    with pytest.raises(kind, match=said) as caught:
        fetched(stored, url)
    assert "Traceback" not in str(caught.value)
    assert os.listdir(stored.scratch) == []


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "vm", "job", "disk", "chain", "ceph"),
    [
        ("rsync://100//0:6da1c7,1:06132a/var/lib/one/datastores/100/13/06132a/disk.0.1", 13, -1, "0",
         [(0, "6da1c7"), (1, "06132a")], False),
        ("rsync://100//0:6da1c7//b/13/6da1c7/disk.12.0", 13, -1, "12", [(0, "6da1c7")], False),
        ("restic://103/4/0:f130ed80/var/lib/one/datastores/0/22/backup/disk.0.0", 22, 4, "0", [(0, "f130ed80")], False),
        ("restic://103//0:f130ed80//b/22/backup/disk.tpm.0", 22, -1, "tpm", [(0, "f130ed80")], False),
        ("rsync+rbd://100/7/0:6da1c7,1:06132a//b/13/06132a/disk.1.1.rbdiff", 13, 7, "1",
         [(0, "6da1c7"), (1, "06132a")], True),
        ("restic+rbd://100//0:f130ed80//b/13/backup/disk.0.rbd2", 13, -1, "0", [(0, "f130ed80")], True),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url: str, vm: int, job: int, disk: str, chain: list[tuple[int, str]], ceph: bool) -> None:
    found = BackupUrl(url)
    assert (found.vm, found.job, found.disk, found.chain, found.ceph) == (vm, job, disk, chain, ceph)
    assert found.path.startswith("/") and "//" not in found.path


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rsync://100", "write <kind>://"),
        ("rsync://x//0:6da1c7/b/13/6da1c7/disk.0.0", "'x' is not the id of a datastore"),
        ("rsync://100/x/0:6da1c7/b/13/6da1c7/disk.0.0", "'x' is not the id of a backup job"),
        ("rsync://100//0:6da1c/b/13/6da1c/disk.0.0", "'6da1c' is not the reference"),
        ("restic://100//0:6da1c7/b/13/backup/disk.0.0", "'6da1c7' is not the reference"),
        ("rsync://100//0:../../e/b/13/6da1c7/disk.0.0", "'..' is not the reference"),
        ("rsync://100//x:6da1c7/b/13/6da1c7/disk.0.0", "'x' is not the number of an increment"),
        ("rsync://100//1:6da1c7,0:06132a/b/13/06132a/disk.0.0", "not in their order"),
        ("rsync://100//0:6da1c7,0:06132a/b/13/06132a/disk.0.0", "not in their order"),
        ("rsync://100//0:6da1c7/b/13/06132a/disk.0.0", "belongs to none of its references"),
        ("rsync://100//0:6da1c7/b/../13/6da1c7/disk.0.0", "cannot be one of a backup"),
        ("rsync://100//0:6da1c7/b/x/6da1c7/disk.0.0", "'x' is not the id of a VM"),
        ("restic://100//0:f130ed80/b/13/other/disk.0.0", "'' is not the id of a VM"),
        ("rsync://100//0:6da1c7/b/13/6da1c7/vm.xml", "'vm.xml' is not the name of a disk"),
        ("rsync://100//0:6da1c7/b/13/6da1c7/disk.0", "'disk.0' is not the name of a disk"),
    ],
)
def test_what_is_no_url(url: str, why: str) -> None:
    with pytest.raises(BadCall, match="is not the source of a backup") as caught:
        BackupUrl(url)
    assert why in str(caught.value)


# ---------------------------------------------------------------- contents


@pytest.mark.parametrize(
    ("kind", "length", "described"),
    [
        pytest.param("rsync", 5, True, id="rsync"),
        pytest.param("rsync", 2, False, id="rsync, stock's"),
        pytest.param("restic", 2, True, id="restic"),
        pytest.param("restic", 5, True, id="restic, five", marks=pytest.mark.full),
        pytest.param("restic", 2, False, id="restic, stock's", marks=pytest.mark.full),
    ],
)
def test_every_increment_of_a_chain(folder: Path, kind: str, length: int, described: bool) -> None:
    signal.alarm(120)
    stored: Stored = KINDS[kind](folder)
    for _turn in range(length):
        stored.write(0)
        stored.write(3)
        stored.backup(described)
    before = stored.files()
    for number, kept in enumerate(stored.kept):
        for disk, slashes in ((0, "/"), (3, "//")):
            data, warning = fetched(stored, stored.url(disk, number, slashes))
            assert shown(data, stored.root) == kept[disk], f"disk {disk} of increment {number}"
            assert bool(warning) != described
            assert described or "has no manifest" in warning
    if stored.kind == "rsync":
        assert stored.files() == before


@pytest.mark.parametrize(
    ("length", "described", "commands"),
    [
        pytest.param(1, True, ["dump", "dump"], marks=pytest.mark.full),
        pytest.param(1, False, ["find", "dump"], marks=pytest.mark.full),
        (3, True, ["find", "restore", "restore", "restore"]),
    ],
)
def test_restic_is_asked_once_for_each_increment(
    folder: Path, length: int, described: bool, commands: list[str]
) -> None:
    """Each of its commands costs most of a second before it begins."""
    signal.alarm(120)
    restic = Restic(folder)
    for _turn in range(length):
        restic.write(0)
        restic.write(1)
        restic.backup(described)
    log = folder / "log"
    program = folder / "restic"
    # what fails is not counted: a manifest that is not there, an option that it is too old to know
    program.write_text(f'#!/bin/sh\nrestic "$@" || exit\necho "$*" >>{log}\n')
    program.chmod(0o755)
    restic.place["program"] = str(program)
    data, warning = fetched(restic, restic.url(0))
    assert shown(data, restic.root) == restic.kept[-1][0] and bool(warning) != described
    words = log.read_text().split()
    assert [word for word in words if word in ("dump", "find", "ls", "restore")] == commands


def test_twelve_increments_are_no_text(rsync: Rsync) -> None:
    signal.alarm(120)
    for _turn in range(12):
        rsync.write(0)
        rsync.backup()
    for number in (9, 10, 11):
        data, _warning = fetched(rsync, rsync.url(0, number))
        assert shown(data, rsync.root) == rsync.kept[number][0]


def test_a_disk_that_came_late_and_one_that_grew(stored: Stored) -> None:
    stored.write(0)
    stored.backup()
    stored.write(0, size=6)
    stored.write(1)
    stored.backup()
    for disk in (0, 1):
        data, _warning = fetched(stored, stored.url(disk))
        assert shown(data, stored.root) == stored.kept[1][disk]


def test_a_disk_in_one_increment_only(rsync: Rsync) -> None:
    for present in (False, True, False):
        rsync.write(0)
        if present:
            rsync.write(1)
        rsync.backup()
        if present:
            rsync.drop(1)
    data, _warning = fetched(rsync, rsync.url(1, 1))
    assert shown(data, rsync.root) == rsync.kept[1][1]


def test_the_state_of_a_tpm(stored: Stored) -> None:
    state = tpm_state({"tpm/tpm2-00.permall": b"secret"})
    stored.write(0)
    stored.backup()
    stored.backup(tpm=state)
    assert fetched(stored, stored.url("tpm")) == (state, "")


def test_several_read_at_once(rsync: Rsync) -> None:
    for _turn in range(3):
        rsync.write(0)
        rsync.backup()
    found: list[bytes] = []
    how = Options(repository=rsync.place, stall=20)

    def one() -> None:
        source = open_source(rsync.url(0), how)
        found.append(b"".join(source.chunks()))
        source.close()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert {shown(data, rsync.root) for data in found} == {rsync.kept[2][0]}
    assert os.listdir(rsync.scratch) == []


# ---------------------------------------------------------------- faults


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut_off(data: bytearray) -> None:
    del data[-512:]


@pytest.mark.parametrize("upto", [0, 2], ids=["full", "chain"])
@pytest.mark.parametrize(
    ("how", "said"),
    [(flip, "is not what was backed up"), (cut_off, "its manifest says")],
    ids=["altered", "cut off"],
)
def test_a_file_that_is_another(rsync: Rsync, upto: int, how: object, said: str) -> None:
    for _turn in range(3):
        rsync.write(0)
        rsync.backup()
    rsync.change(min(upto, 1), f"disk.0.{min(upto, 1)}", how)  # type: ignore[arg-type]
    failed(rsync, rsync.url(0, upto), Corrupt, said)


def gone(_data: bytearray) -> None:
    """The file itself is removed."""


@pytest.mark.parametrize(
    ("upto", "how"),
    [
        (2, flip),
        *[
            pytest.param(upto, how, marks=pytest.mark.full)
            for upto, how in ((0, flip), (0, cut_off), (2, cut_off), (0, gone), (2, gone))
        ],
    ],
)
def test_a_file_of_restic_that_is_another(folder: Path, upto: int, how: Callable[[bytearray], object]) -> None:
    """Its packs have no names of ours: the largest that an increment brought is damaged."""
    signal.alarm(120)
    restic = Restic(folder)
    packs: list[set[Path]] = []
    for _turn in range(3):
        restic.write(0)
        restic.backup()
        packs.append({path for path in restic.base.rglob("data/*/*") if path.is_file()})
    number = min(upto, 1)
    victim = max(packs[number] - (packs[number - 1] if number else set()), key=lambda path: path.stat().st_size)
    whole = victim.read_bytes()
    data = bytearray(whole)
    how(data)
    victim.unlink()
    if how is not gone:
        victim.write_bytes(data)
    failed(restic, restic.url(0, upto), StorageError, "restic cannot read the backup: (?!There were)")
    victim.unlink(missing_ok=True)
    victim.write_bytes(whole)
    assert shown(fetched(restic, restic.url(0, upto))[0], restic.root) == restic.kept[upto][0]


def test_a_manifest_that_is_none(rsync: Rsync) -> None:
    rsync.write(0)
    rsync.backup()
    rsync.change(0, "manifest.json", lambda data: data.__setitem__(slice(None), b"{}"))
    failed(rsync, rsync.url(0), Corrupt, "The manifest of the backup abc000 cannot be right")


@pytest.mark.parametrize("described", [True, False])
def test_a_file_that_is_gone(rsync: Rsync, described: bool) -> None:
    for _turn in range(3):
        rsync.write(0)
        rsync.backup(described)
    (rsync.base / "5" / rsync.chain[1][1] / "disk.0.1").unlink()
    said = "is gone, and its manifest names it" if described else r"Increment 1 \(abc001\) has no file of disk 0"
    failed(rsync, rsync.url(0), Missing, said)


def test_a_backup_that_is_gone(stored: Stored) -> None:
    stored.write(0)
    stored.backup()
    reference = stored.chain[0][1]
    failed(stored, stored.url(0).replace(reference, "0" * len(reference)), StorageError, "0000")


def test_a_wrong_password_is_told_and_not_shown(folder: Path) -> None:
    restic = Restic(folder)
    restic.write(0)
    restic.backup()
    with pytest.raises(NoAccess, match="wrong password") as caught:
        read(restic.url(0), repository=restic.place, secrets={"repository_password": "secret"})
    assert "secret" not in str(caught.value) + caught.value.detail


def test_no_room_to_put_a_chain_together(rsync: Rsync, monkeypatch: pytest.MonkeyPatch) -> None:
    for _turn in range(2):
        rsync.write(0)
        rsync.backup()
    # sparse, so that it is larger than any disk without taking room
    os.truncate(rsync.base / "5" / rsync.chain[0][1] / "disk.0.0", 1 << 42)
    (rsync.base / "5" / rsync.chain[0][1] / "manifest.json").unlink()
    failed(rsync, rsync.url(0), NoSpace, "There is no room in .*/scratch to put disk 0 of increment 1")


def test_nobody_said_where_the_repository_is(rsync: Rsync) -> None:
    rsync.write(0)
    rsync.backup()
    with pytest.raises(Missing, match="rsync"):
        open_source(rsync.url(0), Options(stall=5))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reader_that_dies_leaves_nothing(stored: Stored, number: int) -> None:
    for _turn in range(2):
        stored.write(0, size=64)
        stored.backup()
    pid = os.fork()
    if pid == 0:
        try:
            source = open_source(stored.url(0), Options(repository=stored.place, secrets=SECRETS, stall=20))
            next(source.chunks())
            os.write(2, b"")
            time.sleep(60)
        finally:
            os._exit(1)
    until = time.monotonic() + 20
    while not os.listdir(stored.scratch) and time.monotonic() < until:
        time.sleep(0.01)
    assert os.listdir(stored.scratch), "it had begun"
    os.kill(pid, number)
    os.waitpid(pid, 0)
    while os.listdir(stored.scratch) and time.monotonic() < until:
        time.sleep(0.05)
    assert os.listdir(stored.scratch) == []


def test_what_a_killed_server_left_goes_with_the_next(rsync: Rsync) -> None:
    for _turn in range(2):
        rsync.write(0)
        rsync.backup()
    dead = rsync.scratch / f"{scratch.PREFIX}dead"
    dead.mkdir()
    (dead / "image").write_bytes(b"half")
    (dead / "0.restored" / "var").mkdir(parents=True)
    (dead / "0.restored" / "var" / "disk.0.0").write_bytes(b"half")
    (rsync.scratch / "somebody's").mkdir()
    read(rsync.url(0), repository=rsync.place)
    assert os.listdir(rsync.scratch) == ["somebody's"]
