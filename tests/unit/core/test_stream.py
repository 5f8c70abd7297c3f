# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream between two hosts, over a pipe: what arrives, and what happens to one that is broken or hostile."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.tools import stream
from plugins.module_utils.tools.wire import Gone, Lifeline, Wire
from tests.unit.core.support import pattern, tree
from tests.unit.core.test_copy import SHAPES, most_allocated, shaped


def recorded(entries: list[list[str]]) -> bytes:
    """The whole stream that a sender makes."""
    reader, writer = os.pipe()
    parts: list[bytes] = []

    def collect() -> None:
        while data := os.read(reader, 1 << 20):
            parts.append(data)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        stream.send(entries, writer, 5)
    finally:
        os.close(writer)
        thread.join(10)
        os.close(reader)
    return b"".join(parts)


def played(data: bytes, folder: Path, stall: float = 5) -> dict[str, Any]:
    """Give a stream to a receiver that writes below *folder*."""
    reader, writer = os.pipe()

    def feed() -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(writer, view) :]
        except BrokenPipeError:
            pass
        finally:
            os.close(writer)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        return stream.receive(str(folder), reader, stall)
    finally:
        os.close(reader)
        thread.join(10)


@pytest.fixture
def ends(folder: Path) -> tuple[Path, Path]:
    """A folder at each end."""
    for name in ("here", "there"):
        (folder / name).mkdir()
    return folder / "here", folder / "there"


@pytest.mark.parametrize("name", SHAPES)
def test_contents_and_holes(tmp_path: Path, name: str) -> None:
    source = shaped(tmp_path / "source", name)
    (tmp_path / "there").mkdir()
    data = recorded([[str(source), "disk.0"]])
    answer = played(data, tmp_path / "there")
    part = tmp_path / "there" / "disk.0"
    assert part.read_bytes() == source.read_bytes()
    assert part.stat().st_blocks * 512 <= most_allocated(name)
    assert len(data) < most_allocated(name) + 4096, "holes do not travel"
    assert answer["bytes"] <= most_allocated(name)


def test_a_tree(ends: tuple[Path, Path]) -> None:
    here, there = ends
    (here / "5" / "disk.0.snap").mkdir(parents=True)
    shaped(here / "5" / "disk.0.snap" / "0", "many")
    (here / "5" / "disk.0.snap" / "disk.0.snap").symlink_to(".")
    (here / "5" / "disk.0").symlink_to("disk.0.snap/0")
    (here / "5" / "odd \n name ü").write_text("x")
    (here / "5" / "empty").mkdir()
    (here / "5" / "script").write_text("x")
    (here / "5" / "script").chmod(0o750)
    played(recorded([[str(here / "5"), "5"]]), there)
    assert tree(there) == tree(here)
    assert (there / "5" / "script").stat().st_mode & 0o777 == 0o750


def test_sockets_stay_behind(ends: tuple[Path, Path]) -> None:
    here, there = ends
    (here / "5").mkdir()
    (here / "5" / "disk.0").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(here / "5" / "agent.sock"))
        played(recorded([[str(here / "5"), "5"]]), there)
    assert os.listdir(there / "5") == ["disk.0"]


def test_several_files_into_a_folder_that_is_there(ends: tuple[Path, Path]) -> None:
    here, there = ends
    (there / "disk.0.snap").mkdir()
    entries = []
    for number in range(3):
        (here / f"layer {number}").write_bytes(pattern(str(number), 100000))
        entries.append([str(here / f"layer {number}"), f"disk.0.snap/{number}"])
    played(recorded(entries), there)
    for number in range(3):
        assert (there / "disk.0.snap" / str(number)).read_bytes() == pattern(str(number), 100000)


def test_both_ends_hash_the_same(ends: tuple[Path, Path]) -> None:
    here, there = ends
    shaped(here / "disk", "many")
    reader, writer = os.pipe()
    sent: list[str] = []
    thread = threading.Thread(target=lambda: sent.append(stream.send([[str(here / "disk"), "disk"]], writer, 5)))
    thread.start()
    answer = stream.receive(str(there), reader, 5)
    thread.join(10)
    os.close(reader)
    os.close(writer)
    assert sent == [answer["digest"]]


# ---------------------------------------------------------------- broken streams


@pytest.fixture
def sample(ends: tuple[Path, Path]) -> bytes:
    """A stream of a folder, a link and two files."""
    here, _there = ends
    (here / "5").mkdir()
    (here / "5" / "link").symlink_to("target")
    (here / "5" / "one").write_bytes(pattern("one", 5000))
    shaped(here / "5" / "two", "hole in the middle")
    return recorded([[str(here / "5"), "5"]])


def test_a_stream_cut_anywhere(ends: tuple[Path, Path], sample: bytes) -> None:
    for number, length in enumerate([*range(0, 600, 7), *range(600, len(sample), 97), len(sample) - 1]):
        there = ends[1] / str(number)
        there.mkdir()
        with pytest.raises(ConnectionError, match="the stream ended early"):
            played(sample[:length], there)


def test_a_flipped_bit_anywhere(ends: tuple[Path, Path], sample: bytes) -> None:
    """An OSError each time: never another kind, never success, never a file beside the folder."""
    places = [*range(450), *range(450, len(sample), 61), *range(len(sample) - 90, len(sample))]
    for number, place in enumerate(places):
        there = ends[1] / str(number)
        there.mkdir()
        broken = bytearray(sample)
        broken[place] ^= 1 << (number % 8)
        try:
            played(bytes(broken), there)
        except OSError:
            continue
        raise AssertionError(f"byte {place} of {len(sample)} was changed and nobody noticed")
    assert sorted(path.name for path in ends[1].iterdir()) == sorted(str(number) for number in range(len(places)))


def record(kind: bytes, number: int, body: bytes) -> bytes:
    """One record of the stream."""
    return struct.pack(">cQQ", kind, number, len(body)) + body


def announced(*entries: dict[str, Any]) -> bytes:
    """A stream that announces these entries, then ends without a digest that fits."""
    return b"".join(record(b"N", 0, json.dumps(entry).encode()) for entry in entries)


def file(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "file", "size": 4, "mode": 0o644, **more}


HOSTILE: dict[str, Iterable[dict[str, Any]]] = {
    "up": [file("../evil")],
    "absolute": [file("/{here}/evil")],
    "dots inside": [file("a/../../evil")],
    "empty": [file("")],
    "empty part": [file("a//evil")],
    "dot": [file("./evil")],
    "through a link": [{"name": "out", "kind": "link", "target": "../here"}, file("out/evil")],
    "through a link to a folder of its own": [
        {"name": "d", "kind": "directory"},
        {"name": "d/out", "kind": "link", "target": "../../here"},
        file("d/out/evil"),
    ],
    "onto a link": [{"name": "evil", "kind": "link", "target": "../here/evil"}, file("evil")],
    "onto a file": [file("twice"), file("twice")],
    "a folder twice": [{"name": "d", "kind": "directory"}, {"name": "d", "kind": "directory"}],
    "nul": [file("a\0b")],
    "too large": [file("large", size=1 << 63)],
    "negative": [file("small", size=-1)],
    "no size": [{"name": "x", "kind": "file", "mode": 420}],
    "no name": [{"kind": "file", "size": 1, "mode": 420}],
    "no kind": [{"name": "x"}],
    "size of letters": [file("x", size="much")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(ends: tuple[Path, Path], name: str) -> None:
    here, there = ends
    entries = json.loads(json.dumps(list(HOSTILE[name])).replace("/{here}", str(here)))
    with pytest.raises(OSError):
        played(announced(*entries), there)
    assert list(here.iterdir()) == [] and sorted(path.name for path in here.parent.iterdir()) == ["here", "there"]


def test_modes_of_a_stranger_are_no_more_than_rights(ends: tuple[Path, Path]) -> None:
    with pytest.raises(OSError):
        played(announced(file("x", mode=0o6777)), ends[1])
    assert not (ends[1] / "x").exists() or (ends[1] / "x").stat().st_mode & 0o7000 == 0


@pytest.mark.parametrize(
    "data",
    [
        record(b"D", 0, b"data without a file"),
        announced(file("x")) + record(b"D", 0, b"12345"),
        announced(file("x")) + record(b"D", 2, b"123"),
        announced(file("x")) + record(b"D", (1 << 64) - 1, b"123"),
        announced({"name": "x", "kind": "link", "target": "y"}) + record(b"D", 0, b"1"),
        record(b"?", 0, b""),
        record(b"N", 0, b"no json"),
        record(b"N", 0, b"[]"),
        record(b"N", 0, b"\xff\xff"),
        record(b"Z", 0, b"\xff" * 64),
        record(b"Z", 0, b""),
        struct.pack(">cQQ", b"N", 0, 1 << 40),
        b"Welcome to host01, have a nice day\n" * 10,
    ],
    ids=range(13),
)
def test_streams_that_are_none(ends: tuple[Path, Path], data: bytes) -> None:
    with pytest.raises(OSError):
        played(data, ends[1])
    assert not (ends[1] / "x").exists() or (ends[1] / "x").is_symlink() or (ends[1] / "x").stat().st_size == 4


def test_a_digest_that_does_not_fit(ends: tuple[Path, Path]) -> None:
    with pytest.raises(OSError, match="the data changed on its way") as caught:
        played(announced(file("x")) + record(b"D", 0, b"1234") + record(b"Z", 0, b"0" * 64), ends[1])
    assert caught.value.errno == errno.EBADMSG


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_no_progress(ends: tuple[Path, Path], end: str) -> None:
    here, there = ends
    reader, writer = os.pipe()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="no data moved for 0.3 seconds"):
        if end == "receiver":
            stream.receive(str(there), reader, 0.3)
        else:
            shaped(here / "disk", "all data")
            stream.send([[str(here / "disk"), "disk"]], writer, 0.3)
    assert 0.25 < time.monotonic() - begun < 3
    os.close(reader)
    os.close(writer)


def test_slow_is_not_stalled(ends: tuple[Path, Path]) -> None:
    data = announced(file("x")) + record(b"D", 0, b"1234")
    reader, writer = os.pipe()

    def trickle() -> None:
        for number in range(len(data)):
            os.write(writer, data[number : number + 1])
            time.sleep(0.005)
        os.close(writer)

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(ConnectionError):
        stream.receive(str(ends[1]), reader, 0.3)
    thread.join(10)
    os.close(reader)
    assert (ends[1] / "x").read_bytes() == b"1234"


def test_a_receiver_that_goes_away(ends: tuple[Path, Path]) -> None:
    shaped(ends[0] / "disk", "all data")
    reader, writer = os.pipe()
    threading.Timer(0.1, os.close, (reader,)).start()
    with pytest.raises(BrokenPipeError):
        stream.send([[str(ends[0] / "disk"), "disk"]], writer, 5)
    os.close(writer)


@pytest.mark.parametrize("what", ["nothing", "fifo", "secret"])
def test_what_cannot_be_sent(ends: tuple[Path, Path], what: str) -> None:
    source = ends[0] / "source"
    if what == "fifo":
        os.mkfifo(source)
    if what == "secret":
        if os.getuid() != 0:
            pytest.skip("needs root, to become somebody else")
        source.write_text("x")
        source.chmod(0)
        os.seteuid(65534)
    try:
        with pytest.raises(OSError):
            recorded([[str(source), "x"]])
    finally:
        os.seteuid(os.getuid())


def test_a_file_that_changes_while_it_is_sent(ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source = shaped(ends[0] / "disk", "all data")
    real = os.pread

    def meanwhile(handle: int, size: int, offset: int) -> bytes:
        os.utime(source, ns=(0, 1))
        return real(handle, size, offset)

    monkeypatch.setattr(os, "pread", meanwhile)
    with pytest.raises(OSError, match="the file changed while it was read"):
        recorded([[str(source), "disk"]])


# ---------------------------------------------------------------- frames


def pair() -> tuple[Wire, Wire]:
    """Two ends of a connection."""
    one, other = os.pipe(), os.pipe()
    return Wire(one[0], other[1]), Wire(other[0], one[1])


def test_frames() -> None:
    here, there = pair()
    messages: list[dict[str, Any]] = [{}, {"a": "ü\n\0"}, {"list": list(range(20000))}, {"beat": False}]

    def say() -> None:
        for message in messages:
            here.send(message)

    thread = threading.Thread(target=say)
    thread.start()
    assert [there.receive(time.monotonic() + 5) for _message in messages] == messages
    thread.join(5)


def test_beats_are_no_messages_and_silence_ends_the_wait() -> None:
    here, there = pair()
    here.send({"beat": True})
    begun = time.monotonic()
    with pytest.raises(Gone, match=r"nothing was heard for 0.2 seconds"):
        there.receive(silence=0.2)
    with pytest.raises(TimeoutError):
        there.receive(time.monotonic() + 0.1)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("data", [b"Hello, this is a banner\n", b"\0\0\0\x02[]", b"\0\0\0\x03nil", b"\xff\xff\xff\xff"])
def test_what_is_no_frame(data: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, data)
    with pytest.raises(Gone, match="does not speak our protocol"):
        Wire(reader, writer).receive(time.monotonic() + 2)


def test_an_end_that_closes() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"\0\0\0\x10half")
    os.close(writer)
    with pytest.raises(Gone, match="closed the connection"):
        Wire(reader, 1).receive()
    os.close(reader)


def test_a_lifeline_tells_at_once() -> None:
    one, other = os.pipe(), os.pipe()
    told = threading.Event()
    line = Lifeline(Wire(one[0], other[1]), told.set)
    Wire(other[0], one[1]).send({"a": 1})
    assert line.next(5) == {"a": 1}
    assert line.next(0.05) is None and not line.gone
    os.close(one[1])
    assert told.wait(2) and line.gone
    assert line.next(1) is None


def test_the_size_of_what_travels(tmp_path: Path) -> None:
    """An image of 1 TB that is one hole: nothing to send, and not to read either."""
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(1 << 40)
    (tmp_path / "there").mkdir()
    data = recorded([[str(tmp_path / "huge"), "huge"]])
    assert len(data) < 1000
    assert played(data, tmp_path / "there")["bytes"] == 0
    assert (tmp_path / "there" / "huge").stat().st_size == 1 << 40
    assert len(data) < 1000
