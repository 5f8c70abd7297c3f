# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages: links lead somewhere, each page is on the site, and what guides tell operators to type is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tools.docs import SITE, lay, pages, relinked
from tests.tools.stage import ROOT, source_files

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Commands of a guide, with lines that go on.
COMMAND = re.compile(r"^(?:ansible-playbook|… -e)\b.*(?:\\\n.*)*", re.MULTILINE)
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}


def words() -> str:
    """All that playbooks and roles say, in which every variable of theirs stands."""
    files = [path for top in ("playbooks", "roles") for path in sorted((ROOT / top).rglob("*.yml"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_links_of_all_pages_lead_somewhere(tmp_path: Path) -> None:
    assert lay(ROOT, tmp_path / "source") == []
    assert (tmp_path / "source/docs/site/index.md").is_file()


def test_every_page_is_on_the_site() -> None:
    index = (SITE / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:.*<)?(\.\./[^>\s]+|/tests/[^>\s]+)>?$", index, re.MULTILINE)
    patterns = [name.removeprefix("/") if name.startswith("/") else f"docs/site/{name}" for name in listed]
    shown = {found.resolve() for name in patterns for found in ROOT.glob(f"{name}.md")}
    shown |= {(ROOT / f"{name}.md").resolve() for name in patterns}
    assert {str(name) for name in pages(source_files()) if (ROOT / name).resolve() not in shown} == {
        "docs/site/index.md"
    }


@pytest.mark.parametrize(
    ("text", "right", "missing"),
    [
        ("[a](b.md) [c](https://x.example)", "[a](b.md) [c](https://x.example)", 0),
        ("[a](b.md#part), [here](#part)", "[a](b.md#part), [here](#part)", 0),
        ("see [the play](../p.yml).", "see the play.", 0),
        ("see [`code` of it](../p.yml)", "see `code` of it", 0),
        ("[a](gone.md)", "a", 1),
        ("[a](../../../etc/passwd)", "a", 1),
        ("```\n[a](gone.md)\n```\n", "```\n[a](gone.md)\n```\n", 0),
    ],
)
def test_only_pages_stay_linked(tmp_path: Path, text: str, right: str, missing: int) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/b.md").touch()
    (tmp_path / "p.yml").touch()
    said, wrong = relinked(text, Path("docs/a.md"), {Path("docs/a.md"), Path("docs/b.md")}, tmp_path)
    assert said == right
    assert len(wrong) == missing


def test_every_playbook_is_in_a_guide() -> None:
    told = "\n".join(path.read_text(encoding="utf-8") for path in GUIDES)
    assert {
        name for name in PLAYBOOKS if f"one_storage.drivers.{name}" not in told and f"`{name}`" not in told
    } == set()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_playbooks_and_variables_of_guides_are_there(guide: Path) -> None:
    there, text = words(), guide.read_text(encoding="utf-8")
    for command in COMMAND.findall(text):
        assert set(re.findall(r"one_storage\.drivers\.(\w+)", command)) <= PLAYBOOKS, command
        for name in re.findall(r"-e '?(?:\{\")?(\w+)(?:=|\":)", command):
            assert re.search(rf"\b{name}\b", there), f"{name} of {command}"
    for name in re.findall(r"-e (\w+)=", text):
        assert re.search(rf"\b{name}\b", there), name
