# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON by the C halves of the library is what the whole library says, and so is what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from plugins.module_utils.tools import codec

VALUES: list[Any] = [
    None, True, False, 0, -1, 1 << 70, 0.5, -1e300, "", "a", 'quote " backslash \\', "line\nbreak\x00\x7f", "ж 💾",
    "lone \udc80", [], {}, [[], {}, [1, [2, [3]]]], {"a": {"b": [1, "two", None]}, "": ""}, (1, 2),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_written_as_json_writes_it(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":")).encode()
    assert codec.dumps(value) == text
    assert codec.loads(text + b"\n") == json.loads(text)
    assert codec._package()[0](value).encode() == text and codec._package()[1](text.decode()) == json.loads(text)


@pytest.mark.parametrize("text", [
    b"", b" ", b"{", b"[1", b'{"a":}', b"nul", b'"open', b"1 2", b'{"a":1} x', b"NaN", b"-Infinity", b"\xff", b'"\x01"',
    b"[" * 100_000,
])  # fmt: skip
def test_what_is_not_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        codec.loads(text)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, b"bytes", {1, 2}, object()], ids=lambda value: type(value).__name__
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        codec.dumps(value)


def test_values_are_blanks_and_order_apart_the_same() -> None:
    assert codec.loads(b' {"b" : [ 1 , 2 ] , "a" : null } ') == {"b": [1, 2], "a": None}


def test_the_c_halves_are_in_use() -> None:
    assert codec._encode.__qualname__.startswith("_c_halves")
