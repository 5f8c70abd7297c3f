# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files in shell syntax, read without a shell (contract-ds 7.1)."""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, from_os, one_line

LAUNCHERS = ("auto", "in_process", "ssh", "ansible")
#: Largest number a setting may have. The kernel counts a wait in milliseconds: a longer one than 24 days is an error.
MOST = 2_000_000
#: Stock's files below etc/ with their variables and defaults (contract-ds 7.1). datastore.conf has FS_OPTS_<FS>, too.
STOCK = {
    "datastore/datastore.conf": {"SUPPORTED_FS": "ext2,ext3,ext4,xfs", "BACKUP_BASE_PATH": ""},
    "datastore/fs/fs.conf": {"DD_BLOCK_SIZE": "64k"},
    "datastore/ceph/ceph.conf": {
        "POOL_NAME": "one",
        "STAGING_DIR": "/var/tmp",
        "RBD_FORMAT": "2",
        "DD_BLOCK_SIZE": "64k",
        "CEPH_TRASH": "no",
    },
    "vmm/kvm/kvmrc": {"LIBVIRT_URI": "qemu:///system"},
}
_BEFORE_A_NAME = {"export", "readonly", "declare", "-x", "-r"}


class Settings:
    """What a site has set.

    :param root: the remotes directory that the running wrapper belongs to.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._path = os.path.join(root, "etc", "one_storage", "one_storage.conf")
        self._values = read(self._path)
        self._stock: dict[str, dict[str, str]] = {}

    def text(self, name: str, default: str = "") -> str:
        """A setting of ours: the environment's ``ONE_STORAGE_<NAME>``, else the file's ``<NAME>``."""
        return os.environ.get("ONE_STORAGE_" + name) or self._values.get(name) or default

    def number(self, name: str, default: int) -> int:
        """A setting that is a whole number, above zero."""
        value = self.text(name)
        if not value:
            return default
        if not (value.isascii() and value.isdigit() and len(value) < 10 and 0 < int(value) <= MOST):
            raise BadCall(f"{self._named(name, value)}: it must be a whole number from 1 to {MOST}")
        return int(value)

    def _named(self, name: str, value: str) -> str:
        """Which setting has a value that cannot be used, and where it was set."""
        if os.environ.get("ONE_STORAGE_" + name):
            return f"ONE_STORAGE_{name} is '{one_line(value, 40)}' in the environment"
        return f"{name} is '{one_line(value, 40)}' in {self._path}"

    def launcher(self) -> str:
        """Which launcher to use."""
        value = self.text("LAUNCHER", "auto")
        if value not in LAUNCHERS:
            raise BadCall(f"{self._named('LAUNCHER', value)}: it must be one of {', '.join(LAUNCHERS)}")
        return value

    def common(self) -> dict[str, int]:
        """The timeouts that every action has as options, in seconds."""
        return {
            "command_timeout": self.number("COMMAND_TIMEOUT", 3600),
            "stall_timeout": self.number("STALL_TIMEOUT", 60),
            "lock_timeout": self.number("LOCK_TIMEOUT", 120),
        }

    def datastore(self, name: str, default: str = "") -> str:
        """A variable of stock's ``etc/datastore/datastore.conf``."""
        return self.stock("datastore/datastore.conf", name, default)

    def stock(self, file: str, name: str, default: str = "") -> str:
        """A variable of one of stock's files, which is read once and only when it is needed.

        :param file: below ``etc``, one of :data:`STOCK`.
        :param default: for a variable that stock gives none.
        """
        if file not in self._stock:
            self._stock[file] = read(os.path.join(self.root, "etc", file))
        return self._stock[file].get(name, STOCK.get(file, {}).get(name, default))


def prefix_of(root: str) -> str:
    """What the names of our drivers begin with in the tree at *root*; empty where they have stock's names.

    ``build.py --prefix`` lays them under names of their own, side by side with stock's, and writes it down.
    """
    try:
        with open(os.path.join(root, "one_storage", "PREFIX"), encoding="ascii", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def remotes() -> str:
    """The remotes directory for code that no wrapper told: the one it lies in, else that of the installation.

    A self-contained installation has it below ONE_LOCATION (contract-ds 7).
    """
    core = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(core) == "one_storage" and os.path.exists(os.path.join(core, "BUILD")):
        return os.path.dirname(core)
    location = os.environ.get("ONE_LOCATION", "")
    return os.path.join(location, "var", "remotes") if location else "/var/lib/one/remotes"


def read(path: str) -> dict[str, str]:
    """The assignments of a file: quotes, ``export``, comments; nothing is run. Empty without a file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).split("\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise from_os(error, f"read {path}") from None
    values = {}
    for line in lines:
        before, found, value = line.partition("=")
        *words, name = before.split() or [""]
        if found and name.isidentifier() and before.endswith(name) and set(words) <= _BEFORE_A_NAME:
            values[name] = _value(value)
    return values


def _value(text: str) -> str:
    """The word that a shell makes of a text, but for variables and commands in it, which stay as they are."""
    value = ""
    quote = ""
    letters = iter(text)
    for letter in letters:
        if letter == quote:
            quote = ""
        elif letter == "\\" and quote != "'":
            letter = next(letters, "")
            value += letter if not quote or letter in '"\\$`' else "\\" + letter
        elif quote:
            value += letter
        elif letter in "'\"":
            quote = letter
        elif letter.isspace() or letter == ";":
            break
        else:
            value += letter
    return value
