# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories of this machine, a little below :class:`.host.Host`: where they may lie, how they are written
whole, synchronised, removed, and where their data are. Standard library only: it is sent to peers with :mod:`.host`.
"""

from __future__ import annotations

import errno
import os
import stat as modes


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


def spare_of(path: str) -> str:
    """The name under which a link is made that will replace another; only who holds the object uses it."""
    return f"{path}.new"


def write_new(path: str, data: bytes, mode: int) -> bool:
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
    sync_directory(os.path.dirname(path))
    return True


def unlink(path: str) -> None:
    """Remove a name that may be gone."""
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


def mount_of(path: str) -> str:
    """The mount that a directory lies in. Two mounts of one file system have one device and no rename between them."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as file:
            return next((line for line in file if line.startswith("mnt_id:")), "")
    finally:
        os.close(handle)


def at_once(path: str, flags: int) -> int:
    """Open a file that may turn out to be a pipe, whose other end nobody has to open."""
    return os.open(path, flags | os.O_NONBLOCK)


def sync_directory(path: str) -> None:
    """Bring the names in a directory to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: str) -> None:
    """Bring a file, or a directory with all in it, to disk."""
    if os.path.isdir(path):
        for name in os.listdir(path):
            if not os.path.islink(os.path.join(path, name)):
                sync_tree(os.path.join(path, name))
        sync_directory(path)
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
