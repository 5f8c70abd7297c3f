# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON for messages and journals, by the C halves of the standard library's ``json``.

The package around them loads ``re``, ``enum`` and what these need, which takes longer than reading everything an action
says and hears. Where an interpreter has no C halves, the package does the work.

Standard library only and nothing of ours: it is sent to peers together with :mod:`.wire`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Reading:
    """What the C scanner asks of its owner: how ``json.JSONDecoder`` is by default, but NaN and Infinity are errors."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _c_halves() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
    scan = make_scanner(_Reading)  # type: ignore[arg-type]

    def read(text: str) -> Any:
        try:
            value, end = scan(text, 0)
        except (StopIteration, RecursionError):
            raise ValueError("this is not JSON") from None
        if end != len(text):
            raise ValueError("there is more than one value")
        return value

    return lambda value: "".join(encode(value, 0)), read


def _package() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    import json

    return (
        lambda value: json.dumps(value, separators=(",", ":"), allow_nan=False),
        lambda text: json.loads(text, parse_constant=_Reading.parse_constant),
    )


try:
    _encode, _decode = _c_halves()
except (ImportError, TypeError):
    _encode, _decode = _package()


def dumps(value: Any) -> bytes:
    """One line of JSON, without blanks and in ASCII; ``TypeError`` or ``ValueError`` for what JSON cannot say."""
    return _encode(value).encode()


def loads(data: bytes) -> Any:
    """The value in a text that :func:`dumps` wrote; ``ValueError`` when it is something else."""
    return _decode(data.decode().strip())
