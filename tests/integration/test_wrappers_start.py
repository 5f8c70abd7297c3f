# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a wrapper and a node load: start-up is most of what a short action costs."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils.tools.wire import Wire
from tests.unit.door.front_end import STORES, VM, FrontEnd, started
from tests.unit.door.support import PYTHON

#: What must not be loaded on the way of an action that stays on this machine or goes through ssh, and why.
#: A name stands for the module and everything below it.
TOO_HEAVY = {
    "ansible": "190 ms; this path exists to do without it",
    "ansible_collections": "the core's imports are relative",
    "yaml": "parameters are JSON",
    "jinja2": "no value is ever a template",
    "urllib": "14 ms; http is spoken by hand, urllib is for https and imports from a URL",
    "http": "7 to 20 ms",
    "email": "comes with http.client",
    "html": "comes with http.server",
    "ssl": "8 ms; for https only",
    "xml.sax": "its saxutils bring urllib",
    "xmlrpc": "brings http.client, gzip and expat; the one request is written by lxml",
    "dataclasses": "brings inspect: 6 ms",
    "inspect": "brings ast, dis and tokenize",
    "ast": "comes with inspect",
    "typing": "4 ms; annotations are never evaluated",
    "tempfile": "brings random and hashlib's friends; names come from the plan",
    "random": "os.urandom is there",
    "argparse": "5 ms; command lines are taken apart by hand",
    "gettext": "comes with argparse",
    "logging": "5 ms; oned reads stderr",
    "pathlib": "4 ms; paths are text",
    "asyncio": "nothing here waits for many things at once",
    "multiprocessing": "children are commands",
    "concurrent": "brings logging",
    "importlib.metadata": "brings email and zipfile",
    "pkg_resources": "30 ms",
    "traceback": "for what nobody expected, and only then",
    "unittest": "no test helper is part of the product",
}
#: Beside these, what a node has no use for: it gets plain JSON.
NOT_ON_A_NODE = {
    "lxml": "19 ms, and not installed on nodes",
    "xml": "documents stay on the front-end",
    "json": "brings re, which brings enum: 5 ms; tools/codec.py does without",
    "re": "3 ms",
    "enum": "2 ms",
    "subprocess": "3 ms; tools/command.py runs commands",
    "threading": "the lifeline has one thread and one lock",
    "shutil": "brings every compression",
}

_LINE = re.compile(r"^import time:\s*\d+ \|\s*\d+ \| +(\S+)$")


@pytest.fixture
def front_end(remotes: Path) -> Iterator[FrontEnd]:
    with started(remotes) as made:
        made.raw(made.store(100) / "image")
        made.raw(made.sources / "a.img")
        yield made


def interpreter(wrapper: Path) -> list[str]:
    """The interpreter and its options, out of the wrapper itself, which also says what it loads."""
    words = wrapper.read_text().splitlines()[-1].split()
    assert words[0] == "exec" and words[1].startswith("/") and "-I" in words
    return [*(word for word in words[1:] if not word.startswith('"')), "-X", "importtime"]


def loaded(stderr: str) -> list[str]:
    """Modules in the order in which they were imported."""
    return [found[1] for found in map(_LINE.match, stderr.splitlines()) if found]


def within(modules: list[str], names: dict[str, str]) -> dict[str, str]:
    """Which of the modules are one of the names, or below it, with the reason against it."""
    return {module: why for module in modules for name, why in names.items() if f"{module}.".startswith(f"{name}.")}


@functools.cache
def lxml_itself() -> set[str]:
    """What lxml brings, in the version that is installed: some have inspect, which is theirs to mend."""
    done = subprocess.run(
        [PYTHON, "-I", "-X", "importtime", "-c", "import lxml.etree"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return set(loaded(done.stderr))


def ours(modules: list[str]) -> list[str]:
    """The modules without those that are there because lxml is."""
    return [module for module in modules if "lxml.etree" not in modules or module not in lxml_itself()]


def of_wrapper(
    front_end: FrontEnd, name: str, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> list[str]:
    """What a wrapper loads; it has to succeed."""
    path = front_end.remotes / name
    done = subprocess.run(
        [*interpreter(path), front_end.remotes / "one_storage" / "wrapper.py", path, *arguments],
        input=stdin,
        capture_output=True,
        env=front_end.environment(**(env or {})),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    modules = loaded(done.stderr.decode())
    assert "plugins.plugin_utils.door" in modules
    return modules


def _calls(front_end: FrontEnd) -> dict[str, tuple[str, list[str], bytes]]:
    place = front_end.disk("qcow2")
    ids = [str(VM), str(STORES["qcow2"][0])]
    return {
        "monitor": ("datastore/fs/monitor", ["1"], front_end.monitor()),
        "stat": ("datastore/fs/stat", ["1"], front_end.stat(front_end.sources / "a.img")),
        "cp": ("datastore/fs/cp", ["1"], front_end.cp(front_end.sources / "a.img")),
        "mkfs": ("datastore/fs/mkfs", ["1"], front_end.mkfs(number=2)),
        "ds clone": ("datastore/fs/clone", ["1"], front_end.clone(f"{front_end.store(100)}/image", number=3)),
        "export": ("datastore/fs/export", ["1"], front_end.export(f"{front_end.store(100)}/image")),
        "dummy": ("tm/dummy/clone", ["x"], b""),
        "rm": ("datastore/fs/rm", ["1"], front_end.rm(f"{front_end.store(100)}/gone")),
        "clone": ("tm/qcow2/clone", [front_end.image("qcow2"), place, *ids], b""),
        "ln": ("tm/qcow2/ln", [front_end.image("qcow2"), place, *ids], b""),
        "mv disk": ("tm/ssh/mv", [front_end.disk("ssh"), front_end.disk("ssh")], b""),
        "mvds": ("tm/shared/mvds", [front_end.disk("shared"), front_end.image("shared"), *ids], b""),
        "mkswap": ("tm/qcow2/mkswap", ["1", front_end.disk("qcow2", "disk.2"), *ids], b""),
        "context": ("tm/qcow2/context", ["/etc/hostname", front_end.disk("qcow2", "disk.3"), *ids], b""),
        "delete": ("tm/qcow2/delete", [place, *ids], b""),
        "tm monitor": ("tm/qcow2/monitor", ["101"], front_end.monitor()),
        "monitor_ds": ("tm/ssh/monitor_ds", [str(front_end.store(105))], b""),
    }


NAMES = [
    *"monitor stat cp mkfs clone ln mvds mkswap context delete export dummy rm".split(),
    "ds clone",
    "mv disk",
    "tm monitor",
    "monitor_ds",
]


@pytest.mark.parametrize("name", NAMES)
def test_wrappers_load_nothing_heavy(front_end: FrontEnd, name: str) -> None:
    wrapper, arguments, stdin = _calls(front_end)[name]
    modules = of_wrapper(front_end, wrapper, *arguments, stdin=stdin)
    assert within(ours(modules), TOO_HEAVY) == {}


def test_every_call_is_looked_at(front_end: FrontEnd) -> None:
    assert set(NAMES) == set(_calls(front_end))


def test_lxml_is_loaded_only_where_a_document_is_read(front_end: FrontEnd) -> None:
    calls = _calls(front_end)
    for name, reads in (
        ("monitor", True),
        ("clone", True),
        ("mkswap", False),
        ("delete", False),
        ("mvds", False),
        ("monitor_ds", False),
    ):
        wrapper, arguments, stdin = calls[name]
        modules = of_wrapper(front_end, wrapper, *arguments, stdin=stdin)
        assert ("lxml.etree" in modules) is reads, name


def test_explain_costs_no_more(front_end: FrontEnd) -> None:
    wrapper, arguments, stdin = _calls(front_end)["clone"]
    modules = of_wrapper(front_end, wrapper, *arguments, stdin=stdin, env={"ONE_STORAGE_EXPLAIN": "1"})
    assert within(ours(modules), TOO_HEAVY) == {}


def test_the_way_to_a_node_loads_nothing_heavy(front_end: FrontEnd) -> None:
    """The ssh launcher, with something in the place of ssh that runs the node's side here."""
    ssh = front_end.root / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n')
    ssh.chmod(0o755)
    way = {
        "ONE_STORAGE_LAUNCHER": "ssh",
        "ONE_STORAGE_SSH": str(ssh),
        "ONE_STORAGE_REMOTE_DIRECTORY": str(front_end.remotes),
    }
    disk = front_end.disk("qcow2").replace("localhost", "host01")
    ids = [str(VM), str(STORES["qcow2"][0])]
    modules = of_wrapper(front_end, "tm/qcow2/clone", front_end.image("qcow2"), disk, *ids, env=way)
    assert (front_end.store(101) / str(VM) / "disk.0").exists()
    assert within(ours(modules), TOO_HEAVY) == {}
    # the work is done over there
    assert not {"plugins.module_utils._run", "plugins.plugin_utils.launch_local"} & set(modules)
    modules = of_wrapper(front_end, "tm/qcow2/delete", disk, *ids, env=way)
    assert within(modules, {**TOO_HEAVY, "lxml": "nothing was read"}) == {}


def test_only_the_driver_that_is_asked_for_is_loaded(front_end: FrontEnd) -> None:
    wrapper, arguments, stdin = _calls(front_end)["monitor"]
    modules = of_wrapper(front_end, wrapper, *arguments, stdin=stdin)
    drivers = {module.rpartition(".")[2] for module in modules if ".drivers." in module}
    assert {name for name in drivers if not name.startswith("fs_")} <= {"base", "registry", "fs", "space", "vm_files"}
    launchers = {module for module in modules if ".launch_" in module}
    assert launchers == {"plugins.plugin_utils.launch_local"}


def test_a_node_loads_nothing_heavy(front_end: FrontEnd) -> None:
    """The entry on a node, spoken to as the ssh launcher does it."""
    root = front_end.root
    options = {
        "driver": "qcow2",
        "datastore": str(front_end.store(101)),
        "source": str(front_end.store(100) / "image"),
        "destination": f"{front_end.store(101)}/{VM}/disk.0",
        "format": "raw",
    }
    errors = root / "errors"
    with errors.open("wb") as stderr:
        node = subprocess.Popen(
            [
                *interpreter(front_end.remotes / "tm" / "qcow2" / "clone"),
                front_end.remotes / "one_storage" / "node.py",
                "tm_clone",
                "qcow2",
                "",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={"PATH": "/usr/bin:/bin", "LANG": "C"},
        )
        assert node.stdin and node.stdout
        wire = Wire(node.stdout.fileno(), node.stdin.fileno())
        build = (front_end.remotes / "one_storage" / "BUILD").read_text().strip()
        assert wire.receive()["hello"] == build
        wire.send({"action": "tm_clone", "options": options, "build": build, "check": False, "fault": ""})
        answer = wire.receive()
        assert answer.get("result", {}).get("changed") is True, answer
        # nobody has to say that a disk's answer arrived
        assert "waits" not in answer
        node.stdin.close()
        assert node.wait(20) == 0
        node.stdout.close()
    modules = loaded(errors.read_text())
    assert "plugins.module_utils._serve" in modules
    assert within(modules, {**TOO_HEAVY, **NOT_ON_A_NODE}) == {}
    assert not any(module.startswith("plugins.plugin_utils") for module in modules)


def test_the_core_is_compiled(remotes: Path) -> None:
    """A missing .pyc costs 3 ms each time, as nobody may write one on the way."""
    for source in (remotes / "one_storage" / "plugins").rglob("*.py"):
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source


def test_the_list_is_not_blind(front_end: FrontEnd, tmp_path: Path) -> None:
    """A wrapper that loads one of them is told."""
    path = front_end.remotes / "tm" / "qcow2" / "clone"
    code = tmp_path / "x.py"
    code.write_text("import urllib.request, typing, lxml\n")
    done = subprocess.run([*interpreter(path), code], capture_output=True, text=True, timeout=30)
    found = within(loaded(done.stderr), {**TOO_HEAVY, **NOT_ON_A_NODE})
    assert {"urllib.request", "http.client", "typing"} <= set(found)
    assert os.environ.get("PYTHONPATH") is None or "plugins" not in loaded(done.stderr)
