# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The talk with libvirt without libvirt: a domain's document, chains that differ, who lets a guest go, and when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from plugins.module_utils.tools.guest import domain, guard, program

LINK = "/var/lib/one/datastores/100/7/disk.0"
DOMAIN = f"""<domain><devices>
<disk><source file='/other'/><target dev='vdb'/></disk>
<disk><source file='{LINK}.snap/2' index='4'/>
  <backingStore type='file' index='3'><source file='{LINK}.snap/1'/>
    <backingStore type='file' index='1'><source file='/var/lib/one//datastores/100/7/disk.0'/><backingStore/>
    </backingStore>
  </backingStore>
  <mirror><source file='/copy'/></mirror><target dev='vda'/></disk>
</devices></domain>"""


def test_a_disk_is_found_by_its_target_and_its_chain_read() -> None:
    disk = domain.find_disk(etree, DOMAIN, "vda", "one-7")
    assert domain.chain_of(disk) == [f"{LINK}.snap/2", f"{LINK}.snap/1", "/var/lib/one//datastores/100/7/disk.0"]
    assert [domain.indexed(disk, "vda", depth) for depth in (1, 2)] == ["vda[3]", "vda[1]"]
    assert domain.chain_of(domain.find_disk(etree, DOMAIN, "vdb", "one-7")) == ["/other"]


def test_entities_of_a_document_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    text = f"<!DOCTYPE d [<!ENTITY e SYSTEM 'file://{tmp_path}/secret'>]>" + DOMAIN.replace("<devices>", "<devices>&e;")
    assert b"hidden" not in etree.tostring(domain.find_disk(etree, text, "vda", "one-7").getroottree())


@pytest.mark.parametrize(("target", "text"), [("vdz", DOMAIN), ("vda", " " * (5 << 20))])
def test_what_is_not_there_is_said(target: str, text: str) -> None:
    with pytest.raises(domain.Trouble, match=r"one-7"):
        domain.find_disk(etree, text, target, "one-7")


CHAINS: dict[str, tuple[list[str], list[str], str]] = {
    "equal": (["/a/2", "/a/1"], ["/a/2", "/a/1"], ""),
    "by-the-link": (["/a/2", "/var/lib/one//datastores/100/7/disk.0"], ["/a/2", "/a/0"], ""),
    "shorter": (["/a/2"], ["/a/2", "/a/1"], "has 1 layers in libvirt and 2 on disk"),
    "longer": (["/a/2", "/a/1", "/a/0"], ["/a/2", "/a/1"], "has 3 layers in libvirt and 2 on disk"),
    "another": (["/a/2", "/a/3"], ["/a/2", "/a/1"], "has the layer '/a/3' in libvirt where /a/1 is on disk"),
    "no-file": (["/a/2", ""], ["/a/2", "/a/1"], "has the layer '' in libvirt where /a/1 is on disk"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_libvirts_chain_is_compared(case: str) -> None:
    found, expected, wrong = CHAINS[case]
    assert domain.differs(found, expected, LINK) == wrong


#: What the owner says before it dies, and what has to be let go then.
SAID = {"": set(), "F": {"F"}, "Ff": set(), "FfS": {"S"}, "CS": {"C", "S"}, "CSs": {"C"}, "CSsc": set()}


@pytest.mark.parametrize("said", SAID)
def test_what_a_dead_owner_held_is_let_go(said: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, said.encode())
    os.close(writer)
    let_go: list[set[str]] = []
    guard._watch(reader, 60, let_go.append)
    os.close(reader)
    assert let_go == ([SAID[said]] if SAID[said] else [])


def test_who_holds_for_too_long_loses_the_guest_but_not_its_copy() -> None:
    reader, writer = os.pipe()
    let_go: list[set[str]] = []
    gone = threading.Event()

    def note(held: set[str]) -> None:
        let_go.append(set(held))
        gone.set()

    watching = threading.Thread(target=guard._watch, args=(reader, 0.05, note))
    watching.start()
    os.write(writer, b"CF")
    assert gone.wait(5)
    os.close(writer)
    watching.join(5)
    os.close(reader)
    assert let_go == [{"F"}, {"C"}]


def test_a_guard_that_was_killed_need_not_hear_that_all_is_over() -> None:
    watching = guard.Guard("none:///", "one-7", "vda", 60, lambda: None)
    watching.holds("B")
    os.kill(watching._mine, signal.SIGKILL)
    os.waitid(os.P_PID, watching._mine, os.WEXITED | os.WNOWAIT)
    watching.released("B")
    with pytest.raises(BrokenPipeError):
        watching.holds("F")
    watching.end()


def test_without_the_bindings_a_sentence_says_what_to_install() -> None:
    orders: dict[str, Any] = {"uri": "x", "domain": "one-7", "target": "vda", "link": LINK, "freeze_timeout": 1}
    text = json.dumps({**orders, "operation": "look", "stall": 1, "expected": []})
    argv = [sys.executable, "-I", "-c", "import sys; sys.modules['libvirt'] = None\n" + program(), text]
    said = subprocess.run(argv, capture_output=True, check=True, timeout=20)
    answer = json.loads(said.stdout)
    assert answer["code"] == "missing" and "python3-libvirt" in answer["todo"]
