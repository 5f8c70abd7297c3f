# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations as people read them: a table for a terminal, or lines."""

from __future__ import annotations

import os
import time
import unicodedata

from ..module_utils._errors import one_line
from ..module_utils.tools.progress import size_of, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BAR = 14
_GREEN, _YELLOW, _RED, _DIM, _BOLD = "32", "33", "31", "2", "1"


class Style:
    """What a terminal shows.

    :ivar width: columns; :ivar height: lines.
    """

    def __init__(self, width: int, height: int, colour: bool, blocks: bool) -> None:
        self.width = max(width, 20)
        self.height = max(height, 4)
        self._colour = colour
        self._full, self._empty, self._more = ("█", "░", "…") if blocks else ("#", ".", "~")

    def paint(self, text: str, code: str) -> str:
        """Text in a colour."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text

    def gauge(self, part: float, width: int) -> str:
        """A bar that is full to a part."""
        full = min(max(int(part * width + 0.5), 0), width)
        return self.paint(self._full * full, _GREEN) + self.paint(self._empty * (width - full), _DIM)

    def fit(self, text: str, width: int, right: bool = False, middle: bool = False) -> str:
        """Text in exactly so many columns. What is cut off is its end, or its middle, where paths differ least."""
        if _columns(text) > width:
            if middle and width > 9:
                head = _cut(text, (width - 1) // 3)
                tail = _cut(text[::-1], width - 1 - _columns(head))[::-1]
                text = head + self._more + tail
            else:
                text = _cut(text, width - 1) + self._more
        blank = " " * (width - _columns(text))
        return blank + text if right else text + blank


def table(rows: list[dict[str, Any]], missed: list[str], style: Style) -> list[str]:
    """Lines for a terminal, none wider, and no more of them, than it has."""
    clock = time.strftime("%H:%M:%S")
    head = summary(rows)
    lines = [style.paint(style.fit(head, style.width - 10), _BOLD) + style.paint(f"  {clock}", _DIM)]
    warnings = missed[: max(1, style.height // 4)]
    if len(missed) > len(warnings):
        warnings[-1] = f"and {len(missed) - len(warnings) + 1} more that are not seen"
    room = style.height - 2 - len(warnings) - bool(rows)
    shown = rows if len(rows) <= room else rows[: max(room - 1, 0)]
    if shown:
        columns = _widths(shown, style.width)
        lines.append(style.paint(_joined(style, columns, _HEADS), _DIM))
        lines += [_line(row, columns, style) for row in shown]
    if len(shown) < len(rows):
        lines.append(style.fit(f"and {len(rows) - len(shown)} more", style.width))
    return lines + [style.paint(style.fit(one_line(text), style.width), _RED) for text in warnings]


def summary(rows: list[dict[str, Any]]) -> str:
    """How much runs: ``3 operations on 2 hosts, 170.2 MB/s``."""
    going = [row for row in rows if row["state"] == "running"]
    if not rows:
        return "nothing runs"
    text = f"{_counted(len(going), 'operation')} on {_counted(len({_where(row) for row in going}), 'host')}"
    rate = sum(int(row["rate"] or 0) for row in going)
    if rate:
        text += f", {size_of(rate)}/s"
    if len(going) < len(rows):
        text += f", {len(rows) - len(going)} left by runs that died"
    return text


def line(row: dict[str, Any], host: bool = True) -> str:
    """One operation in words.

    :param host: with the host's name before it.
    """
    where = f"{_where(row)} " if host else ""
    text = f"{where}{os.path.basename(row['datastore'])}: {_words(row)}"
    return one_line(text + ("" if row["state"] == "running" else " (ended without a word)"))


def _words(row: dict[str, Any]) -> str:
    if row["what"]:
        names = (("done", "done_bytes"), ("total", "total_bytes"), ("rate", "rate"), ("left", "left_seconds"))
        return told({"what": row["what"], **{short: row[name] for short, name in names}})
    return f"{_what(row)}: {_steps(row) or 'it begins'}"


def _what(row: dict[str, Any]) -> str:
    return str(row["what"] or f"{row['action']} {row['object']}")


def _steps(row: dict[str, Any]) -> str:
    return f"step {int(row['begun'] or 0)} of {int(row['steps'])}" if row["steps"] else ""


def _where(row: dict[str, Any]) -> str:
    return str(row["host"] or row["seen_on"])


_HEADS = ("HOST", "STORE", "WHAT", "", "DONE", "RATE", "LEFT")


def _widths(rows: list[dict[str, Any]], width: int) -> list[int]:
    """Columns of a line: host, datastore, what, gauge, bytes, rate, time left; 0 for what finds no room."""
    host = min(max([4, *(_columns(_where(row)) for row in rows)]), 20, max(width // 4, 5))
    store = min(max([5, *(_columns(os.path.basename(row["datastore"])) for row in rows)]), 12)
    found = [host, store, 0, _BAR + 5, 20, 12, 9]
    # the narrower the terminal, the less: first the bytes go, then the gauge, the datastore, the rate, the time
    for column, least in ((4, 18), (3, 18), (1, 16), (5, 12), (6, 8)):
        if width - sum(found) - len(found) < least:
            found[column] = 0
    others = [one for one in found if one]
    found[2] = max(width - sum(others) - len(others), 6)
    return found


def _line(row: dict[str, Any], columns: list[int], style: Style) -> str:
    done, total = row["done_bytes"], row["total_bytes"]
    part = done / total if done is not None and total else None
    gauge = ""
    if columns[3] and part is not None:
        gauge = f"{style.gauge(part, _BAR)} {min(int(part * 100), 100):3d}%"
    size = "" if done is None else size_of(int(done)) + (f" of {size_of(int(total))}" if total else "")
    going = row["state"] == "running"
    rate = f"{size_of(int(row['rate']))}/s" if row["rate"] and going else ""
    left = clock_of(row["left_seconds"]) if going else "died"
    cells = (_where(row), os.path.basename(row["datastore"]), _what(row), gauge, size or _steps(row), rate, left)
    return _joined(style, columns, cells)


def _joined(style: Style, columns: list[int], cells: tuple[str, ...]) -> str:
    parts = []
    for number, (width, cell) in enumerate(zip(columns, cells)):
        if not width:
            continue
        if number == 3:
            # the gauge has its width already, and colours in it
            parts.append(cell or " " * width)
        else:
            text = style.fit(one_line(cell), width, right=number > 3, middle=number == 2)
            parts.append(style.paint(text, _YELLOW) if cell == "died" else text)
    return " ".join(parts)


def clock_of(seconds: Any) -> str:
    """Seconds as ``0:07``, ``12:30`` or ``3:02:11``; empty for nothing."""
    if seconds is None:
        return ""
    whole = max(int(seconds), 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours > 99:
        return f"{hours // 24} days"
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _columns(text: str) -> int:
    return sum(_wide(char) for char in text)


def _wide(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, width: int) -> str:
    used = 0
    for number, char in enumerate(text):
        used += _wide(char)
        if used > width:
            return text[:number]
    return text
