# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values out of a document, for shell drivers: each followed by a NUL (contract-ds 5.1).

    xpath [-s] [-t] XPATH...          the document is on stdin, as XML or base64
    xpath -b DATA [-t] XPATH...       the document is an argument, in base64

An XPath gives the text of its first match, entities decoded and blanks kept; with ``%m%`` before it, of all, joined by
blanks; with ``-t`` the elements themselves. The exit code is the number of XPaths that gave nothing, at most 254. 255
is an error, with a sentence on stderr and nothing on stdout.

``-b`` is for scripts that have it already: everybody can read a command line, and it holds 128 KiB at most.
"""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, StorageError, one_line
from .answer import Voice
from .documents import decode, parse, read_stdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERROR = 255
_ALL = "%m%"


def main(arguments: list[str]) -> int:
    """The exit code of a call."""
    try:
        data, subtree, paths = _taken_apart(arguments)
        root = parse(decode(read_stdin() if data is None else data), "The document")
        values = [_value(root, path, subtree) for path in paths]
    except StorageError as error:
        Voice("xpath").reason(str(error))
        return ERROR
    output = memoryview("".join(value + "\0" for value in values).encode())
    while output:
        output = output[os.write(1, output) :]
    return min(values.count(""), ERROR - 1)


def _taken_apart(arguments: list[str]) -> tuple[bytes | None, bool, list[str]]:
    """The document when it is an argument, whether elements are wanted, and the XPaths."""
    import getopt

    try:
        options, paths = getopt.gnu_getopt(arguments, "b:st", ["base64=", "stdin", "subtree"])
    except getopt.GetoptError as error:
        raise BadCall(f"xpath takes -s, -t, -b DATA and XPaths: {one_line(error.msg, 80)}") from None
    data: bytes | None = None
    subtree = False
    for name, value in options:
        if name in ("-b", "--base64"):
            data = value.encode("utf-8", "surrogateescape")
        elif name in ("-t", "--subtree"):
            subtree = True
        else:
            data = None
    return data, subtree, paths


def _value(root: Any, path: str, subtree: bool) -> str:
    """What an XPath gives: nothing for one without a match."""
    from lxml import etree

    several = path.startswith(_ALL)
    try:
        found = root.getroottree().xpath(path[len(_ALL) :] if several else path)
    except (etree.XPathError, ValueError) as error:
        raise BadCall(f"'{one_line(path, 120)}' is not an XPath: {one_line(str(error), 80)}") from None
    if not isinstance(found, list):
        # a number, a truth or a text
        found = [f"{found:g}" if isinstance(found, float) else str(found)]
    texts = [_text(node, subtree) for node in (found if several else found[:1])]
    return " ".join(text for text in texts if text)


def _text(node: Any, subtree: bool) -> str:
    from lxml import etree

    if not etree.iselement(node):
        return str(node)
    if subtree:
        return str(etree.tostring(node, encoding="unicode", with_tail=False))
    return str(node.text or "")
