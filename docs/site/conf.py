# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the documentation's pages. `make docs` lays them out and builds them (tests/tools/docs.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

OURS = "ansible_collections.one_storage.drivers."
project = "one_storage.drivers"
author = "one_storage.drivers contributors"
copyright = author
extensions = ["myst_parser", "sphinx_antsibull_ext"]
myst_heading_anchors = 4
highlight_language = "none"
html_theme = "sphinx_rtd_theme"
html_theme_options = {"navigation_depth": 3, "collapse_navigation": True}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_title = project


def elsewhere(app: Sphinx, env: BuildEnvironment, node: Element, words: Element) -> Element | None:
    """What a reference becomes that leads to no page here; None leaves it to Sphinx, which warns.

    Manual pages refer to Ansible's own documentation, which is another site: the words stay, without a link, as the
    pages are built without a network.
    """
    target: str = node.get("reftarget", "")
    if node["refdoc"].startswith("collections/") and not target.startswith(OURS):
        return words
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("missing-reference", elsewhere)
    return {"parallel_read_safe": True}
