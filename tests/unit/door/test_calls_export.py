# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export calls: from the document to options, and the document that a marketplace's driver reads (contract-ds 8.7)."""

from __future__ import annotations

import os
from typing import Any

import pytest
from lxml import etree

from plugins.module_utils import _actions, _options
from plugins.plugin_utils import calls_ds
from plugins.plugin_utils.answer import Voice
from plugins.plugin_utils.documents import drain
from tests.unit.door.support import complete
from tests.unit.door.test_calls_ds import document, stdin

IMAGE = "<ID>7</ID><SOURCE>/ds//1/abc</SOURCE><SIZE>10</SIZE><FORMAT>qcow2</FORMAT>"
SNAPSHOTS = (
    "<SNAPSHOTS><NEXT_SNAPSHOT>2</NEXT_SNAPSHOT><SNAPSHOT><ID>0</ID><SIZE>8</SIZE></SNAPSHOT>"
    "<SNAPSHOT><ID>1</ID></SNAPSHOT></SNAPSHOTS>"
)


def options(text: str) -> dict[str, Any]:
    with stdin(text.encode()):
        given = complete(calls_ds.call("fs", "export", ["7"]))
    return _options.check("x", _actions.ACTIONS["ds_export"].options, given)


def target(number: int) -> str:
    return f"<TARGET_SNAPSHOT>{number}</TARGET_SNAPSHOT>"


def test_options_of_an_image() -> None:
    given = options(document(image=IMAGE + target(-1)))
    assert {name: given[name] for name in ("driver", "datastore", "source", "format", "size", "target_snapshot")} == {
        "driver": "fs",
        "datastore": "/ds//1",
        "source": "/ds//1/abc",
        "format": "qcow2",
        "size": 10,
        "target_snapshot": -1,
    }
    assert given["url_host"] == ""


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        *[(name, name) for name in ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc")],
        *[("QCOW2", "qcow2"), ("", "raw"), ("unknown", "raw"), ("luks", "raw")],
    ],
)
def test_formats(told: str, wanted: str) -> None:
    assert options(document(image=IMAGE.replace("qcow2", told)))["format"] == wanted


@pytest.mark.parametrize(
    ("image", "more", "number", "size"),
    [
        (IMAGE, "", -1, 10),
        (IMAGE + target(0) + SNAPSHOTS, "", 0, 8),
        (IMAGE + target(1) + SNAPSHOTS, "", 1, 10),
        (IMAGE + target(5), "", 5, 10),
        # older documents have it beside the image; a number in the image counts more
        (IMAGE + SNAPSHOTS, target(0), 0, 8),
        (IMAGE + target(-1) + SNAPSHOTS, target(0), 0, 8),
        (IMAGE + target(1) + SNAPSHOTS, target(0), 1, 10),
        (IMAGE + target(-7), "", -1, 10),
    ],
)
def test_snapshots(image: str, more: str, number: int, size: int) -> None:
    given = options(document(image=image, more=more))
    assert (given["target_snapshot"], given["size"]) == (number, size)


def told(capfdbinary: pytest.CaptureFixture[bytes], **values: Any) -> bytes:
    result = {"import_source": "/ds//1/abc", "md5": "d41d", "size": 10, "format": "qcow2", "dispose": False}
    calls_ds.reply("export")(Voice("export"), {**result, "dispose_cmd": "", **values})
    return capfdbinary.readouterr().out


def test_the_document_of_a_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert told(capfdbinary) == (
        b"<IMPORT_INFO><IMPORT_SOURCE><![CDATA[/ds//1/abc]]></IMPORT_SOURCE><MD5><![CDATA[d41d]]></MD5>"
        b"<SIZE><![CDATA[10]]></SIZE><FORMAT><![CDATA[qcow2]]></FORMAT><DISPOSE>NO</DISPOSE></IMPORT_INFO>\n"
    )


def test_the_document_of_a_temporary_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    said = told(capfdbinary, dispose=True, dispose_cmd="rm -f /ds/1/.one_storage/exports/x")
    assert said.count(b"\n") == 1
    root = etree.fromstring(said)
    assert root.findtext("DISPOSE") == "YES"
    assert root.findtext("DISPOSE_CMD") == "rm -f /ds/1/.one_storage/exports/x"
    assert b"<![CDATA[rm -f" in said


def test_stdin_is_drained() -> None:
    with stdin(b"x" * 100_000):
        drain()
        assert os.read(0, 1) == b""


def test_a_sender_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.plugin_utils import documents

    monkeypatch.setattr(documents, "_DRAIN", 0.05)
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        drain()
    finally:
        os.dup2(saved, 0)
        for handle in (reader, writer, saved):
            os.close(handle)
