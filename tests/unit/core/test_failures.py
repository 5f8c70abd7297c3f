# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that cannot be done: one sentence with the path in it, nothing changed, the old data still there."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import Cancelled, Missing, NoAccess, NoSpace, StorageError, ToolFailed
from plugins.module_utils.tools import command
from tests.unit.core.cases import CASES, MIXED, QCOW2, SSH, Case
from tests.unit.core.support import MIB, PLAIN, World, act, pattern, strings

TOOLS = {"qemu-img", "mkfs.ext4", "mkswap", "xorriso"}


def failed(world: World, action: str, given: dict[str, Any], kind: type[StorageError], said: str = "") -> StorageError:
    """Run an action that has to fail and leave the world as it was; its error."""
    before = seen(world)
    with pytest.raises(kind, match=said or None) as caught:
        act(action, **given)
    error = caught.value
    assert seen(world) == before
    assert world.is_tidy(), world.hidden()
    assert "nothing was changed" in str(error)
    assert "\n" not in str(error) and str(error).isprintable()
    return error


def seen(world: World) -> dict[str, tuple[str, ...]]:
    """The world without markers: these say what a datastore is, and once right they stay."""
    return {path: what for path, what in world.tree().items() if not path.endswith("/.monitor")}


@pytest.fixture
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script in the place of a tool."""
    place = folder / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        path = place / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


# ---------------------------------------------------------------- tools


def uses(case: Case) -> str:
    """The tool that a case needs most; empty when it needs none."""
    name, action = case.name, case.action
    if action == "tm_context":
        return "xorriso"
    if action == "tm_mkswap":
        return "mkswap"
    if "ext4" in name:
        return "mkfs.ext4"
    if action in ("tm_clone", "ds_cp") and ("raw" not in name and name != "ssh clone, forced"):
        return "qemu-img"
    return ""


@pytest.mark.parametrize("case", [case for case in CASES if uses(case)], ids=str)
def test_a_tool_that_fails(case: Case, world: World, stand_in: Callable[[str, str], None]) -> None:
    case.prepare(world)
    given = case.options(world)
    stand_in(uses(case), r"printf 'first line\nlast words \377 \033[1m %s\n' \"$1\" >&2; exit 3")
    error = failed(world, case.action, given, ToolFailed, "last words")
    assert "first line" not in str(error) and "code 3" in error.detail
    (world.root / "bin" / uses(case)).unlink()
    act(case.action, **given)


def test_a_tool_that_says_nothing(world: World, stand_in: Callable[[str, str], None]) -> None:
    stand_in("mkswap", "exit 9")
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 4}
    failed(world, "tm_mkswap", given, ToolFailed, "mkswap ended with code 9")


def test_a_tool_that_is_killed(world: World, stand_in: Callable[[str, str], None]) -> None:
    stand_in("mkswap", "kill -9 $$")
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 4}
    failed(world, "tm_mkswap", given, ToolFailed, "mkswap ended with code -9")


def test_a_tool_that_does_nothing(world: World, stand_in: Callable[[str, str], None]) -> None:
    """What was made is looked at, not what a tool says."""
    stand_in("qemu-img", "exit 0")
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 4, "format": "qcow2"}
    failed(world, "tm_mkimage", given, StorageError, f"{world.disk()}.*No such file")


def test_a_tool_that_hangs_is_killed_with_all_it_started(world: World, stand_in: Callable[[str, str], None]) -> None:
    stand_in("mkswap", f"sleep 77 & echo $! $$ >{world.root}/pids; wait")
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 4}
    begun = time.monotonic()
    with pytest.raises(StorageError, match="mkswap did not end within 1 seconds.*nothing was changed"):
        act("tm_mkswap", **given, command_timeout=1)
    assert time.monotonic() - begun < 5
    until = time.monotonic() + 5
    for pid in (world.root / "pids").read_text().split():
        while Path(f"/proc/{pid}/status").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < until, f"process {pid} lives on"
            time.sleep(0.02)
    assert not world.disk().parent.exists() and world.is_tidy()


@pytest.mark.parametrize(("name", "case"), [(uses(case), case) for case in CASES if case.name in (
    "qcow2 clone", "cp, converted", "mkimage, ext4, forced", "mkswap", "context")], ids=str)  # fmt: skip
def test_a_tool_that_is_not_installed(name: str, case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    case.prepare(world)
    place = world.root / "bin"
    place.mkdir()
    for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for entry in os.scandir(folder):
            if entry.name != name and not (place / entry.name).is_symlink():
                (place / entry.name).symlink_to(entry.path)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(command, "_SBIN", (str(place),))
    failed(world, case.action, case.options(world), Missing, f"the command {name} is not installed")


def test_a_tool_is_not_taken_from_a_relative_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.module_utils.tools.command import which

    (world.root / "mkswap").write_text("#!/bin/sh\nexit 7\n")
    (world.root / "mkswap").chmod(0o755)
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("PATH", f".::relative:{os.environ['PATH']}")
    assert which("mkswap").startswith("/usr/sbin/") or which("mkswap").startswith("/sbin/")
    with pytest.raises(FileNotFoundError, match="the command no-such-tool is not installed"):
        which("no-such-tool")


def test_a_tool_sees_no_more_of_the_environment_than_it_needs(
    world: World, stand_in: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    stand_in("mkswap", f'env >{world.root}/env; cat >{world.root}/stdin; exec /usr/sbin/mkswap "$@"')
    act("tm_mkswap", driver="qcow2", datastore=world.system, destination=world.disk(), size=4)
    seen = dict(line.split("=", 1) for line in (world.root / "env").read_text().splitlines())
    assert "SECRET" not in seen and seen["LC_ALL"] == "C"
    assert (world.root / "stdin").read_text() == ""


# ---------------------------------------------------------------- no room


@contextmanager
def small(path: Path, size: str) -> Iterator[None]:
    """A file system of its own on a folder, with little room. Skips the test where that is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "one_storage_small", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def outside(world: World) -> dict[str, Any]:
    """Options of a raw disk that is larger than a small datastore, when it is written."""
    image = world.raw(PLAIN, pattern("big", 3 * MIB), 3 * MIB)
    return {"datastore": world.system, "source": image, "destination": world.disk(), "format": "raw"}


@pytest.mark.parametrize("driver", [QCOW2, SSH, MIXED], ids=str)
def test_a_full_datastore(world: World, driver: dict[str, Any]) -> None:
    given = outside(world)
    with small(world.system, "size=1m"):
        world.disk().parent.mkdir()
        world.disk().write_bytes(b"the old disk")
        error = failed(world, "tm_clone", {**driver, **given, "force": True}, NoSpace, "No space left on device")
        assert str(world.images / PLAIN) in str(error)
        assert world.disk().read_bytes() == b"the old disk"


def test_a_datastore_that_a_tool_finds_full(world: World) -> None:
    image = world.qcow2(PLAIN, pattern("big", 3 * MIB), 3 * MIB)
    given = {"datastore": world.system, "source": image, "destination": world.disk(), "format": "qcow2"}
    with small(world.system, "size=1m"):
        failed(world, "tm_clone", {"driver": "qcow2", **given, "standalone": True}, NoSpace, "No space left")


def test_an_import_into_a_full_datastore(world: World) -> None:
    source = world.raw(PLAIN, pattern("big", 3 * MIB), 3 * MIB)
    new = {"driver": "fs", "datastore": world.root / "2", "datastore_id": 2, "image_id": 1, "regtime": 1}
    with small(world.root / "2", "size=1m"):
        failed(world, "ds_cp", {**new, "source": source}, NoSpace, "No space left")


@pytest.mark.parametrize("name", ["", "disk.0"])
def test_a_full_datastore_can_give_space_back(world: World, name: str) -> None:
    """No room for a journal or a workshop: a delete works all the same."""
    with small(world.system, "nr_inodes=12"):
        world.disk("disk.0.snap").mkdir(parents=True)
        world.disk().write_text("disk")
        act("tm_delete", driver="qcow2", datastore=world.system, path=world.system / "77")
        for number in range(12):
            try:
                (world.system / f"filler{number}").touch()
            except OSError:
                break
        for _again in range(2):
            act("tm_delete", driver="qcow2", datastore=world.system, path=world.disk().parent / name)
        assert not world.disk().exists()
        assert world.is_tidy()


def test_an_image_can_be_removed_from_a_full_datastore(world: World) -> None:
    with small(world.images, "size=1m"):
        world.raw(size=8192, content=b"image")
        act("ds_rm", driver="fs", datastore=world.images, source=world.images / "nothing")
        with (world.images / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        act("ds_rm", driver="fs", datastore=world.images, source=world.images / PLAIN)
        assert not (world.images / PLAIN).exists()
        assert world.is_tidy()


# ---------------------------------------------------------------- no permission


@contextmanager
def somebody() -> Iterator[None]:
    """Be a user without rights for a while."""
    if os.getuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("case", [case for case in CASES if case.action.startswith("tm_")], ids=str)
def test_a_datastore_that_is_not_ours(case: Case, world: World) -> None:
    case.prepare(world)
    given = case.options(world)
    world.root.chmod(0o755)
    before = world.tree()
    with somebody(), pytest.raises(NoAccess, match=f"{world.root}.*Permission denied.*nothing was changed"):
        act(case.action, **given)
    assert world.tree() == before


def test_a_vms_directory_that_is_not_ours(world: World) -> None:
    """The workshop can be made, the last step cannot be done: the disk that was made goes, the old one stays."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    image = world.raw()
    world.root.chmod(0o755)
    image.chmod(0o644)
    world.disk().parent.mkdir()
    world.disk().write_text("old")
    for path in (world.system, world.images):
        path.chmod(0o777)
    given = {"datastore": world.system, "source": image, "destination": world.disk(), "format": "raw"}
    for driver in ({"driver": "qcow2"}, {"driver": "ssh"}):
        with somebody():
            failed(
                world, "tm_clone", {**driver, **given, "force": True}, NoAccess, f"{world.disk()}.*Permission denied"
            )


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A folder that this host may only read, as images are mounted at some sites."""
    done = subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("left", ["nothing", "locks", "journal", "workshop"])
def test_an_image_datastore_that_may_only_be_read_serves_clones(world: World, left: str) -> None:
    """Whatever other hosts have left there: it is theirs to clear."""
    image = world.qcow2(PLAIN)
    hidden = world.images / ".one_storage"
    if left != "nothing":
        hidden.mkdir()
        (hidden / "locks").touch()
    if left == "journal":
        (hidden / "image-x.journal").write_text("{")
    if left == "workshop":
        (hidden / "image-x").mkdir()
    given = {"datastore": world.system, "source": image, "destination": world.disk(), "format": "qcow2"}
    with read_only(world.images):
        act("tm_clone", driver="qcow2", **given)
        assert world.disk().exists()
        with pytest.raises(NoAccess, match=f"{world.images}.*Read-only file system.*nothing was changed"):
            act("tm_ln", driver="qcow2", **given, force=True)
        with pytest.raises(NoAccess, match="Read-only file system"):
            act("ds_rm", driver="fs", datastore=world.images, source=image)


def test_what_cannot_be_settled_is_said(world: World) -> None:
    """A journal of the VM that cannot be read: a sentence, and the journal stays for who can."""
    hidden = world.system / ".one_storage"
    (hidden / "vm-5.journal").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"settle what an earlier run left of vm-5"):
        act("tm_delete", driver="qcow2", datastore=world.system, path=world.disk().parent)
    act("tm_delete", driver="qcow2", datastore=world.system, path=world.disk(vm=6).parent)


# ---------------------------------------------------------------- the caller goes away

#: Actions of several steps, the first of them not final; `mv` within a file system has one step only.
STOPPED = ("tm_clone", "tm_mv", "ds_cp", "tm_mkimage", "tm_context", "ds_clone")


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.action in STOPPED and case.name != "qcow2 mv"], ids=str
)
def test_a_caller_that_goes_away_before_a_step(case: Case, world: World) -> None:
    case.prepare(world)
    given = strings(case.options(world))
    before = seen(world)
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled, match="nothing was changed"):
        _run.run(case.action, given, _run.Mode(stopped=stopped))
    assert seen(world) == before
    assert world.is_tidy()
    act(case.action, **given)


def test_a_caller_that_goes_away_during_a_command(world: World, stand_in: Callable[[str, str], None]) -> None:
    stand_in("mkswap", f"touch {world.root}/running; sleep 60")

    def leave() -> None:
        while not (world.root / "running").exists():
            time.sleep(0.01)
        command.stop_work()

    threading.Thread(target=leave, daemon=True).start()
    begun = time.monotonic()
    given = {"driver": "qcow2", "datastore": world.system, "destination": world.disk(), "size": 4}
    try:
        with pytest.raises(StorageError, match="nothing was changed"):
            act("tm_mkswap", **given)
    finally:
        command._stopping.clear()
    assert time.monotonic() - begun < 10
    assert not world.disk().parent.exists() and world.is_tidy()


def test_a_caller_that_goes_away_during_a_copy(world: World) -> None:
    image = world.raw()
    given = {"datastore": world.system, "source": image, "destination": world.disk(), "format": "raw"}
    try:
        for driver in ("qcow2", "ssh"):
            command.stop_work()
            with pytest.raises(StorageError, match="the caller went away.*nothing was changed"):
                act("tm_clone", driver=driver, **given)
    finally:
        command._stopping.clear()
    assert not world.disk().parent.exists() and world.is_tidy()


# ---------------------------------------------------------------- calls that are none


@pytest.mark.parametrize(
    ("action", "given", "said"),
    [
        ("tm_fly", {}, "There is no action 'tm_fly'"),
        ("tm_delete", {}, "missing required arguments: datastore, driver, path"),
        (
            "tm_delete",
            {"driver": "qcow2", "datastore": "/x", "path": "/x/5", "colour": "red"},
            "Unsupported parameters",
        ),
        ("tm_delete", {"driver": "none", "datastore": "/x", "path": "/x/5"}, "There is no tm driver 'none'"),
        ("ds_rm", {"driver": "qcow2", "datastore": "/x", "source": "/x/5"}, "There is no ds driver 'qcow2'"),
        ("tm_delete", {"driver": "qcow2", "datastore": "/", "path": "/5"}, "is not inside /"),
    ],
)
def test_a_call_that_is_none(action: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(StorageError, match=said):
        act(action, **given)


def test_a_driver_that_takes_no_peer(world: World) -> None:
    given = {"datastore": world.system, "source": world.raw(), "destination": world.disk(), "peer": "host01"}
    with pytest.raises(StorageError, match="qcow2 does clone on one host, it takes no peer"):
        act("tm_clone", driver="qcow2", **given)


def test_a_disk_that_is_a_fifo(world: World) -> None:
    """Nobody is at its other end: it must not be waited for."""
    os.mkfifo(world.images / PLAIN)
    for driver in ("qcow2", "ssh"):
        given = {"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk()}
        with pytest.raises(StorageError, match="not a regular file"):
            act("tm_clone", driver=driver, **given, format="raw")
    assert not world.disk().exists() and world.is_tidy()
