# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on directories, links and names."""

from __future__ import annotations

import os

from .._errors import StorageError, from_os
from ..tools.files import spare_of
from ..tools.hidden import HIDDEN
from .base import Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class MakeDirectory(Step):
    """Make a directory of a VM or a datastore."""

    kind: ClassVar[str] = "make-directory"

    def __init__(self, where: str, path: str, inside: str) -> None:
        super().__init__(where)
        self.path = path
        self.inside = inside
        self.made = False

    def evidence(self, site: Site) -> dict[str, Any]:
        return {"made": True}

    def words(self) -> str:
        return f"create the directory {shown(self.path)}"

    def done(self, site: Site) -> bool:
        return site.host(self.where).stat(self.path, follow=True) is not None

    def do(self, site: Site) -> None:
        site.host(self.where).make_directory(self.path)

    def undo(self, site: Site) -> None:
        if self.made:
            site.host(self.where).remove_if_empty(self.path, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return None if f"/{HIDDEN}/" in self.path else (self.path, "directory")


class Publish(Step):
    """Give a finished file, link or directory its final name; what had that name is set aside first.

    :param aside: where an old one goes (in the workshop, which is emptied at the very end); empty when there is none.
    """

    kind: ClassVar[str] = "publish"

    def __init__(self, where: str, part: str, path: str, inside: str, aside: str = "", what: str = "file") -> None:
        super().__init__(where)
        self.part = part
        self.path = path
        self.inside = inside
        self.aside = aside
        self.what = what
        self.inode = 0
        #: When another process undoes this: what changed after this time (seconds since the epoch) is not ours alone.
        self.until = 0.0

    def evidence(self, site: Site) -> dict[str, Any]:
        info = site.host(self.where).stat(self.part)
        return {"inode": info["inode"] if info else 0}

    def words(self) -> str:
        return f"put the {self.what} {self.path} in place" + (", instead of the old one" if self.aside else "")

    def done(self, site: Site) -> bool:
        there = site.host(self.where).stat(self.path)
        return bool(there and there["inode"] == self.inode)

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        if self.aside and host.stat(self.path) is not None:
            host.rename(self.path, self.aside, self.inside)
        host.publish(self.part, self.path, self.inside)

    def undo(self, site: Site) -> None:
        host = site.host(self.where)
        there = host.stat(self.path)
        # only what we put there ourselves is taken away: another driver, or a guest, may have come in between
        if there and there["inode"] == self.inode and (not self.until or there["changed"] <= self.until):
            host.remove(self.path, self.inside)
            there = None
        if there is None and self.aside and host.stat(self.aside) is not None:
            host.rename(self.aside, self.path, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.path, self.what


class PublishForGood(Publish):
    """A publish after which there is no way back: the copy is proven, what it replaces may go.

    A file or link replaces another in one rename, so that the name is never without content; only a directory is set
    aside first. What fails, or is killed, in between is undone like any other publish.
    """

    kind: ClassVar[str] = "publish-for-good"
    final = True

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        for path in (self.part, self.path):
            info = host.stat(path)
            if info and info["kind"] == "directory":
                super().do(site)
                return
        host.publish(self.part, self.path, self.inside)


class Replace(PublishForGood):
    """Put a file or link in the place of another in one rename: what stood there is gone at once.

    There is nothing to take back: before the rename the old one stands there, after it the new one, which is whole.
    """

    kind: ClassVar[str] = "replace"

    def words(self) -> str:
        return f"put the {self.what} {self.path} in place of the old one"

    def undo(self, site: Site) -> None:
        if self.done(site):
            raise StorageError(f"The new {self.what} {self.path} is in place", site.host(self.where).name)


class MakeHardLink(Step):
    """Let a name that is a symbolic link to a file be one more name of the file itself, in one step.

    :param old: target of the symbolic link, to put it back.
    """

    kind: ClassVar[str] = "hard-link"

    def __init__(self, where: str, path: str, source: str, inside: str, old: str) -> None:
        super().__init__(where)
        self.path = path
        self.source = source
        self.inside = inside
        self.old = old

    def words(self) -> str:
        return f"let {self.path} be a name of the file {self.source}"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        here, there = host.stat(self.path), host.stat(self.source)
        return bool(here and there and here["kind"] == "file" and here["inode"] == there["inode"])

    def do(self, site: Site) -> None:
        site.host(self.where).hard_link(self.source, self.path, self.inside)

    def undo(self, site: Site) -> None:
        spare = spare_of(self.path)
        if site.host(self.where).stat(spare):
            site.host(self.where).remove(spare, self.inside)
        if self.done(site):
            site.host(self.where).link(self.old, self.path, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.path, "file"


class MakeLink(Step):
    """Put a symbolic link in place; one that is there is replaced in one step.

    :param old: target of the link that stood there, to put it back; empty when there was none.
    """

    kind: ClassVar[str] = "link"

    def __init__(self, where: str, path: str, target: str, inside: str, old: str = "") -> None:
        super().__init__(where)
        self.path = path
        self.target = target
        self.inside = inside
        self.old = old

    def words(self) -> str:
        return f"link {shown(self.path)} to {self.target}"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        info = host.stat(self.path)
        return bool(info and info["kind"] == "link" and host.readlink(self.path) == self.target)

    def do(self, site: Site) -> None:
        site.host(self.where).link(self.target, self.path, self.inside)

    def undo(self, site: Site) -> None:
        spare = spare_of(self.path)
        if site.host(self.where).stat(spare):
            site.host(self.where).remove(spare, self.inside)
        if not self.done(site):
            return
        if self.old:
            site.host(self.where).link(self.old, self.path, self.inside)
        else:
            site.host(self.where).remove(self.path, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return None if f"/{HIDDEN}/" in self.path else (self.path, f"link to {self.target}")


class LinkInPlace(MakeLink):
    """Let a disk's name lead elsewhere, for good: a guest may write there before anybody finds out that we died.

    What had the name, a file or a link, is left to its other names.
    """

    kind: ClassVar[str] = "link-in-place"
    final = True

    def undo(self, site: Site) -> None:
        spare = spare_of(self.path)
        if site.host(self.where).stat(spare):
            site.host(self.where).remove(spare, self.inside)


class WriteFile(Step):
    """Write a small text file.

    :param old: its text before, to put it back; None when it was not there.
    """

    kind: ClassVar[str] = "write"

    def __init__(self, where: str, path: str, text: str, inside: str, old: str | None = None) -> None:
        super().__init__(where)
        self.path = path
        self.text = text
        self.inside = inside
        self.old = old

    def words(self) -> str:
        return f"write {self.text.strip()!r} to {self.path}"

    def done(self, site: Site) -> bool:
        return site.host(self.where).read(self.path) == self.text

    def do(self, site: Site) -> None:
        site.host(self.where).write(self.path, self.text, self.inside)

    def undo(self, site: Site) -> None:
        # markers say what the datastore is, not what this action made: once right they stay
        return

    def changes(self) -> tuple[str, str] | None:
        return self.path, self.text.strip()


class Discard(Step):
    """Take something out of its place for good: it is renamed into the workshop, which is emptied at the very end."""

    kind: ClassVar[str] = "discard"
    final = True

    def __init__(self, where: str, path: str, aside: str, inside: str, what: str = "file") -> None:
        super().__init__(where)
        self.path = path
        self.aside = aside
        self.inside = inside
        self.what = what

    def words(self) -> str:
        return f"remove the {self.what} {self.path}"

    def done(self, site: Site) -> bool:
        return site.host(self.where).stat(self.path) is None

    def do(self, site: Site) -> None:
        import errno

        host = site.host(self.where)
        try:
            host.rename(self.path, self.aside, self.inside)
        except OSError as error:
            # a directory that is a file system of its own cannot be renamed away
            if error.errno not in (errno.EXDEV, errno.EBUSY):
                raise
            host.remove(self.path, self.inside)

    def remove(self, site: Site) -> None:
        """Delete in place, for when there is no room even for a workshop."""
        try:
            site.host(self.where).remove(self.path, self.inside)
        except OSError as error:
            raise from_os(error, self.words(), site.host(self.where).name) from error

    def changes(self) -> tuple[str, str] | None:
        return self.path, "absent"


class SetAside(Discard):
    """Take something that is being replaced out of its place; it comes back when the action fails."""

    kind: ClassVar[str] = "set-aside"
    final = False

    def undo(self, site: Site) -> None:
        host = site.host(self.where)
        if host.stat(self.path) is None and host.stat(self.aside) is not None:
            host.rename(self.aside, self.path, self.inside)


class Move(Step):
    """Rename a directory between two datastores on one file system: all of it moves at once."""

    kind: ClassVar[str] = "move"
    final = True

    def __init__(self, where: str, path: str, target: str, root: str) -> None:
        super().__init__(where)
        self.path = path
        self.target = target
        self.root = root

    def words(self) -> str:
        return f"move {self.path} to {self.target}"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        return host.stat(self.path) is None and host.stat(self.target) is not None

    def do(self, site: Site) -> None:
        site.host(self.where).rename(self.path, self.target, self.root)

    def changes(self) -> tuple[str, str] | None:
        return self.target, f"was {self.path}"


def workshop_name(folder: str, path: str, suffix: str = "") -> str:
    """A name in a workshop for what belongs at *path*."""
    return os.path.join(folder, os.path.basename(path) + suffix)
