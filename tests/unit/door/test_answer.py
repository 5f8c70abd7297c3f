# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reaches stdout and stderr, byte by byte, as oned takes it apart."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

import pytest

from plugins.module_utils._errors import NoSpace, StorageError, from_record
from plugins.plugin_utils.answer import Voice
from tests.lab.oned.answers import read_stderr


def heard(speak: Callable[[Voice], None], script: str = "/remotes/tm/qcow2/clone") -> tuple[str, str]:
    """stdout and stderr of what a voice says."""
    pipes = [os.pipe(), os.pipe()]
    saved = [os.dup(1), os.dup(2)]
    try:
        for handle, (_reader, writer) in zip((1, 2), pipes, strict=True):
            os.dup2(writer, handle)
            os.close(writer)
        speak(Voice(script))
    finally:
        for handle, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, handle)
            os.close(copy)
    said = []
    for reader, _writer in pipes:
        with os.fdopen(reader, "rb") as file:
            said.append(file.read().decode())
    return said[0], said[1]


def test_a_failure_is_one_plain_line_after_its_log_lines() -> None:
    error = NoSpace("Cannot write /ds/1/x: No space left", "host01", "free some space", "qemu-img\nsaid\x1b[2J that")
    error.undone = "nothing was changed"
    out, err = heard(lambda voice: voice.fail(error))
    plain = "Cannot write /ds/1/x: No space left on host01; nothing was changed (free some space)"
    assert out == ""
    assert err.splitlines() == [
        "ERROR: clone: qemu-img said [2J that",
        f"ERROR: clone: [no-space] {plain}",
        plain,
    ]
    said = read_stderr(err)
    assert said.reason == plain and [log.severity for log in said.logs] == ["ERROR", "ERROR"]
    # oned would take digits behind the severity for the id of an object
    assert {log.object_id for log in said.logs} == {-1}


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\x0bb", "a\u2028b", "a\x85b", "a\x00b", "a\tb", "a\x1b]0;x\x07b", "\n\na b\n\n"]
)
def test_one_line_whatever_is_in_it(text: str) -> None:
    def speak(voice: Voice) -> None:
        voice.answer(text)
        voice.log("WARN", text)
        voice.fail(StorageError(text))

    out, err = heard(speak)
    for said, count in ((out, 1), (err, 3)):
        assert len(said.splitlines()) == count and said.endswith("\n")
        assert all(char.isprintable() or char == "\n" for char in said)


def test_long_texts_are_cut_but_answers_are_not() -> None:
    def speak(voice: Voice) -> None:
        voice.answer("a" * 50_000)
        voice.fail(StorageError("b" * 50_000))

    out, err = heard(speak)
    assert len(out) == 50_001
    assert len(err) < 2_000 and err.endswith("...\n")


def test_several_lines() -> None:
    assert heard(lambda voice: voice.lines(["USED_MB=1", "FREE_MB=2\n3", "TOTAL_MB=4"]))[0] == (
        "USED_MB=1\nFREE_MB=2 3\nTOTAL_MB=4\n"
    )
    assert heard(lambda voice: voice.lines([]))[0] == ""


def test_the_name_of_the_script_is_clean_too() -> None:
    _out, err = heard(lambda voice: voice.log("INFO", "x"), "/r/tm/qcow2/clone\nRM SUCCESS 4 -")
    assert err == "INFO: clone RM SUCCESS 4 -: x\n"


def test_a_text_longer_than_a_pipe_arrives_whole() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        Voice("x").lines(["a" * 60_000] * 4)
        os._exit(0)
    os.close(writer)
    data = b""
    while select.select([reader], [], [], 20)[0]:
        part = os.read(reader, 4096)
        if not part:
            break
        data += part
    os.close(reader)
    os.waitpid(pid, 0)
    assert data == (b"a" * 60_000 + b"\n") * 4


def test_nobody_listens() -> None:
    """An answer that nobody takes is an error; a log line is not."""

    def deaf(handle: int) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, handle)
        os.close(writer)

    def speak(voice: Voice) -> None:
        deaf(2)
        voice.log("INFO", "x")
        voice.fail(StorageError("x"))
        deaf(1)
        with pytest.raises(BrokenPipeError):
            voice.answer("x")

    assert heard(speak) == ("", "")


def test_an_error_from_a_node_says_the_same() -> None:
    error = NoSpace("Cannot write /x", "host01", "free some", "detail")
    error.undone = "nothing was changed"
    again = from_record(error.record())
    assert (str(again), again.code, again.detail) == (str(error), "no-space", "detail")
    assert str(from_record({})) == "" and from_record({"code": "new"}).code == "failed"
