# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream between two hosts, over a pipe: what arrives, and what happens to one that is broken or hostile."""

from __future__ import annotations

import errno
import json
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.tools import flow, landing, stream
from plugins.module_utils.tools.wire import Gone, Lifeline, Wire
from tests.unit.core.support import pattern, tree
from tests.unit.core.test_copy import SHAPES, most_allocated, shaped

Frames = list[dict[str, Any]]


def recorded(entries: list[list[str]], frames: Frames | None = None, **more: Any) -> bytes:
    """The whole stream that a sender makes, for a receiver that says this (and nothing about what it has)."""
    reader, writer = os.pipe()
    parts: list[bytes] = []
    said: Frames = [{"go": True}, {"digest": ""}] if frames is None else list(frames)

    def collect() -> None:
        while data := os.read(reader, 1 << 20):
            parts.append(data)

    def hear(wait: bool) -> dict[str, Any] | None:
        return said.pop(0) if wait else None

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        stream.send(entries, writer, hear, 5, **more)
    finally:
        os.close(writer)
        thread.join(10)
        os.close(reader)
    return b"".join(parts)


def played(data: bytes, folder: Path, stall: float = 5, said: Frames | None = None) -> dict[str, Any]:
    """Give a stream to a receiver that writes below *folder*.

    :param said: gets what the receiver says.
    """
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
        return landing.receive(str(folder), reader, (said if said is not None else []).append, stall)
    finally:
        os.close(reader)
        thread.join(10)


class Counting:
    """Counts what is told of a stream."""

    total: int | None = None
    done = 0

    def add(self, count: int) -> None:
        self.done += count


class Moved:
    """Both ends at work at once, over pipes, as over a connection; the results, or errors, of both.

    :param most: bytes after which the connection breaks.
    """

    def __init__(self, entries: list[list[str]], folder: Path, most: int = 1 << 62, **more: Any) -> None:
        self.wire = 0
        self.sent: Any = None
        self.landed: Any = None
        self.watch = Counting()
        frames: queue.Queue[dict[str, Any]] = queue.Queue()
        reader, middle_in = os.pipe()
        middle_out, writer = os.pipe()

        def hear(wait: bool) -> dict[str, Any] | None:
            try:
                return frames.get(wait, 10 if wait else None)
            except queue.Empty:
                if wait:
                    raise ConnectionError("nothing came") from None
                return None

        def send() -> None:
            try:
                self.sent = stream.send(entries, writer, hear, 5, watch=self.watch, **more)
            except OSError as error:
                self.sent = error
            finally:
                os.close(writer)

        def carry() -> None:
            try:
                while (data := os.read(middle_out, min(1 << 16, max(most - self.wire, 0)))) and self.wire < most:
                    self.wire += len(data)
                    os.write(middle_in, data)
            except BrokenPipeError:
                pass
            finally:
                os.close(middle_in)
                os.close(middle_out)
                if self.wire >= most:
                    frames.put({"error": [errno.ECONNRESET, "the connection is gone"]})

        threads = [threading.Thread(target=work) for work in (send, carry)]
        for thread in threads:
            thread.start()
        try:
            self.landed = landing.receive(str(folder), reader, frames.put, 5)
        except OSError as error:
            self.landed = error
        finally:
            os.close(reader)
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()


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


def test_both_ends_and_the_watch_agree(ends: tuple[Path, Path]) -> None:
    here, there = ends
    source = shaped(here / "disk", "many")
    moved = Moved([[str(source), "disk"]], there)
    assert moved.sent == moved.landed and len(moved.sent["digest"]) == 64
    assert moved.watch.done == moved.landed["bytes"] <= (moved.watch.total or 0)


# ---------------------------------------------------------------- a second try

BLOCK = flow.BLOCK


def large(path: Path, blocks: int = 4) -> Path:
    """A file of blocks of data, a hole of the same size, a block and a bit."""
    with path.open("wb") as file:
        for number in range(blocks):
            file.write(pattern(f"block {number}", BLOCK))
        file.seek(2 * blocks * BLOCK)
        file.write(pattern("last", BLOCK + 777))
    return path


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_a_rerun_sends_what_is_missing(ends: tuple[Path, Path], share: float) -> None:
    """Counted on the wire: the blocks that came whole do not come again."""
    here, there = ends
    source = large(here / "disk")
    entries = [[str(source), "disk"]]
    whole = 5 * BLOCK + 777
    first = Moved(entries, there, int(whole * share))
    assert isinstance(first.landed, ConnectionError) and isinstance(first.sent, OSError)
    again = Moved(entries, there)
    assert again.sent == again.landed, again.landed
    assert (there / "disk").read_bytes() == source.read_bytes()
    came = first.wire // BLOCK * BLOCK
    assert again.landed["same"] >= came - BLOCK
    assert again.wire <= whole - came + BLOCK + 10_000
    assert again.watch.done >= whole
    assert (there / "disk").stat().st_blocks * 512 <= 7 * BLOCK, "holes stay holes"
    third = Moved(entries, there)
    assert third.landed["bytes"] == 0 and third.wire < 10_000


def test_what_lies_there_is_not_believed(ends: tuple[Path, Path]) -> None:
    """Another content of the same size, a longer file, other kinds, names that are no more: all becomes the source."""
    here, there = ends
    (here / "5").mkdir()
    source = large(here / "5" / "disk.0")
    (here / "5" / "link").symlink_to("disk.0")
    (here / "5" / "small").write_bytes(b"small")
    (here / "5" / "folder").mkdir()
    (here / "5" / "folder" / "x").write_bytes(b"x")
    left = there / "5"
    left.mkdir()
    data = bytearray(source.read_bytes())
    data[5] ^= 1
    data[6 * BLOCK : 6 * BLOCK + 3] = b"abc"
    (left / "disk.0").write_bytes(bytes(data) + b"more" * BLOCK)
    (left / "link").mkdir()
    (left / "link" / "disk.9").write_bytes(bytes(2 * BLOCK))
    (left / "small").symlink_to(here)
    (left / "folder").write_bytes(pattern("folder", 2 * BLOCK))
    (left / "gone").write_bytes(pattern("gone", 2 * BLOCK))
    (there / "other").mkdir()
    moved = Moved([[str(here / "5"), "5"]], there)
    assert moved.sent == moved.landed, moved.landed
    assert tree(there / "5") == tree(here / "5")
    assert os.listdir(there) == ["5"]
    assert 0 < moved.landed["same"] < 9 * BLOCK and moved.landed["bytes"] >= 2 * BLOCK


def test_a_source_that_changed_between_two_tries(ends: tuple[Path, Path]) -> None:
    here, there = ends
    source = large(here / "disk")
    assert Moved([[str(source), "disk"]], there).landed["same"] == 0
    with source.open("r+b") as file:
        file.seek(BLOCK)
        file.write(b"changed")
        file.truncate(6 * BLOCK)
    moved = Moved([[str(source), "disk"]], there)
    assert moved.landed["bytes"] == BLOCK and moved.landed["same"] == 3 * BLOCK
    assert (there / "disk").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("number", [0, 3, 5, 1 << 40])
def test_a_sender_that_skips_what_we_do_not_have(ends: tuple[Path, Path], number: int) -> None:
    there = ends[1]
    large(there / "disk")
    wrong = record(b"S", number * BLOCK, b"x" * 32)
    with pytest.raises(OSError, match="the stream is broken"):
        played(announced(file("disk", size=9 * BLOCK)) + wrong, there)


def test_an_error_at_one_end_leaves_the_connection_usable(ends: tuple[Path, Path]) -> None:
    """The one that cannot go on says why, both stop at the same place, and the next stream goes through."""
    here, there = ends
    source = large(here / "disk")
    missing = Moved([[str(source), "disk"], [str(here / "nothing"), "nothing"]], there)
    assert isinstance(missing.sent, FileNotFoundError) and missing.landed.errno == errno.ENOENT
    (there / "file").write_text("in the way")
    refused = Moved([[str(source), "file/disk"]], there / "file")
    assert refused.landed.errno == refused.sent.errno == errno.EEXIST, (refused.landed, refused.sent)
    assert refused.wire < 10_000, "nothing was sent to who cannot take it"


def test_a_receiver_that_gives_up_half_way(ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = ends
    source = large(here / "disk", 12)
    real = os.pwrite
    room = [3 * BLOCK]

    def full(handle: int, data: Any, offset: int) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    moved = Moved([[str(source), "disk"]], there)
    assert moved.landed.errno == moved.sent.errno == errno.ENOSPC
    assert moved.wire < 8 * BLOCK


def test_a_limit(ends: tuple[Path, Path]) -> None:
    here, there = ends
    (here / "disk").write_bytes(pattern("disk", 400_000))
    begun = time.monotonic()
    moved = Moved([[str(here / "disk"), "disk"]], there, rate=400_000)
    assert moved.landed["bytes"] == 400_000
    assert 0.6 < time.monotonic() - begun < 4


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


@pytest.mark.parametrize(
    "rest",
    [record(b"D", 0, b"1234") + record(b"H", 0, b"0000"), record(b"Z", 0, b"0" * 32)],
    ids=["of data", "of the whole"],
)
def test_a_digest_that_does_not_fit(ends: tuple[Path, Path], rest: bytes) -> None:
    said: Frames = []
    with pytest.raises(OSError, match="the data changed on its way") as caught:
        played(announced(file("x")) + rest + record(b"X", 0, b'[5, "told"]'), ends[1], said=said)
    assert caught.value.errno == errno.EBADMSG
    assert said[-1] == {"error": [errno.EBADMSG, "the data changed on its way"]}


def test_data_without_a_digest(ends: tuple[Path, Path]) -> None:
    """Data counts only when its digest came too."""
    for rest in (record(b"Z", 0, b""), announced(file("y")), record(b"S", 0, b"")):
        with pytest.raises(OSError, match="the stream is broken"):
            played(announced(file("x" + rest[:1].decode())) + record(b"D", 0, b"1234") + rest, ends[1])


# ---------------------------------------------------------------- time


def test_an_error_of_the_disk_is_told_whenever_it_shows(
    ends: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk tells once that it could not write; here while more data comes."""
    source, target = ends
    (source / "disk").write_bytes(pattern("disk", 1 << 20))
    told = []

    def full(_handle: int) -> None:
        told.append(True)
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(landing, "_EARLY", 128 << 10)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="the disk is broken"):
        played(recorded([[str(source / "disk"), "disk"]]), target)
    assert told


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_no_progress(ends: tuple[Path, Path], end: str) -> None:
    here, there = ends
    reader, writer = os.pipe()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="no data moved for 0.3 seconds"):
        if end == "receiver":
            landing.receive(str(there), reader, Frames().append, 0.3)
        else:
            shaped(here / "disk", "all data")
            stream.send([[str(here / "disk"), "disk"]], writer, lambda wait: {"go": True} if wait else None, 0.3)
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
        landing.receive(str(ends[1]), reader, Frames().append, 0.3)
    thread.join(10)
    os.close(reader)
    assert (ends[1] / "x").read_bytes() == b"1234"


def test_a_receiver_that_goes_away(ends: tuple[Path, Path]) -> None:
    shaped(ends[0] / "disk", "all data")
    reader, writer = os.pipe()
    threading.Timer(0.1, os.close, (reader,)).start()
    with pytest.raises(BrokenPipeError):
        stream.send([[str(ends[0] / "disk"), "disk"]], writer, lambda wait: {"go": True} if wait else None, 5)
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
    real = os.preadv

    def meanwhile(handle: int, rooms: Any, offset: int) -> int:
        os.utime(source, ns=(0, 1))
        return real(handle, rooms, offset)

    monkeypatch.setattr(os, "preadv", meanwhile)
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
    there.silence = 0.2
    begun = time.monotonic()
    with pytest.raises(Gone, match=r"nothing was heard for 0.2 seconds"):
        there.receive()
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
