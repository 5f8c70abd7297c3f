# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What restic says when it fails, in the words of all versions: its exit codes are known since 0.17 only.

Sent to the backup server with :mod:`.retrieval`; standard library and what is sent along only.
"""

from __future__ import annotations

from .codec import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Exit codes of restic 0.17 and newer: no repository, locked, wrong password.
_CODES = {10: "absent", 11: "busy", 12: "no-access"}
#: sftp has one word for a full disk and all other trouble; restic adds the place.
_WORDS = (
    ("busy", ("already locked", "unable to create lock")),
    ("no-access", ("wrong password", "no key found")),
    ("no-space", ("no space left", "disk quota exceeded")),
    (
        "unreachable",
        (
            "connection refused",
            "connection timed out",
            "no route to host",
            "could not resolve",
            "permission denied (",
            "host key verification failed",
            "no such host",
        ),
    ),
    (
        "absent",
        (
            "is there a repository at the following location",
            "repository does not exist",
            "key does not exist",
            "unable to open config file",
            "nosuchbucket",
            "bucket does not exist",
        ),
    ),
    ("missing", ("no matching id", "no snapshot found")),
)


def kind_of(code: int, said: str) -> str:
    """What went wrong: a code of the errors' family; ``absent`` stands for a repository that is not there."""
    low = said.lower()
    for kind, words in _WORDS:
        if _CODES.get(code) == kind or any(word in low for word in words):
            return kind
    return "tool-failed"


def node(line: str) -> dict[str, Any]:
    """One line of restic's JSON; empty for what is none."""
    try:
        found = loads(line.encode())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def last_words(said: str) -> str:
    """The last thing restic said that tells something; empty when nothing does."""
    lines = []
    for line in said.splitlines():
        told = node(line)
        if told.get("message_type") == "error":
            line = str((told.get("error") or {}).get("message") or told.get("during") or line)
        elif told:
            line = str(told.get("message") or "")
        if line.strip():
            lines.append(line.strip())
    return lines[-1] if lines else ""
