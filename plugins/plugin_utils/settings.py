# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files in shell syntax, read without a shell (contract-ds 7.1)."""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, from_os, one_line

LAUNCHERS = ("auto", "in_process", "ssh", "ansible")


class Settings:
    """What a site has set.

    :param root: the remotes directory that the running wrapper belongs to.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._path = os.path.join(root, "etc", "one_storage", "one_storage.conf")
        self._values = read(self._path)
        self._datastore: dict[str, str] | None = None

    def text(self, name: str, default: str = "") -> str:
        """A setting of ours: the environment's ``ONE_STORAGE_<NAME>``, else the file's ``<NAME>``."""
        return os.environ.get("ONE_STORAGE_" + name) or self._values.get(name) or default

    def number(self, name: str, default: int) -> int:
        """A setting that is a whole number, above zero."""
        value = self.text(name)
        if not value:
            return default
        if not value.isdigit() or int(value) < 1:
            raise BadCall(f"{name} is '{one_line(value, 40)}' in {self._path}: it must be a number above zero")
        return int(value)

    def launcher(self) -> str:
        """Which launcher to use."""
        value = self.text("LAUNCHER", "auto")
        if value not in LAUNCHERS:
            raise BadCall(
                f"LAUNCHER is '{one_line(value, 40)}' in {self._path}: it must be one of {', '.join(LAUNCHERS)}"
            )
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
        if self._datastore is None:
            self._datastore = read(os.path.join(self.root, "etc", "datastore", "datastore.conf"))
        return self._datastore.get(name, default)


def read(path: str) -> dict[str, str]:
    """The assignments of a file: quotes, ``export``, comments; nothing is run. Empty without a file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise from_os(error, f"read {path}") from None
    values = {}
    for line in lines:
        name, found, value = line.strip().partition("=")
        name = name.split()[-1] if name.split() else ""
        if found and name.isidentifier() and not line.lstrip().startswith("#"):
            values[name] = _value(value)
    return values


def _value(text: str) -> str:
    text = text.strip()
    if not text.startswith(('"', "'")):
        return text.split(" #")[0].split("\t#")[0].strip() if not text.startswith("#") else ""
    end = text.find(text[0], 1)
    return text[1:end] if end > 0 else text[1:]
