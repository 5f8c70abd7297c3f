# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that are wrong, huge or hostile: one sentence, in bounded time and memory."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, StorageError
from plugins.plugin_utils import documents
from tests.unit.door.support import PYTHON, ROOT, sentence

STDIN = "The document on stdin"

#: Reads stdin as a wrapper does, says what comes of it, then seconds and the process's highest memory in KiB.
READER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from plugins.module_utils._errors import StorageError
from plugins.plugin_utils import documents
begin = time.monotonic()
try:
    root = documents.parse(documents.decode(documents.read_stdin()))
    said = "read " + (root.text or "")[:60]
except StorageError as error:
    said = str(error)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(said, time.monotonic() - begin, peak, sep="\\n")
"""


def entity_bomb(levels: int = 12) -> bytes:
    """Entities of entities: a thousand million letters out of a kilobyte."""
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, levels))
    return f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{entities}]><x>&a{levels - 1};</x>'.encode()


def read(data: bytes, tmp_path: Path, encode: bool = False) -> tuple[str, float, int]:
    """What a process of its own says about a document, its seconds and its peak memory in KiB."""
    file = tmp_path / "stdin"
    file.write_bytes(base64.b64encode(data) if encode else data)
    with file.open("rb") as stdin:
        done = subprocess.run(
            [PYTHON, "-I", "-c", READER, str(ROOT)], stdin=stdin, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0 and not done.stderr, done.stderr
    said, seconds, peak = done.stdout.rsplit("\n", 3)[:3]
    return said, float(seconds), int(peak)


HOSTILE: list[tuple[str, bytes, str]] = [
    ("entity bomb", entity_bomb(), f"{STDIN} (is not XML: .*entity.*|brings a document type of its own, .*)"),
    (
        "external entity",
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        f"{STDIN} brings a document type of its own, which is not read",
    ),
    (
        "parameter entity",
        b'<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]><x/>',
        f"{STDIN} (is not XML|brings a document type).*",
    ),
    (
        "external DTD",
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
        f"{STDIN} brings a document type of its own, which is not read",
    ),
    ("undeclared entity", b"<x>&e;</x>", f"{STDIN} is not XML: Entity 'e' not defined.*"),
    ("deep nesting", b"<x>" * 100_000 + b"</x>" * 100_000, f"{STDIN} is not XML: Excessive depth.*"),
    ("huge text", b"<x>" + b"a" * (15 << 20) + b"</x>", f"{STDIN} is not XML: .*[Hh]uge.*"),
    ("huge attribute", b'<x a="' + b"a" * (15 << 20) + b'"/>', f"{STDIN} is not XML: .*(huge|Huge|long).*"),
    ("huge name", b"<" + b"a" * (15 << 20) + b"/>", f"{STDIN} is not XML: .*"),
    ("many elements", b"<x>" + b"<a/>" * 4_000_000 + b"</x>", f"{STDIN} has too many elements or attributes"),
    (
        "many attributes",
        b"<x " + b" ".join(b'a%d="1"' % number for number in range(300_000)) + b"/>",
        f"{STDIN} has too many elements or attributes",
    ),
    (
        "many attributes, hidden",
        b"<x " + b" ".join(b"a%d\n=\n'>'" % number for number in range(300_000)) + b"/>",
        f"{STDIN} has too many elements or attributes",
    ),
    (
        "tags in another encoding",
        ("<?xml version='1.0' encoding='UTF-16'?><x>" + "<a/>" * 1_000_000 + "</x>").encode("utf-16"),
        f"{STDIN} (is neither XML nor base64|has too many elements or attributes)",
    ),
]


@pytest.mark.parametrize(("data", "wanted"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
@pytest.mark.parametrize("encode", [False, True], ids=["plain", "base64"])
def test_hostile_documents(data: bytes, wanted: str, encode: bool, tmp_path: Path) -> None:
    said, seconds, peak = read(data, tmp_path, encode)
    if encode and len(data) > documents.LIMIT * 3 // 4:
        wanted = f"{STDIN} is larger than 16 MB"
    assert re.fullmatch(wanted, said) and "root:" not in said
    assert seconds < 10
    assert peak < 200 << 10, f"{peak >> 10} MiB"


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x [<!ENTITY e SYSTEM "{}">]>',
        '<!DOCTYPE x [<!ENTITY % e SYSTEM "{}"> %e;]>',
        '<!DOCTYPE x SYSTEM "{}">',
        '<!DOCTYPE x PUBLIC "x" "{}">',
    ],
)
def test_files_that_a_document_names_are_not_even_opened(doctype: str, tmp_path: Path) -> None:
    """Whoever opens a pipe for reading waits for its writer: the reader would never come back."""
    os.mkfifo(tmp_path / "pipe")
    for name in (f"{tmp_path}/pipe", f"file://{tmp_path}/pipe"):
        said, seconds, _peak = read(f"{doctype.format(name)}<x>&e;</x>".encode(), tmp_path)
        assert said.startswith(f"{STDIN} ") and seconds < 10


def test_a_hundred_megabytes_are_not_even_read(tmp_path: Path) -> None:
    said, seconds, peak = read(b"QUFB" * (25 << 20), tmp_path)
    assert said == f"{STDIN} is larger than 16 MB"
    assert seconds < 10 and peak < 60 << 10, f"{peak >> 10} MiB"


def test_what_a_document_may_have_at_most(tmp_path: Path) -> None:
    """The limits are far from what oned sends, and what they allow is bounded too."""
    elements = b"<x>" + b"<disk>1</disk>" * 200_000 + b"</x>"
    said, seconds, peak = read(elements, tmp_path)
    assert said == "read " and seconds < 10 and peak < 200 << 10, f"{peak >> 10} MiB"
    attributes = b"<x " + b" ".join(b'a%d="1"' % number for number in range(9_000)) + b"/>"
    said, seconds, _peak = read(attributes, tmp_path)
    assert said == "read " and seconds < 10
    script = b"<x><![CDATA[" + b"A=1; B = 2 # <<EOF = \n" * 100_000 + b"]]></x>"
    assert read(script, tmp_path)[0].startswith("read A=1; B = 2")


# ---------------------------------------------------------------- decoding

XML = b"<x>ab</x>"
CODE = base64.b64encode(XML)


@pytest.mark.parametrize(
    "data", [XML, b"\n  " + XML, CODE, CODE + b"\n", b" \n" + CODE[:5] + b"\r\n" + CODE[5:] + b" "]
)
def test_plain_and_encoded(data: bytes) -> None:
    assert documents.decode(data).strip() == XML


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "There is no document on stdin"),
        (b" \n\t ", "There is no document on stdin"),
        (base64.b64encode(b" \n "), "There is no document on stdin"),
        (b"hello, world", f"{STDIN} is neither XML nor base64"),
        (b"\xff\xfe\x00", f"{STDIN} is neither XML nor base64"),
        (CODE[:-1], f"{STDIN} is neither XML nor base64"),
        (CODE + b"!", f"{STDIN} is neither XML nor base64"),
        (CODE[:4] + b"=" + CODE[4:], f"{STDIN} is neither XML nor base64"),
        (b"$(id)", f"{STDIN} is neither XML nor base64"),
    ],
)
def test_what_is_neither(data: bytes, wanted: str) -> None:
    with pytest.raises(BadCall) as caught:
        documents.decode(data)
    assert sentence(caught.value) == wanted


# ---------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<x>ab</x>", "ab"),
        (b"<x>ab<!-- c -->cd<?pi x?>ef</x>", "abcdef"),
        (b"<x><![CDATA[<a> & ]]>b<![CDATA[c]]></x>", "<a> & bc"),
        (b"<x>&lt;&amp;&#65;&quot;</x>", '<&A"'),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><x>\xc3\xa9</x>", "é"),
        (b"\xef\xbb\xbf<x>a</x>", "a"),
        (b"<x>{{ lookup('pipe', 'id') }} $(id) `id`</x>", "{{ lookup('pipe', 'id') }} $(id) `id`"),
    ],
)
def test_texts(data: bytes, text: str) -> None:
    assert documents.parse(data).text == text


@pytest.mark.parametrize(
    "data",
    [
        b"<x>",
        b"<x></y>",
        b"<x/><y/>",
        b"no",
        b"<x>\x00</x>",
        b"<x>\x1b[2J</x>",
        b"<x>\xff</x>",
        b"<x a=1/>",
        b"<",
        b"<?xml",
    ],
)
def test_not_xml(data: bytes) -> None:
    with pytest.raises(BadCall) as caught:
        documents.parse(data, "oned's answer")
    assert re.fullmatch(r"oned's answer is not XML: [\x20-\x7e]+", sentence(caught.value))
    # where it is wrong, and once only
    assert "<string>" not in str(caught.value)


def test_a_longer_document_needs_a_higher_limit() -> None:
    data = b"<x>" + (b"<a>" + b"b" * 100_000 + b"</a>") * 200 + b"</x>"
    with pytest.raises(BadCall, match="^oned's answer is larger than 16 MB$"):
        documents.parse(data, "oned's answer")
    assert len(documents.parse(data, "oned's answer", 64 << 20)) == 200


ELEMENT = b"<x><a>5</a><b/><c> </c><d>-3</d><e>yes</e><f>+5</f><g> 7 </g></x>"


def test_values() -> None:
    root = documents.parse(ELEMENT)
    assert documents.text(root, "a") == "5"
    assert [documents.text(root, name, "none") for name in ("b", "missing")] == ["none", "none"]
    assert documents.need(root, "a") == "5"
    assert [documents.number(root, name) for name in ("a", "d", "g")] == [5, -3, 7]
    assert [documents.number(root, name, 9) for name in ("b", "c", "missing")] == [9, 9, 9]
    for name in ("b", "c", "missing"):
        with pytest.raises(BadCall, match=f"^VM 4 has no {name}$"):
            documents.need(root, name, "VM 4")
        with pytest.raises(BadCall, match=f"^VM 4 has no {name}$"):
            documents.number(root, name, None, "VM 4")
    for name, shown in (("e", "yes"), ("f", r"\+5")):
        with pytest.raises(BadCall, match=f"^VM 4 has '{shown}' for {name}, which is not a number$"):
            documents.number(root, name, 9, "VM 4")


@pytest.mark.parametrize(("text", "means"), [("yes", True), (" TRUE ", True), ("no", False), ("", False), ("1", False)])
def test_yes(text: str, means: bool) -> None:
    assert documents.yes(text) is means


# ---------------------------------------------------------------- stdin


def _with_stdin(handle: int) -> str:
    saved = os.dup(0)
    os.dup2(handle, 0)
    try:
        with pytest.raises(StorageError) as caught:
            documents.read_stdin()
        return sentence(caught.value)
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_stdin_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_PATIENCE", 0.3)
    reader, writer = os.pipe()
    os.write(writer, b"<x>")
    begin = time.monotonic()
    try:
        assert _with_stdin(reader) == f"{STDIN} did not end within 0.3 seconds"
    finally:
        os.close(reader)
        os.close(writer)
    assert 0.25 < time.monotonic() - begin < 5


def test_stdin_that_cannot_be_read(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert _with_stdin(handle) == f"Cannot read {STDIN[0].lower()}{STDIN[1:]}: Is a directory"
    finally:
        os.close(handle)
