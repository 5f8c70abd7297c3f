# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the documentation as HTML: the pages of this project, and the manual pages of its modules, roles and plugins.

There is one source for each page. The Markdown pages are copied at build time as they lie in the project, so that
their links to each other hold; antsibull-docs writes the manual pages out of the staged copy; Sphinx reads both,
without a network, and takes any warning for an error. A link to a file that is no page (a playbook, a test) keeps its
words and loses its address; one to a file that is not there is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tools.stage import ROOT, TREE, source_files

WORK = ROOT / ".cache" / "docs"
SOURCE = WORK / "source"
SITE = ROOT / "docs" / "site"
HTML = ROOT / "dist" / "docs"
BIN = Path(sys.executable).parent
COLLECTION = "one_storage.drivers"
SECONDS = 600

FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
# [words](address), not an image; the words may hold code, and stand in one line or two.
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^]\[])+)\]\(([^()\s]+)\)")


def pages(names: set[Path]) -> set[Path]:
    """The Markdown pages among the project's files: its own at the top, guides, and what describes a folder."""
    return {
        name
        for name in names
        if name.suffix == ".md" and (len(name.parts) == 1 or name.parts[0] == "docs" or name.name == "README.md")
    }


def relinked(text: str, page: Path, known: set[Path], root: Path) -> tuple[str, list[str]]:
    """A page's text without addresses of what is no page, and the addresses of what is not there.

    `page` and `known` (the pages) are relative to `root`, the project's folder.
    """
    missing: list[str] = []

    def link(found: re.Match[str]) -> str:
        words, address = found.groups()
        if re.match(r"[a-z]+:|#", address):
            return found.group()
        target = Path(os.path.normpath(page.parent / address.partition("#")[0]))
        if target in known:
            return found.group()
        if target.parts[0] == ".." or not (root / target).exists():
            missing.append(f"{page}: {address} is not there")
        return words

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts), missing


def lay(root: Path = ROOT, source: Path = SOURCE) -> list[str]:
    """Copy the pages below root to source, and return what is wrong with their links."""
    shutil.rmtree(source, ignore_errors=True)
    known = pages(source_files(root))
    wrong: list[str] = []
    for name in sorted(known):
        text, missing = relinked((root / name).read_text(encoding="utf-8"), name, known, root)
        wrong += missing
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return wrong


def run(*command: str) -> None:
    """Run one of the tools, which find each other and the staged copy; CalledProcessError when it fails."""
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "ANSIBLE_COLLECTIONS_PATH": str(TREE),
        "ANSIBLE_HOME": str(WORK / "ansible"),
    }
    subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, timeout=SECONDS)


def main() -> int:
    """Build all, and say where it lies; 1 with the tools' words when something is wrong."""
    wrong = lay()
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    manual = SOURCE / "collections"
    manual.mkdir()
    try:
        options = ["--use-current", "--fail-on-error", "--squash-hierarchy", "--no-add-antsibull-docs-version"]
        antsibull = [str(BIN / "antsibull-docs"), "--config-file", str(SITE / "antsibull.cfg")]
        run(*antsibull, "collection", *options, "--dest-dir", str(manual), COLLECTION)
        shutil.rmtree(HTML, ignore_errors=True)
        sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-j", "auto"]
        root = ["-D", "root_doc=docs/site/index", "-c", str(SITE), "-d", str(WORK / "doctrees")]
        run(*sphinx, *root, str(SOURCE), str(HTML))
    except subprocess.CalledProcessError as error:
        print(f"docs: {Path(error.cmd[0]).name} failed", file=sys.stderr)
        return 1
    (HTML / "index.html").write_text(
        '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/site/index.html">'
        '<title>one_storage.drivers</title><a href="docs/site/index.html">one_storage.drivers</a>\n',
        encoding="utf-8",
    )
    print(f"docs: {HTML.relative_to(ROOT)}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
