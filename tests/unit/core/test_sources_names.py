# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources: which one a URL means, what people are told of it, how fast it may be, and files of this machine."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, NoAccess, Refused
from plugins.module_utils.tools import command
from plugins.module_utils.tools.sources import CHUNK, Options, local_path, open_source, rate_of, scheme_of, shown
from tests.unit.core.reading import read, refused
from tests.unit.core.support import MIB, pattern


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", 0),
        ("0", 0),
        ("0k", 0),
        ("500", 500),
        ("100B", 100),
        ("10k", 10240),
        ("10K", 10240),
        (" 3M ", 3 << 20),
        ("2g", 2 << 30),
        ("1T", 1 << 40),
        ("1p", 1 << 50),
        ("1.5M", 3 << 19),
        ("0.1", 1),
    ],
)
def test_a_rate(text: str, rate: int) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize("text", ["fast", "-1", "1 M", "1MB", "1.M", ".5", "1e3", "٣", "K", "9" * 30, "9999P", "1\0"])
def test_no_rate(text: str) -> None:
    with pytest.raises(BadCall, match="is not a transfer rate"):
        rate_of(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/var/tmp/a b?c#d@e", "/var/tmp/a b?c#d@e"),
        ("http://host/a?b=c", "http://host/a?..."),
        ("https://user:secret@host:8/a#b", "https://host:8/a"),
        ("https://user:se@cret@host/a@b", "https://host/a@b"),
        ("http://user:sec/ret@host/a", "http://host/a"),
        ("http://user:sec?ret@host/a", "http://host/a"),
        ("http://user:sec#ret@host/a", "http://host/a"),
        ("http://user@host", "http://host"),
        ("http://host/a\nb", "http://host/a b"),
        ("lxd://https://host/a?size=1", "lxd://https://host/a?..."),
        ("rsync://100//0:6da1c7/var/lib/one/disk.0", "rsync://100//0:6da1c7/var/lib/one/disk.0"),
    ],
)
def test_what_people_are_told(url: str, name: str) -> None:
    assert shown(url) == name


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("/a://b", ""),
        ("HTTP://x", "http"),
        ("restic+rbd://1/2", "restic+rbd"),
        ("file:///x", "file"),
        ("s3://a/b", "s3"),
    ],
)
def test_schemes(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize("url", ["", "a/b", "://x", "a b://x", "/a\0b", "é://x", "../a", "x" * 40 + "://"])
def test_neither_path_nor_url(url: str) -> None:
    refused(url, BadCall, "is neither an absolute path nor a URL")


@pytest.mark.parametrize("url", ["ftp://host/x", "gopher+x://host/x", "docker://ubuntu"])
def test_an_unknown_scheme_has_its_name_in_the_sentence(url: str, tmp_path: Path) -> None:
    error = refused(url, Refused, re.escape(f"'{url.partition('/')[0]}//'"), helpers=str(tmp_path))
    assert "s3://" in error.todo


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 7])
def test_a_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a b%41?"
    path.write_bytes(pattern("x", size))
    data, source = read(path)
    assert data == path.read_bytes()
    assert (source.name, source.length) == (str(path), size)


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST"])
def test_a_file_url(tmp_path: Path, host: str) -> None:
    path = tmp_path / "a b%41?é"
    path.write_bytes(b"content")
    url = f"file://{host}{tmp_path}/a%20b%2541%3f%C3%A9"
    assert local_path(url) == str(path)
    assert read(url)[0] == b"content"


@pytest.mark.parametrize("url", ["file://elsewhere/x", "file://", "file://localhost", "file:///a%00b"])
def test_a_file_url_that_means_nothing_here(url: str) -> None:
    refused(url, BadCall, "The source 'file://")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path, BadCall, "is a directory")
    refused(tmp_path / "pipe", BadCall, "is not a file")
    refused("/dev/zero", BadCall, "is not a file")
    refused(tmp_path / "gone", Missing, "No such file")
    if os.getuid():
        (tmp_path / "closed").touch(mode=0)
        refused(tmp_path / "closed", NoAccess, "Permission denied")


@pytest.mark.parametrize("change", ["write", "grow", "shrink"])
def test_a_file_that_changes(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3 * MIB))
    os.utime(path, (1, 1))
    source = open_source(str(path), Options())
    chunks = source.chunks()
    next(chunks)
    with path.open("r+b") as file:
        if change == "write":
            file.write(b"x")
        else:
            file.truncate(4 * MIB if change == "grow" else MIB)
    with pytest.raises(Corrupt, match=f"{path} changed while it was read"):
        list(chunks)
    source.close()


# ---------------------------------------------------------------- pace


def test_a_rate_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(pattern("x", 2 * MIB))
    begun = time.monotonic()
    data, _source = read(path, rate=MIB)
    # not faster; how much slower is the machine's affair
    assert 1.9 < time.monotonic() - begun < 6
    assert data == path.read_bytes()


def test_a_quiet_time_is_not_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(MIB))
    source = open_source(str(path), Options(rate=MIB))
    chunks = source.chunks()
    next(chunks)
    time.sleep(0.75)
    begun = time.monotonic()
    left = sum(map(len, chunks))
    assert left / (time.monotonic() - begun) < MIB * 1.5
    source.close()


def test_no_rate_no_small_blocks(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3 * MIB))
    source = open_source(str(path), Options())
    assert [len(chunk) for chunk in source.chunks()] == [CHUNK] * 3
    source.close()


@pytest.mark.parametrize("rate", [0, 1000])
def test_a_stop_ends_it(tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(3 * MIB))
    source = open_source(str(path), Options(rate=rate))
    chunks = source.chunks()
    if not rate:
        next(chunks)
    monkeypatch.setattr(command, "_stopping", [True])
    begun = time.monotonic()
    with pytest.raises(InterruptedError):
        next(chunks)
    assert time.monotonic() - begun < 3
    source.close()
