# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of images, read as an import does."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import StorageError
from plugins.module_utils.tools.sources import CHUNK, Options, Source, open_source


def read(url: str | Path, **options: Any) -> tuple[bytes, Source]:
    """All that a source gives, and the source, closed. Each test has ten seconds without progress by default."""
    source = open_source(str(url), Options(**{"stall": 10, **options}))
    try:
        chunks = list(source.chunks())
    finally:
        source.close()
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    whole = b"".join(chunks)
    assert source.length in (None, len(whole))
    return whole, source


def refused(url: str | Path, kind: type[StorageError], said: str, within: float = 5, **options: Any) -> StorageError:
    """A source that has to fail, soon, with one sentence that shows no secret."""
    begun = time.monotonic()
    with pytest.raises(kind, match=said) as caught:
        read(url, **options)
    assert time.monotonic() - begun < within
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


def script(path: Path, text: str) -> Path:
    """A shell script that can be run."""
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def ended(mark: str) -> bool:
    """Whether no process with a word on its command line is left, soon: the kernel takes a moment to end one."""
    until = time.monotonic() + 3
    while running(mark) and time.monotonic() < until:
        time.sleep(0.01)
    return not running(mark)


def running(mark: str) -> list[int]:
    """Processes with a word on their command line, other than this one."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                words = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry))
    return found
