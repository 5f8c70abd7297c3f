# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions of the core on two hosts over real SSH: contents, locks, and what comes when an end, or the way, is lost."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.hosts import Lab, can_make_hosts, repository
from tests.lab.hosts.proc import read_stat

pytestmark = pytest.mark.skipif(not can_make_hosts()[0], reason=can_make_hosts()[1])

MIB = 1 << 20
IMAGE = "0123456789abcdef0123456789abcdef"
CORE = "/var/tmp/core_under_test"

#: Runs one action and says what came of it. Reads action, options, fault and knobs from stdin.
_SCRIPT = """
import json, os, sys
ask = json.load(sys.stdin)
sys.path.insert(0, ask["core"])
from module_utils import _errors, _run
try:
    outcome = _run.run(ask["action"], ask["options"], _run.Mode(fault=ask["fault"]))
    outcome.close()
    print(json.dumps(outcome.result))
except _errors.StorageError as error:
    print(json.dumps({"error": error.record(), "text": str(error)}))
"""


def wait_until(what: str, condition: Callable[[], object], limit: float = 10.0) -> None:
    """Wait for a condition, at most *limit* seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {limit} s"
        time.sleep(0.01)


class Field:
    """A lab, two datastores of a test's own in it, and ways to run the core there.

    :ivar images: path of the image datastore.
    :ivar system: path of the system datastore, another folder on every host.
    """

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.images = f"/var/lib/one/datastores/{number}"
        self.system = f"/var/lib/one/datastores/{number + 1}"
        self.disk = f"{self.system}/5/disk.0"
        self.image = f"{self.images}/{IMAGE}"
        for path in (self.images, self.system):
            for host in lab.hosts:
                lab.run(host, ["mkdir", "-p", path])

    def put(self, host: str, path: str, data: bytes, size: int = 0) -> bytes:
        """A file of oneadmin's with this content at its beginning; what is then in it."""
        where = self.lab.path(host, path)
        if not where.parent.is_dir():
            self.lab.run(host, ["mkdir", "-p", os.path.dirname(path)])
        where.write_bytes(data)
        if size:
            os.truncate(where, size)
        os.chown(where, 9869, 9869)
        return where.read_bytes()

    def get(self, host: str, path: str) -> bytes:
        """A file's content."""
        return self.lab.path(host, path, follow=True).read_bytes()

    def there(self, host: str, path: str) -> bool:
        """Whether something stands there."""
        return os.path.lexists(self.lab.path(host, path))

    def options(self, action: str, peer: str, **more: Any) -> dict[str, Any]:
        """Options of an action with the ssh driver."""
        found: dict[str, Any] = {"driver": "ssh", "datastore": self.system, "connect_timeout": 10, "stall_timeout": 10}
        if peer:
            found["peer"] = peer
        if action in ("tm_clone", "tm_ln"):
            found |= {"source": self.image, "destination": self.disk, "format": "raw"}
        elif action == "tm_mvds":
            found |= {"source": self.disk, "destination": self.image, "format": "raw"}
        elif action == "tm_mv":
            found |= {"source": f"{self.system}/5", "destination": f"{self.system}/5", "source_datastore": self.system}
        return found | more

    def start(
        self,
        action: str,
        options: dict[str, Any],
        lead: str = "frontend",
        fault: str = "",
        ssh: str = "",
    ) -> subprocess.Popen[bytes]:
        """Start an action on a host; on a node it is the front-end that starts it, and lends its agent."""
        ask = {"action": action, "options": options, "fault": fault, "core": CORE}
        command = ["/usr/bin/python3", "-I", "-c", _SCRIPT]
        if lead == "frontend":
            ask["core"] = str(repository() / "plugins")
        else:
            # the login shell splits the words again
            command = ["ssh", "-A", lead, "/usr/bin/python3", "-I", f"{CORE}/act.py"]
        env = {"ONE_STORAGE_SSH": ssh} if ssh else {}
        process = self.lab.popen("frontend", command, stdin=subprocess.PIPE, env=env)
        assert process.stdin
        process.stdin.write(json.dumps(ask).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def ended(self, process: subprocess.Popen[bytes], timeout: float = 30) -> dict[str, Any]:
        """What a started action said; `killed` when it died."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        if not out:
            assert b"Traceback" not in err, err.decode()
            return {"killed": True}
        found: dict[str, Any] = json.loads(out)
        return found

    def run(self, action: str, peer: str, lead: str = "frontend", timeout: float = 30, **more: Any) -> dict[str, Any]:
        """Run an action to its end."""
        knobs = {key: more.pop(key) for key in ("fault", "ssh") if key in more}
        return self.ended(self.start(action, self.options(action, peer, **more), lead, **knobs), timeout)

    def done(self, action: str, peer: str, lead: str = "frontend", **more: Any) -> dict[str, Any]:
        """Run an action that has to go well."""
        result = self.run(action, peer, lead, **more)
        assert "error" not in result and "killed" not in result, result
        return result

    def failed(self, action: str, peer: str, lead: str = "frontend", **more: Any) -> str:
        """Run an action that has to fail; its sentence."""
        result = self.run(action, peer, lead, **more)
        assert "error" in result, result
        assert "\n" not in result["text"]
        return str(result["text"])

    def tidy(self) -> None:
        """Nothing of journals and workshops may be left on any host."""
        for host in self.lab.hosts:
            for datastore in (self.images, self.system):
                hidden = self.lab.path(host, f"{datastore}/.one_storage")
                found = sorted(path.name for path in hidden.iterdir()) if hidden.is_dir() else ["locks"]
                # the receipt of a VM that came stays as long as its directory
                found = [name for name in found if not (name == "vm-5.arrived" and self.there(host, f"{datastore}/5"))]
                assert found == ["locks"], f"{found} in {datastore} on {host}"

    def pythons(self, host: str) -> list[int]:
        """Processes of the core, or of a peer, on a host."""
        return [one.pid for one in self.lab.processes(host) if "python3" in one.argv[0]]

    def sweep(self) -> None:
        """Another action on every host and datastore."""
        for host in self.lab.hosts:
            for datastore in (self.images, self.system):
                given = {"driver": "qcow2", "datastore": datastore, "path": f"{datastore}/99"}
                assert "path" in self.ended(self.start("tm_delete", given, host))


def is_idle(field: Field, host: str) -> bool:
    """Whether nothing of ours runs on a host."""
    return not field.pythons(host)


_numbers = itertools.count(5000, 2)


@pytest.fixture
def field(lab: Lab) -> Iterator[Field]:
    """Datastores of a test's own on all hosts; the nodes have the core, too. No process may be left at the end."""
    for node in lab.nodes:
        place = lab.path(node, CORE)
        if not place.exists():
            shutil.copytree(repository() / "plugins" / "module_utils", place / "module_utils")
            (place / "act.py").write_text(_SCRIPT)
    found = Field(lab, next(_numbers))
    yield found
    for host in lab.hosts:
        wait_until(f"idle on {host}", functools.partial(is_idle, found, host))


def data(size: int = 3 * MIB) -> bytes:
    """Bytes that are no zeros and do not repeat soon."""
    return b"".join(number.to_bytes(8, "little") + b"\x01" * 8 for number in range(size // 16))


# ---------------------------------------------------------------- contents


@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_an_image_comes_to_the_node(field: Field, action: str) -> None:
    image = field.put("frontend", field.image, data(), 40 * MIB)
    result = field.done(action, "host01")
    assert result["changed"] and all("frontend: " in said or "host01: " in said for said in result["actions"])
    assert field.get("host01", field.disk) == image
    assert field.lab.path("host01", field.disk).stat().st_blocks * 512 < 8 * MIB
    assert field.lab.path("host01", field.disk).stat().st_uid == 9869
    assert field.get("host01", f"{field.system}/.monitor") == b"ssh\n"
    assert not field.there("frontend", f"{field.system}/5") and not field.there("frontend", f"{field.system}/.monitor")
    assert not field.run(action, "host01")["changed"]
    field.tidy()


def layered(field: Field, host: str, name: str) -> None:
    """A qcow2 chain of two layers in a snapshot directory, and a link to the second."""
    folder, base = os.path.split(name)
    script = """set -e; mkdir -p "$1/$2.snap"; cd "$1/$2.snap"; ln -s . "$2.snap"
        qemu-img create -q -f qcow2 0 4M; qemu-io -f qcow2 -c 'write -q -P 0x11 0 1M' 0
        qemu-img create -q -f qcow2 -F qcow2 -b "$2.snap/0" 1; qemu-io -f qcow2 -c 'write -q -P 0x22 64k 64k' 1
        ln -s "$2.snap/1" "../$2" """
    field.lab.run(host, ["sh", "-c", script, "sh", folder, base])


def seen(field: Field, host: str, disk: str) -> bytes:
    """What a guest sees in a qcow2 disk."""
    script = 'qemu-img convert -f qcow2 -O raw "$1" /tmp/seen && cat /tmp/seen'
    return field.lab.run(host, ["sh", "-c", script, "sh", disk]).stdout


LAYERS = b"\x11" * 65536 + b"\x22" * 65536 + b"\x11" * (MIB - 131072) + bytes(3 * MIB)


def test_a_layered_image_goes_out_and_comes_back(field: Field) -> None:
    layered(field, "frontend", field.image)
    field.done("tm_ln", "host01", format="qcow2", size=6, original_size=4)
    disk = field.lab.path("host01", field.disk)
    assert os.readlink(disk) == "disk.0.snap/1"
    assert os.readlink(disk.parent / "disk.0.snap" / "disk.0.snap") == "."
    assert seen(field, "host01", field.disk) == LAYERS + bytes(2 * MIB)
    field.lab.run("host01", ["qemu-io", "-f", "qcow2", "-c", "write -q -P 0x33 5M 64k", field.disk])
    for _again in range(2):
        field.done("tm_mvds", "host01", format="qcow2")
        assert os.readlink(field.lab.path("frontend", field.image)) == f"{IMAGE}.snap/1"
        whole = seen(field, "frontend", field.image)
        assert whole[: 4 * MIB] == LAYERS and whole[5 * MIB : 5 * MIB + 65536] == b"\x33" * 65536
    field.tidy()


def test_a_persistent_disk_comes_back(field: Field) -> None:
    field.put("frontend", field.image, b"old content")
    field.put("frontend", f"{field.image}.md5sum", b"cached")
    disk = field.put("host01", field.disk, data())
    field.done("tm_mvds", "host01")
    assert field.get("frontend", field.image) == disk
    assert field.there("host01", field.disk) and not field.there("frontend", f"{field.image}.md5sum")
    field.tidy()


def vm_files(field: Field, host: str, big: bytes = b"") -> dict[str, bytes]:
    """A VM's directory as it is at the end of its run; the contents by name."""
    found = {
        "disk.0": big or data(),
        "disk.1": b"iso",
        "deployment.0": b"<domain/>",
        "disk.0.snap/0": data(100000),
        "checkpoint": b"memory",
    }
    for name, content in found.items():
        field.put(host, f"{field.system}/5/{name}", content)
    os.symlink("disk.0.snap/0", field.lab.path(host, f"{field.system}/5/a link"))
    return found


def assert_vm(field: Field, host: str, files: dict[str, bytes]) -> None:
    """The VM's directory stands on this host, and on no other."""
    for name, content in files.items():
        assert field.get(host, f"{field.system}/5/{name}") == content, name
    assert os.readlink(field.lab.path(host, f"{field.system}/5/a link")) == "disk.0.snap/0"
    for other in field.lab.hosts:
        assert other == host or not field.there(other, f"{field.system}/5"), f"still on {other}"


@pytest.mark.parametrize(
    ("lead", "peer", "role", "old", "new"),
    [
        ("frontend", "host01", "source", "host01", "frontend"),
        ("frontend", "host01", "destination", "frontend", "host01"),
        ("host01", "host02", "destination", "host01", "host02"),
        ("host02", "host01", "source", "host01", "host02"),
    ],
    ids=["stop", "resume", "migrate", "migrate, led by the destination"],
)
def test_a_vm_moves(field: Field, lead: str, peer: str, role: str, old: str, new: str) -> None:
    files = vm_files(field, old)
    field.put(new, f"{field.system}/5/disk.9", b"from a migration that failed")
    field.done("tm_mv", peer, lead, peer_role=role)
    assert_vm(field, new, files)
    assert not field.there(new, f"{field.system}/5/disk.9")
    assert field.get(new, f"{field.system}/.monitor") == b"ssh\n"
    assert not field.run("tm_mv", peer, lead, peer_role=role)["changed"]
    assert_vm(field, new, files)
    field.tidy()


def test_a_context_image_comes_to_the_node(field: Field) -> None:
    field.put("frontend", "/var/lib/one/context.sh", b"#!/bin/sh\n")
    for driver in ("ssh", "qcow2"):
        given = {"driver": driver, "force": True, "files": ["/var/lib/one/context.sh:a name"]}
        options = field.options("tm_context", "host01", destination=field.disk, **given)
        assert "error" not in field.ended(field.start("tm_context", options))
        assert b"CONTEXT" in field.get("host01", field.disk)[:40000]
        assert not field.there("frontend", f"{field.system}/5")
        field.tidy()


def test_storage_that_is_the_same_is_seen_and_never_wiped(field: Field) -> None:
    """A datastore that all hosts share, given to the ssh driver: one lock, and nothing to move."""
    field.system = "/var/lib/one/datastores/100"
    field.disk = f"{field.system}/5/disk.0"
    try:
        field.put("frontend", field.image, data())
        field.done("tm_clone", "host01")
        assert field.get("host02", field.disk) == data()
        for role in ("source", "destination"):
            assert not field.done("tm_mv", "host01", peer_role=role)["changed"]
        assert not field.done("tm_mv", "host02", "host01")["changed"]
        assert field.get("frontend", field.disk) == data()
        field.tidy()
    finally:
        names = ("5", ".monitor", ".one_storage")
        field.lab.run("frontend", ["rm", "-rf", *(f"{field.system}/{name}" for name in names)])


# ---------------------------------------------------------------- deaths


def some(cases: Iterable[str], *usual: str) -> list[Any]:
    """All cases, the unusual ones only in a full run."""
    return [case if case in usual else pytest.param(case, marks=pytest.mark.full) for case in cases]


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "clone": ("tm_clone", "frontend", {"peer": "host01", "force": True}),
    "mvds": ("tm_mvds", "frontend", {"peer": "host01"}),
    "stop": ("tm_mv", "frontend", {"peer": "host01", "peer_role": "source"}),
    "resume": ("tm_mv", "frontend", {"peer": "host01", "peer_role": "destination"}),
    "migrate": ("tm_mv", "host01", {"peer": "host02", "peer_role": "destination"}),
}


#: From where to where a VM moves.
WAYS = {"stop": ("host01", "frontend"), "resume": ("frontend", "host01"), "migrate": ("host01", "host02")}


def prepared(field: Field, name: str) -> Callable[[], None]:
    """Make the files of a case anew; what checks its end is returned."""
    for host in field.lab.hosts:
        field.lab.run(host, ["sh", "-c", f"rm -rf {field.system}/5 {field.images}/{IMAGE}*"])
    if name == "clone":
        image = field.put("frontend", field.image, data(), 5 * MIB)
        field.put("host01", field.disk, b"old")

        def right() -> None:
            assert field.get("host01", field.disk) == image and field.get("frontend", field.image) == image

    elif name == "mvds":
        field.put("frontend", field.image, b"old content")
        disk = field.put("host01", field.disk, data())

        def right() -> None:
            assert field.get("frontend", field.image) == disk

    else:
        old, new = WAYS[name]
        files = vm_files(field, old)
        field.put(new, f"{field.system}/5/disk.9", b"from a migration that failed")

        def right() -> None:
            assert_vm(field, new, files)

    return right


@pytest.mark.parametrize("name", some(CASES, "stop"))
def test_the_lead_dies_and_is_run_again(field: Field, name: str) -> None:
    """Killed before each step and at the end: the peer ends by itself, and the next run gives the same end."""
    action, lead, given = CASES[name]
    survived = False
    for point in [*map(str, range(20)), "end"]:
        if survived and point != "end":
            continue
        right = prepared(field, name)
        options = field.options(action, **given)
        result = field.ended(field.start(action, options, lead, fault=point))
        survived = survived or "killed" not in result
        again = field.ended(field.start(action, {**options, "lock_timeout": 5}, lead))
        assert "error" not in again, f"killed at {point}: {again}"
        right()
        field.tidy()
    assert survived


@pytest.mark.parametrize("name", some(CASES, "clone"))
def test_the_next_action_on_each_host_sweeps(field: Field, name: str) -> None:
    action, lead, given = CASES[name]
    for point in ("1", "2", "end"):
        prepared(field, name)
        result = field.ended(field.start(action, field.options(action, **given), lead, fault=point))
        assert "killed" in result or point == "2"
        wait_until("free", lambda: not field.pythons("host01") and not field.pythons("host02"))
        field.sweep()
        field.tidy()


def stopped(field: Field, lead: str) -> int:
    """Wait until the lead has stopped itself at a fault point; its process id, as this machine numbers it."""
    found: list[int] = []

    def is_stopped() -> bool:
        for pid in field.pythons(lead):
            now = read_stat(pid)
            if now and now.state == "T":
                found.append(pid)
        return bool(found)

    wait_until("stopped", is_stopped)
    return found[0]


def go_on(process: subprocess.Popen[bytes], pid: int) -> None:
    """Let a stopped lead run on; who waits for it outside has stopped with it."""
    for one in (pid, process.pid):
        os.kill(one, signal.SIGCONT)


@pytest.mark.parametrize(("name", "point"), [("clone", "1="), ("stop", "1="), ("resume", "2=")])
def test_the_peer_dies(field: Field, name: str, point: str) -> None:
    """kill -9 of the process on the node: a sentence, and run again it ends well."""
    action, lead, given = CASES[name]
    right = prepared(field, name)
    options = field.options(action, **given)
    process = field.start(action, options, lead, fault=point)
    pid = stopped(field, lead)
    for victim in field.pythons("host01"):
        os.kill(victim, signal.SIGKILL)
    go_on(process, pid)
    result = field.ended(process)
    assert result["error"]["code"] == "unreachable", result
    assert "The connection to host01 broke" in result["text"] and "\n" not in result["text"]
    again = field.ended(field.start(action, options, lead))
    assert "error" not in again, again
    right()
    field.tidy()


def test_the_peer_ends_with_the_lead_and_its_lock_is_free(field: Field) -> None:
    field.put("frontend", field.image, data())
    process = field.start("tm_clone", field.options("tm_clone", "host01"), fault="2=")
    pid = stopped(field, "frontend")
    assert field.pythons("host01")
    os.kill(pid, signal.SIGKILL)
    os.kill(process.pid, signal.SIGCONT)
    wait_until("ended on the node", lambda: not field.pythons("host01"), 5)
    assert field.ended(process) == {"killed": True}
    begun = time.monotonic()
    field.done("tm_clone", "host01", lock_timeout=2)
    assert time.monotonic() - begun < 5
    assert field.get("host01", field.disk) == data()
    field.tidy()


def test_a_lead_that_is_held_up_keeps_its_locks_on_both_hosts(field: Field) -> None:
    field.put("frontend", field.image, data())
    process = field.start("tm_clone", field.options("tm_clone", "host01"), fault="2=")
    pid = stopped(field, "frontend")
    try:
        assert "Another action has held vm-5" in field.failed("tm_clone", "host01", lock_timeout=1)
        given = {"driver": "ssh", "datastore": field.system, "path": f"{field.system}/5", "lock_timeout": 1}
        held = field.ended(field.start("tm_delete", given, "host01"))
        assert held["error"]["code"] == "busy"
        other = field.done("tm_clone", "host01", destination=f"{field.system}/6/disk.0", lock_timeout=1)
        assert other["changed"]
    finally:
        go_on(process, pid)
    assert field.ended(process)["changed"]
    field.tidy()


# ---------------------------------------------------------------- the way


@pytest.mark.parametrize("name", some(("clone", "stop", "resume"), "clone"))
def test_the_cable_is_pulled_between_two_steps(field: Field, name: str) -> None:
    action, lead, given = CASES[name]
    right = prepared(field, name)
    process = field.start(action, field.options(action, **given, stall_timeout=3), lead, fault="2=")
    pid = stopped(field, lead)
    field.lab.cut("host01")
    try:
        go_on(process, pid)
        begun = time.monotonic()
        result = field.ended(process)
        assert time.monotonic() - begun < 10
        assert result["error"]["code"] == "unreachable", result
        assert "host01 broke: nothing was heard for 3 seconds" in result["text"]
    finally:
        field.lab.heal("host01")
    for victim in field.pythons("host01"):
        # sshd there has not heard of the end either; what a real node does after a while is done at once
        os.kill(victim, signal.SIGKILL)
    again = field.ended(field.start(action, field.options(action, **given), lead))
    assert "error" not in again, again
    right()
    field.tidy()


@pytest.mark.parametrize("name", some(("stop", "resume"), "stop"))
def test_the_cable_is_pulled_while_data_flows(field: Field, name: str) -> None:
    """The source stays whole, and the deadline is that of data without progress."""
    action, lead, given = CASES[name]
    old, new = WAYS[name]
    for host in field.lab.hosts:
        field.lab.run(host, ["rm", "-rf", f"{field.system}/5"])
    files = vm_files(field, old, data(MIB) * 250)
    process = field.start(action, field.options(action, **given, stall_timeout=2), lead)
    hidden = field.lab.path(new, field.system) / ".one_storage" / "vm-5"
    wait_until("moving", lambda: allocated(hidden, "disk.0") > 40 * MIB, 30)
    field.lab.cut("host01")
    try:
        begun = time.monotonic()
        result = field.ended(process)
        assert time.monotonic() - begun < 20
        assert "error" in result, "the data were faster than the test"
        assert "\n" not in result["text"] and "2 seconds" in result["text"], result["text"]
    finally:
        field.lab.heal("host01")
    assert_source(field, old, files)
    for victim in field.pythons("host01"):
        os.kill(victim, signal.SIGKILL)
    kept = allocated(hidden / "kept", "disk.0")
    assert kept > 40 * MIB, "what came is kept for the next run"
    before = carried(field, "host01")
    again = field.ended(field.start(action, field.options(action, **given), lead))
    assert "error" not in again, again
    assert carried(field, "host01") - before < 250 * MIB - kept + 12 * MIB, "what was there was sent again"
    assert_vm(field, new, files)
    field.tidy()


@pytest.mark.full
def test_what_is_kept_goes_with_the_vm(field: Field) -> None:
    """After a move that broke oned may delete the VM: nothing stays; what is older than a day is swept by others."""
    hidden = field.lab.path("host01", field.system) / ".one_storage"
    for number, action in (("5", "tm_delete"), ("6", "tm_mkswap")):
        kept = hidden / f"vm-{number}" / "kept" / "12345678"
        field.put("host01", f"{field.system}/.one_storage/vm-{number}/kept/12345678/5/disk.0", data(5 * MIB))
        more: dict[str, Any] = {"driver": "ssh", "datastore": field.system}
        if action == "tm_delete":
            more["path"] = f"{field.system}/5"
        else:
            more |= {"destination": f"{field.system}/7/disk.1", "size": 1}
            assert "error" not in field.ended(field.start(action, more, "host01"))
            assert kept.exists(), "not a day old"
            os.utime(kept / "5" / "disk.0", (time.time() - 86500,) * 2)
            more["destination"] = f"{field.system}/8/disk.1"
        assert "error" not in field.ended(field.start(action, more, "host01"))
        assert not kept.exists()
    for number in ("7", "8"):
        field.lab.run("host01", ["rm", "-rf", f"{field.system}/{number}"])
    field.tidy()


def allocated(folder: Path, name: str) -> int:
    """Bytes that files of this name below a folder take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob(name))


def carried(field: Field, host: str) -> int:
    """Bytes that came to a host, or went from it, so far."""
    lines = field.lab.run(host, ["cat", "/proc/net/dev"]).stdout.decode().splitlines()[2:]
    counts = [
        [int(word) for word in line.partition(":")[2].split()] for line in lines if not line.strip().startswith("lo:")
    ]
    return max(sum(row[column] for row in counts) for column in (0, 8))


def assert_source(field: Field, host: str, files: dict[str, bytes]) -> None:
    """The VM's directory is whole on this host."""
    for name, content in files.items():
        assert field.get(host, f"{field.system}/5/{name}") == content, name


def test_a_host_that_nobody_knows(field: Field) -> None:
    field.put("frontend", field.image, data())
    said = field.failed("tm_clone", "host99")
    assert "Cannot log in to host99: ssh: Could not resolve hostname" in said
    assert not field.there("frontend", f"{field.system}/5")


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "host01;id", "$(id)", "a b", "", "h\n", "../x"])
def test_names_that_are_no_hosts(field: Field, name: str) -> None:
    field.put("frontend", field.image, data())
    result = field.run("tm_clone", name)
    # no peer at all is an action on this host alone
    assert "changed" in result if name == "" else "is not the name of a host" in result["text"]


def strange_ssh(field: Field, option: str) -> str:
    """An ssh with another option before all others."""
    path = f"/tmp/strange-ssh-{os.urandom(3).hex()}"
    field.put("frontend", path, f'#!/bin/sh\nexec ssh {option} "$@"\n'.encode())
    field.lab.path("frontend", path).chmod(0o755)
    return path


def test_a_host_with_another_key(field: Field) -> None:
    field.put("frontend", field.image, data())
    key = field.lab.run("frontend", ["ssh-keyscan", "-t", "ed25519", "host02"]).stdout.split()
    field.put("frontend", "/tmp/known", b"host01 " + b" ".join(key[1:]) + b"\n")
    wrong = strange_ssh(field, "-oUserKnownHostsFile=/tmp/known -oGlobalKnownHostsFile=/dev/null")
    said = field.failed("tm_clone", "host01", ssh=wrong)
    assert "Cannot log in to host01" in said and "known_hosts" in said
    said = field.failed(
        "tm_clone", "host01", ssh=strange_ssh(field, "-oUserKnownHostsFile=/dev/null -oGlobalKnownHostsFile=/dev/null")
    )
    assert "Host key verification failed" in said and "add the host's key" in said


def test_a_host_that_does_not_let_us_in(field: Field) -> None:
    field.put("frontend", field.image, data())
    said = field.failed("tm_clone", "host01", ssh=strange_ssh(field, "-oIdentityAgent=none -oIdentityFile=/dev/null"))
    assert "Cannot log in to host01" in said and "Permission denied" in said and "by key" in said


def test_a_host_that_refuses(field: Field) -> None:
    field.put("frontend", field.image, data())
    field.lab.stop_sshd("host01")
    try:
        begun = time.monotonic()
        said = field.failed("tm_clone", "host01")
        assert "Cannot log in to host01" in said and "Connection refused" in said
        assert time.monotonic() - begun < 5
    finally:
        field.lab.start_sshd("host01")


@pytest.mark.parametrize("trouble", ["freeze", "cut"])
def test_a_host_that_says_nothing(field: Field, trouble: str) -> None:
    field.put("frontend", field.image, data())
    getattr(field.lab, trouble)("host01")
    try:
        begun = time.monotonic()
        said = field.failed("tm_clone", "host01", connect_timeout=2)
        assert "host01" in said
        assert time.monotonic() - begun < 8
    finally:
        getattr(field.lab, {"freeze": "thaw", "cut": "heal"}[trouble])("host01")
    assert not field.there("host01", f"{field.system}/5")


def test_a_node_that_talks_at_logins(field: Field) -> None:
    """bash reads .bashrc for commands over SSH, too."""
    field.put("frontend", field.image, data())
    field.put("host01", "/var/lib/one/.bashrc", b"echo Welcome to host01, have a nice day\n")
    try:
        said = field.failed("tm_clone", "host01")
        assert "The login shell of host01 writes text of its own ('Welc" in said and ".bashrc" in said
    finally:
        field.lab.run("host01", ["rm", "/var/lib/one/.bashrc"])


def test_a_node_without_python(field: Field) -> None:
    field.put("frontend", field.image, data())
    said = field.failed("tm_clone", "host01", peer_python="/usr/bin/python9")
    assert "host01" in said and "python9" in said


def test_a_node_that_is_full(field: Field) -> None:
    field.put("frontend", field.image, data())
    field.lab.tiny("host01", field.system, 2)
    try:
        said = field.failed("tm_clone", "host01")
        assert "No space left on device" in said and "host01" in said and "nothing was changed" in said
        assert not field.there("host01", f"{field.system}/5")
    finally:
        field.lab.untiny("host01", field.system)


def test_a_node_where_we_may_not_write(field: Field) -> None:
    field.put("frontend", field.image, data())
    field.lab.run("host01", ["chmod", "555", field.system])
    try:
        said = field.failed("tm_clone", "host01")
        assert "Permission denied" in said and "on host01" in said and field.system in said
    finally:
        field.lab.run("host01", ["chmod", "755", field.system])


# ---------------------------------------------------------------- many


def test_two_at_once_for_one_disk(field: Field) -> None:
    field.put("frontend", field.image, data())
    both = [field.start("tm_clone", field.options("tm_clone", "host01")) for _number in range(2)]
    results = [field.ended(process) for process in both]
    assert sorted(result["changed"] for result in results) == [False, True], results
    assert field.get("host01", field.disk) == data()
    field.tidy()


def test_more_at_once_than_sshd_lets_in(field: Field) -> None:
    """sshd's defaults: ten logins at once, the others are refused at random. Each clone needs two."""
    field.put("frontend", field.image, data())
    started = []
    for vm in range(16):
        options = field.options("tm_clone", "host01", destination=f"{field.system}/{vm}/disk.0")
        started.append(field.start("tm_clone", {**options, "connect_timeout": 30}))
    results = [field.ended(process, 60) for process in started]
    assert [result.get("text") for result in results] == [None] * 16
    for vm in range(16):
        assert field.get("host01", f"{field.system}/{vm}/disk.0") == data()
    field.tidy()
