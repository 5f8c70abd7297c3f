# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be looked at and done on one machine: files, links, directories, locks, commands.

This file imports the standard library and :mod:`.command` only: the lead sends both to a peer as they are, so that the
same code acts on both ends of an action (see :mod:`.peer`). Errors are plain ``OSError`` and ``TimeoutError``; who
calls turns them into sentences.

Everything that is being built or set aside for one object lies in its *workshop*,
``<datastore>/.one_storage/<key>/``: on the same file system as the datastore, so that a rename publishes it, and found
by its key alone, so that whoever gets the object's lock can clear it.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time

from .command import going_on, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

HIDDEN = ".one_storage"
LOCKS = "locks"
PROBE = "probe-"
STATUS = ".status"
#: Ends the name of the receipt of a VM that came by ``mv``: it stays as long as the directory that it names.
ARRIVED = ".arrived"
#: Folder of files that were made for others to fetch; they dispose of them, or a sweep does after a day.
EXPORTS = "exports"
#: Folder of what nobody knew and was taken out of its place, by day; it stays until somebody puts it back or purges it.
QUARANTINE = "quarantine"
_EXPORT_SECONDS = 86400
#: Folder of a workshop in which a stream lands. What a broken one left there stays for so long, for a run that goes on.
KEPT = "kept"
_KEPT_SECONDS = 86400
_CHUNK = 1 << 20
_SLICE = 64 << 20


def confine(root: str, path: str) -> str:
    """Return *path* with its parent resolved; ``PermissionError`` unless that lies at or below *root* (rule 6).

    The last component itself is not followed: a link is handled as a link.
    """
    name = os.path.basename(path)
    if name in ("", ".", "..") or not path.startswith("/") or not root.startswith("/"):
        raise PermissionError(errno.EPERM, "this is not the path of a file in a datastore", path)
    parent = os.path.realpath(os.path.dirname(path))
    base = os.path.realpath(root)
    if base == "/" or (parent != base and not parent.startswith(base + "/")):
        raise PermissionError(errno.EPERM, f"the path is not inside {root}", path)
    return os.path.join(parent, name)


class Host:
    """This machine. A peer is an object with the same methods that carries each call over SSH."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._held: dict[tuple[str, str], int] = {}
        self._exclusive: set[tuple[str, str]] = set()

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
        with open(path, "rb", buffering=0, opener=_at_once) as file:
            return os.pread(file.fileno(), size, 0).hex()

    def in_use(self, path: str) -> bool:
        """Whether a running QEMU writes to an image: it holds a lock on the byte that stands for writing.

        That is byte 101, see RAW_LOCK_PERM_BASE and BLK_PERM_WRITE in QEMU's block/file-posix.c. On NFS the locks of
        other hosts are seen too.
        """
        import fcntl
        import struct

        with open(path, "rb", buffering=0, opener=_at_once) as file:
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
            _unlink(spare)
            os.symlink(target, spare)
            os.rename(spare, path)
        if f"/{HIDDEN}/" not in path:
            _sync_directory(os.path.dirname(path))

    def hard_link(self, target: str, path: str, root: str) -> None:
        """Give a file of the same file system one more name; what has that name is replaced in one step."""
        target, path = confine(root, target), confine(root, path)
        spare = spare_of(path)
        _unlink(spare)
        os.link(target, spare, follow_symlinks=False)
        os.rename(spare, path)
        # a rename between two names of one file leaves both
        _unlink(spare)
        _sync_directory(os.path.dirname(path))

    def write(self, path: str, text: str, root: str, mode: int = 0o644) -> None:
        """Write a small file beside its name and put it in place (rule 5), unnamed until then where that can be."""
        path = confine(root, path)
        if _write_new(path, text.encode(), mode):
            return
        spare = f"{path}.{os.getpid()}.new"
        handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            os.write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(spare, path)
        _sync_directory(os.path.dirname(path))

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
        _unlink(path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)

    def publish(self, part: str, final: str, root: str) -> None:
        """Make *part* durable and rename it to its final name."""
        part, final = confine(root, part), confine(root, final)
        if not os.path.islink(part):
            _sync_tree(part)
        os.rename(part, final)
        _sync_directory(os.path.dirname(final))

    def rename(self, old: str, new: str, root: str) -> None:
        """Rename within one datastore."""
        old, new = confine(root, old), confine(root, new)
        os.rename(old, new)
        _sync_directory(os.path.dirname(new))
        if os.path.dirname(old) != os.path.dirname(new):
            _sync_directory(os.path.dirname(old))

    def remove(self, path: str, root: str) -> None:
        """Delete a file, a link or a directory with all in it; fine when it is gone. Links are never followed."""
        path = confine(root, path)
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not modes.S_ISDIR(info.st_mode):
            _unlink(path)
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
        with open(source, "rb", buffering=0, opener=_at_once) as reader:
            before = os.fstat(reader.fileno())
            if not modes.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "this is not a regular file", source)
            if limit and before.st_size > limit:
                raise OSError(errno.EFBIG, "the file is larger than allowed", source)
            writer = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            try:
                taken = _copy_data(reader.fileno(), writer, before.st_size, digests, passed or _nobody)
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
        return os.stat(one).st_dev == os.stat(other).st_dev and _mount(one) == _mount(other)

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

    # ---------------------------------------------------------------- locks and workshops

    def lock(self, datastore: str, key: str, shared: bool, wait: float) -> None:
        """Hold the lock of one object of a datastore until :meth:`unlock` or the end of this process.

        All locks of a datastore are bytes of one file that is never removed; the kernel, and NFS, release them with the
        process. The byte follows from the key alone.

        :raises BlockingIOError: when somebody else still holds it after *wait* seconds.
        """
        import fcntl
        import struct

        folder = os.path.join(datastore, HIDDEN)
        os.makedirs(folder, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(os.path.join(folder, LOCKS), flags, 0o644)
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        request = struct.pack("hhqqixxxx", kind, os.SEEK_SET, _byte_of(key), 1, 0)
        until, pause = time.monotonic() + wait, 0.005
        while True:
            try:
                fcntl.fcntl(handle, fcntl.F_OFD_SETLK, request)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    os.close(handle)
                    raise
            if time.monotonic() >= until:
                os.close(handle)
                raise BlockingIOError(errno.EAGAIN, f"another action holds {key}", datastore)
            time.sleep(pause)
            pause = min(pause * 2, 0.25)
        self._held[(datastore, key)] = handle
        if not shared:
            self._exclusive.add((datastore, key))

    def held(self, datastore: str, key: str) -> bool:
        """Whether somebody holds the lock of an object; it is not taken, not even for a moment."""
        import fcntl
        import struct

        try:
            handle = os.open(os.path.join(datastore, HIDDEN, LOCKS), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            wish = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, _byte_of(key), 1, 0)
            found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, wish)
        finally:
            os.close(handle)
        return bool(struct.unpack("hhqqixxxx", found)[0] != fcntl.F_UNLCK)

    def unlock(self, datastore: str, key: str) -> None:
        """Give a lock back."""
        handle = self._held.pop((datastore, key), -1)
        self._exclusive.discard((datastore, key))
        if handle >= 0:
            os.close(handle)

    def holds(self, datastore: str, key: str) -> bool:
        """Whether this process holds the lock of an object for itself."""
        return (datastore, key) in self._exclusive

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
        if not (keep and _is_kept(os.path.join(path, KEPT))):
            self.remove(path, datastore)
            return False
        for name in self.entries(path):
            if name != KEPT:
                self.remove(os.path.join(path, name), datastore)
        return True

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
        folder = os.path.join(datastore, HIDDEN)
        names = self.entries(folder)
        swept = []
        for key in names:
            path = os.path.join(folder, key)
            if key.startswith(PROBE):
                _remove_old(path, 3600)
            if key == QUARANTINE:
                continue
            if key == EXPORTS:
                for name in self.entries(path):
                    _remove_old(os.path.join(path, name), _EXPORT_SECONDS)
                continue
            told = key.endswith(STATUS)
            key = key[: -len(STATUS)] if told else key
            vm = ""
            if key.startswith("vm-") and key.endswith(ARRIVED):
                key, told = key[: -len(ARRIVED)], True
                vm = os.path.join(datastore, key[3:])
            if key + ".journal" in names or not (told or os.path.isdir(path)) or (vm and os.path.lexists(vm)):
                continue
            ours = (datastore, key) in self._exclusive
            try:
                if not ours:
                    self.lock(datastore, key, False, 0)
                try:
                    # looked at again, now that nobody else can change it
                    if not os.path.exists(os.path.join(folder, key + ".journal")) and not (vm and os.path.lexists(vm)):
                        if told:
                            self.remove(path, datastore)
                        elif not self.clear(datastore, key, True):
                            swept.append(key)
                finally:
                    if not ours:
                        self.unlock(datastore, key)
            except OSError:
                # it is somebody's, or this host may only read here
                continue
        return swept


#: What a lead may ask of a peer.
OPERATIONS = frozenset(name for name in vars(Host) if not name.startswith("_"))


def _byte_of(key: str) -> int:
    """Which byte of the file of locks stands for an object."""
    # zlib, because hashlib loads OpenSSL, which takes longer than all the rest of a lock
    import zlib

    name = os.fsencode(key)
    return zlib.crc32(name) << 30 | zlib.crc32(name[::-1]) >> 2


def spare_of(path: str) -> str:
    """The name under which a link is made that will replace another; only who holds the object uses it."""
    return f"{path}.new"


def _write_new(path: str, data: bytes, mode: int) -> bool:
    """Write a file that has no name before it is whole, so that nothing is left when we die; False when that fails."""
    try:
        handle = os.open(os.path.dirname(path), os.O_WRONLY | os.O_TMPFILE, mode)
    except OSError:
        return False
    try:
        os.write(handle, data)
        os.fsync(handle)
        # only with a directory given does Python ask the kernel to follow the link; the path is absolute all the same
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(handle)
    _sync_directory(os.path.dirname(path))
    return True


def _remove_old(path: str, seconds: float) -> None:
    """Remove a file that was written longer ago than whoever needs it could need it for."""
    try:
        if time.time() - os.lstat(path).st_mtime > seconds:
            os.unlink(path)
    except OSError:
        pass


def _is_kept(path: str) -> bool:
    """Whether something was written there not long ago."""
    newest = 0.0
    for place, _folders, files in os.walk(path):
        for name in files:
            newest = max(newest, os.lstat(os.path.join(place, name)).st_mtime)
    return time.time() - newest < _KEPT_SECONDS


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_tree(path: str) -> None:
    """Delete a directory with all in it, by way of open directories, so that nobody can slip a link in between.

    ``shutil.rmtree`` does the same, and loads every compression there is before it begins.
    """

    def trouble(error: OSError) -> None:
        if error.errno != errno.ENOENT:
            raise error

    for place, folders, files, handle in os.fwalk(path, topdown=False, onerror=trouble):
        for name in folders + files:
            try:
                # among the folders are links to folders
                if modes.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                    os.rmdir(name, dir_fd=handle)
                else:
                    os.unlink(name, dir_fd=handle)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise OSError(error.errno, error.strerror, os.path.join(place, name)) from None
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass


def _mount(path: str) -> str:
    """The mount that a directory lies in. Two mounts of one file system have one device and no rename between them."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as file:
            return next((line for line in file if line.startswith("mnt_id:")), "")
    finally:
        os.close(handle)


def _at_once(path: str, flags: int) -> int:
    """Open a file that may turn out to be a pipe, whose other end nobody has to open."""
    return os.open(path, flags | os.O_NONBLOCK)


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(path: str) -> None:
    if os.path.isdir(path):
        for name in os.listdir(path):
            if not os.path.islink(os.path.join(path, name)):
                _sync_tree(os.path.join(path, name))
        _sync_directory(path)
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_socket(path: str) -> bool:
    """Whether a path is the name of a socket: it belongs to a process, means nothing elsewhere and is left behind."""
    try:
        return modes.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def extents(handle: int, size: int) -> list[tuple[int, int]]:
    """(start, end) of every stretch of a file that holds data; one stretch where the file system cannot tell."""
    found = []
    position = 0
    while position < size:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return [(0, size)]
            raise
        found.append((start, min(end, size)))
        position = end
    return found


def _nobody(_passed: int) -> None:
    """For whom it does not matter how far a copy is."""


def _copy_data(
    reader: int, writer: int, size: int, digests: Sequence[str], passed: Callable[[int], None]
) -> dict[str, str]:
    os.ftruncate(writer, size)
    if digests:
        return _copy_hashing(reader, writer, size, digests, passed)
    if _reflink(reader, writer):
        return {}
    in_kernel = True
    for start, end in extents(reader, size):
        while start < end:
            going_on()
            if in_kernel:
                try:
                    done = os.copy_file_range(reader, writer, min(end - start, _SLICE), start, start)
                except OSError as error:
                    if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                        raise
                    in_kernel = False
                    continue
            else:
                done = os.pwrite(writer, os.pread(reader, min(_CHUNK, end - start), start), start)
            if done == 0:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            start += done
            passed(start)
    return {}


def _copy_hashing(
    reader: int, writer: int, size: int, digests: Sequence[str], passed: Callable[[int], None]
) -> dict[str, str]:
    import hashlib

    hashes = [hashlib.new(name) for name in digests]
    zeros = bytes(_CHUNK)
    position = 0
    stretches = extents(reader, size)
    stretches.append((size, size))
    for start, end in stretches:
        while position < start:
            hole = zeros[: min(_CHUNK, start - position)]
            for item in hashes:
                item.update(hole)
            position += len(hole)
            passed(position)
        while position < end:
            going_on()
            passed(position)
            data = os.pread(reader, min(_CHUNK, end - position), position)
            if not data:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            for item in hashes:
                item.update(data)
            view = memoryview(data)
            while view:
                written = os.pwrite(writer, view, position)
                view = view[written:]
                position += written
    return {name: item.hexdigest() for name, item in zip(digests, hashes)}


def _reflink(reader: int, writer: int) -> bool:
    """Share the blocks of both files where the file system can (FICLONE)."""
    import fcntl

    try:
        fcntl.ioctl(writer, 0x40049409, reader)
    except OSError:
        return False
    return True
