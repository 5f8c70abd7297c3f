# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls about snapshots of images: from the document on stdin to options or to one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from plugins.module_utils import _actions, _options
from plugins.module_utils._errors import BadCall
from tests.unit.door.support import CAPTURES, sentence
from tests.unit.door.test_calls_ds import IMAGE, document, options

ACTIONS = ("snap_delete", "snap_revert", "snap_flatten")


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("ds.snap_*.xml")), ids=lambda path: path.name)
def test_recorded_documents_are_understood(path: Path) -> None:
    action = path.name.split(".")[1]
    given = options(action, path.read_text())
    checked = _options.check("x", _actions.ACTIONS[f"ds_{action}"].options, given)
    root = etree.parse(str(path)).getroot()
    assert checked["driver"] == "fs"
    assert checked["datastore"] == root.findtext("DATASTORE/BASE_PATH")
    assert checked["source"] == root.findtext("IMAGE/SOURCE")
    assert checked["format"] == root.findtext("IMAGE/FORMAT")
    assert str(checked["snapshot"]) == root.findtext("IMAGE/TARGET_SNAPSHOT")
    if action == "snap_delete":
        # the image's own record, not the setting of its datastore
        assert checked["allow_orphans"] == (root.findtext("IMAGE/SNAPSHOTS/ALLOW_ORPHANS") == "YES")


def test_every_action_was_recorded() -> None:
    assert {path.name.split(".")[1] for path in CAPTURES.glob("ds.snap_*.xml")} == set(ACTIONS)


def with_target(inside: str | None, beside: str | None = None, more: str = "") -> str:
    """A document with TARGET_SNAPSHOT in the image, or beside it."""
    image = IMAGE + ("" if inside is None else f"<TARGET_SNAPSHOT>{inside}</TARGET_SNAPSHOT>") + more
    return document(image=image, more="" if beside is None else f"<TARGET_SNAPSHOT>{beside}</TARGET_SNAPSHOT>")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("inside", "beside", "wanted"), [("3", None, 3), ("0", "5", 0), (None, "4", 4), ("-1", "4", 4), ("", "0", 0)]
)
def test_where_the_snapshot_is_named(action: str, inside: str | None, beside: str | None, wanted: int) -> None:
    assert options(action, with_target(inside, beside))["snapshot"] == wanted


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(("inside", "beside"), [(None, None), ("-1", None), ("", ""), (None, "-1"), ("-7", "-1")])
def test_a_call_without_a_snapshot(action: str, inside: str | None, beside: str | None) -> None:
    with pytest.raises(BadCall) as caught:
        options(action, with_target(inside, beside))
    assert sentence(caught.value) == "The document on stdin names no snapshot in TARGET_SNAPSHOT"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (with_target("one"), "The document on stdin has 'one' for TARGET_SNAPSHOT, which is not a number"),
        (with_target("1").replace("SOURCE", "S"), "The document on stdin has no SOURCE"),
        (with_target("1").replace("BASE_PATH", "B"), "The document on stdin has no BASE_PATH"),
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
def test_bad_documents_give_one_sentence(action: str, text: str, wanted: str) -> None:
    with pytest.raises(BadCall) as caught:
        options(action, text)
    assert sentence(caught.value) == wanted


@pytest.mark.parametrize(("written", "wanted"), [("QCOW2", "qcow2"), ("raw", "raw"), ("", "raw"), ("vmdk", "raw")])
def test_only_qcow2_has_layers(written: str, wanted: str) -> None:
    assert options("snap_revert", with_target("1", more=f"<FORMAT>{written}</FORMAT>"))["format"] == wanted


@pytest.mark.parametrize(
    ("written", "wanted"), [("YES", True), ("NO", False), ("MIXED", False), ("LINEAR", False), ("FORMAT", False)]
)
def test_who_may_delete_what_others_stand_on(written: str, wanted: bool) -> None:
    more = f"<SNAPSHOTS><ALLOW_ORPHANS>{written}</ALLOW_ORPHANS></SNAPSHOTS>"
    assert options("snap_delete", with_target("1", more=more))["allow_orphans"] is wanted
