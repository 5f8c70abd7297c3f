# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that one host reads and another takes: contents, early ends on both sides, nothing left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, StorageError, Unreachable
from plugins.module_utils.tools.peer import Settings
from plugins.module_utils.tools.sources import Options, Source, open_source
from plugins.module_utils.tools.sources.relayed import RelayedSource
from plugins.plugin_utils.feeding import Feeding
from tests.unit.core.support import MIB, pattern

OPTIONS = Options(stall=10)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh whose other host is this one."""
    script = tmp_path / "ssh"
    script.write_text('#!/bin/sh\nfor last; do :; done\n/bin/sh -c "$last"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("ONE_STORAGE_SSH", str(script))


class Given(Source):
    """A source of these blocks, and perhaps an error."""

    def __init__(self, blocks: list[bytes], error: Exception | None = None, pause: float = 0) -> None:
        super().__init__("http://server/image", OPTIONS)
        self.given, self.error, self.pause, self.closed = blocks, error, pause, False

    def blocks(self) -> Iterator[bytes]:
        for block in self.given:
            time.sleep(self.pause)
            yield block
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


def fed(source: Source) -> Feeding:
    return Feeding([lambda: source], "bridge", Settings(connect=20, stall=10))


def test_every_byte_comes_over_and_nothing_is_left(tmp_path: Path) -> None:
    image = tmp_path / "image"
    data = pattern("relay", 3 * MIB + 17)
    with open(image, "wb") as file:
        file.write(data)
        file.truncate(64 * MIB)
    feeding = fed(open_source(str(image), OPTIONS))
    folder = os.path.dirname(feeding.socket)
    assert os.stat(folder).st_mode & 0o777 == 0o700
    taken = RelayedSource(feeding.socket, OPTIONS)
    assert (taken.name, taken.length) == (str(image), 64 * MIB)
    assert b"".join(taken.chunks()) == data + bytes(64 * MIB - len(data))
    taken.close()
    feeding.close()
    assert not os.path.exists(folder)


def test_why_the_front_end_stopped_is_told(tmp_path: Path) -> None:
    feeding = fed(Given([b"a" * 1000], Corrupt("The image changed while it was read", todo="import it again")))
    taken = RelayedSource(feeding.socket, OPTIONS)
    with pytest.raises(Corrupt, match="The image changed while it was read") as caught:
        list(taken.chunks())
    assert caught.value.todo == "import it again"
    taken.close()
    feeding.close()


def test_what_nobody_expected_is_one_sentence_too(tmp_path: Path) -> None:
    feeding = fed(Given([b"a"], RuntimeError("odd")))
    taken = RelayedSource(feeding.socket, OPTIONS)
    with pytest.raises(StorageError, match="The source cannot be read: odd"):
        list(taken.chunks())
    taken.close()
    feeding.close()


def test_a_taker_that_stops_stops_the_feeder() -> None:
    source = Given([os.urandom(MIB)] * 10_000)
    feeding = fed(source)
    taken = RelayedSource(feeding.socket, OPTIONS)
    next(taken.chunks())
    taken.close()
    begun = time.monotonic()
    feeding.close()
    assert time.monotonic() - begun < 5 and source.closed
    assert not os.path.exists(os.path.dirname(feeding.socket))


def test_a_feeder_that_dies_is_an_end_too_early() -> None:
    feeding = fed(Given([b"a" * MIB] * 1000, pause=0.05))
    taken = RelayedSource(feeding.socket, OPTIONS)
    chunks = taken.chunks()
    assert next(chunks) == b"a" * MIB
    feeding.close()
    with pytest.raises(Unreachable, match="the front-end sends the source broke"):
        list(chunks)
    taken.close()


def test_nobody_takes_it() -> None:
    feeding = fed(Given([b"a" * MIB] * 100))
    folder = os.path.dirname(feeding.socket)
    feeding.close()
    until = time.monotonic() + 5
    while os.path.exists(folder) and time.monotonic() < until:
        time.sleep(0.01)
    assert not os.path.exists(folder)


def test_only_a_private_folder_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for place, kind in ((tmp_path / "open" / "feed", BadCall), (tmp_path / "none" / "feed", Unreachable)):
        with pytest.raises(kind):
            RelayedSource(str(place), OPTIONS)
