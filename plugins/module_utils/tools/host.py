# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be looked at and done on one machine: files, links, directories, locks, commands.

The lead sends this file, and what it imports, to a peer as they are, so that the same code acts on both ends of an
action (see :mod:`.peer`). Errors are plain ``OSError`` and ``TimeoutError``; who calls turns them into sentences.

Everything that is being built or set aside for one object lies in its *workshop*,
``<datastore>/.one_storage/<key>/``: on the same file system as the datastore, so that a rename publishes it, and found
by its key alone, so that whoever gets the object's lock can clear it.
"""

from __future__ import annotations

import errno
import os
import stat as modes

from .command import run
from .copying import copy_data, nobody
from .files import (
    at_once,
    confine,
    is_socket,
    mount_of,
    remove_tree,
    spare_of,
    sync_directory,
    sync_tree,
    unlink,
    write_new,
)
from .hidden import HIDDEN, KEPT
from .locks import Locks
from .sweeping import is_kept, sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Host(Locks):
    """This machine. A peer is an object with the same methods that carries each call over SSH."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        #: Datastore and key of workshops that a peer empties when its lead goes away without a word.
        self.when_left: list[tuple[str, str]] = []

    # ---------------------------------------------------------------- looking

    def stat(self, path: str, follow: bool = False) -> dict[str, Any] | None:
        """Kind (file, directory, link, other), size, allocated bytes, inode, change time, owner; None for nothing."""
        try:
            info = os.stat(path) if follow else os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = "other"
        for name, test in (("file", modes.S_ISREG), ("directory", modes.S_ISDIR), ("link", modes.S_ISLNK)):
            if test(info.st_mode):
                kind = name
        return {
            "kind": kind,
            "size": info.st_size,
            "allocated": info.st_blocks * 512,
            "inode": info.st_ino,
            "changed": info.st_ctime,
            "owner": info.st_uid,
        }

    def readlink(self, path: str) -> str:
        """Where a link points, as it is written."""
        return os.readlink(path)

    def real(self, path: str) -> str:
        """The path with every link in it resolved."""
        return os.path.realpath(path)

    def entries(self, path: str) -> list[str]:
        """Sorted names in a directory; empty when it is not there."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, path: str, limit: int = 1 << 20) -> str | None:
        """The beginning of a text file; None when it is not there."""
        try:
            with open(path, "rb") as file:
                return file.read(limit).decode("utf-8", "replace")
        except FileNotFoundError:
            return None

    def head(self, path: str, size: int) -> str:
        """The first *size* bytes of a file, in hexadecimal digits, which travel as text."""
        with open(path, "rb", buffering=0, opener=at_once) as file:
            return os.pread(file.fileno(), size, 0).hex()

    def in_use(self, path: str) -> bool:
        """Whether a running QEMU writes to an image: it holds a lock on the byte that stands for writing.

        That is byte 101, see RAW_LOCK_PERM_BASE and BLK_PERM_WRITE in QEMU's block/file-posix.c. On NFS the locks of
        other hosts are seen too.
        """
        import fcntl
        import struct

        with open(path, "rb", buffering=0, opener=at_once) as file:
            wish = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 101, 1, 0)
            found = fcntl.fcntl(file.fileno(), fcntl.F_OFD_GETLK, wish)
        return bool(struct.unpack("hhqqixxxx", found)[0] != fcntl.F_UNLCK)

    def digest(self, path: str, name: str) -> list[Any]:
        """The hexadecimal digest and the size in bytes of a file (:func:`.digest.digest`)."""
        from .digest import digest

        return list(digest(path, name))

    def space(self, path: str) -> dict[str, int]:
        """Total, used and free bytes of the file system that holds *path*, as df counts them."""
        info = os.statvfs(path)
        return {
            "total": info.f_blocks * info.f_frsize,
            "used": (info.f_blocks - info.f_bfree) * info.f_frsize,
            "free": info.f_bavail * info.f_frsize,
        }

    # ---------------------------------------------------------------- doing

    def make_directory(self, path: str) -> None:
        """Make a directory with its parents; fine when it is there."""
        os.makedirs(path, exist_ok=True)

    def link(self, target: str, path: str, root: str) -> None:
        """Put a symbolic link at *path*; one that is there is replaced in one step, by way of :func:`spare_of`."""
        path = confine(root, path)
        try:
            os.symlink(target, path)
        except FileExistsError:
            spare = spare_of(path)
            unlink(spare)
            os.symlink(target, spare)
            os.rename(spare, path)
        if f"/{HIDDEN}/" not in path:
            sync_directory(os.path.dirname(path))

    def hard_link(self, target: str, path: str, root: str) -> None:
        """Give a file of the same file system one more name; what has that name is replaced in one step."""
        target, path = confine(root, target), confine(root, path)
        spare = spare_of(path)
        unlink(spare)
        os.link(target, spare, follow_symlinks=False)
        os.rename(spare, path)
        # a rename between two names of one file leaves both
        unlink(spare)
        sync_directory(os.path.dirname(path))

    def write(self, path: str, text: str, root: str, mode: int = 0o644) -> None:
        """Write a small file beside its name and put it in place (rule 5), unnamed until then where that can be."""
        path = confine(root, path)
        if write_new(path, text.encode(), mode):
            return
        spare = f"{path}.{os.getpid()}.new"
        handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            os.write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(spare, path)
        sync_directory(os.path.dirname(path))

    def place(self, path: str, text: str, digest: str, root: str) -> None:
        """Write a new file that came as base64; ``OSError(EBADMSG)`` unless it has this SHA-256.

        What an earlier try left in its place goes.
        """
        import base64
        import hashlib

        data = base64.b64decode(text)
        if hashlib.sha256(data).hexdigest() != digest:
            raise OSError(errno.EBADMSG, "the data changed on its way", path)
        path = confine(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        unlink(path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)

    def publish(self, part: str, final: str, root: str) -> None:
        """Make *part* durable and rename it to its final name."""
        part, final = confine(root, part), confine(root, final)
        if not os.path.islink(part):
            sync_tree(part)
        os.rename(part, final)
        sync_directory(os.path.dirname(final))

    def rename(self, old: str, new: str, root: str) -> None:
        """Rename within one datastore."""
        old, new = confine(root, old), confine(root, new)
        os.rename(old, new)
        sync_directory(os.path.dirname(new))
        if os.path.dirname(old) != os.path.dirname(new):
            sync_directory(os.path.dirname(old))

    def remove(self, path: str, root: str) -> None:
        """Delete a file, a link or a directory with all in it; fine when it is gone. Links are never followed."""
        path = confine(root, path)
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not modes.S_ISDIR(info.st_mode):
            unlink(path)
            return
        remove_tree(path)

    def remove_if_empty(self, path: str, root: str) -> None:
        """Delete a directory that holds nothing."""
        try:
            os.rmdir(confine(root, path))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise

    def truncate(self, path: str, size: int, root: str) -> None:
        """Make a new file that is one hole of *size* bytes."""
        handle = os.open(confine(root, path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            os.ftruncate(handle, size)
        finally:
            os.close(handle)

    def copy(
        self,
        source: str,
        part: str,
        root: str,
        limit: int = 0,
        digests: Sequence[str] = (),
        passed: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Copy a file with its holes; by reflink or inside the kernel unless a digest is wanted.

        :param limit: most bytes that the copy may have; ``OSError(EFBIG)`` when the source is larger. 0: no limit.
        :param digests: names of hashlib digests to take of the bytes while they pass.
        :param passed: told now and then how many bytes, holes among them, are behind us; on this host only.
        :returns: ``size`` in bytes and ``digests`` by name.
        """
        part = confine(root, part)
        with open(source, "rb", buffering=0, opener=at_once) as reader:
            before = os.fstat(reader.fileno())
            if not modes.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "this is not a regular file", source)
            if limit and before.st_size > limit:
                raise OSError(errno.EFBIG, "the file is larger than allowed", source)
            writer = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            try:
                taken = copy_data(reader.fileno(), writer, before.st_size, digests, passed or nobody)
                os.fsync(writer)
            finally:
                os.close(writer)
            after = os.fstat(reader.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EAGAIN, "the file changed while it was read", source)
        return {"size": before.st_size, "digests": taken}

    def copy_tree(self, source: str, part: str, root: str) -> None:
        """Copy a file, a link as a link, or a directory with all in it; holes stay holes."""
        info = self.stat(source)
        if info is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", source)
        if info["kind"] == "link":
            os.symlink(os.readlink(source), confine(root, part))
        elif info["kind"] == "directory":
            os.mkdir(confine(root, part))
            for name in self.entries(source):
                if not is_socket(os.path.join(source, name)):
                    self.copy_tree(os.path.join(source, name), os.path.join(part, name), root)
        else:
            self.copy(source, part, root)

    def same_file_system(self, one: str, other: str) -> bool:
        """Whether a rename can go from one existing directory to another: both lie in one mount of one file system."""
        return os.stat(one).st_dev == os.stat(other).st_dev and mount_of(one) == mount_of(other)

    def run(
        self,
        argv: Sequence[str],
        deadline: float,
        limits: Sequence[str] = (),
        stdin: str = "",
        variables: dict[str, str] | None = None,
        most: int = 1 << 16,
    ) -> dict[str, Any]:
        """Run a command to its end (:func:`.command.run`). What it must not be seen to be given, it reads."""
        return run(argv, deadline, limits, stdin.encode(), variables, most)

    # ---------------------------------------------------------------- workshops

    def workshop(self, datastore: str, key: str, clear: bool = True) -> str:
        """Make the workshop of an object whose lock is held; what a dead run left in it is removed first."""
        path = os.path.join(datastore, HIDDEN, key)
        if clear:
            self.clear(datastore, key, True)
        os.makedirs(path, exist_ok=True)
        return path

    def clear(self, datastore: str, key: str, keep: bool) -> bool:
        """Remove the workshop of an object whose lock is held.

        :param keep: spare what came of a stream that broke less than a day ago (:data:`KEPT`).
        :returns: whether there is something that was spared.
        """
        path = os.path.join(datastore, HIDDEN, key)
        if not (keep and is_kept(os.path.join(path, KEPT))):
            self.remove(path, datastore)
            return False
        for name in self.entries(path):
            if name != KEPT:
                self.remove(os.path.join(path, name), datastore)
        return True

    def clear_when_left(self, datastore: str, key: str) -> None:
        """Let this peer empty the workshop of an object, whose lock it holds, when its lead is gone."""
        self.when_left.append((datastore, key))

    def unpack(self, kept: str, folder: str, names: Sequence[str], root: str) -> None:
        """Put what came whole, under *names* in the folder *kept*, into another folder of the same workshop."""
        kept, folder = confine(root, kept), confine(root, folder)
        for name in names:
            os.rename(os.path.join(kept, name), os.path.join(folder, name))
        self.remove(kept, root)
        self.remove_if_empty(os.path.dirname(kept), root)

    def sweep(self, datastore: str) -> list[str]:
        """Remove workshops that no journal speaks of and nobody else holds; their keys are returned.

        The file that told how far a dead run was (:mod:`.progress`) goes with them, and so does the receipt of a VM's
        directory that somebody else removed.

        For the time before the first step: what is there then is not ours, whoever holds the lock.
        """
        return sweep(self, datastore)


#: What a lead may ask of a peer.
OPERATIONS = frozenset(name for name in dir(Host) if not name.startswith("_"))
