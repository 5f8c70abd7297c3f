# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers on texts, for authors of drivers (contract-ds 5.5, 5.6; contract-tm 2, 5.3)."""

from __future__ import annotations

from ...module_utils._errors import BadCall, one_line
from ..documents import yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMATS = ("raw", "qcow2", "swap")


def fix_dir_slashes(path: str) -> str:
    """A path with single slashes and none at its end; oned writes double ones (contract-tm 2)."""
    slash = "/" if path.startswith("/") else ""
    return slash + "/".join(part for part in path.split("/") if part)


def arg_host(argument: str) -> str:
    """The host of ``host:path``; all of an argument without a host, as :func:`arg_path` gives too."""
    host, colon, _path = argument.partition(":")
    return host if colon else fix_dir_slashes(argument)


def arg_path(argument: str) -> str:
    """The path of ``host:path``, with single slashes; a colon in the path is part of it."""
    _host, colon, path = argument.partition(":")
    return fix_dir_slashes(path if colon else argument)


def is_disk(path: str) -> bool:
    """Whether a path is a disk's, or lies in one's snapshot directory: ``…/disk.0``, ``…/disk.0.snap/1``."""
    for part in path.split("/")[1:]:
        name, _dot, digits = part.partition(".")
        if name == "disk" and digits[:1].isdigit():
            return True
    return False


def is_yes(value: str) -> bool:
    """Whether a value of a template means yes."""
    return yes(value)


def contains(texts: str, element: str, separator: str = ",") -> bool:
    """Whether an element stands in a list that is written as one text."""
    return element in texts.split(separator)


def xml_esc(value: str) -> str:
    """A value as text or attribute of an XML document. The ampersand comes first, so that nothing is escaped twice."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
        value = value.replace(character, entity)
    return value


def mkfs_command(
    path: str,
    image_format: str,
    size: int,
    supported: Sequence[str] = ("ext2", "ext3", "ext4", "xfs"),
    fs: str = "",
    options: Sequence[str] = (),
) -> list[list[str]]:
    """The commands that make an empty image, as lists of arguments to be run one after the other (contract-ds 5.6).

    :param image_format: ``raw``, ``qcow2`` or ``swap``.
    :param size: virtual size in MB (2^20 bytes).
    :param supported: what the site allows (SUPPORTED_FS); :param options: further arguments of mkfs (FS_OPTS_<FS>).
    :raises BadCall: for another format or file system.
    """
    if image_format not in _FORMATS:
        raise BadCall(f"'{one_line(image_format, 40)}' is not a format for an empty image: {', '.join(_FORMATS)}")
    if fs and fs not in supported:
        raise BadCall(f"Unsupported file system type: {one_line(fs, 40)}. Supported types are: {','.join(supported)}")
    if not path.startswith("/") or size < 0:
        raise BadCall(f"An image of {size} MB at '{one_line(path, 120)}' is not possible")
    first = "qcow2" if image_format == "qcow2" and not fs else "raw"
    commands = [["qemu-img", "create", "-q", "-f", first, path, f"{size}M"]]
    if fs == "xfs":
        commands.append(["mkfs.xfs", "-f", *options, path])
    elif fs:
        commands.append(["mkfs", "-t", fs, "-F", *options, path])
    if fs and image_format == "qcow2":
        commands.append(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", path, f"{path}.qcow2"])
        commands.append(["mv", "-f", "--", f"{path}.qcow2", path])
    if image_format == "swap":
        commands.append(["mkswap", "-L", "swap", path])
    return commands
