# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How wrappers reach a node: which launcher is taken, when it falls back, and what it never does."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.ground import REMOTE, LabGround
from tests.lab.looking import differences, end, end_shared_connections, restore, running, state, stopped, wait_for
from tests.lab.oned import use_image
from tests.lab.scene import ANSIBLE, IMPOSTORS, Scene, Task, impostor

NODE_PY = f"{REMOTE}/one_storage/node.py"
BUILD = f"{REMOTE}/one_storage/BUILD"

#: A node whose files are just being replaced: it greets with our build and then knows of another.
_REFUSES = """
import json, os
build = open(os.path.join(os.path.dirname(__file__), "BUILD")).read().strip()
def send(message):
    body = json.dumps(message).encode()
    os.write(1, len(body).to_bytes(4, "big") + body)
send({"hello": build, "python": [3, 11]})
os.read(0, 1 << 16)
send({"refused": "this node has build of another day"})
"""


@pytest.fixture(scope="module")
def _first_disk(scene: Scene) -> tuple[Task, str]:
    """A clone on the first node, and the disk that it makes."""
    pairing = scene.pairing("qcow2")
    vm, tasks = scene.vm(pairing, [use_image(scene.image(pairing))])
    return tasks[0], f"{scene.place(pairing, vm)}/disk.0"


@pytest.fixture
def clone(scene: Scene, tidy: LabGround, _first_disk: tuple[Task, str]) -> Iterator[Task]:
    """A clone that has not been made, and is gone after the test."""
    before = state(tidy)
    yield _first_disk[0]
    restore(tidy, before)


@pytest.fixture
def changed(ground: LabGround) -> Iterator[Callable[[str, str], None]]:
    """Changes a file of the first node's drivers for the time of a test."""
    kept: dict[Path, bytes] = {}

    def change(path: str, text: str) -> None:
        seen = ground.path(ground.nodes[0], path)
        kept[seen] = seen.read_bytes()
        seen.write_text(text)

    yield change
    for path, content in kept.items():
        path.write_bytes(content)


def made(scene: Scene) -> bool:
    """Whether the first node has a disk now."""
    return any(key.endswith("/disk.0.snap/0") for key in state(scene.ground))


# ---------------------------------------------------------------- auto, ssh


def test_auto_takes_the_ssh_launcher(scene: Scene, clone: Task) -> None:
    done = scene.right(clone, TRACE="1")
    assert "launcher ssh" in done.err and not done.warnings
    assert made(scene)


def falls_back(scene: Scene, clone: Task, reason: str) -> None:
    """With auto there is one warning and the right result, with ssh one sentence and no change."""
    before = state(scene.ground)
    done = scene.wrong(clone, "cannot run the drivers", reason, scene.ground.nodes[0], LAUNCHER="ssh")
    assert not done.warnings and not differences(state(scene.ground), before)
    done = scene.right(clone, TRACE="1", ANSIBLE=ANSIBLE)
    assert len(done.warnings) == 1, done.err
    assert done.warnings[0].startswith("WARN: clone: ") and reason in done.warnings[0]
    assert "launcher ansible" in done.err
    assert made(scene)


def test_a_node_without_our_files(scene: Scene, clone: Task, bare_nodes: LabGround) -> None:
    falls_back(scene, clone, "has none of our files")


def test_a_node_with_another_build(scene: Scene, clone: Task, changed: Callable[[str, str], None]) -> None:
    changed(BUILD, "0123456789abcdef\n")
    falls_back(scene, clone, "has build 0123456789ab")


def test_a_node_that_refuses(scene: Scene, clone: Task, changed: Callable[[str, str], None]) -> None:
    changed(NODE_PY, _REFUSES)
    falls_back(scene, clone, "build of another day")


def test_a_broken_node_is_not_tried_again(scene: Scene, clone: Task, changed: Callable[[str, str], None]) -> None:
    """What is neither a missing entry nor a refusal may have begun: no other launcher runs it again."""
    changed(NODE_PY, "raise RuntimeError('broken on purpose')\n")
    done = scene.wrong(clone, "Python does not start on host01", "broken on purpose", ANSIBLE=ANSIBLE)
    assert not done.warnings and not made(scene)


def test_a_login_shell_that_talks(scene: Scene, clone: Task) -> None:
    """Whatever a login writes to stdout is not our protocol: a sentence, and no waiting."""
    profile = scene.ground.lab.path(scene.ground.nodes[0], "/var/lib/one/.bashrc")
    profile.write_text("echo Welcome to this host, traveller\n")
    try:
        done = scene.wrong(clone, scene.ground.nodes[0], "a login there must print nothing", ANSIBLE=ANSIBLE)
    finally:
        profile.unlink()
    assert done.seconds < 10 and not made(scene)


def test_no_second_run_after_a_step_began(scene: Scene, clone: Task) -> None:
    done = scene.wrong(clone, "The connection to", FAULT="1", ANSIBLE=ANSIBLE)
    assert not done.warnings and not made(scene)
    scene.right(clone)


# ---------------------------------------------------------------- ansible


def test_ansible_is_not_installed(scene: Scene, clone: Task, bare_nodes: LabGround) -> None:
    done = scene.wrong(clone, "the command ansible is not installed", scene.ground.nodes[0])
    assert not made(scene) and len(done.warnings) == 1
    scene.wrong(clone, "the command /nowhere/ansible is not installed", LAUNCHER="ansible", ANSIBLE="/nowhere/ansible")


def test_ansible_with_become(scene: Scene, clone: Task) -> None:
    """As another user, where one host takes part; where it is two the agent would be lost."""
    through = {"LAUNCHER": "ansible", "ANSIBLE": ANSIBLE, "ANSIBLE_BECOME": "yes"}
    before = state(scene.ground)
    # files of root would be of no use to anybody
    scene.wrong(clone, "runs as root", **through)
    mv = two_hosts(scene)
    between = state(scene.ground)
    scene.wrong(mv, "become", **through)
    assert not differences(state(scene.ground), between)
    restore(scene.ground, before)
    oneadmin = Scene(scene.ground, {"ANSIBLE_BECOME_USER": "oneadmin"})
    oneadmin.right(clone, **through)
    assert made(scene)


def two_hosts(scene: Scene) -> Task:
    """A move from node to node of a VM whose directory is there."""
    pairing = scene.pairing("ssh")
    source, destination = scene.ground.nodes
    vm, _tasks = scene.vm(pairing, [])
    place = scene.place(pairing, vm)
    scene.ground.run(source, ["mkdir", "-p", place])
    scene.ground.run(source, ["cp", "/etc/hostname", f"{place}/disk.0"])
    remotes = scene.ground.oned.settings.remotes
    words = [f"{source}:{place}", f"{destination}:{place}", str(vm.id), str(pairing.system_ds)]
    return Task((f"{remotes}/tm/ssh/mv", *words))


@pytest.mark.parametrize("launcher", ["auto", "ansible"])
def test_values_are_never_run_nor_shown(ground: LabGround, tidy: LabGround, launcher: str) -> None:
    """Templates, substitutions and quotes in names are names; command lines of launchers have none of them."""
    scene = Scene(ground, IMPOSTORS)
    pairing = scene.pairing("qcow2")
    vm, tasks = scene.vm(pairing, [], context={"HELLO": "world"})
    context = next(task for task in tasks if task.action == "context")
    names = ['{{ lookup("pipe","touch /tmp/pwned") }}', "$(touch /tmp/pwned)", "`touch /tmp/pwned`", "-e;touch pwned"]
    home = f"/var/lib/one/vms/{vm.id}"
    temporary = ground.lab.path(ground.frontend, "/tmp")
    # what killed launches of other tests left is swept when it is older
    before = set(temporary.glob("one_storage-*"))
    for name in names:
        text = f"{home}/{name.replace('/', '_')}"
        ground.lab.path(ground.frontend, text).write_text("s3cret\n")
        context = Task((context.argv[0], text, *context.argv[1:]))
    with impostor(ground, ground.frontend, "xorriso", 'sleep 1.5\nexec /usr/bin/xorriso "$@"'):
        run = scene.start(context, LAUNCHER=launcher, ANSIBLE=ANSIBLE)
        wait_for("slow xorriso", lambda: any("sleep" in one.argv for one in running(ground, ground.frontend)), 20)
        shown = [
            process.argv
            for host in ground.lab.hosts
            for process in ground.lab.processes(host)
            if "pwned" in " ".join(process.argv)
        ]
        held = [file for file in temporary.glob("one_storage-*/*.yml") if file.parent not in before]
        for file in held:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        done = run.finish()
    assert done.ok, done.err
    assert len(held) == (1 if launcher == "ansible" else 0)
    # the wrapper as oned called it, and the tool that gets the files
    assert [argv for argv in shown if "xorriso" not in " ".join(argv) and "wrapper.py" not in " ".join(argv)] == []
    assert any("xorriso" in " ".join(argv) for argv in shown)
    disk = f"{scene.place(pairing, vm)}/disk.{vm.context_disk_id}"
    listing = ground.run(ground.nodes[0], ["xorriso", "-indev", disk, "-find", "/", "-type", "f"])
    for name in names:
        assert name.replace("/", "_").replace("'", "") in listing
    for host in ground.lab.hosts:
        for folder in ("/tmp", "/var/lib/one", "/var/tmp", home):
            assert not ground.lab.path(host, f"{folder}/pwned").exists()
    assert set(temporary.glob("one_storage-*")) <= before
    ground.run(ground.nodes[0], ["rm", "-rf", scene.place(pairing, vm)])


def test_templates_in_paths_stay_paths(scene: Scene, tidy: LabGround) -> None:
    """The image of a clone has a name that Ansible would run."""
    pairing = scene.pairing("qcow2")
    vm, _tasks = scene.vm(pairing, [use_image(scene.image(pairing))])
    name = "{{lookup('pipe','touch${IFS}_tmp_pwned')}}"
    store, place = f"/var/lib/one/datastores/{pairing.image_ds}", scene.place(pairing, vm)
    scene.ground.run(scene.ground.frontend, ["cp", scene.source(pairing), f"{store}/{name}"])
    remotes = scene.ground.oned.settings.remotes
    words = [f"frontend:{store}/{name}", f"{scene.ground.nodes[0]}:{place}/disk.0", str(vm.id), str(pairing.image_ds)]
    scene.right(Task((f"{remotes}/tm/qcow2/clone", *words)), LAUNCHER="ansible", ANSIBLE=ANSIBLE)
    said = scene.ground.run(scene.ground.nodes[0], ["qemu-img", "info", f"{place}/disk.0"])
    assert f"backing file: {store}/{name}" in said
    scene.ground.run(scene.ground.nodes[0], ["rm", "-rf", place, f"{store}/{name}"])


# ---------------------------------------------------------------- the agent


def test_no_agent_no_step(ground: LabGround, tidy: LabGround) -> None:
    """From node to node the front-end's agent is needed; that it is there is found out before any step."""
    scene = Scene(ground, {"SSH_AUTH_SOCK": ""})
    mv = two_hosts(scene)
    before = state(ground)
    done = scene.wrong(mv, ground.nodes[1], "agent")
    assert not differences(state(ground), before), done.err
    again = Scene(ground)
    again.right(mv)
    assert any(key.startswith(f"{ground.nodes[1]}:105/") and key.endswith("/disk.0") for key in state(ground))


def test_only_moves_between_nodes_lend_the_agent(ground: LabGround, tidy: LabGround) -> None:
    """A shared connection would lend it to all; a clone's session has none."""
    scene = Scene(ground)
    end_shared_connections(ground)
    pairing = scene.pairing("shared+ssh")
    _vm, tasks = scene.vm(pairing, [use_image(scene.image(pairing))])
    run = scene.start(tasks[0], FAULT="0=")
    wait_for("on the node", lambda: stopped(ground), 10)
    core = stopped(ground)
    assert core
    assert "SSH_AUTH_SOCK" not in Path(f"/proc/{core.pid}/environ").read_text()
    end(core)
    assert not run.finish().ok
    scene.right(tasks[0])
