# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of VMs' disks as volumes, and disks saved as images: golden data through trees of them, and kills."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import BadCall, Busy, Missing, Refused, StorageError, Unsupported
from plugins.module_utils.tools.rbd.cluster import Cluster
from tests.unit.core.pools import Pools, info
from tests.unit.core.support import MIB, act, child, killed_at, strings
from tests.unit.core.support import ended as exit_of
from tests.unit.core.vm_volumes import Disks, opened

#: The disk as a clone of an image, as the image itself, as one that was made empty.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "clone": ("one-5-42-0", {"image": "one/one-5"}),
    "persistent": ("one-5", {"image": "one/one-5", "persistent": True}),
    "volatile": ("one-sys-42-0", {}),
}


class Tree:
    """A disk with what each of its snapshots must show.

    :ivar now: what the guest sees.
    """

    def __init__(self, disks: Disks, shape: str) -> None:
        self.disks = disks
        self.pools: Pools = disks.pools
        self.name, self.given = SHAPES[shape]
        if shape == "volatile":
            disks.act("tm_mkimage", destination=disks.path(), size=6, format="raw", force=True)
        else:
            self.pools.volume("one-5")
            if shape == "clone":
                disks.clone()
        self.snapshots: dict[int, bytes] = {}
        self.now = self.pools.content(f"one/{self.name}")

    def act(self, action: str, **more: Any) -> dict[str, Any]:
        """An action on the disk."""
        return self.disks.act(action, **{"path": self.disks.path(), **self.given, **more})

    def write(self, seed: str) -> None:
        """What a guest does."""
        self.pools.patch(self.name, seed, place=(hash_of(seed) % 5) * MIB)
        self.now = self.pools.content(f"one/{self.name}")

    def create(self, number: int) -> None:
        """Take a snapshot, and write on."""
        self.act("tm_snap_create", snapshot_id=number, force=True)
        self.snapshots[number] = self.now
        self.write(f"after {number}")

    def revert(self, number: int) -> None:
        """Go back to a snapshot, and write on."""
        self.act("tm_snap_revert", snapshot_id=number)
        self.now = self.snapshots[number]
        assert self.pools.content(f"one/{self.name}") == self.now
        self.write(f"reverted {number}")

    def delete(self, number: int) -> None:
        """Delete a snapshot."""
        self.act("tm_snap_delete", snapshot_id=number)
        del self.snapshots[number]

    def check(self) -> None:
        """Every byte of the disk and of each snapshot, and nothing of ours is left."""
        assert self.pools.content(f"one/{self.name}") == self.now
        found = {}
        for name in self.pools.names():
            volume = self.pools.look.look("one", name)
            for snapshot in volume["snapshots"] if volume else []:
                if snapshot["name"].isdigit():
                    assert snapshot["protected"]
                    found[int(snapshot["name"])] = self.pools.content(f"one/{name}@{snapshot['name']}")
        assert found == self.snapshots
        assert self.pools.left() == []
        assert self.pools.watched() == []


def hash_of(seed: str) -> int:
    """A number for a text, always the same."""
    return sum(seed.encode())


@pytest.mark.parametrize(
    "shape", ["clone", *(pytest.param(name, marks=pytest.mark.full) for name in ("persistent", "volatile"))]
)
def test_a_tree_of_snapshots_keeps_every_byte(disks: Disks, shape: str) -> None:
    """As ALLOW_ORPHANS=mixed lets it grow: branches from the last snapshot that was reverted to."""
    signal.alarm(120)
    tree = Tree(disks, shape)
    for number in (0, 1, 2):
        tree.create(number)
    tree.revert(1)
    tree.create(3)
    tree.check()
    assert f"{tree.name}-0:1:2" in tree.pools.names()
    tree.revert(2)
    tree.check()
    assert f"{tree.name}-3" in tree.pools.names()
    # the tree is 0, 1, 2 with 2 as the base, and 3 that stands on 1
    with pytest.raises(
        Refused, match=rf"The snapshot 2 of one/{tree.name}-0:1:2 cannot be deleted: one/{tree.name} wa"
    ):
        tree.act("tm_snap_delete", snapshot_id=2)
    tree.delete(3)
    tree.delete(0)
    tree.check()
    assert f"{tree.name}-1:2" in tree.pools.names()
    tree.delete(1)
    tree.check()
    assert not tree.act("tm_snap_delete", snapshot_id=1)["changed"]
    if shape != "persistent":
        tree.act("tm_delete")
        assert tree.pools.names() == (["one-5"] if shape == "clone" else [])


@pytest.mark.full
def test_a_revert_of_a_disk_in_a_data_pool_stays_there(disks: Disks) -> None:
    disks.pools.volume("one-5")
    disks.clone(data_pool="one_ec")
    given = {"path": disks.path(), "image": "one/one-5"}
    disks.act("tm_snap_create", **given, snapshot_id=0)
    disks.act("tm_snap_revert", **given, snapshot_id=0)
    assert info("one/one-5-42-0", disks.pools.cluster)["data_pool"] == "one_ec"


def test_a_snapshot_that_a_failed_attempt_left_is_taken_again(disks: Disks) -> None:
    tree = Tree(disks, "clone")
    tree.pools.snapshot(tree.name, "0")
    tree.write("since")
    with pytest.raises(Refused, match=r"There is a snapshot 0 of one/one-5-42-0 already.*\(force replaces it\)"):
        tree.act("tm_snap_create", snapshot_id=0)
    tree.create(0)
    tree.check()


@pytest.mark.full
def test_an_open_volume_is_not_reverted(disks: Disks) -> None:
    tree = Tree(disks, "clone")
    tree.create(0)
    with opened(tree.pools, tree.name):
        tree.now = tree.pools.content(f"one/{tree.name}")
        with pytest.raises(Busy, match=r"The volume one/one-5-42-0 is open at"):
            tree.act("tm_snap_revert", snapshot_id=0)
    tree.check()
    tree.revert(0)


#: Action, its options, and the sentence.
MISUSED: list[tuple[str, dict[str, Any], type[StorageError], str]] = [
    ("tm_snap_create", {"snapshot_id": 1, "running": True}, Unsupported, "power the VM off first"),
    ("tm_snap_revert", {"snapshot_id": 1, "running": True}, Unsupported, "power the VM off first"),
    ("tm_snap_revert", {"snapshot_id": 7}, Missing, "one/one-5-42-0 has no snapshot 7"),
    ("tm_snap_create", {"snapshot_id": -1}, BadCall, "-1 is not the id of a snapshot"),
    ("tm_snap_create", {"snapshot_id": 1, "image": "one/one-6"}, Missing, "one/one-6-42-0 is not there"),
    ("tm_cpds", {"destination": "one/one-9", "snapshot_id": 7}, Missing, "has no snapshot 7"),
    ("tm_cpds", {"destination": "/images/9"}, BadCall, "is not the name of a volume"),
    ("tm_cpds", {"destination": "one/one-5-42-0"}, Refused, "is the image one/one-5-42-0 itself"),
]


def test_calls_that_cannot_be_done_say_why_and_leave_nothing(disks: Disks) -> None:
    tree = Tree(disks, "clone")
    before = tree.pools.tree()
    for action, more, error, said in MISUSED:
        path = "source" if action == "tm_cpds" else "path"
        with pytest.raises(error, match=said):
            disks.act(action, **{path: disks.path(), **tree.given, **more})
    assert tree.pools.tree() == before
    assert tree.pools.left() == []


# -------------------------------------------------------------------- cpds


def test_a_disk_and_its_snapshots_are_saved_and_stand_alone(disks: Disks) -> None:
    tree = Tree(disks, "clone")
    for number in (0, 1):
        tree.create(number)
    tree.revert(0)
    for number, wanted in ((-1, tree.now), (0, tree.snapshots[0]), (1, tree.snapshots[1])):
        target = f"one2/one-{number + 20}"
        given = {"source": disks.path(), "destination": target, "snapshot_id": number, "image": "one/one-5"}
        assert disks.act("tm_cpds", **given, force=True)["path"] == target
        assert tree.pools.content(target) == wanted
        assert "parent" not in info(target, tree.pools.cluster)
        assert not disks.act("tm_cpds", **given)["changed"]
    tree.check()


# -------------------------------------------------------------------- kills

#: Of each action that changes something: what there is before, its options, and what it must come to.
KILLED: dict[str, dict[str, Any]] = {
    "tm_clone": {"source": "one/one-5", "destination": 1, "force": True},
    "tm_ln": {"source": "one/one-6", "destination": 1, "force": True},
    "tm_delete": {"path": 0, "image": "one/one-5"},
    "tm_delete to the trash": {"path": 0, "image": "one/one-5", "ceph_trash": True},
    "tm_mkimage": {"destination": 1, "size": 4, "format": "raw", "force": True},
    "tm_mkswap": {"destination": 1, "size": 4, "force": True},
    "tm_resize": {"path": 0, "image": "one/one-5", "size": 8},
    "tm_snap_create": {"path": 0, "image": "one/one-5", "snapshot_id": 5, "force": True},
    "tm_snap_delete": {"path": 0, "image": "one/one-5", "snapshot_id": 0},
    "tm_snap_delete of the last": {"path": 0, "image": "one/one-5", "snapshot_id": 3},
    "tm_snap_revert": {"path": 0, "image": "one/one-5", "snapshot_id": 1},
    "tm_cpds": {"source": 0, "destination": "one/one-9", "image": "one/one-5", "force": True},
}


def before(disks: Disks) -> None:
    """A clone with the snapshots 0, 1 and 2 that was reverted to 1 and has 3 since, and was reverted to 2."""
    pools = disks.pools
    pools.clear()
    pools.volume("one-5")
    pools.volume("one-6")
    pools.snapshot("one-6", "snap")
    disks.clone()
    name = "one-5-42-0"
    for number in "012":
        pools.patch(name, number, place=int(number) * MIB)
        pools.snapshot(name, number)
    pools.cluster.rbd("rename", f"one/{name}", f"one/{name}-0:1:2")
    pools.clone(f"{name}-0:1:2", "1", name)
    pools.patch(name, "3", place=3 * MIB)
    pools.snapshot(name, "3")
    pools.cluster.rbd("rename", f"one/{name}", f"one/{name}-3")
    pools.clone(f"{name}-0:1:2", "2", name)
    pools.patch(name, "now", place=4 * MIB)


@pytest.mark.full
@pytest.mark.parametrize("case", KILLED)
def test_killed_between_any_two_steps_it_comes_to_the_same_end(disks: Disks, case: str) -> None:
    signal.alarm(300)
    action = case.split()[0]
    given = disks.options(**KILLED[case])
    for name in ("path", "source", "destination"):
        if isinstance(given.get(name), int):
            given[name] = disks.path(given[name])
    before(disks)
    held = disks.pools.content("one/one-5-42-0")
    act(action, **given)
    wanted = ended(disks)
    for number in range(20):
        for fault in (f"{number}", f"{number}+"):
            before(disks)
            if not killed_at(fault, action, given):
                assert number
                return
            if not case.startswith("tm_delete"):
                # whatever stands there is whole
                there = disks.pools.names()
                if "one-5-42-0" in there and "revert" not in case and "resize" not in case:
                    assert disks.pools.content("one/one-5-42-0") == held
            act(action, **given)
            assert ended(disks) == wanted, f"killed at {fault}"
            # readers do not clear up what dead readers of the same image hold: the next who writes to it does
            assert [left for left in disks.pools.left() if left not in ("one lock/one-5", "one lock/one-6")] == []
    raise AssertionError("no end of steps")


def ended(disks: Disks) -> dict[str, Any]:
    """What stands in the pools; of a swap area the size, as each has an id of its own."""
    found = disks.pools.tree()
    return {name: what[:3] if name.startswith("one/one-sys") else what for name, what in found.items()}


def test_the_table_has_every_action_that_changes_volumes() -> None:
    assert {name.split()[0] for name in KILLED} == {
        f"tm_{name}"
        for name in "clone ln delete mkimage mkswap resize snap_create snap_delete snap_revert cpds".split()
    }


def test_killed_between_the_two_renames_of_a_revert_the_old_disk_is_put_back(disks: Disks) -> None:
    """Stock has no volume of the disk's name then, for good (Q27). Whatever comes next settles it here."""
    before(disks)
    held = disks.pools.content("one/one-5-42-0")
    pools = disks.pools
    given = disks.options(path=disks.path(), image="one/one-5", snapshot_id=1)
    real = killed_in_publish(given)
    assert "one-5-42-0" not in pools.names()
    assert real
    disks.act("tm_resize", path=disks.path(), image="one/one-5", size=8)
    assert pools.content("one/one-5-42-0") == held + bytes(2 * MIB)
    assert pools.left() == []


def killed_in_publish(given: dict[str, Any]) -> bool:
    """Run a revert that dies when its old volume has its new name, and the new one has not yet its own."""

    def task() -> None:
        real = Cluster.ask

        def ask(self: Cluster, operation: str, **values: Any) -> Any:
            found = real(self, operation, **values)
            if operation == "rename":
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        Cluster.ask = ask  # type: ignore[method-assign]
        _run.run("tm_snap_revert", strings(given), _run.Mode()).close()

    with child(task) as pid:
        return exit_of(pid) == -signal.SIGKILL
