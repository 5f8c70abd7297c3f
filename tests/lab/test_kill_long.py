# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long steps that lose their caller, their network or their tool: they end in time, and a rerun is right."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.ground import LabGround
from tests.lab.hosts.proc import HostProcess
from tests.lab.looking import (
    all_running,
    differences,
    end,
    end_shared_connections,
    on_its_way,
    restore,
    running,
    state,
    wait_for,
)
from tests.lab.oned import use_image, use_swap, use_volatile
from tests.lab.scene import IMPOSTORS, SOURCES, Running, Scene, Task, impostor

SIZE = 300
#: Seconds in which all that belongs to a dead caller has ended.
PROMPT = 5.0
IMPATIENT = {"STALL_TIMEOUT": "5", "CONNECT_TIMEOUT": "5"}
#: Then a lost host is given up in so many seconds: the data stalls, and what may live on is waited for a little.
SOON = 30.0
#: A tool that never ends, and what it starts does not either.
ENDLESS = "sleep 300 &\nsleep 300"


@dataclass
class Big:
    """A big image of random bytes, and calls that copy it."""

    image: str
    clone: Task
    ln: Task
    mv: Task


@pytest.fixture(scope="module")
def big(scene: Scene) -> Big:
    ground = scene.ground
    # so much that its way takes a while; written here, as only the size counts
    source = ground.path(ground.frontend, SOURCES)
    ground.run(ground.frontend, ["mkdir", "-p", SOURCES])
    with (source / "big").open("wb") as file:
        for _megabyte in range(SIZE):
            file.write(os.urandom(1 << 20))
    local, shared = scene.pairing("ssh"), scene.pairing("shared+ssh")
    images = []
    for pairing in (local, shared):
        made = scene.real.import_image(f"big-{pairing.name}", pairing.image_ds, f"{SOURCES}/big")
        images.append(made.check().object_id)
    vm, tasks = scene.vm(local, [use_image(images[0])])
    place, nodes = scene.place(local, vm), ground.nodes
    words = [f"{nodes[0]}:{place}", f"{nodes[1]}:{place}", str(vm.id), str(local.system_ds)]
    mv = Task((f"{ground.oned.settings.remotes}/tm/ssh/mv", *words))
    _vm, others = scene.vm(shared, [use_image(images[1])])
    return Big(ground.oned.image(images[0]).source, tasks[0], others[0], mv)


@pytest.fixture
def clean(tidy: LabGround, big: Big) -> Iterator[LabGround]:
    """Nothing but the images; what a test made is taken away again."""
    end_shared_connections(tidy)
    yield tidy
    for host in tidy.nodes:
        store = "/var/lib/one/datastores/105"
        tidy.run(host, ["sh", "-c", f"rm -rf {store}/[0-9]* {store}/.one_storage/*.arrived"])


def arriving(ground: LabGround, host: str) -> bool:
    """Whether data of a copy is being written into a workshop of the host."""
    root = ground.path(host, "/var/lib/one/datastores/105/.one_storage")
    return any(path.is_file() and path.stat().st_blocks > 2048 for path in root.rglob("disk.0"))


def kill(run: Running) -> None:
    """Kill the wrapper itself."""
    end(HostProcess(run.pid, ()))
    run.finish()


def whole(ground: LabGround, big: Big, host: str, task: Task) -> None:
    """The disk on the host is the image, byte for byte."""
    path = (task.argv[2] if task.argv[2].endswith("/disk.0") else f"{task.argv[2]}/disk.0").partition(":")[2]
    assert ground.path(host, path).read_bytes() == ground.path(ground.frontend, f"{SOURCES}/big").read_bytes()


def only_locks(ground: LabGround, host: str) -> bool:
    """Whether a rerun has nothing to clear on this host."""
    root = ground.path(host, "/var/lib/one/datastores/105/.one_storage")
    return [path.name for path in root.iterdir()] == ["locks"]


# ---------------------------------------------------------------- the caller dies


@pytest.mark.full
def test_wrapper_dies_during_a_copy_on_the_node(scene: Scene, clean: LabGround, big: Big) -> None:
    node = clean.nodes[0]
    run = scene.start(big.ln)
    wait_for("copying", lambda: arriving(clean, node), 20)
    kill(run)
    wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    assert not clean.path(node, big.ln.argv[2].partition(":")[2]).exists()
    scene.right(big.ln)
    whole(clean, big, node, big.ln)


def test_wrapper_dies_during_a_copy_to_the_node(scene: Scene, clean: LabGround, big: Big) -> None:
    node = clean.nodes[0]
    run = scene.start(big.clone)
    wait_for("copying", lambda: arriving(clean, node), 20)
    kill(run)
    wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    scene.right(big.clone)
    whole(clean, big, node, big.clone)


@pytest.mark.full
def test_wrapper_dies_during_a_move_between_nodes(scene: Scene, clean: LabGround, big: Big) -> None:
    source, destination = clean.nodes
    scene.right(big.clone)
    run = scene.start(big.mv)
    wait_for("copying", lambda: arriving(clean, destination), 20)
    kill(run)
    wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    # it was not over, so the disk is where it was
    whole(clean, big, source, big.clone)
    scene.right(big.mv)
    whole(clean, big, destination, big.mv)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_wrapper_is_asked_to_end(scene: Scene, clean: LabGround, big: Big, number: signal.Signals) -> None:
    """It ends with a sentence, and what it did is undone at once; what has come is kept for the run that comes next."""
    node = clean.nodes[0]
    run = scene.start(big.clone)
    wait_for("copying", lambda: arriving(clean, node), 20)
    end(HostProcess(run.pid, ()), number)
    done = run.finish(PROMPT)
    assert not done.ok and done.sentence
    wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    hidden = clean.path(node, "/var/lib/one/datastores/105/.one_storage")
    assert [path.relative_to(hidden).parts[1] for path in hidden.glob("vm-*/*")] in ([], ["kept"])
    assert not list(hidden.glob("*.journal")) and only_locks(clean, clean.frontend)
    scene.right(big.clone)
    whole(clean, big, node, big.clone)
    assert only_locks(clean, node)


@pytest.mark.parametrize(
    "tool", ["qemu-img", *(pytest.param(tool, marks=pytest.mark.full) for tool in ("mkswap", "mkfs.ext4"))]
)
def test_wrapper_dies_while_a_tool_hangs_on_the_node(scene: Scene, clean: LabGround, tool: str) -> None:
    """The tool is killed with all that it started."""
    node, mixed = clean.nodes[0], scene.pairing("qcow2+ssh")
    before = state(clean)
    image = use_image(scene.image(mixed))
    _vm, tasks = scene.vm(mixed, [image, use_swap(2), use_volatile(4, "raw", "ext4")])
    task = tasks[["qemu-img", "mkswap", "mkfs.ext4"].index(tool)]
    between = state(clean)
    with impostor(clean, node, tool, ENDLESS):
        run = scene.start(task)
        wait_for("hanging", lambda: len(on_its_way(clean, node, "sleep 300")) == 2, 10)
        kill(run)
        wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    wait_for("undone", lambda: not _files_of(differences(state(clean), between)))
    scene.right(task)
    restore(clean, before)


def _files_of(found: list[str]) -> list[str]:
    """Differences but markers, which stay."""
    return [line for line in found if "/.monitor" not in line]


@pytest.mark.parametrize(("action", "tool"), [("clone", "qemu-img"), ("mkfs", "mkfs.ext4")])
def test_wrapper_dies_while_a_tool_hangs_under_it(clean: LabGround, action: str, tool: str) -> None:
    """In process: the kernel ends the tool with us. What never comes again is swept by the next action."""
    scene = Scene(clean, IMPOSTORS)
    pairing = scene.pairing("qcow2")
    first = scene.image(pairing)
    layered = clean.oned.image(first).source
    # a chain is folded in by qemu-img
    chain = f"{layered}.snap"
    clean.run(clean.frontend, ["mkdir", chain])
    clean.run(clean.frontend, ["mv", layered, f"{chain}/0"])
    clean.run(clean.frontend, ["ln", "-s", f"{layered.rsplit('/', 1)[1]}.snap/0", layered])
    events = {
        "clone": lambda: scene.tasks(lambda life: life.clone_image(first, "hanging")),
        "mkfs": lambda: scene.tasks(lambda life: life.create_datablock("hanging", 100, 4, fs="ext4")),
    }
    task = events[action]()[1][0]
    before = state(clean)
    with impostor(clean, clean.frontend, tool, "exec sleep 300"):
        run = scene.start(task)
        wait_for("hanging", lambda: on_its_way(clean, clean.frontend, "sleep 300"), 10)
        kill(run)
        wait_for(f"idle: {all_running(clean)}", lambda: not all_running(clean), PROMPT)
    assert not differences(state(clean), before)
    # something else in this datastore comes by
    _number, tasks = scene.tasks(lambda life: life.create_datablock("other", 100, 4))
    scene.right(tasks[0])
    hidden = clean.path(clean.frontend, "/var/lib/one/datastores/100/.one_storage")
    assert [path.name for path in hidden.iterdir()] == ["locks"]


# ---------------------------------------------------------------- the network goes


@pytest.mark.full
def test_the_cable_is_pulled_during_a_copy(scene: Scene, clean: LabGround, big: Big) -> None:
    """One sentence soon after the stall timeout; the image is untouched; later a rerun is right."""
    node = clean.nodes[0]
    run = scene.start(big.clone, **IMPATIENT)
    wait_for("copying", lambda: arriving(clean, node), 20)
    clean.lab.cut(node)
    try:
        done = run.finish(SOON + 5)
    finally:
        clean.lab.heal(node)
    assert not done.ok and node in done.sentence
    assert done.seconds < SOON
    scene.right(big.clone)
    whole(clean, big, node, big.clone)


@pytest.mark.full
def test_the_cable_is_pulled_during_a_move(scene: Scene, clean: LabGround, big: Big) -> None:
    """Between nodes the wrapper talks to the source, which has lost the destination."""
    source, destination = clean.nodes
    scene.right(big.clone)
    run = scene.start(big.mv, **IMPATIENT)
    wait_for("copying", lambda: arriving(clean, destination), 20)
    clean.lab.cut(destination)
    try:
        done = run.finish(SOON + 5)
    finally:
        clean.lab.heal(destination)
    assert not done.ok and destination in done.sentence
    assert done.seconds < SOON
    whole(clean, big, source, big.clone)
    scene.right(big.mv)
    whole(clean, big, destination, big.mv)


@pytest.mark.full
def test_two_at_once_wait_for_each_other(scene: Scene, clean: LabGround, big: Big) -> None:
    """A call that is made again while the first still runs waits for it, and finds its work done."""
    first = scene.start(big.clone)
    wait_for("copying", lambda: arriving(clean, clean.nodes[0]), 20)
    second = scene.start(big.clone)
    assert first.finish().ok
    done = second.finish()
    assert done.ok, done.err
    whole(clean, big, clean.nodes[0], big.clone)


def test_a_lock_that_is_not_given_back_in_time(scene: Scene, clean: LabGround, big: Big) -> None:
    first = scene.start(big.clone)
    wait_for("copying", lambda: arriving(clean, clean.nodes[0]), 20)
    for process in running(clean, clean.frontend):
        end(process, signal.SIGSTOP)
    done = scene.run(big.clone, LOCK_TIMEOUT="1")
    assert not done.ok and "Another action has held vm-" in done.sentence, done.err
    for pid in (*(process.pid for process in running(clean, clean.frontend)), first.process.pid):
        end(HostProcess(pid, ()), signal.SIGCONT)
    assert first.finish().ok
