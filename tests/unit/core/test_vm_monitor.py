# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitoring: totals, sizes of disks and snapshots in every layout, and storage that does not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import BadCall, Busy, Cancelled, DeadlineOver, Missing, StorageError
from plugins.module_utils.tools import aside, command
from tests.unit.core.cases import MIXED
from tests.unit.core.support import CHAINED, MIB, OVERLAID, PLAIN, World, act, child, ended, explained, tool


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own for the file of locks."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


def measured(world: World, action: str = "tm_monitor", driver: str = "qcow2", **more: Any) -> dict[str, Any]:
    """The result of an action that looked at everything."""
    result = act(action, driver=driver, datastore=world.system, **more)
    assert result["missed"] == []
    return result


def disks(result: dict[str, Any]) -> dict[str, Any]:
    """``{"5/0": size, "5/0@1": size}``: disks and snapshots by VM, disk and snapshot."""
    found = {}
    for vm in result["vms"]:
        for disk in vm["disks"]:
            found[f"{vm['id']}/{disk['id']}"] = disk["size_mb"]
            for snapshot in disk["snapshots"]:
                found[f"{vm['id']}/{disk['id']}@{snapshot['id']}"] = snapshot["size_mb"]
    return found


def written(path: Path, megabytes: float, size: float = 0) -> Path:
    """A file with so many MB of data, and a hole behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * int(megabytes * MIB))
    os.truncate(path, int(max(size, megabytes) * MIB))
    return path


def du(path: Path) -> int:
    """What stock's drivers would report."""
    return int(tool("du", "-mL", path).split()[0])


# ---------------------------------------------------------------- layouts


def test_totals_agree_with_df(disk_world: World) -> None:
    for _try in range(10):
        line = tool("df", "-B1M", "-P", disk_world.system).splitlines()[1].split()
        result = measured(disk_world)
        if [str(result[f"{name}_mb"]) for name in ("total", "used", "free")] == line[1:4]:
            break
    else:
        pytest.fail(f"{result} is not {line}")
    assert result["vms"] == [] and result["changed"] is False and result["actions"] == []


def test_a_datastore_that_is_not_there_is_made_but_not_in_check_mode(world: World) -> None:
    path = world.root / "109" / "x"
    given = {"driver": "shared", "datastore": path}
    assert explained("tm_monitor", **given)["total_mb"] > 0
    assert not path.parent.exists()
    assert act("tm_monitor", **given)["total_mb"] > 0
    assert path.is_dir()


def test_plain_disks_and_copies_of_them(world: World) -> None:
    """The layout of raw disks, and of all disks with ``ssh``: snapshots are copies (contract-tm 6.3)."""
    written(world.disk(), 2.5, size=50)
    for number in (0, 1, 12):
        written(world.disk("disk.0.snap") / str(number), number + 1)
    written(world.disk("disk.10"), 0.1)
    written(world.disk("disk.1", vm=70), 1)
    assert disks(measured(world)) == {
        "5/0": 3, "5/0@0": 1, "5/0@1": 2, "5/0@12": 13, "5/10": 1, "70/1": 1
    }  # fmt: skip
    assert [disk["id"] for disk in measured(world)["vms"][0]["disks"]] == [0, 10]


def test_sizes_are_those_of_du(disk_world: World) -> None:
    """On a real file system, where a file has more blocks than data, and of links their targets."""
    written(disk_world.disk(), 1.001, size=100)
    disk_world.disk("disk.1").symlink_to(written(disk_world.images / PLAIN, 3.7))
    written(disk_world.disk("disk.1").parent / "disk.2.snap" / "0", 2.2)
    disk_world.disk("disk.2").symlink_to("disk.2.snap/0")
    found = disks(measured(disk_world))
    assert found == {f"5/{number}": du(disk_world.disk(f"disk.{number}")) for number in range(3)}
    assert found["5/0"] == 2 and found["5/1"] >= 4


def test_layers_of_a_disk(world: World) -> None:
    """The active layer is the disk, the others are snapshots; also where a layer is another one's (contract-tm 6.4)."""
    snap = world.disk("disk.0.snap")
    for number in range(5):
        written(snap / str(number), number + 1)
    (snap / "disk.0.snap").symlink_to(".")
    world.disk().symlink_to("disk.0.snap/4")
    assert disks(measured(world)) == {"5/0": 5, "5/0@0": 1, "5/0@1": 2, "5/0@2": 3, "5/0@3": 4}
    # snapshot 1 was deleted while the VM ran: the data of 2 went into 1's file, as of another place the VM was in
    (snap / "2").unlink()
    (snap / "2.current").write_text("/var/lib/one/datastores/99/5/disk.0.snap/1\n")
    assert disks(measured(world)) == {"5/0": 5, "5/0@0": 1, "5/0@2": 2, "5/0@3": 4}


@pytest.mark.parametrize("driver", ["qcow2", "shared"])
def test_persistent_disks_are_measured_through_their_links(world: World, driver: str) -> None:
    """What `ln` makes, raw and qcow2; the snapshots lie beside the image (contract-tm 6.2, 6.3)."""
    written(world.images / PLAIN, 3)
    written(world.images / f"{PLAIN}.snap" / "0", 4)
    world.qcow2(OVERLAID)
    world.layered(CHAINED)
    given = {"driver": driver, "datastore": world.system}
    for number, (image, kind) in enumerate(((PLAIN, "raw"), (OVERLAID, "qcow2"), (CHAINED, "qcow2"))):
        disk = world.disk(f"disk.{number}")
        act("tm_ln", **given, source=world.images / image, destination=disk, format=kind)
        assert disk.is_symlink()
    chain = world.images / f"{CHAINED}.snap"
    assert disks(measured(world, driver=driver)) == {
        "5/0": 3,
        "5/0@0": 4,
        "5/1": du(world.images / OVERLAID),
        "5/2": du(chain / "1"),
        "5/2@0": du(chain / "0"),
    }
    assert measured(world, driver=driver, vm_disks=False)["vms"] == []


@pytest.mark.parametrize("drivers", [{"driver": "qcow2"}, {"driver": "ssh"}, {"driver": "local"}, MIXED])
def test_what_each_driver_makes_is_measured_alike(world: World, drivers: dict[str, Any]) -> None:
    """A node may have disks of several drivers in one datastore; the layout tells, not the driver's name."""
    world.qcow2(OVERLAID)
    act(
        "tm_clone", **drivers, datastore=world.system, source=world.images / OVERLAID, destination=world.disk(),
        format="qcow2",
    )  # fmt: skip
    for driver in ("ssh", "local", "qcow2", "shared"):
        assert disks(measured(world, "tm_monitor_ds", driver)) == {"5/0": du(world.disk())}


def test_what_is_no_disk_is_left_out(world: World) -> None:
    written(world.disk("disk.0"), 1)
    written(world.disk("disk.1"), 1)
    for name in ("disk.x", "disk.", "disk.01", "deployment.0", "disk.0.snap/a", "disk.0.snap/1x", "disk.2.snap/0"):
        written(world.disk(name), 1)
    for name in ("-1", "05", "x", ".one_storage/vm-5"):
        written(world.system / name / "disk.0", 1)
    written(world.system / "8", 1)
    (world.system / "9").mkdir()
    world.disk("disk.1").unlink()
    world.disk("disk.1").symlink_to("nowhere")
    os.mkfifo(world.disk("disk.4"))
    world.disk("disk.6").mkdir()
    assert disks(measured(world, "tm_monitor_ds", "ssh")) == {"5/0": 1}


def test_a_disk_that_cannot_be_read_does_not_hide_the_others(world: World) -> None:
    written(world.disk(vm=4), 1)
    for number in range(1, 8):
        world.disk(f"disk.{number}", vm=4).symlink_to(f"disk.{number}")
    written(world.disk("disk.8", vm=4), 1)
    written(world.disk(vm=5), 1)
    result = act("tm_monitor_ds", driver="ssh", datastore=world.system)
    assert disks(result) == {"4/0": 1, "4/8": 1, "5/0": 1}
    assert result["missed"][0] == f"{world.system}/4/disk.1 is not measured: Too many levels of symbolic links"
    assert len(result["missed"]) == 6 and result["missed"][-1] == "and 2 more"


def test_sentences_for_what_is_not_there(world: World) -> None:
    with pytest.raises(Missing, match=f"{world.root}/109 is not there"):
        act("tm_monitor_ds", driver="ssh", datastore=world.root / "109")
    with pytest.raises(BadCall, match="is not an absolute path"):
        act("tm_monitor_ds", driver="ssh", datastore="100")
    written(world.root / "110", 1)
    with pytest.raises(StorageError, match="Cannot look at the disks of the datastore .*/110: Not a directory"):
        act("tm_monitor_ds", driver="ssh", datastore=world.root / "110")


@pytest.mark.parametrize("driver", ["ssh", "local"])
def test_storage_of_each_host_is_not_monitored_from_the_front_end(world: World, driver: str) -> None:
    assert act("tm_monitor", driver=driver, datastore=world.root / "none") == {
        "changed": False, "actions": [], "changes": [], "run_id": ""
    }  # fmt: skip
    assert not (world.root / "none").exists()


def test_a_thousand_vms(world: World) -> None:
    """Two disks with three snapshots each: far below 2 s."""
    for vm in range(1000):
        for disk in range(2):
            snap = world.system / str(vm) / f"disk.{disk}.snap"
            snap.mkdir(parents=True)
            for number in range(4):
                (snap / str(number)).touch()
            world.disk(f"disk.{disk}", vm=vm).symlink_to(f"disk.{disk}.snap/3")
    begun = time.monotonic()
    result = measured(world)
    spent = time.monotonic() - begun
    assert len(disks(result)) == 8000
    assert spent < 2, spent


# ---------------------------------------------------------------- storage that does not answer


def hanging(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    """Let a call of the system hang when it comes to a path: a mount whose server is gone, stood in for.

    What looks is a child of ours: it is killed with the test's own processes at the latest.
    """
    real = getattr(os, name)

    def call(asked: Any, *arguments: Any, **named: Any) -> Any:
        while str(asked) == str(path):
            time.sleep(30)
        return real(asked, *arguments, **named)

    monkeypatch.setattr(os, name, call)


def _driver(action: str) -> str:
    return "fs" if action.startswith("ds_") else "qcow2"


def quickly(action: str, world: World, **more: Any) -> dict[str, Any]:
    """An action that has to end within 3 s."""
    begun = time.monotonic()
    try:
        return act(action, driver=_driver(action), datastore=world.system, stall_timeout=1, **more)
    finally:
        assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    ("action", "name", "what"),
    [("tm_monitor", "statvfs", "space"), ("tm_monitor_ds", "listdir", "disks"), ("ds_monitor", "statvfs", "space")],
)
def test_a_hung_datastore_ends_by_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch, action: str, name: str, what: str
) -> None:
    hanging(monkeypatch, name, world.system)
    with pytest.raises(DeadlineOver, match=f"does not tell its {what}: nothing came for 1 seconds"):
        quickly(action, world)
    with pytest.raises(DeadlineOver, match="it takes longer than 1 seconds"):
        act(action, driver=_driver(action), datastore=world.system, stall_timeout=20, command_timeout=1)


@pytest.mark.parametrize("action", ["tm_monitor", "tm_monitor_ds"])
def test_a_hung_image_datastore_does_not_keep_the_rest_back(
    world: World, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    written(world.disk(vm=4), 1)
    world.disk(vm=5).parent.mkdir()
    world.disk(vm=5).symlink_to(written(world.images / PLAIN, 1))
    hanging(monkeypatch, "stat", world.disk(vm=5))
    result = quickly(action, world)
    assert disks(result) == {"4/0": 1}
    assert len(result["missed"]) == 1 and "nothing came for 1 seconds" in result["missed"][0]
    assert action == "tm_monitor_ds" or result["total_mb"] > 0


@pytest.fixture
def stuck(world: World) -> Iterator[Callable[[str], None]]:
    """Somebody who hangs in the kernel while he looks at the system datastore: he has the lock until he dies."""
    held: list[int] = []

    def hang(what: str) -> None:
        pid = os.fork()
        if pid == 0:
            aside._hold(f"{what} {world.system}")
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        held.append(pid)
        os.waitpid(pid, os.WUNTRACED)

    yield hang
    for pid in held:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_looks_at_hung_storage_do_not_pile_up(world: World, stuck: Callable[[str], None]) -> None:
    written(world.disk(), 1)
    stuck("disks")
    with pytest.raises(Busy, match="an earlier look at its disks has not ended on .* \\(does the mount hang\\)"):
        quickly("tm_monitor_ds", world)
    # the totals can be had all the same
    result = quickly("tm_monitor", world)
    assert result["total_mb"] > 0 and result["vms"] == []
    assert len(result["missed"]) == 1 and "has not ended" in result["missed"][0]
    # and another datastore is another matter
    assert act("tm_monitor_ds", driver="ssh", datastore=world.root / "101")["vms"] == []
    stuck("space")
    for action in ("tm_monitor", "ds_monitor"):
        with pytest.raises(Busy):
            quickly(action, world)


def test_a_child_that_hangs_keeps_the_lock_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left behind, it must not hold what others wait for: the ends of our own pipes."""
    monkeypatch.setattr(aside, "_end", lambda pid: left.append(pid))
    left: list[int] = []
    hanging(monkeypatch, "listdir", world.system)
    reader, writer = os.pipe()
    try:
        with pytest.raises(DeadlineOver):
            quickly("tm_monitor_ds", world)
        os.close(writer)
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b"", "the child has our pipe"
        targets = {os.readlink(f"/proc/{left[0]}/fd/{handle}") for handle in os.listdir(f"/proc/{left[0]}/fd")}
        assert len([name for name in targets if name.startswith("pipe:")]) == 1
        assert {name for name in targets if name.startswith("/")} - {"/dev/null"} == {
            str(Path.home() / "one_storage.looks")
        }
        monkeypatch.undo()
        os.environ["HOME"] = str(Path(next(name for name in targets if name.endswith(".looks"))).parent)
        with pytest.raises(Busy):
            quickly("tm_monitor_ds", world)
    finally:
        os.close(reader)
        os.kill(left[0], signal.SIGKILL)
        os.waitpid(left[0], 0)
    assert quickly("tm_monitor_ds", world)["vms"] == []


def test_the_child_ends_with_the_look(world: World) -> None:
    """Also when nobody reads to the end, and when the caller goes away."""
    before = children()
    for number in range(3):
        written(world.disk(vm=number), 1)
    act("tm_monitor", driver="qcow2", datastore=world.system)
    for _value in aside.look("x", lambda: range(100000), 5, 5):
        break
    assert children() == before


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_who_goes_away_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging(monkeypatch, "listdir", world.system)

    def task() -> None:
        signal.signal(signal.SIGALRM, lambda _number, _frame: command.stop_work())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            _run.run("tm_monitor_ds", {"driver": "ssh", "datastore": str(world.system)}, _run.Mode())
        assert time.monotonic() - begun < 5

    with child(task) as pid:
        assert ended(pid) == 0


def test_two_looks_at_once_both_answer(world: World) -> None:
    """One that goes well takes no longer than the other waits."""
    written(world.disk(), 1)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from plugins.module_utils import _run\n"
        "for _ in range(20):\n"
        "    out = _run.run('tm_monitor', {'driver': 'qcow2', 'datastore': sys.argv[2]}, _run.Mode()).result\n"
        "    assert out['missed'] == [] and len(out['vms']) == 1, out\n"
    )
    root = str(Path(__file__).parents[3])
    argv = ["/usr/bin/python3", "-I", "-c", code, root, str(world.system)]
    running = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _number in range(4)]
    for process in running:
        _out, err = process.communicate(timeout=25)
        assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        (lambda: [1 / 0], ChildProcessError, "was killed"),
        (lambda: os.listdir("/nonexistent"), FileNotFoundError, "/nonexistent"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ChildProcessError, "was killed"),
        (lambda: [object()], ChildProcessError, "was killed"),
    ],
)
def test_a_child_that_fails(task: Callable[[], Any], kind: type[OSError], words: str) -> None:
    with pytest.raises(kind, match=words):
        list(aside.look("x", task, 5, 5))


def test_values_of_any_size_come_through() -> None:
    values: list[Any] = [{"a": "x" * 300_000}, [], None, "ä\n"]
    assert list(aside.look("x", lambda: values, 5, 5)) == values


def test_without_a_home_there_is_no_lock_and_still_an_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert measured(world)["vms"] == []


# ---------------------------------------------------------------- a mount that really hangs

#: Mounts a file system in user space whose server never says a word, in a mount namespace of one's own.
_HUNG = """
import ctypes, os, sys
handle = os.open("/dev/fuse", os.O_RDWR)
mount = ctypes.CDLL(None, use_errno=True).mount
options = f"fd={handle},rootmode=40000,user_id=0,group_id=0".encode()
if mount(b"none", os.fsencode(sys.argv[2]), b"fuse", 0, options):
    sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
sys.path.insert(0, sys.argv[1])
from plugins.module_utils import _run
from plugins.module_utils._errors import StorageError
for action in ("tm_monitor", "tm_monitor_ds"):
    for path in sys.argv[3:]:
        try:
            found = _run.run(action, {"driver": "qcow2", "datastore": path, "stall_timeout": 1}, _run.Mode()).result
            print(len(found["vms"]), *found["missed"])
        except StorageError as error:
            print(error.code, error)
"""


def test_a_mount_whose_server_is_silent(world: World) -> None:
    """Datastore 2 hangs: as the system datastore, and as that of a persistent image."""
    written(world.disk(vm=4), 1)
    world.disk(vm=5).parent.mkdir()
    world.disk(vm=5).symlink_to(world.root / "2" / PLAIN)
    begun = time.monotonic()
    root = Path(__file__).parents[3]
    argv = ["unshare", "--mount", "/usr/bin/python3", "-I", "-c", _HUNG, root, world.root / "2"]
    done = subprocess.run(
        [*map(str, argv), str(world.root / "2" / "100"), str(world.system)],
        capture_output=True,
        text=True,
        timeout=25,
    )
    if "cannot mount" in done.stderr or "unshare:" in done.stderr or "/dev/fuse" in done.stderr:
        pytest.skip(f"no mount of one's own: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 10
    lines = done.stdout.splitlines()
    hangs = f"The datastore {world.root}/2/100 does not tell its"
    assert lines[0].startswith(f"deadline {hangs} space: nothing came for 1 seconds")
    assert lines[2].startswith(f"deadline {hangs} disks: nothing came for 1 seconds")
    for line in lines[1::2]:
        assert line.startswith(f"1 The datastore {world.system} does not tell its disks: nothing came for 1 seconds")
