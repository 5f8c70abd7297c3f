# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on what nobody knows: out of its place into the quarantine, and back."""

from __future__ import annotations

import os

from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

#: Ends the name of the file beside what lies in the quarantine that says where it came from.
MANIFEST = ".manifest"


class Quarantine(Step):
    """Rename something into the quarantine; what it was is written beside it before that.

    :param aside: its place in the quarantine; nothing may lie there.
    :param manifest: what it was, as JSON.
    """

    kind: ClassVar[str] = "quarantine"

    def __init__(self, where: str, path: str, aside: str, inside: str, manifest: str) -> None:
        super().__init__(where)
        self.path = path
        self.aside = aside
        self.inside = inside
        self.manifest = manifest

    def words(self) -> str:
        return f"put {self.path} into the quarantine"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        return host.stat(self.path) is None and host.stat(self.aside) is not None

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.aside))
        host.write(self.aside + MANIFEST, self.manifest, self.inside)
        host.rename(self.path, self.aside, self.inside)

    def undo(self, site: Site) -> None:
        host = site.host(self.where)
        if host.stat(self.path) is None and host.stat(self.aside) is not None:
            host.rename(self.aside, self.path, self.inside)
        if host.stat(self.aside) is None:
            host.remove(self.aside + MANIFEST, self.inside)
        _tidy(site, self)

    def changes(self) -> tuple[str, str] | None:
        return self.path, f"in the quarantine, {self.aside}"


class PutBack(Step):
    """Give something in the quarantine its name again, where nothing stands.

    :param manifest: what its manifest says, to set it aside once more.
    """

    kind: ClassVar[str] = "put-back"

    def __init__(self, where: str, aside: str, path: str, inside: str, manifest: str) -> None:
        super().__init__(where)
        self.path = path
        self.aside = aside
        self.inside = inside
        self.manifest = manifest

    def words(self) -> str:
        return f"put {self.path} back out of the quarantine"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        left = host.stat(self.aside) or host.stat(self.aside + MANIFEST)
        return left is None and host.stat(self.path) is not None

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.rename(self.aside, self.path, self.inside)
        host.remove(self.aside + MANIFEST, self.inside)
        _tidy(site, self)

    def undo(self, site: Site) -> None:
        host = site.host(self.where)
        if host.stat(self.aside) is None and host.stat(self.path) is not None:
            host.make_directory(os.path.dirname(self.aside))
            host.write(self.aside + MANIFEST, self.manifest, self.inside)
            host.rename(self.path, self.aside, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.path, "out of the quarantine"


class Purge(Step):
    """Delete something that lies in the quarantine, for good."""

    kind: ClassVar[str] = "purge"
    final = True

    def __init__(self, where: str, aside: str, inside: str) -> None:
        super().__init__(where)
        self.aside = aside
        self.inside = inside

    def words(self) -> str:
        return f"delete {self.aside}"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        return host.stat(self.aside) is None and host.stat(self.aside + MANIFEST) is None

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.remove(self.aside, self.inside)
        # last, so that what a killed run left of it is still listed
        host.remove(self.aside + MANIFEST, self.inside)
        _tidy(site, self)

    def changes(self) -> tuple[str, str] | None:
        return self.aside, "absent"


def _tidy(site: Site, step: Quarantine | PutBack | Purge) -> None:
    """Remove the folders of the quarantine that hold nothing any more: that of a VM, of the day."""
    folder = os.path.dirname(step.aside)
    while folder.startswith(step.inside + "/") and os.path.dirname(folder) != step.inside:
        site.host(step.where).remove_if_empty(folder, step.inside)
        folder = os.path.dirname(folder)
