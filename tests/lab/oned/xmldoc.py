# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer for the XML that oned sends: one line, no indentation, values of templates in CDATA.

oned builds its documents as text. Which values stand in CDATA, and that an empty value is `<A><![CDATA[]]></A>` while
an empty collection is `<A/>`, is part of what drivers see, so the stand-in writes the text itself as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

TemplateValue = str | Mapping[str, str] | Sequence[Mapping[str, str]]
Template = Mapping[str, TemplateValue]


@dataclass
class Element:
    """One element: either children or text; text is escaped or, with `cdata`, wrapped."""

    tag: str
    children: list[Element] = field(default_factory=list)
    text: str | None = None
    cdata: bool = False

    def render(self) -> str:
        """The element and everything below it as one line of XML (line breaks inside values stay)."""
        if self.text is not None:
            inner = _cdata(self.text) if self.cdata else _escape(self.text)
        else:
            inner = "".join(child.render() for child in self.children)
            if not inner:
                return f"<{self.tag}/>"
        return f"<{self.tag}>{inner}</{self.tag}>"


def node(tag: str, children: Iterable[Element] = ()) -> Element:
    """An element that holds other elements."""
    return Element(tag, children=list(children))


def text(tag: str, value: object) -> Element:
    """An element with plain, escaped text: what oned does with ids, names, states and times."""
    return Element(tag, text=str(value))


def cdata(tag: str, value: object) -> Element:
    """An element whose text stands in CDATA: what oned does with everything a user may have written."""
    return Element(tag, text=str(value), cdata=True)


def ids(tag: str, numbers: Iterable[int]) -> Element:
    """A collection of ids in ascending order, as in IMAGES, VMS, CLUSTERS."""
    return node(tag, [text("ID", number) for number in sorted(numbers)])


def template(tag: str, values: Template) -> Element:
    """A template: attributes sorted by name, those with several values one after the other in their own order."""
    children: list[Element] = []
    for name in sorted(values):
        value = values[name]
        if isinstance(value, str):
            children.append(cdata(name, value))
        elif isinstance(value, Mapping):
            children.append(_vector(name, value))
        else:
            children.extend(_vector(name, item) for item in value)
    return node(tag, children)


def _vector(name: str, values: Mapping[str, str]) -> Element:
    return node(name, [cdata(key, values[key]) for key in sorted(values)])


def _escape(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cdata(value: str) -> str:
    # A CDATA section cannot hold its own end; two sections can.
    return "<![CDATA[" + value.replace("]]>", "]]]]><![CDATA[>") + "]]>"
