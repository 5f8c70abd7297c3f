# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of one backup: ``manifest.json`` beside its files, with what each of them has to be.

Whoever makes a backup directory writes it last; whoever stores, verifies or restores the backup compares. Stock's
drivers look at ``disk.*`` and ``vm.xml`` alone (contract-ds 10.1, 10.5), so a directory with a manifest is theirs to
read too, and one without is accepted here: it cannot be verified, that is all.

The content, as JSON::

    {"version": 1, "run": id of the run, "vm": id, "created": seconds since the epoch,
     "mode": "full" | "increment", "increment_mode": "cbt" | "snapshot" | "", "increment": n, "parent": n - 1 or -1,
     "consistency": "off" | "crash" | "agent" | "suspend", "warnings": [sentences],
     "files": {"disk.0.0": {"disk": 0, "bytes": size of the file, "virtual_size": bytes, "format": "qcow2",
                            "sha256": hex digits},
               "vm.xml": {"bytes": …, "sha256": …}}}
"""

from __future__ import annotations

import os
import time

from .._errors import Corrupt, Missing, from_os, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

NAME = "manifest.json"
VM_XML = "vm.xml"
TPM = "disk.tpm.0"
VERSION = 1
#: Largest manifest that is read, in bytes: thousands of disks have room.
LIMIT = 1 << 20

MODES = ("full", "increment")
INCREMENT_MODES = ("", "cbt", "snapshot")
CONSISTENCIES = ("off", "crash", "agent", "suspend")
_NUMBERS = ("vm", "created", "increment", "parent")
_HEX = frozenset("0123456789abcdef")


def disk_of(name: str) -> tuple[int, int] | None:
    """Disk and increment out of a file's name: ``disk.<disk>.<increment>[.rbdiff]``; a full ``disk.<disk>.rbd2`` is
    increment 0 (contract-ds 6.3). None for ``vm.xml``, ``disk.tpm.0`` and everything else."""
    words = name.split(".")
    if len(words) not in (3, 4) or words[0] != "disk" or not _is_number(words[1]):
        return None
    if len(words) == 3 and words[2] == "rbd2":
        return int(words[1]), 0
    if not _is_number(words[2]) or words[3:] not in ([], ["rbdiff"]):
        return None
    return int(words[1]), int(words[2])


def belongs(name: str) -> bool:
    """Whether a file of that name is a part of a backup: a disk, a TPM's state, the VM's document, the manifest."""
    return name in (NAME, VM_XML, TPM) or disk_of(name) is not None


def build(
    folder: str,
    run: str,
    vm: int,
    *,
    disks: dict[str, dict[str, Any]],
    increment: int = 0,
    increment_mode: str = "",
    consistency: str = "off",
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The manifest of a directory as it lies there; every file that belongs to a backup is read once, holes left out.

    :param run: id of the run that made the backup.
    :param disks: ``format`` and ``virtual_size`` (bytes) of each disk by the file's name; what is missing there is
        taken out of the file's own header.
    :param increment: its number; 0 is a full backup. The first one of a chain that was flattened keeps its number and
        is full: see :func:`build_full`.
    :raises OSError: EAGAIN when a file changed while it was read.
    :raises InterruptedError: the caller went away.
    """
    return _build(folder, run, vm, disks, increment, increment - 1, increment_mode, consistency, warnings)


def build_full(folder: str, run: str, vm: int, old: dict[str, Any] | None, increment: int) -> dict[str, Any]:
    """The manifest of increments that were merged into one, which now stands alone under its last one's number.

    :param old: the manifest of the newest merged increment, whose consistency is that of the result; None without one.
    """
    told = old or {}
    consistency, warnings = told.get("consistency", "crash"), told.get("warnings", [])
    return _build(folder, run, vm, {}, increment, -1, told.get("increment_mode", ""), consistency, warnings)


def _build(
    folder: str,
    run: str,
    vm: int,
    disks: dict[str, dict[str, Any]],
    increment: int,
    parent: int,
    increment_mode: str,
    consistency: str,
    warnings: Sequence[str],
) -> dict[str, Any]:
    files = {}
    for name in sorted(os.listdir(folder)):
        if belongs(name) and name != NAME:
            disk = disks.get(name, {})
            files[name] = describe(os.path.join(folder, name), disk.get("format", ""), disk.get("virtual_size", 0))
    return {
        "version": VERSION,
        "run": run,
        "vm": vm,
        "created": int(time.time()),
        "mode": "full" if parent < 0 else "increment",
        "increment_mode": increment_mode,
        "increment": increment,
        "parent": parent,
        "consistency": consistency,
        "warnings": list(warnings),
        "files": files,
    }


def describe(path: str, image_format: str = "", virtual_size: int = 0) -> dict[str, Any]:
    """What a manifest says of one file.

    :param image_format: of a disk; empty to take it from the file's header.
    :param virtual_size: bytes that a guest sees; 0 to take it from the header too.
    """
    from .digest import digest

    taken, size = digest(path, "sha256")
    found: dict[str, Any] = {"bytes": size, "sha256": taken}
    place = disk_of(os.path.basename(path))
    if place is None:
        return found
    if not image_format or not virtual_size:
        known, length = _header(path, size)
        image_format, virtual_size = image_format or known, virtual_size or length
    return {"disk": place[0], "virtual_size": virtual_size, "format": image_format, **found}


def _header(path: str, size: int) -> tuple[str, int]:
    """Format and virtual size of a disk's file. A guest may have written a header into a raw disk, but the files of a
    backup are qcow2, or what ``rbd export`` makes (contract-ds 10.1)."""
    from . import exports, image_header

    if exports.is_export(path):
        try:
            with open(path, "rb", buffering=0) as file:
                return "rbd", exports.size_of(iter(lambda: file.read(1 << 20), b""))
        except exports.Malformed as error:
            raise Corrupt(f"The backup's file {path} is damaged: {error}") from None
    with open(path, "rb") as file:
        head = file.read(image_header.HEAD_BYTES)
    found = image_header.format_of(head)
    if found != "qcow2":
        return "raw", size
    return "qcow2", image_header.virtual_size(head) or 0


def write(folder: str, manifest: dict[str, Any]) -> None:
    """Write the manifest into its directory, on disk and by rename; what was there is replaced."""
    path = os.path.join(folder, NAME)
    spare = f"{path}.new"
    handle = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(dump(manifest))
        file.flush()
        os.fsync(handle)
    os.rename(spare, path)


def dump(manifest: dict[str, Any]) -> bytes:
    """A manifest as the bytes of its file."""
    from .codec import dumps

    return dumps(manifest) + b"\n"


def read(folder: str) -> dict[str, Any] | None:
    """The manifest of a backup directory; None when it has none, as stock's have.

    :raises Corrupt: when it is not what a manifest is.
    """
    path = os.path.join(folder, NAME)
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os(error, f"read {path}") from None
    return parse(data, path)


def parse(data: bytes, where: str) -> dict[str, Any]:
    """A manifest out of its bytes.

    :param where: what to call it in sentences.
    :raises Corrupt: one sentence that says what is wrong with it.
    """
    from .codec import loads

    if len(data) > LIMIT:
        raise Corrupt(f"The manifest {where} is larger than {LIMIT >> 20} MB")
    try:
        found = loads(data)
    except (ValueError, UnicodeDecodeError):
        raise Corrupt(f"The manifest {where} is not JSON") from None
    wrong = _wrong(found)
    if wrong:
        raise Corrupt(f"The manifest {where} cannot be right: {wrong}")
    manifest: dict[str, Any] = found
    return manifest


def _wrong(found: Any) -> str:
    """What is wrong with a manifest; empty when nothing is."""
    if not isinstance(found, dict):
        return "it is not an object"
    if found.get("version") != VERSION:
        return f"it has version {one_line(str(found.get('version')), 40)}, and {VERSION} is known here"
    for name in _NUMBERS:
        if not is_whole(found.get(name)):
            return f"'{name}' is not a whole number"
    for name, allowed in (("mode", MODES), ("increment_mode", INCREMENT_MODES), ("consistency", CONSISTENCIES)):
        if found.get(name) not in allowed:
            return f"'{name}' is none of {', '.join(word or 'nothing' for word in allowed)}"
    if (found["mode"] == "full") != (found["parent"] < 0) or found["parent"] >= found["increment"]:
        return "its mode, its number and its parent's do not go together"
    if not isinstance(found.get("run"), str) or not _is_list_of_text(found.get("warnings")):
        return "'run' or 'warnings' is not text"
    if not isinstance(found.get("files"), dict):
        return "'files' is not an object"
    for name, told in found["files"].items():
        wrong = _wrong_file(name, told)
        if wrong:
            return f"of the file '{one_line(name, 60)}' {wrong}"
    return ""


def _wrong_file(name: str, told: Any) -> str:
    if not belongs(name) or name == NAME:
        return "the name is none of a backup's"
    if not isinstance(told, dict):
        return "nothing is told"
    digest = told.get("sha256")
    if not isinstance(digest, str) or len(digest) != 64 or not _HEX.issuperset(digest):
        return "there is no SHA-256 digest"
    place = disk_of(name)
    for key in ("bytes", *(("disk", "virtual_size") if place else ())):
        if not is_whole(told.get(key)) or told[key] < 0:
            return f"'{key}' is not a number"
    if place and (told["disk"] != place[0] or not isinstance(told.get("format"), str)):
        return "the disk's id or format does not fit"
    return ""


def outdated(manifest: dict[str, Any], first: bool) -> bool:
    """Whether a manifest speaks of what is no more: stock's flatten leaves the one of the increment that it replaced.

    :param first: whether the backup is the first one of its chain as oned has it, so that it must stand alone.
    """
    return first and manifest["parent"] >= 0


def bytes_in(manifest: dict[str, Any]) -> int:
    """Sum of the sizes of its files, the manifest itself not counted."""
    return sum(int(told["bytes"]) for told in manifest["files"].values())


def compare(name: str, told: dict[str, Any], size: int, sha256: str, where: str = "") -> None:
    """Compare one file with what the manifest says.

    :param sha256: empty to compare the size alone.
    :raises Corrupt: when it is another.
    """
    shown = os.path.join(where, name) if where else name
    if size != told["bytes"]:
        raise Corrupt(f"The backup's file {shown} has {size} bytes, and its manifest says {told['bytes']}")
    if sha256 and sha256 != told["sha256"]:
        raise Corrupt(f"The backup's file {shown} is not what was backed up: its SHA-256 digest is another one")


def check(folder: str, manifest: dict[str, Any], contents: bool = True) -> None:
    """Compare a directory with a manifest: the same files, of the same sizes, with the same content.

    :param contents: read every file; else names and sizes alone.
    :raises Missing: a file is not there.
    :raises Corrupt: a file is another, or one too many.
    """
    from .digest import digest

    for name in sorted(os.listdir(folder)):
        if belongs(name) and name != NAME and name not in manifest["files"]:
            raise Corrupt(f"The backup's file {os.path.join(folder, name)} is not in its manifest")
    for name, told in manifest["files"].items():
        path = os.path.join(folder, name)
        try:
            info = os.stat(path)
            compare(name, told, info.st_size, "", folder)
            if contents:
                taken, size = digest(path, "sha256")
                compare(name, told, size, taken, folder)
        except FileNotFoundError:
            raise Missing(f"The backup's file {path} is not there, and its manifest names it") from None
        except InterruptedError:
            raise
        except OSError as error:
            raise from_os(error, f"read {path}") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_whole(value: Any) -> bool:
    """Whether JSON's value is a whole number: a truth value is none, though Python counts with it."""
    return isinstance(value, int) and not isinstance(value, bool)
