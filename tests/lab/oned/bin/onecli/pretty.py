# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Indents a document as the one* commands print it: two blanks per level, CDATA kept, empty elements closed at once."""

from __future__ import annotations

from xml.parsers import expat


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._open: list[str] = []
        self._text = ""
        self._in_cdata = False
        # Whether the innermost open element has elements in it: then its end stands on a line of its own.
        self._nested: list[bool] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._open:
            if not self._nested[-1]:
                self.lines.append(self._indent(-1) + f"<{self._open[-1]}>")
            self._nested[-1] = True
        self._open.append(tag)
        self._nested.append(False)
        self._text = ""

    def end(self, tag: str) -> None:
        if self._nested[-1]:
            self.lines.append(self._indent(-1) + f"</{tag}>")
        elif self._text:
            self.lines.append(self._indent(-1) + f"<{tag}>{self._text}</{tag}>")
        else:
            self.lines.append(self._indent(-1) + f"<{tag}/>")
        self._open.pop()
        self._nested.pop()
        self._text = ""

    def data(self, text: str) -> None:
        if self._in_cdata:
            self._text += text
        elif text.strip() or self._text:
            self._text += text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    def start_cdata(self) -> None:
        self._in_cdata = True
        self._text += "<![CDATA["

    def end_cdata(self) -> None:
        self._in_cdata = False
        self._text += "]]>"

    def _indent(self, less: int) -> str:
        return "  " * (len(self._open) + less)


def pretty(document: str) -> str:
    """The indented text of a document, with a line break at its end. Raises expat.ExpatError."""
    writer = _Writer()
    parser = expat.ParserCreate()
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.data
    parser.StartCdataSectionHandler = writer.start_cdata
    parser.EndCdataSectionHandler = writer.end_cdata
    parser.Parse(document.encode("utf-8"), True)
    return "\n".join(writer.lines) + "\n"
