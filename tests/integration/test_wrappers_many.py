# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many imports, clones and deletes at once in one datastore, as processes: no error, no orphan, every image right."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.door.front_end import MIB, SEVERITY, FrontEnd

STORE = 100
SECONDS = 150


@dataclass
class Wish:
    """A call, and what it should come to.

    :ivar guest: digest of what a guest sees in the new image; empty when the call removes one.
    """

    action: str
    stdin: bytes
    format: str = ""
    guest: str = ""
    gone: str = ""


@dataclass
class Made:
    """An image that a call has made."""

    path: Path
    format: str
    guest: str


def content(name: str) -> bytes:
    """The bytes of an image: its own at both ends, a hole in between."""
    half = hashlib.shake_128(name.encode()).digest(300_001)
    return half + bytes(2 * MIB - 2 * len(half)) + half


def convert(path: Path, image_format: str, new: Path, new_format: str) -> None:
    """Write an image anew, with another tool than ours."""
    argv = ["qemu-img", "convert", "-q", "-f", image_format, "-O", new_format, str(path), str(new)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)


def guest(path: Path, image_format: str) -> str:
    """Digest of what a guest sees."""
    raw = path if image_format == "raw" else path.with_name(f"{path.name}.guest")
    if raw != path:
        convert(path, image_format, raw, "raw")
    try:
        return hashlib.sha256(raw.read_bytes()).hexdigest()
    finally:
        if raw != path:
            raw.unlink()


def source(folder: Path, name: str, image_format: str) -> tuple[Path, str]:
    """An image of its own content, and the digest that a guest would see."""
    path = folder / name
    data = content(name)
    path.write_bytes(data)
    if image_format == "qcow2":
        raw = path.rename(path.with_suffix(".raw"))
        convert(raw, "raw", path, "qcow2")
        raw.unlink()
    return path, hashlib.sha256(data).hexdigest()


def wishes(front_end: FrontEnd, count: int, origin: tuple[Path, str], old: list[Path]) -> list[Wish]:
    """Imports, clones and deletes in turn; of imports, some are converted."""
    found = []
    base = f"{front_end.root}//datastores/{STORE}"
    for number, kind in zip(range(count), itertools.cycle(["cp", "clone", "rm"]), strict=False):
        if kind == "cp":
            format_ = ("raw", "qcow2")[number % 2]
            driver = ("qcow2", "raw", "")[number // 3 % 3]
            path, digest = source(front_end.sources, f"source-{number}", format_)
            stdin = front_end.cp(path, number=number + 1, attributes={"DRIVER": driver})
            found.append(Wish("cp", stdin, driver or format_, digest))
        elif kind == "clone":
            stdin = front_end.clone(f"{base}/{origin[0].name}", number=number + 1, image_format="qcow2")
            found.append(Wish("clone", stdin, "qcow2", origin[1]))
        else:
            gone = old.pop()
            found.append(Wish("rm", front_end.rm(f"{base}/{gone.name}"), gone=gone.name))
    return found


def together(front_end: FrontEnd, calls: list[Wish]) -> list[str]:
    """Start every wrapper before waiting for any; what each answered. None may say a word to the user."""
    running = []
    for wish in calls:
        stdin = os.memfd_create("stdin")
        os.write(stdin, wish.stdin)
        os.lseek(stdin, 0, os.SEEK_SET)
        argv = [str(front_end.remotes / "datastore/fs" / wish.action), "1"]
        environment = front_end.environment()
        running.append(
            subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        )
        os.close(stdin)
    answers, wrong = [], []
    try:
        for wish, process in zip(calls, running, strict=True):
            out, err = process.communicate(timeout=SECONDS)
            told = [line for line in err.decode().splitlines() if not SEVERITY.match(line)]
            if process.returncode or told:
                wrong.append((wish.action, process.returncode, err.decode()))
            answers.append(out.decode().strip())
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert not wrong, f"{len(wrong)} of {len(calls)}: {wrong[0]}"
    return answers


@pytest.mark.parametrize("count", [12, pytest.param(50, marks=pytest.mark.full)])
def test_imports_clones_and_deletes_at_once(front_end: FrontEnd, count: int) -> None:
    store = front_end.store(STORE)
    origin = source(store, "origin", "qcow2")
    old = [source(store, f"old-{number}", "raw")[0] for number in range(count)]
    calls = wishes(front_end, count, origin, old)
    kept = {path.name for path in old}
    answers = together(front_end, calls)
    made = []
    for wish, answer in zip(calls, answers, strict=True):
        if wish.action == "rm":
            assert answer == "" and not (store / wish.gone).exists()
            continue
        path, image_format = answer.split()
        assert image_format == wish.format
        made.append(Made(Path(path), image_format, wish.guest))
    assert len({image.path for image in made}) == len(made)
    for image in made:
        assert guest(image.path, image.format) == image.guest, image
    assert guest(*(origin[0], "qcow2")) == origin[1]
    # nothing else is there: no part of an image, no journal, no workshop
    expected = {image.path.name for image in made} | {"origin", ".one_storage"} | kept
    assert {path.name for path in store.iterdir()} == expected
    assert front_end.hidden() == []
    # every image goes again, all at once, twice each: what is gone is a success
    base = f"{front_end.root}//datastores/{STORE}"
    names = [image.path.name for image in made]
    together(front_end, [Wish("rm", front_end.rm(f"{base}/{name}")) for name in [*names, *names][:count]])
    left = {path.name for path in store.iterdir()} - kept - {"origin", ".one_storage"}
    assert left == set() and front_end.hidden() == []


@pytest.mark.parametrize("count", [6, pytest.param(25, marks=pytest.mark.full)])
def test_the_same_import_many_times_at_once(front_end: FrontEnd, count: int) -> None:
    """oned never does it, a person may: all hear of one image."""
    path, digest = source(front_end.sources, "source", "qcow2")
    answers = together(front_end, [Wish("cp", front_end.cp(path, number=7))] * count)
    assert len(set(answers)) == 1
    image = Path(answers[0].split()[0])
    assert guest(image, "qcow2") == digest
    assert {path.name for path in front_end.store(STORE).iterdir()} == {image.name, ".one_storage"}
    assert front_end.hidden() == []
