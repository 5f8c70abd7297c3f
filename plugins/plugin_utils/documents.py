# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents from oned: read with a limit, decoded, parsed by lxml with everything dangerous switched off."""

from __future__ import annotations

import os
import sys
import time

from ..module_utils._errors import BadCall, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lxml.etree import _Element

#: Largest document that is looked at, in bytes. A VM with hundreds of disks has some 100 KiB.
LIMIT = 16 << 20
#: A document of elements and nothing else would take 35 times its size in memory: one tag in so many bytes is allowed.
_BYTES_PER_TAG = 40
#: oned writes no attributes; the parser's time grows with the square of their number.
_ATTRIBUTES = 10_000
_PATIENCE = 60.0
_DRAIN = 5.0


def read_stdin() -> bytes:
    """All of stdin; ``BadCall`` when it is too long or does not end within a minute."""
    import select

    parts: list[bytes] = []
    size = 0
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            ready, _writers, _errors = select.select([0], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise BadCall(f"The document on stdin did not end within {_PATIENCE:g} seconds")
            data = os.read(0, 1 << 20)
        except OSError as error:
            raise BadCall(f"Cannot read the document on stdin: {error.strerror}") from None
        if not data:
            return b"".join(parts)
        parts.append(data)
        size += len(data)
        if size > LIMIT:
            raise BadCall(f"The document on stdin is larger than {LIMIT >> 20} MB")


def drain() -> None:
    """Read what is left on stdin and forget it, for a few seconds at most: nobody who sends it should fail over it."""
    import select

    until = time.monotonic() + _DRAIN
    try:
        while not os.isatty(0) and select.select([0], [], [], max(until - time.monotonic(), 0))[0]:
            if not os.read(0, 1 << 20) or time.monotonic() >= until:
                return
    except OSError:
        return


def decode(data: bytes) -> bytes:
    """XML as it is, or out of base64: oned sends most documents encoded, some plain (contract-ds 4.2)."""
    text = data.strip()
    if not text:
        raise BadCall("There is no document on stdin")
    if text.startswith(b"<"):
        return text
    import base64
    import binascii

    try:
        decoded = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise BadCall("The document on stdin is neither XML nor base64") from None
    if not decoded.strip():
        raise BadCall("There is no document on stdin")
    return decoded


def parse(data: bytes, what: str = "The document on stdin", limit: int = LIMIT) -> _Element:
    """The root of a document in UTF-8; entities, DTDs and the network are off, one that brings a DTD is refused.

    :param limit: most bytes it may have; tags and attributes are limited too, as they cost more than bytes. A higher
        limit than the usual one is for documents that are known to be long: pools.
    """
    find_lxml()
    from lxml import etree

    # the encoding is set, not read: in another one the tags could not be counted
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=limit > LIMIT,
        remove_comments=True,
        remove_pis=True,
    )
    if len(data) > limit:
        raise BadCall(f"{what} is larger than {limit >> 20} MB")
    if data.count(b"<") > limit // _BYTES_PER_TAG or _has_many_attributes(data):
        raise BadCall(f"{what} has too many elements or attributes")
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadCall(f"{what} is not XML: {one_line(getattr(error, 'msg', None) or str(error), 120)}") from None
    if getattr(root.getroottree().docinfo, "doctype", ""):
        raise BadCall(f"{what} brings a document type of its own, which is not read")
    return root


def _has_many_attributes(data: bytes) -> bool:
    if data.count(b"=") <= _ATTRIBUTES:
        return False
    import re

    return sum(1 for _found in re.finditer(rb"""=\s*["']""", data)) > _ATTRIBUTES


def import_info(values: dict[str, str]) -> str:
    """The document that a marketplace's driver reads after an export, on one line (contract-ds 8.7)."""
    find_lxml()
    from lxml import etree

    root = etree.Element("IMPORT_INFO")
    for name, value in values.items():
        node = etree.SubElement(root, name)
        node.text = value if name == "DISPOSE" else etree.CDATA(value)
    return etree.tostring(root, encoding="unicode")


def find_lxml() -> None:
    """Let lxml be found: wrappers start Python without its site directories, which only lxml is in (``-S``)."""
    if sys.flags.no_site and "lxml" not in sys.modules:
        import site

        # without the .pth files that site.main() would read: they are for development tools
        sys.path += site.getsitepackages()


def text(node: _Element, path: str, default: str = "") -> str:
    """The text of an element; *default* when it is missing or empty."""
    found = node.findtext(path)
    return found if found else default


def need(node: _Element, path: str, what: str = "The document on stdin") -> str:
    """The text of an element that must be there."""
    found = node.findtext(path)
    if not found or not found.strip():
        raise BadCall(f"{what} has no {node.tag if path == '.' else path}")
    return found


def number(node: _Element, path: str, default: int | None = None, what: str = "The document on stdin") -> int:
    """A whole number; *default* when the element is missing or empty, an error when there is no default."""
    found = text(node, path).strip()
    if not found and default is not None:
        return default
    if not found:
        raise BadCall(f"{what} has no {path}")
    digits = found[1:] if found.startswith("-") else found
    # int() takes underscores, the digits of all scripts, and minutes for a million digits
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise BadCall(f"{what} has '{one_line(found, 40)}' for {path}, which is not a number")
    return int(found)


def yes(value: str) -> bool:
    """Whether a template value means yes."""
    return value.strip().lower() in ("yes", "true")


def credentials(root: _Element) -> dict[str, str]:
    """What a marketplace's template gives to read objects by s3 (contract-ds 6.2); empty texts for what it lacks."""
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION", "ENDPOINT", "AWS")
    return {name: text(root, f"MARKETPLACE/TEMPLATE/{name}").strip() for name in names}
