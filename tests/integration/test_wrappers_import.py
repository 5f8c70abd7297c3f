# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports as processes: what they tell while they run, how they are cancelled, and the commands around them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.core.packing import PACKERS, tar
from tests.unit.core.support import pattern
from tests.unit.core.web import OK, Site, serving
from tests.unit.door.front_end import MIB, FrontEnd

LIMIT = {"LIMIT_TRANSFER_BW": "2M"}


@pytest.fixture
def web() -> Iterator[Site]:
    with serving() as site:
        yield site


@contextmanager
def importing(front_end: FrontEnd, document: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """An import that runs, and has begun to write."""
    process = subprocess.Popen(
        [front_end.remotes / "datastore" / "fs" / "cp", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=front_end.environment(),
    )
    assert process.stdin
    try:
        process.stdin.write(document)
        process.stdin.close()
        process.stdin = None
        until = time.monotonic() + 20
        while not any(path.stat().st_size for path in front_end.store(100).rglob("fetched")):
            assert time.monotonic() < until and process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def nothing_left(front_end: FrontEnd) -> bool:
    return not front_end.hidden() and [path.name for path in front_end.store(100).iterdir()] == [".one_storage"]


def slow_source(front_end: FrontEnd, web: Site, kind: str) -> str:
    """An import that takes long: limited, unpacked by a command, or from a server that fell silent."""
    data = pattern("x", 40 * MIB)
    if kind == "silent server":
        web.hanging.add("/x")
        return web.raw("/x", OK + b"Content-Length: 99999999\r\n\r\n" + data[: 2 * MIB])
    path = front_end.sources / "x"
    path.write_bytes(PACKERS[kind](data) if kind in PACKERS else data)
    return str(path)


SLOW = ["limited", "gzip", "zstd", "zip", "silent server"]


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("how", ["SIGTERM", "reader gone"])
def test_a_cancelled_import_ends_within_a_second(front_end: FrontEnd, web: Site, kind: str, how: str) -> None:
    document = front_end.cp(slow_source(front_end, web, kind), size=100, attributes=LIMIT)
    with importing(front_end, document) as process:
        begun = time.monotonic()
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            assert process.stdout
            process.stdout.close()
        process.wait(20)
        taken = time.monotonic() - begun
        assert process.stderr
        said = process.stderr.read().decode()
    assert process.returncode == 1 and taken < 1, taken
    assert "nothing was changed" in said and "Traceback" not in said
    assert nothing_left(front_end)


def test_progress_is_told_while_it_runs_and_forgotten_at_the_end(front_end: FrontEnd, web: Site) -> None:
    source = slow_source(front_end, web, "limited")
    command = [front_end.remotes / "one_storage" / "progress", front_end.root / "datastores"]
    with importing(front_end, front_end.cp(source, size=100, attributes={"LIMIT_TRANSFER_BW": "9M"})) as process:
        until = time.monotonic() + 10
        while not (found := list(front_end.store(100).glob(".one_storage/*.status"))):
            assert time.monotonic() < until
            time.sleep(0.05)
        record = json.loads(found[0].read_text())
        assert record["pid"] == process.pid and record["what"] == f"copy {source}"
        assert 0 < record["done"] < record["total"] == 40 * MIB and record["left"] > 0
        assert 0 < record["rate"] < 14 * MIB
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        assert re.fullmatch(r"100: copy /.*/x: [\d.]+ MB of 40.0 MB, [\d.]+ MB/s, \d s left\n", shown)
        watcher = subprocess.Popen([*command, "--watch"], stdout=subprocess.PIPE, text=True)
        assert watcher.stdout and "40.0 MB" in watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=20)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.decode().endswith(" raw\n")
    pattern_of_line = r"INFO: cp: imported 40.0 MB in \d\.\d s, \d\.\d MB/s, run [0-9a-f]{12}\n"
    assert re.fullmatch(pattern_of_line, err.decode()), err
    assert not list(front_end.store(100).glob(".one_storage/*.status"))
    assert subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout == "nothing runs\n"


def test_progress_of_a_folder_that_is_not_there(front_end: FrontEnd) -> None:
    command = [front_end.remotes / "one_storage" / "progress", front_end.root / "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"progress: {front_end.root}/nowhere is not a folder\n"


def test_what_a_killed_import_told_is_swept(front_end: FrontEnd, web: Site) -> None:
    source = slow_source(front_end, web, "limited")
    with importing(front_end, front_end.cp(source, size=100, attributes=LIMIT)) as process:
        until = time.monotonic() + 10
        while not list(front_end.store(100).glob(".one_storage/*.status")):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.kill()
        process.wait()
    command = [front_end.remotes / "one_storage" / "progress", front_end.store(100)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert shown.endswith("(ended without a word)\n")
    front_end.run("datastore/fs/mkfs", "2", stdin=front_end.mkfs(number=2))
    assert not front_end.hidden()


def test_what_was_unpacked_is_told(front_end: FrontEnd) -> None:
    (front_end.sources / "x").write_bytes(gzip.compress(tar(("disk", b"x"))))
    said = front_end.run("datastore/fs/cp", "1", stdin=front_end.cp(front_end.sources / "x"))
    assert re.match(r"INFO: cp: imported \d+ bytes in .*, unpacked from tar in gzip, run ", said.err)
    assert said.plain == []


@pytest.mark.parametrize("way", ["cp", "cp by ansible", "failed cp", "stat", "downloader"])
def test_a_helper_that_does_not_clear_up_is_in_the_log(front_end: FrontEnd, way: str) -> None:
    """The image is whole, so the action is a success; what the helper left is for an operator to know."""
    helper = front_end.remotes / "datastore" / "untidy_downloader.sh"
    ending = "exit 3" if way == "failed cp" else ":"
    helper.write_text(f"#!/bin/sh\necho 'command=\"echo abc; {ending}\"'\necho 'clean_command=\"exit 5\"'\n")
    helper.chmod(0o755)
    url, warning = "untidy://1/x", "The clean-up after untidy://1/x ended with code 5"
    if way == "downloader":
        assert Downloader(front_end)(url, "-") == (0, b"abc\n", f"WARN: downloader: {warning}\n")
        return
    if way == "stat":
        said = front_end.run("datastore/fs/stat", "1", stdin=front_end.stat(url))
    else:
        ansible = {
            "ONE_STORAGE_LAUNCHER": "ansible",
            "ONE_STORAGE_ANSIBLE": str(Path(sys.executable).with_name("ansible")),
        }
        env = ansible if way == "cp by ansible" else None
        said = front_end.run("datastore/fs/cp", "1", stdin=front_end.cp(url, size=1), env=env)
    assert said.code == (1 if way == "failed cp" else 0)
    severity = "ERROR" if way == "failed cp" else "WARN"
    assert f"{severity}: {'stat' if way == 'stat' else 'cp'}: {warning}" in said.err.splitlines(), said.err
    assert way != "failed cp" or warning not in said.reason


def test_stat_of_a_silent_server_ends_in_time(front_end: FrontEnd, web: Site) -> None:
    """One deadline over all, whatever comes in drops; here with a short one."""
    web.hanging.add("/x")
    address = web.raw("/x", OK + b"\r\n" + b"\x1f\x8b\x08\0\0\0\0\0")
    begun = time.monotonic()
    said = front_end.run(
        "datastore/fs/stat", "1", stdin=front_end.stat(address), env={"ONE_STORAGE_STALL_TIMEOUT": "2"}
    )
    assert time.monotonic() - begun < 30
    assert said.code == 1 and said.out == "" and "2 seconds" in said.reason


# ---------------------------------------------------------------- the downloader


class Downloader:
    """The command, with its end and what it said."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end

    def __call__(self, *arguments: object, **env: str) -> tuple[int, bytes, str]:
        done = subprocess.run(
            [self._front_end.remotes / "one_storage" / "downloader", *map(str, arguments)],
            capture_output=True,
            env=self._front_end.environment(**env),
            cwd=self._front_end.sources,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def downloader(front_end: FrontEnd) -> Downloader:
    return Downloader(front_end)


@pytest.mark.parametrize("packer", ["", "gzip", "zstd", "tar.gz", "zip"])
def test_a_download(front_end: FrontEnd, downloader: Downloader, web: Site, packer: str) -> None:
    data = pattern("x", 3 * MIB)
    packed = PACKERS[packer](data) if packer else data
    (front_end.sources / "x").write_bytes(packed)
    digests = [f"--{name}={hashlib.new(name, packed).hexdigest().upper()}" for name in ("md5", "sha1", "sha256")]
    for source in (front_end.sources / "x", "x", web.put("/x", packed)):
        assert downloader(*digests, source, front_end.sources / "to") == (0, b"", "")
        assert (front_end.sources / "to").read_bytes() == data
        (front_end.sources / "to").unlink()
        assert downloader(source, "-") == (0, data, "")
        assert downloader("-n", source, "-") == (0, packed, "")
        assert downloader("-c", 1000, "-o", source, "-") == (0, data[:1000], "")
    assert [path.name for path in front_end.sources.iterdir()] == ["x"]


FAILS = {
    "md5": (["-m", "0" * 32, "x", "to"], "The md5 of .* is .*, not 0+ "),
    "sha1": (["-s", "0" * 40, "x", "to"], "The sha1 of .* is .*, not 0+ "),
    "sha256": (["--sha256", "0" * 64, "x", "to"], "The sha256 of .* is .*, not 0+ "),
    "one wrong of two": (["-m", "9dd4e461268c8034f5c8564e155c67a6", "-s", "0", "x", "to"], "The sha1 of "),
    "digest of a part": (["-m", "0", "-c", "10", "x", "to"], "Hash check not supported for partial downloads"),
    "no such file": (["nothing", "to"], "Cannot read .*nothing: No such file"),
    "a folder": ([".", "to"], "is a directory"),
    "no arguments": ([], "Arguments error: "),
    "an option of no meaning": (["-z", "x", "to"], "Arguments error: "),
    "a rate that is none": (["-l", "fast", "x", "to"], "'fast' is not a transfer rate"),
    "nowhere to": (["x", "no/folder/to"], "Cannot write .*No such file"),
    "a scheme that nobody knows": (["quux://x", "to"], "cannot be imported from 'quux://'"),
    "two disks": (["two", "to"], "more than one disk: a, b"),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_download_that_fails(front_end: FrontEnd, downloader: Downloader, case: str) -> None:
    (front_end.sources / "x").write_bytes(b"x")
    (front_end.sources / "two").write_bytes(tar(("a", b"1"), ("b", b"2")))
    arguments, said = FAILS[case]
    code, out, err = downloader(*arguments)
    assert (code, out) == (255, b"")
    assert re.search(said, err) and err.count("\n") == 1, err
    assert sorted(path.name for path in front_end.sources.iterdir()) == ["two", "x"]


def test_a_failed_download_keeps_what_was_there(front_end: FrontEnd, downloader: Downloader) -> None:
    (front_end.sources / "x").write_bytes(b"new")
    (front_end.sources / "to").write_bytes(b"old")
    assert downloader("-m", "0", "x", "to")[0] == 255
    assert (front_end.sources / "to").read_bytes() == b"old"
    assert downloader("x", "to")[0] == 0
    assert (front_end.sources / "to").read_bytes() == b"new"


def test_a_download_keeps_to_its_limit(front_end: FrontEnd, downloader: Downloader) -> None:
    (front_end.sources / "x").write_bytes(bytes(4 * MIB))
    begun = time.monotonic()
    assert downloader("-l", "2M", "x", "-")[0] == 0
    assert 1.5 < time.monotonic() - begun < 6


@pytest.mark.parametrize("target", ["to", "-"])
def test_a_download_that_is_ended(front_end: FrontEnd, web: Site, target: str) -> None:
    web.hanging.add("/x")
    address = web.raw("/x", OK + b"Content-Length: 9999999\r\n\r\n" + b"x" * MIB)
    process = subprocess.Popen(
        [front_end.remotes / "one_storage" / "downloader", address, target],
        env=front_end.environment(),
        cwd=front_end.sources,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 20
        while not web.asked:
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.3)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=20)[1]
        assert time.monotonic() - begun < 1
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 255 and err == b"Interrupted, nothing was kept\n"
    assert os.listdir(front_end.sources) == []
