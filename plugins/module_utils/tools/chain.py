# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of qcow2 layers, read from their headers by ourselves, and the directory that snapshots lie in.

qemu-img opens whatever a header names, so a chain is followed here first: each layer is there, lies in one of the
datastores it may lie in, names its backing file as a plain path with a format, and no file comes twice (rule 10).
Layouts: contract-tm 6.1, 6.2, 6.4. Header fields: QEMU's docs/interop/qcow2.txt.

How layers name each other matters. qemu looks for a relative name beside the path that it was told to open, without
resolving links. So ``disk.0.snap/1``, or ``<image>.snap/1``, is found beside the link to the top layer, and inside the
snapshot directory by way of the link there that points to the directory itself. It is not found by way of a link that
lies elsewhere: the disk of a persistent image on shared storage is one, so its layers have absolute names. A new layer
therefore names its backing file the way its neighbours do: see :func:`name_like`.
"""

from __future__ import annotations

import os
import struct

from .._errors import Corrupt, Missing, Refused, from_os, one_line
from .image_header import HEAD_BYTES, format_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .host import Host

#: Ends the name of a file that says which layer holds a snapshot (contract-tm 6.4).
REDIRECT = ".current"
#: Ends the name of a file that says for which increment of a backup a layer was begun, when that is not its number.
BEGUN = ".begun"
#: Ends the name in such a file that leads nowhere: the snapshot is being deleted, and its data may be spoilt already.
GONE = ".gone"

_BACKING_FORMAT = 0xE2792ACA
BITMAPS = 0x23852875
_EXTERNAL_DATA = 4
#: A table of an image's first level lies within so many bytes, or is not looked at.
_TABLE_BYTES = 4 << 20


class Layer:
    """One file of a chain, as its header describes it.

    :ivar path: the file itself, with all links resolved.
    :ivar format: ``qcow2`` or ``raw``.
    :ivar backing: name of the backing file as the header has it; empty when there is none.
    :ivar backing_format: format that the header declares for it; empty when it declares none.
    :ivar below: the backing file itself, with all links resolved; empty when there is none.
    :ivar virtual_size: bytes that a guest sees.
    """

    def __init__(
        self, path: str, image_format: str, backing: str, backing_format: str, below: str, virtual_size: int
    ) -> None:
        self.path = path
        self.format = image_format
        self.backing = backing
        self.backing_format = backing_format
        self.below = below
        self.virtual_size = virtual_size


def layers(
    host: Host, path: str, roots: Sequence[str], image_format: str = "qcow2", found: list[Layer] | None = None
) -> list[Layer]:
    """The chain that *path* is the top of, top first.

    :param found: a list that gets the layers one by one, for who wants those above the one that is wrong.
    :param roots: directories that every layer must lie in: the datastore's, and for a VM's disk the image's too.
    :param image_format: format of the top: a guest may have written anything into a raw disk, so raw stays raw.
    :raises Missing: a layer is not there.
    :raises Corrupt: a header cannot be right, a layer has not the format that was declared, or the chain has a loop.
    :raises Refused: a layer lies elsewhere, or keeps its data elsewhere, or does not say what it stands on.
    """
    bases = [host.real(root) for root in roots]
    found = [] if found is None else found
    above = ""
    while True:
        real = host.real(path)
        if not any(base != "/" and real.startswith(base + "/") for base in bases):
            raise Refused(
                f"{above or path} leads to {one_line(real, 200)}, outside of {' and '.join(roots)}", host.name
            )
        if any(layer.path == real for layer in found):
            raise Corrupt(f"The layers of {found[0].path} form a loop: {above} stands on {real}", host.name)
        layer = read(host, real, image_format, above)
        found.append(layer)
        if not layer.backing:
            return found
        above, path, image_format = real, layer.below, layer.backing_format


def read(host: Host, path: str, image_format: str = "qcow2", above: str = "") -> Layer:
    """One layer by its header; what it stands on is not looked at.

    :param above: the layer that names this one, for the sentence.
    """
    info = host.stat(path, follow=True)
    if info is None:
        stands = f", and {above} stands on it" if above else ""
        raise Missing(f"The layer {one_line(path, 200)} is not there{stands}", host.name)
    if info["kind"] != "file":
        raise Corrupt(f"The layer {path} is not a file", host.name)
    real = host.real(path)
    if image_format == "raw":
        return Layer(real, "raw", "", "", "", int(info["size"]))
    if image_format != "qcow2":
        raise Refused(f"The layer {path} has the format {one_line(image_format, 40)}, which no layer has", host.name)
    try:
        head = host.head(path, HEAD_BYTES)
    except OSError as error:
        raise from_os(error, f"read the layer {path}", host.name) from error
    return _parsed(host, real, bytes.fromhex(head))


def is_empty(host: Host, path: str) -> bool:
    """Whether a qcow2 layer has nothing of its own, so that it shows its backing file: no data, snapshots, bitmaps."""
    head = bytes.fromhex(host.head(path, HEAD_BYTES))
    if format_of(head) != "qcow2" or len(head) < 104:
        return False
    entries, table = struct.unpack(">IQ", head[36:48])
    (snapshots,) = struct.unpack(">I", head[60:64])
    (start,) = struct.unpack(">I", head[100:104])
    if snapshots or BITMAPS in extensions(head, start, len(head)) or table + 8 * entries > _TABLE_BYTES:
        return False
    return not any(bytes.fromhex(host.head(path, table + 8 * entries))[table:])


def _parsed(host: Host, path: str, head: bytes) -> Layer:
    if format_of(head) != "qcow2":
        raise Corrupt(f"The layer {path} is not a qcow2 image", host.name)
    if len(head) < 72:
        raise Corrupt(f"The layer {path} has a header that is cut off", host.name)
    version, offset, length = struct.unpack(">IQI", head[4:20])
    if version not in (2, 3) or (version == 3 and len(head) < 104):
        raise Corrupt(f"The layer {path} has a header that is cut off, or of an unknown version", host.name)
    start = 72
    if version == 3:
        (incompatible,) = struct.unpack(">Q", head[72:80])
        if incompatible & _EXTERNAL_DATA:
            raise Refused(f"The layer {path} keeps its data in another file", host.name)
        (start,) = struct.unpack(">I", head[100:104])
    (size,) = struct.unpack(">Q", head[24:32])
    if not offset:
        return Layer(path, "qcow2", "", "", "", size)
    if not 0 < length <= 1023 or offset + length > len(head):
        raise Corrupt(f"The layer {path} has a name for its backing file that cannot be right", host.name)
    name = _named(host, path, head[offset : offset + length])
    declared = extensions(head, start, offset).get(_BACKING_FORMAT, b"").decode("ascii", "replace")
    if not declared:
        raise Refused(
            f"The layer {path} does not say which format its backing file has",
            host.name,
            todo="if it is right, write it down with qemu-img rebase -u -F",
        )
    return Layer(path, "qcow2", name, declared, host.real(os.path.join(os.path.dirname(path), name)), size)


def _named(host: Host, path: str, raw: bytes) -> str:
    """The name of a backing file, when it is one of a file: qemu takes ``nbd://``, ``json:{}`` and more."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = ""
    if not name.isprintable() or ":" in name.partition("/")[0]:
        raise Refused(f"The layer {path} stands on '{one_line(raw.decode('utf-8', 'replace'), 120)}', which is no file",
                      host.name)  # fmt: skip
    return name


def extensions(head: bytes, start: int, end: int) -> dict[int, bytes]:
    """Header extensions by type; the list ends with type 0 or where the backing file's name begins."""
    found: dict[int, bytes] = {}
    while start + 8 <= min(end, len(head)):
        kind, length = struct.unpack(">II", head[start : start + 8])
        if not kind:
            break
        found[kind] = head[start + 8 : start + 8 + length]
        start += 8 + (length + 7) // 8 * 8
    return found


# ---------------------------------------------------------------- snapshot directories


def numbers(host: Host, snap: str) -> list[int]:
    """The numbers of the layers in a snapshot directory, in order."""
    return sorted(int(name) for name in host.entries(snap) if is_number(name))


def active(host: Host, snap: str) -> str:
    """The layer that is written to: the highest number (contract-ds 8.8); empty when there is none."""
    found = numbers(host, snap)
    return os.path.join(snap, str(found[-1])) if found else ""


def current(host: Host, snap: str, number: int) -> str:
    """The file in the snapshot directory that holds a snapshot; empty when the snapshot is gone.

    That is the file of its number, unless ``<number>.current`` names another. Such a marker has an absolute path,
    which a move of the directory makes stale, so only its last part counts: layers never lie elsewhere. A file that a
    marker gives to another snapshot belongs to that one alone.
    """
    taken = redirects(host, snap)
    name = taken.pop(number, "")
    if not name:
        name = str(number)
        if name in taken.values():
            return ""
    path = os.path.join(snap, name)
    return path if host.stat(path) else ""


def going(host: Host, snap: str, number: int) -> str:
    """The file that is left to be taken away of a snapshot whose deletion by a commit has begun; empty when none is.

    A commit folds a layer into the file of the snapshot, which holds that layer's snapshot then. Until a marker says
    so the file is nobody's and may go like any other; from then on it is the layer that is left over, when nothing
    stands on it.
    """
    taken = redirects(host, snap)
    lower, _dot, upper = taken.pop(number, "")[: -len(GONE)].partition(".")
    if not (is_number(lower) and is_number(upper)):
        return ""
    left = os.path.join(snap, upper if lower in taken.values() else lower)
    if not host.stat(left) or (lower in taken.values() and standing_on(host, snap, left)):
        return ""
    return left


def gone(lower: str, upper: str) -> str:
    """What a marker says of a snapshot while its file is made to hold what a layer above it holds.

    :param lower: the file of the snapshot; :param upper: that layer. Both have numbers for names.
    """
    return f"{lower}.{os.path.basename(upper)}{GONE}"


def begun(host: Host, snap: str, path: str) -> int:
    """For which increment of a backup a layer was begun (contract-tm 8.3); -1 when nobody can tell.

    That is its number, unless a marker says otherwise, which counts for the very file that it was written for.
    """
    name = os.path.basename(path)
    words = (host.read(os.path.join(snap, name + BEGUN), 4096) or "").split()
    info = host.stat(path)
    if len(words) == 2 and is_number(words[0]) and info and words[1] == str(info["inode"]):
        return int(words[0])
    return int(name) if is_number(name) else -1


def redirects(host: Host, snap: str) -> dict[int, str]:
    """Names of layers by the number of the snapshot that a ``.current`` marker gives them to."""
    found = {}
    for name in host.entries(snap):
        number = name[: -len(REDIRECT)]
        if name.endswith(REDIRECT) and is_number(number):
            target = os.path.basename((host.read(os.path.join(snap, name), 4096) or "").strip())
            if target in ("", ".", "..") or not target.isprintable():
                raise Corrupt(f"{snap}/{name} does not name a layer", host.name)
            found[int(number)] = target
    return found


def family(host: Host, snap: str, but: str = "") -> list[Layer]:
    """Every layer in a snapshot directory, each file once. Raises when one with a number cannot be read.

    :param but: a layer that is left out.
    """
    found: dict[str, Layer] = {}
    for name in host.entries(snap):
        path = os.path.join(snap, name)
        info = host.stat(path, follow=True)
        if path == but:
            continue
        if info and info["kind"] == "file" and not name.endswith((REDIRECT, BEGUN)):
            try:
                layer = read(host, path)
            except Corrupt:
                # files of other names may be anything
                if is_number(name):
                    raise
                continue
            found[layer.path] = layer
        elif is_number(name):
            raise Missing(f"The layer {path} is not a file, or leads nowhere", host.name)
    return list(found.values())


def standing_on(host: Host, snap: str, path: str, but: str = "") -> list[Layer]:
    """The layers in a snapshot directory whose backing file is *path*; *but* is left out."""
    real = host.real(path)
    return [layer for layer in family(host, snap, but) if layer.below == real]


def sound(host: Host, snap: str, roots: Sequence[str], but: str = "") -> list[Layer]:
    """Every layer in a snapshot directory, when the chain of each is whole: before something goes for good.

    A layer that cannot be read, or stands on one that is not there, may need what nobody else needs.
    """
    found = family(host, snap, but)
    needed = {layer.below for layer in found}
    seen: set[str] = set()
    # those on top first; what they do not lead to stands in a loop
    for layer in sorted(found, key=lambda layer: layer.path in needed):
        if layer.path not in seen:
            seen.update(lower.path for lower in layers(host, layer.path, roots))
    return found


def neighbour(host: Host, snap: str, layer: Layer) -> str:
    """What a layer stands on, when that has a name in the snapshot directory: the path there, with links as they are.

    Empty when it stands alone, or on something elsewhere. A datastore may be a link that differs by host, so that the
    resolved path is no name to write down.
    """
    if not layer.backing:
        return ""
    folder = os.path.dirname(os.path.join(os.path.dirname(layer.path), layer.backing))
    return os.path.join(snap, os.path.basename(layer.backing)) if host.real(folder) == host.real(snap) else ""


def name_like(neighbour: Layer | None, path: str) -> str:
    """What a new layer calls its backing file *path*, a file of the same snapshot directory as its neighbour's.

    :param neighbour: the layer that it replaces or stands beside: absolute names stay absolute, relative ones relative,
        and where names have no folder, as the driver local writes them, this one has none.
    """
    if neighbour is None or not neighbour.backing:
        return path
    folder, name = os.path.dirname(neighbour.backing), os.path.basename(path)
    if not folder or os.path.basename(folder) == os.path.basename(os.path.dirname(path)):
        return os.path.join(folder, name)
    return path


def is_number(name: str) -> bool:
    """Whether a name is that of a layer: ASCII digits, not too many."""
    return name.isascii() and name.isdigit() and len(name) <= 10
