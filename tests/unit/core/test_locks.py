# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between processes: who waits, who does not, and that the dead hold nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import Busy, StorageError
from plugins.module_utils.tools.hidden import HIDDEN, LOCKS
from plugins.module_utils.tools.host import Host
from tests.unit.core.support import MIB, PLAIN, World, act, child, ended, strings


@contextmanager
def holding(datastore: Path, key: str, shared: bool = False) -> Iterator[int]:
    """Another process that holds a lock for as long as the block runs."""
    ready, say = os.pipe()

    def hold() -> None:
        Host("other").lock(str(datastore), key, shared, 5)
        os.write(say, b"x")
        time.sleep(60)

    with child(hold) as pid:
        os.close(say)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        yield pid


def waited(host: Host, datastore: Path, key: str, shared: bool = False, wait: float = 0) -> bool:
    """Whether the lock could be had; it is given back."""
    try:
        host.lock(str(datastore), key, shared, wait)
    except BlockingIOError:
        return False
    host.unlock(str(datastore), key)
    return True


@pytest.mark.parametrize(
    ("held_shared", "asked_shared", "fine"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_who_blocks_whom(folder: Path, held_shared: bool, asked_shared: bool, fine: bool) -> None:
    with holding(folder, "vm-5", held_shared):
        assert waited(Host("here"), folder, "vm-5", asked_shared) is fine
        assert waited(Host("here"), folder, "vm-6", asked_shared)
    assert waited(Host("here"), folder, "vm-5", False)


def test_two_objects_of_one_process_know_of_each_other(folder: Path) -> None:
    one, other = Host("one"), Host("other")
    one.lock(str(folder), "vm-5", False, 0)
    assert not waited(other, folder, "vm-5")
    one.unlock(str(folder), "vm-5")
    assert waited(other, folder, "vm-5")
    one.unlock(str(folder), "vm-5")


def test_the_same_object_in_two_datastores(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    with holding(folder / "a", "vm-5"):
        assert waited(Host("here"), folder / "b", "vm-5")
        (folder / "c").symlink_to("a")
        assert not waited(Host("here"), folder / "c", "vm-5")


def test_the_lock_of_the_dead_is_free(folder: Path) -> None:
    with holding(folder, "vm-5") as pid:
        os.kill(pid, signal.SIGKILL)
        assert waited(Host("here"), folder, "vm-5", wait=5)


def test_a_command_that_lives_on_holds_no_lock(folder: Path) -> None:
    """A child inherits no lock: what qemu-img was started for may be over before it is."""
    host = Host("here")
    host.lock(str(folder), "vm-5", False, 0)
    host.run(["sh", "-c", "sleep 5 >/dev/null 2>&1 &"], 5)
    host.unlock(str(folder), "vm-5")
    assert waited(Host("other"), folder, "vm-5")


def test_who_waits_gets_the_lock_when_it_is_free(folder: Path) -> None:
    with holding(folder, "vm-5") as pid:
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        begun = time.monotonic()
        assert waited(Host("here"), folder, "vm-5", wait=10)
        assert 0.2 < time.monotonic() - begun < 3


def test_lock_files_are_never_removed(folder: Path) -> None:
    host = Host("here")
    host.lock(str(folder), "vm-5", False, 0)
    inode = (folder / HIDDEN / LOCKS).stat().st_ino
    host.unlock(str(folder), "vm-5")
    host.lock(str(folder), "vm-6", False, 0)
    host.unlock(str(folder), "vm-6")
    host.sweep(str(folder))
    assert (folder / HIDDEN / LOCKS).stat().st_ino == inode


def test_a_lock_file_that_is_a_link_is_not_opened(folder: Path) -> None:
    (folder / HIDDEN).mkdir()
    (folder / HIDDEN / LOCKS).symlink_to(folder / "elsewhere")
    with pytest.raises(OSError):
        Host("here").lock(str(folder), "vm-5", False, 0)
    assert not (folder / "elsewhere").exists()


def test_keys_do_not_meet() -> None:
    """Two objects whose locks were one byte would wait for each other for nothing."""
    import hashlib
    import zlib

    keys = [f"vm-{number}" for number in range(100000)]
    keys += [
        "image-" + hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(100000)
    ]
    places = {zlib.crc32(key.encode()) << 30 | zlib.crc32(key.encode()[::-1]) >> 2 for key in keys}
    assert len(places) == len(keys)


# ---------------------------------------------------------------- actions


def clone(world: World, vm: int = 5, **more: object) -> Callable[[], None]:
    """Clone the raw image for a VM, in whatever process."""
    given = strings({"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk(vm=vm)})
    return lambda: _run.run("tm_clone", {"driver": "qcow2", "format": "raw", **given, **more}, _run.Mode()).close()


@pytest.mark.parametrize("timeout", [0, 1])
def test_an_object_that_is_held_too_long(world: World, timeout: int) -> None:
    world.raw()
    begun = time.monotonic()
    with (
        holding(world.system, "vm-5"),
        pytest.raises(
            Busy, match=f"has held vm-5 in {world.system} for more than {timeout} seconds.*nothing was changed"
        ),
    ):
        clone(world, lock_timeout=timeout)()
    assert timeout <= time.monotonic() - begun < timeout + 2
    assert not world.disk().parent.exists() and world.is_tidy()
    clone(world, lock_timeout=0)()


def test_the_second_of_two_waits_and_finds_the_work_done(world: World) -> None:
    world.raw()
    ready, say = os.pipe()

    def slow() -> None:
        outcome = _run.run("tm_clone", given, _run.Mode())
        os.write(say, b"x")
        time.sleep(0.5)
        outcome.close()

    given = strings({"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk()})
    given = {"driver": "qcow2", "format": "raw", **given}
    with child(slow) as pid:
        assert os.read(ready, 1) == b"x"
        begun = time.monotonic()
        assert not act("tm_clone", **given)["changed"]
        assert time.monotonic() - begun > 0.3
        assert ended(pid) == 0
    assert world.is_tidy()


def test_other_objects_do_not_wait(world: World) -> None:
    world.raw()
    with holding(world.system, "vm-5"), holding(world.images, "image-other"):
        clone(world, vm=6, lock_timeout=0)()
    assert world.disk(vm=6).exists()


def test_readers_of_an_image_do_not_wait_for_each_other(world: World) -> None:
    world.raw()
    key = f"image-{PLAIN}"
    with holding(world.images, key, shared=True):
        clone(world, lock_timeout=0)()
        with pytest.raises(Busy, match=key):
            act("ds_rm", driver="fs", datastore=world.images, source=world.images / PLAIN, lock_timeout=0)
    with holding(world.images, key), pytest.raises(Busy, match=key):
        clone(world, vm=6, lock_timeout=0)()


def test_a_disk_is_not_cloned_while_its_image_goes(world: World) -> None:
    """An image that is being removed is gone when the clone gets its turn."""
    world.raw()
    ready, say = os.pipe()

    given = strings({"driver": "fs", "datastore": world.images, "source": world.images / PLAIN})

    def remove() -> None:
        outcome = _run.run("ds_rm", given, _run.Mode())
        os.write(say, b"x")
        time.sleep(0.3)
        outcome.close()

    with child(remove):
        assert os.read(ready, 1) == b"x"
        with pytest.raises(StorageError, match="is not there"):
            clone(world)()


def test_check_mode_takes_no_lock(world: World) -> None:
    world.raw()
    given = strings({"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk()})
    with holding(world.system, "vm-5"):
        mode = _run.Mode(check=True)
        assert _run.run("tm_clone", {"driver": "qcow2", "format": "raw", "lock_timeout": 0, **given}, mode).result[
            "changed"
        ]


def test_a_sweep_does_not_wait_for_those_that_run(world: World) -> None:
    """The journal of a run that lives looks like one of the dead; only its lock tells."""
    world.raw()
    ready, say = os.pipe()

    def slow() -> None:
        outcome = _run.run("tm_clone", given, _run.Mode())
        os.write(say, b"x")
        time.sleep(20)
        outcome.close()

    given = strings({"datastore": world.system, "source": world.images / PLAIN, "destination": world.disk()})
    given = {"driver": "qcow2", "format": "raw", **given}
    with child(slow) as pid:
        assert os.read(ready, 1) == b"x"
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        clone(world, vm=6, lock_timeout=10)()
        assert time.monotonic() - begun < 5
        assert (world.system / HIDDEN / "vm-5.journal").exists() and (world.system / HIDDEN / "vm-5").is_dir()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    clone(world, vm=7)()
    assert world.is_tidy()


def test_many_at_once(world: World) -> None:
    """Fifteen actions, as oned runs them: five objects, three processes each."""
    world.raw()
    from contextlib import ExitStack

    with ExitStack() as stack:
        pids = [stack.enter_context(child(clone(world, vm=number % 5))) for number in range(15)]
        assert [ended(pid) for pid in pids] == [0] * 15
    for vm in range(5):
        assert world.disk(vm=vm).read_bytes() == (world.images / PLAIN).read_bytes()
    assert world.is_tidy()


# ---------------------------------------------------------------- datastores that are not there


def nowhere(world: World) -> Path:
    return world.root / "mounts" / "7"


@pytest.mark.parametrize(
    ("action", "options", "sentence"),
    [
        ("ds_rm", {"driver": "fs", "datastore": "{0}", "source": "{0}/a"}, ""),
        ("tm_delete", {"driver": "qcow2", "datastore": "{0}", "path": "{0}/5"}, ""),
        ("ds_snap_delete", {"driver": "fs", "datastore": "{0}", "source": "{0}/a", "snapshot": 0}, "is not there"),
        (
            "tm_clone",
            {"driver": "ssh", "format": "raw", "datastore": "{1}", "source": "{0}/a", "destination": "{1}/5/disk.0"},
            "is not there",
        ),
    ],
)
def test_nothing_is_made_where_a_datastore_is_not(
    world: World, action: str, options: dict[str, object], sentence: str
) -> None:
    """Not even for its locks: what is gone is gone, and what is missing is said."""
    given = {name: str(value).format(nowhere(world), world.system) for name, value in options.items()}
    if sentence:
        with pytest.raises(StorageError, match=sentence):
            act(action, **given)
    else:
        assert not act(action, **given)["changed"]
    assert not nowhere(world).parent.exists() and world.is_tidy()


def test_the_first_image_and_the_first_disk_make_their_datastore(world: World) -> None:
    """As stock's drivers do: oned makes no folders. Both are then locked like any other."""
    root = nowhere(world)
    given = {"driver": "fs", "datastore": root, "datastore_id": 7, "image_id": 3, "regtime": 1, "format": "raw"}
    made = act("ds_mkfs", **given, size=1)
    assert made["changed"] and os.path.getsize(made["source"]) == MIB
    assert not act("ds_mkfs", **given, size=1)["changed"]
    assert sorted(path.name for path in (root / HIDDEN).iterdir()) == [LOCKS]
    disk = world.root / "mounts" / "8" / "5" / "disk.0"
    act("tm_mkimage", driver="ssh", datastore=disk.parents[1], destination=disk, format="raw", size=1, fs="")
    assert disk.stat().st_size == MIB and os.listdir(disk.parents[1] / HIDDEN) == [LOCKS]
