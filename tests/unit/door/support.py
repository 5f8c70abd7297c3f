# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the oned door have in common: recorded documents, and an oned that knows just these."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lxml import etree

from plugins.module_utils._errors import Missing, StorageError
from plugins.plugin_utils.calls import Call, Context
from plugins.plugin_utils.settings import Settings

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
ROOT = Path(__file__).parents[3]
#: What the wrappers run with; without it (another system) the interpreter of the tests has to do.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


class KnowsNothing:
    """An oned without objects, which also counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def vm(self, number: int) -> Any:
        return self._find("vm", number)

    def datastore(self, number: int) -> Any:
        return self._find("datastore", number)

    def image(self, number: int) -> Any:
        return self._find("image", number)

    def _find(self, kind: str, number: int) -> Any:
        self.asked.append(f"{kind} {number}")
        raise Missing(f"oned does not give {kind} {number}: [one.{kind}.info] Error getting {kind} [{number}].")


class Captured(KnowsNothing):
    """An oned with the objects that a real one showed at a moment of the recorded life."""

    def __init__(self, drivers: str, moment: str = "running") -> None:
        super().__init__()
        self.documents: dict[str, Any] = {}
        for path in CAPTURES.glob(f"{drivers}.{moment}.show-x.one*.xml"):
            kind, number = path.name.split(".")[-3:-1]
            self.documents[f"{kind[3:]} {number}"] = etree.parse(str(path)).getroot()

    def _find(self, kind: str, number: int) -> Any:
        if f"{kind} {number}" not in self.documents:
            return super()._find(kind, number)
        self.asked.append(f"{kind} {number}")
        return self.documents[f"{kind} {number}"]


class Documents(KnowsNothing):
    """An oned with documents written by hand, by kind and id."""

    def __init__(self, **documents: str) -> None:
        super().__init__()
        self.documents = {name.replace("_", " "): etree.fromstring(text) for name, text in documents.items()}

    def _find(self, kind: str, number: int) -> Any:
        if f"{kind} {number}" not in self.documents:
            return super()._find(kind, number)
        self.asked.append(f"{kind} {number}")
        return self.documents[f"{kind} {number}"]


def context(oned: KnowsNothing | None = None, root: str = "/nowhere") -> Context:
    """A call's context, with the settings of a remotes directory."""
    return Context(oned or KnowsNothing(), Settings(root))  # type: ignore[arg-type]


def complete(call: Call, oned: KnowsNothing | None = None, here: bool = True, root: str = "/nowhere") -> dict[str, Any]:
    """A call's options without the timeouts that all have."""
    options = call.complete(context(oned, root), here)
    for name in ("command_timeout", "stall_timeout", "lock_timeout"):
        options.pop(name)
    return options


def sentence(error: StorageError) -> str:
    """What oned would be told."""
    text = str(error)
    assert text and "\n" not in text and len(text) < 1000
    return text
