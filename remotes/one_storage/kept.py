# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What build.py replaced in a remotes tree, and how all of it comes back.

Below DEST/.one_storage.stock lie the files that stood where ours are now, each under its own name, and LAID: a line
for everything that was ever laid ("<sha256> <name>") or made ("folder <name>"). A file is ours when its bytes are
listed under its name; what somebody else put there since is theirs and stays. The folder travels with `onehost sync`
like the rest of the tree, so that a node can go back as the front-end can.

It is used by build.py alone and carried by an installer beside it. Standard library only, Python 3.9+.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

FOLDER = ".one_storage.stock"
LAID = "LAID"


def digest(path: Path) -> str:
    """The SHA-256 of a regular file; empty for a link, a folder, or nothing."""
    if path.is_symlink() or not path.is_file():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sync(path: Path) -> None:
    """Make a file, or a folder's list of names, last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Kept:
    """The kept files of the tree at dest."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.folder = dest / FOLDER
        self._listed = self._read()

    @property
    def there(self) -> bool:
        """Whether anything was ever laid here."""
        return bool(self._listed)

    def _read(self) -> dict[str, None]:
        path = self.folder / LAID
        return dict.fromkeys(path.read_text("utf-8").splitlines() if path.is_file() else [])

    def note(self, lines: list[str], owner: tuple[int, int] | None) -> None:
        """Write down what is about to be laid or made, before it is."""
        fresh = [line for line in lines if line not in self._listed]
        if not fresh and (self.folder / LAID).is_file():
            return
        self._listed.update(dict.fromkeys(fresh))
        self._folder(self.folder, owner)
        beside = self.folder / f".{LAID}"
        beside.write_text("".join(f"{line}\n" for line in self._listed), "utf-8")
        if owner is not None:
            os.chown(beside, *owner)
        sync(beside)
        beside.replace(self.folder / LAID)
        sync(self.folder)

    def is_ours(self, name: str) -> bool:
        """Whether what stands under this name was laid by us and nobody touched it since."""
        found = digest(self.dest / name)
        return bool(found) and f"{found} {name}" in self._listed

    def keep(self, name: str, owner: tuple[int, int] | None) -> None:
        """Copy what stands under this name, a file or a link, with mode, owner and time, before it is replaced."""
        source, target = self.dest / name, self.folder / name
        self._folder(target.parent, owner)
        beside = target.with_name(f".{target.name}.one_storage")
        beside.unlink(missing_ok=True)
        shutil.copy2(source, beside, follow_symlinks=False)
        if os.geteuid() == 0:
            status = source.lstat()
            os.chown(beside, status.st_uid, status.st_gid, follow_symlinks=False)
        if not beside.is_symlink():
            sync(beside)
        beside.replace(target)
        sync(target.parent)

    def _folder(self, path: Path, owner: tuple[int, int] | None) -> None:
        if path.is_dir():
            return
        if path != self.dest:
            self._folder(path.parent, owner)
        path.mkdir()
        if owner is not None:
            os.chown(path, *owner)

    # ------------------------------------------------------------ back

    def files(self) -> list[str]:
        """The names of the files that we laid and the tree still has, changed or not, the core's left out."""
        listed = {line.split(" ", 1)[1] for line in self._listed if not line.startswith("folder ")}
        return sorted(name for name in listed if os.path.lexists(self.dest / name))

    def give_back(self, check: bool) -> list[str]:
        """Put back what was kept, remove what we added, in words; with check, only the words.

        Each name changes in one step. What somebody else put in the place of ours stays.
        """
        changes = []
        for name in self.files():
            kept, path = self.folder / name, self.dest / name
            if not self.is_ours(name):
                # put back by a run that was killed, or laid by a package since
                if not os.path.lexists(kept):
                    changes.append(f"kept {name}")
            elif os.path.lexists(kept):
                changes.append(f"back {name}")
                if not check:
                    self.put_back(name)
            else:
                changes.append(f"gone {name}")
                if not check:
                    path.unlink()
        return changes

    def put_back(self, name: str) -> None:
        """Let what was kept take the place of ours, in one step."""
        kept, path = self.folder / name, self.dest / name
        beside = path.with_name(f".{path.name}.one_storage")
        beside.unlink(missing_ok=True)
        # a copy: killed before the list goes, the next run finds the kept file where it was
        shutil.copy2(kept, beside, follow_symlinks=False)
        if os.geteuid() == 0:
            status = kept.lstat()
            os.chown(beside, status.st_uid, status.st_gid, follow_symlinks=False)
        beside.replace(path)

    def tidy(self, name: str) -> None:
        """Remove a folder that was made by us and is empty."""
        folder = self.dest / name
        try:
            if f"folder {name}" in self._listed and not folder.is_symlink():
                folder.rmdir()
        except OSError:
            # gone, or somebody's files lie in it
            pass

    def forget(self) -> None:
        """Remove the folders that were made and are empty now, and the kept files with their list: the last step."""
        made = sorted((line.split(" ", 1)[1] for line in self._listed if line.startswith("folder ")), reverse=True)
        for name in made:
            if name != ".":
                self.tidy(name)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.tidy(".")
