# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of the archive by Galaxy's importer: what it would say is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.importer import archive, complaints, look
from tests.tools.stage import stage


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Loading role tree\nERROR: no\nWARNING: a", ["ERROR: no", "WARNING: a"]),
        ("Loading playbook ERROR.yml", []),
        ("", []),
    ],
)
def test_errors_and_warnings_are_complaints(said: str, wrong: list[str]) -> None:
    assert complaints(said) == wrong


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("meta/runtime.yml", "---\n{}\n", "requires_ansible"),
        ("README.md", None, "README"),
        (
            "galaxy.yml",
            "namespace: one_storage\nname: drivers\nversion: 0.1.0\nreadme: README.md\nauthors: [us]\n",
            "tag",
        ),
    ],
)
def test_what_galaxy_would_refuse_is_told(tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    collection = stage(target=tmp_path / "collection")
    if text is None:
        (collection / name).unlink()
    else:
        (collection / name).write_text(text, encoding="utf-8")
    (tmp_path / "tmp").mkdir()
    _code, said = look(archive(collection, tmp_path), tmp_path)
    assert any(sentence in line for line in complaints(said)), said
