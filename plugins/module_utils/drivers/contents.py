# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a datastore of files: each image, or disk of a VM, with the layers it is made of.

This is what the info modules look at (:mod:`.._info`). A driver for other storage has the same two methods as
:class:`.space.Files`, ``usage`` and ``contents``, and gives the same answers; nothing else is asked of it.

Everything comes out of directories, inodes and the first bytes of files: no command is run. It is looked at in a child
process, as a mount may hang (:mod:`..tools.aside`). Sizes are in bytes.
"""

from __future__ import annotations

import os
import stat as modes

from .._errors import DeadlineOver, StorageError, one_line
from .base import Request, base, clean_path, parent
from .space import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..tools.host import Host

#: Bytes of a header that say its size; those of a format that has it elsewhere are not looked for.
_HEAD = 4096
#: Names in an image datastore that are no images.
_BESIDE = (".snap", ".md5sum", ".monitor", ".host")


def found_in(request: Request) -> dict[str, Any]:
    """``items``, see :func:`item`, and ``missed``: a sentence for each thing that could not be looked at.

    Beside the options of monitoring there is ``formats``, the format by an item's name, as OpenNebula has it.
    """
    root, formats = clean_path(request["datastore"], "datastore"), request.options.get("formats") or {}
    walk = images if request.options["kind"] == "ds" else disks
    items: list[dict[str, Any]] = []
    missed: list[str] = []
    try:
        for found in look(request, root, "contents", lambda: walk(request.site.lead, root, formats)):
            if "missed" in found:
                missed.append(found["missed"])
            else:
                items.append(found)
    except DeadlineOver as error:
        if not items:
            raise
        # what came before it hung has been looked at
        missed.append(str(error))
    return {"items": items, "missed": missed}


# ---------------------------------------------------------------- in the child process


def images(host: Host, root: str, formats: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Every image of an image datastore, by name."""
    from .fs_snapshots import top_of

    for name in sorted(os.listdir(root)):
        if name.startswith(".") or name.endswith(_BESIDE):
            continue
        path, told = os.path.join(root, name), formats.get(name, "")

        def top(path: str = path, told: str = told) -> str:
            return top_of(host, path, told or _format(path)) if os.path.isdir(path + ".snap") else path

        yield from _looked(path, lambda path=path, told=told, top=top: item(host, path, told, top, [root]))  # type: ignore[misc]


def disks(host: Host, root: str, formats: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Every disk of every VM in a system datastore, by the VM's id."""
    from .vm_monitor import is_id

    roots = [root, *_neighbours(parent(root))]
    for vm in sorted(filter(is_id, os.listdir(root)), key=int):
        names = [name for name in _names(os.path.join(root, vm)) if name.startswith("disk.") and is_id(name[5:])]
        for name in sorted(names, key=lambda name: int(name[5:])):
            path, told = os.path.join(root, vm, name), formats.get(f"{vm}/{name}", "")
            for found in _looked(path, lambda path=path, told=told: item(host, path, told, lambda: path, roots)):  # type: ignore[misc]
                yield (
                    found
                    if "missed" in found
                    else {**found, "name": f"{vm}/{name}", "vm": int(vm), "disk": int(name[5:])}
                )


def item(host: Host, path: str, told: str, top_of: Callable[[], str], roots: Sequence[str]) -> dict[str, Any]:
    """An image or a disk.

    * ``name`` and ``path``; of a disk also ``vm`` and ``disk``, their numbers.
    * ``format``: as it was told, else as the first bytes say, which a guest could have written.
    * ``virtual_bytes``: what a guest sees; ``allocated_bytes``: what the blocks of all its files take up.
    * ``linked``: the image that a disk is itself, which has the sizes then; empty for all others.
    * ``layers``: what is read, the top first, each with ``path``, ``format``, ``virtual_bytes`` and
      ``allocated_bytes``; of a file that stands alone that file.
    * ``snapshots``: how many there are.
    * ``broken``: a sentence for each chain that is not whole.

    :param told: the format, when it is known.
    :param top_of: gives the file that is written to.
    :param roots: where a layer may lie.
    """
    from ..tools import chain
    from .vm_monitor import layers_of, snapshots_of

    own = path + ".snap"
    found: dict[str, Any] = {
        "name": base(path),
        "path": path,
        "format": told,
        "virtual_bytes": 0,
        "linked": "",
        "broken": [],
    }
    snap, active = layers_of(path)
    if snap != own and os.path.islink(path):
        return {**found, "linked": _beside(os.readlink(path), path), "allocated_bytes": 0, "layers": [], "snapshots": 0}
    layers: list[chain.Layer] = []
    if not os.path.exists(path):
        found["broken"].append(f"{path} leads to {one_line(os.readlink(path), 200)}, and there is no file")
    try:
        top = top_of()
        active = base(top) if parent(top) == own else active
        layered = parent(top) == own or bool(active)
        if layered:
            chain.layers(host, top, roots, told or "qcow2", layers)
        else:
            layers.append(_alone(path, told or _format(path)))
    except StorageError as error:
        found["broken"].append(error.sentence)
        layered = True
    if layered:
        found["broken"] += _others(host, own, [*layers], roots)
    rows = [_row(layer) for layer in layers]
    if rows:
        found.update(format=told or rows[0]["format"], virtual_bytes=rows[0]["virtual_bytes"])
    return {**found, "allocated_bytes": _blocks(path, own), "layers": rows, "snapshots": len(snapshots_of(own, active))}


def _looked(path: str, task: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What a look at one path finds; nothing when it goes meanwhile, or is no file."""
    try:
        if not modes.S_ISDIR(os.lstat(path).st_mode):
            yield task()
    except FileNotFoundError:
        return
    except OSError as error:
        yield {"missed": one_line(f"{path} is not looked at: {error.strerror}")}


def _others(host: Host, snap: str, seen: list[Any], roots: Sequence[str]) -> list[str]:
    """A sentence for each layer in a snapshot directory that leads somewhere wrong, beside those that were followed."""
    from ..tools import chain

    told: list[str] = []
    known = {layer.path for layer in seen}
    for number in reversed(chain.numbers(host, snap)):
        path = os.path.join(snap, str(number))
        if host.real(path) in known:
            continue
        found: list[chain.Layer] = []
        try:
            chain.layers(host, path, roots, "qcow2", found)
        except StorageError as error:
            if error.sentence not in told:
                told.append(error.sentence)
        known.update(layer.path for layer in found)
    return told


def _alone(path: str, image_format: str) -> Any:
    """A file as a chain of one. What its header names is not followed: an image that came in names nothing."""
    from ..tools import chain, image_header

    size = os.stat(path).st_size
    virtual = None if image_format == "raw" else image_header.virtual_size(_head(path))
    return chain.Layer(os.path.realpath(path), image_format, "", "", "", size if virtual is None else virtual)


def _row(layer: Any) -> dict[str, Any]:
    info = os.stat(layer.path)
    return {
        "path": layer.path,
        "format": layer.format,
        "virtual_bytes": layer.virtual_size,
        "allocated_bytes": info.st_blocks * 512,
    }


def _blocks(path: str, snap: str) -> int:
    """Bytes that an image's file and those in its snapshot directory take up; what links lead to is elsewhere's."""
    seen: dict[tuple[int, int], int] = {}
    for one in [path, *(os.path.join(snap, name) for name in _names(snap))]:
        try:
            info = os.lstat(one)
        except FileNotFoundError:
            continue
        if modes.S_ISREG(info.st_mode):
            seen[(info.st_dev, info.st_ino)] = info.st_blocks * 512
    return sum(seen.values())


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _neighbours(folder: str) -> list[str]:
    """The datastores beside one, as their links say: a mount that does not answer must not be touched for them."""
    found = [folder]
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                found.append(_beside(os.readlink(entry.path), entry.path))
    return found


def _beside(target: str, link: str) -> str:
    return os.path.normpath(os.path.join(parent(link), target))


def _head(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(handle, _HEAD, 0)
    finally:
        os.close(handle)


def _format(path: str) -> str:
    from ..tools import image_header

    return image_header.format_of(_head(path))
