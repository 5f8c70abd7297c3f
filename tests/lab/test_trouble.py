# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong around the drivers: hosts, disks, tools, rights. One plain sentence, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from signal import SIGCONT
from typing import Any

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import State, differences, end, end_shared_connections, restore, state, stopped, wait_for
from tests.lab.oned import use_image, use_swap, use_volatile
from tests.lab.scene import Done, Scene, Task

SYSTEM = "/var/lib/one/datastores/105"
QUICK = {"CONNECT_TIMEOUT": "2", "STALL_TIMEOUT": "2"}


@pytest.fixture(scope="module")
def calls(scene: Scene) -> dict[str, Task]:
    """A call for each way to reach hosts: the core on a node, on the front-end with a peer, on a node with a peer."""
    local = scene.pairing("ssh")
    mixed = scene.pairing("qcow2+ssh")
    image = use_image(scene.image(local))
    _vm, tasks = scene.vm(local, [image, use_volatile(4, "raw", "ext4"), use_swap(2)])
    found = {"clone": tasks[0], "mkimage": tasks[1], "mkswap": tasks[2]}
    _vm, tasks = scene.vm(mixed, [use_image(scene.image(mixed)), use_image(scene.image(mixed, persistent=True))])
    found |= {"convert": tasks[0], "ln": tasks[1]}
    vm, tasks = scene.vm(local, [image])
    scene.right(tasks[0])
    source, destination = scene.ground.nodes
    place, remotes = scene.place(local, vm), scene.ground.oned.settings.remotes
    words = [f"{source}:{place}", f"{destination}:{place}", str(vm.id), str(local.system_ds)]
    found["mv"] = Task((f"{remotes}/tm/ssh/mv", *words))
    found["delete"] = Task((f"{remotes}/tm/ssh/delete", words[0], *words[2:]))
    return found


@pytest.fixture
def before(tidy: LabGround, calls: dict[str, Task]) -> Iterator[State]:
    """All datastores as they are; what a test made is taken away again. No connection is open at the beginning."""
    end_shared_connections(tidy)
    found = state(tidy)
    yield found
    restore(tidy, found)


# ---------------------------------------------------------------- hosts


@contextmanager
def refusing(ground: LabGround, host: str) -> Iterator[None]:
    ground.lab.stop_sshd(host)
    try:
        yield
    finally:
        ground.lab.start_sshd(host)


@contextmanager
def frozen(ground: LabGround, host: str) -> Iterator[None]:
    ground.lab.freeze(host)
    try:
        yield
    finally:
        ground.lab.thaw(host)


@contextmanager
def unplugged(ground: LabGround, host: str) -> Iterator[None]:
    ground.lab.cut(host)
    try:
        yield
    finally:
        ground.lab.heal(host)


HOSTS = {
    "refuses": (refusing, "Connection refused"),
    "hangs": (frozen, "does not answer within 2 seconds"),
    "is cut off": (unplugged, "does not answer within 2 seconds"),
}


def some(rows: Sequence[tuple[str, ...]], now: Sequence[tuple[str, ...]]) -> list[Any]:
    """Rows of parameters; those not in *now* wait for the run of all tests."""
    return [pytest.param(*row, marks=[] if row in now else [pytest.mark.full]) for row in rows]


@pytest.mark.parametrize(
    ("trouble", "name"),
    some(
        list(product(HOSTS, ("mkswap", "clone", "mv"))),
        [("refuses", "mkswap"), ("refuses", "clone"), ("hangs", "clone"), ("is cut off", "mv")],
    ),
)
def test_a_host(scene: Scene, before: State, calls: dict[str, Task], trouble: str, name: str) -> None:
    """The node with the core, the peer of the front-end, the peer of a node."""
    make, words = HOSTS[trouble]
    host = scene.ground.nodes[1 if name == "mv" else 0]
    with make(scene.ground, host):
        done = scene.wrong(calls[name], host, **QUICK)
    assert words in done.sentence or "timed out" in done.sentence, done.sentence
    assert done.seconds < 10
    assert differences(state(scene.ground), before) == []
    scene.right(calls[name])


@pytest.mark.parametrize("trouble", ["hangs", pytest.param("is cut off", marks=pytest.mark.full)])
def test_a_host_behind_an_open_connection(scene: Scene, before: State, calls: dict[str, Task], trouble: str) -> None:
    """The shared connection is up, and nobody answers on it."""
    scene.right(calls["mkswap"])
    restore(scene.ground, before)
    with HOSTS[trouble][0](scene.ground, scene.ground.nodes[0]):
        done = scene.wrong(calls["mkswap"], "does not answer within 2 seconds", scene.ground.nodes[0], **QUICK)
    assert done.seconds < 10
    wait_for("untouched", lambda: not differences(state(scene.ground), before))
    end_shared_connections(scene.ground)
    scene.right(calls["mkswap"])


@pytest.mark.parametrize(("name", "number"), [("mkswap", 0), ("clone", 0), ("mv", 0)])
def test_an_unknown_host(scene: Scene, before: State, calls: dict[str, Task], name: str, number: int) -> None:
    host = scene.ground.nodes[number]
    done = scene.wrong(calls[name].instead(f"{host}:", "nobody.invalid:"), "nobody.invalid", **QUICK)
    assert "not resolve" in done.sentence
    assert differences(state(scene.ground), before) == []


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=id", "a b", "$(id)", "host01;id", "host01\n", "{{ 1 }}", "'", "..", "/"]
)
def test_what_is_no_host(scene: Scene, before: State, calls: dict[str, Task], host: str) -> None:
    for name in ("mkswap", "clone", "mv"):
        done = scene.wrong(calls[name].instead(f"{scene.ground.nodes[0]}:", f"{host}:"))
        assert "is not the name of a host" in done.sentence or "is not host:path" in done.sentence
    assert differences(state(scene.ground), before) == []


@pytest.mark.parametrize(
    ("name", "number"),
    [("mkswap", 0), pytest.param("clone", 0, marks=pytest.mark.full), pytest.param("mv", 1, marks=pytest.mark.full)],
)
def test_sshd_dies_in_the_middle(scene: Scene, before: State, calls: dict[str, Task], name: str, number: int) -> None:
    host = scene.ground.nodes[number]
    run = scene.start(calls[name], FAULT="1=")
    wait_for("stopped", lambda: stopped(scene.ground), 10)
    core = stopped(scene.ground)
    with refusing(scene.ground, host):
        assert core
        for pid in (core.pid, run.process.pid):
            end(core._replace(pid=pid), SIGCONT)
        done = run.finish()
        assert not done.ok and host in done.sentence and "broke" in done.sentence, done.err
    scene.right(calls[name])


# ---------------------------------------------------------------- disks


@contextmanager
def full(ground: LabGround, host: str) -> Iterator[None]:
    """A datastore with room for a journal and not for a disk."""
    folder = ground.lab.tiny(host, SYSTEM, 1)
    (folder / "filler").write_bytes(bytes(1000 << 10))
    try:
        yield
    finally:
        ground.lab.untiny(host, SYSTEM)


@contextmanager
def read_only(ground: LabGround, host: str) -> Iterator[None]:
    ground.lab.tiny(host, SYSTEM, 16)
    ground.lab.run(host, ["mount", "-o", "remount,ro", SYSTEM], user="root")
    try:
        yield
    finally:
        ground.lab.untiny(host, SYSTEM)


@contextmanager
def not_ours(ground: LabGround, host: str) -> Iterator[None]:
    ground.lab.tiny(host, SYSTEM, 16)
    ground.lab.run(host, ["chown", "root:root", SYSTEM], user="root")
    try:
        yield
    finally:
        ground.lab.untiny(host, SYSTEM)


DISKS: dict[str, tuple[Callable[[LabGround, str], AbstractContextManager[None]], str]] = {
    "full": (full, "No space left on device"),
    "read-only": (read_only, "Read-only file system"),
    "not ours": (not_ours, "ermi"),
}


def fails_on(scene: Scene, task: Task, host: str, words: str) -> Done:
    """The call fails on that host for that reason; the datastore has nothing of it."""
    done = scene.wrong(task, host, words, **QUICK)
    folder = scene.ground.path(host, SYSTEM)
    left = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert set(left) <= {".one_storage", ".one_storage/locks", ".monitor", "filler"}, left
    return done


@pytest.mark.parametrize(
    ("trouble", "name"),
    some(
        list(product(DISKS, ("mkimage", "clone", "convert", "ln", "mv"))),
        [*product(["full"], ("mkimage", "clone", "convert", "mv")), ("read-only", "clone"), ("not ours", "mkimage")],
    ),
)
def test_a_datastore(scene: Scene, before: State, calls: dict[str, Task], trouble: str, name: str) -> None:
    make, words = DISKS[trouble]
    host = scene.ground.nodes[1 if name == "mv" else 0]
    with make(scene.ground, host):
        fails_on(scene, calls[name], host, words)
    assert differences(state(scene.ground), before) == []
    scene.right(calls[name])


def test_a_full_datastore_gives_space_back(scene: Scene, before: State, calls: dict[str, Task]) -> None:
    """Where not even a journal fits, a delete still works."""
    host, vm = scene.ground.nodes[0], calls["delete"].argv[1].rsplit("/", 1)[1]
    scene.ground.lab.tiny(host, SYSTEM, 1)
    try:
        place = f"{SYSTEM}/{vm}"
        scene.ground.run(host, ["mkdir", place])
        scene.ground.lab.run(host, ["dd", "if=/dev/zero", f"of={place}/disk.0", "bs=4k"], check=False)
        scene.right(calls["delete"])
        assert not scene.ground.path(host, place).exists()
    finally:
        scene.ground.lab.untiny(host, SYSTEM)


# ---------------------------------------------------------------- tools


@contextmanager
def without(ground: LabGround, host: str, tool: str) -> Iterator[None]:
    path = ground.lab.run(host, ["which", tool]).stdout.decode().strip()
    ground.lab.run(host, ["mv", path, f"{path}.away"], user="root")
    try:
        yield
    finally:
        ground.lab.run(host, ["mv", f"{path}.away", path], user="root")


@pytest.mark.parametrize(("name", "tool"), [("convert", "qemu-img"), ("mkimage", "mkfs.ext4"), ("mkswap", "mkswap")])
def test_a_tool_that_is_not_installed(
    scene: Scene, before: State, calls: dict[str, Task], name: str, tool: str
) -> None:
    host = scene.ground.nodes[0]
    with without(scene.ground, host, tool):
        scene.wrong(calls[name], f"the command {tool} is not installed", host)
    assert differences(state(scene.ground), before) == []


def test_a_node_without_python(scene: Scene, before: State, calls: dict[str, Task]) -> None:
    """Nothing can run there, neither ours nor Ansible's; the peer of a copy neither."""
    for name in ("mkswap", "clone"):
        scene.wrong(calls[name], scene.ground.nodes[0], NODE_PYTHON="/usr/bin/python0")
    assert differences(state(scene.ground), before) == []
