# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors: what failed, where, what was undone and what to do, in one plain sentence."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class StorageError(Exception):
    """Base of every error that reaches a person.

    :param sentence: what failed, in plain words, with the path in it; without a final full stop.
    :param host: name of the host where it failed, when that is not plain from the sentence.
    :param todo: what the reader can do about it.
    :param detail: command line, exit code and stderr of a tool: for the log, never for oned.
    """

    code = "failed"

    def __init__(self, sentence: str, host: str = "", todo: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.host = host
        self.todo = todo
        self.detail = detail
        self.undone = ""
        #: Id of the run that failed: the journal and the result have it too. Empty before a run began.
        self.run = ""

    def __str__(self) -> str:
        """Everything a user needs, on one line: oned glues lines together without separators (contract-ds 2.3)."""
        text = one_line(self.sentence)
        if self.host:
            text += f" on {one_line(self.host)}"
        if self.undone:
            text += f"; {one_line(self.undone)}"
        if self.todo:
            text += f" ({one_line(self.todo)})"
        return text

    def record(self) -> dict[str, Any]:
        """The error as plain JSON data, for the result that a node sends back."""
        return {
            "code": self.code,
            "sentence": self.sentence,
            "host": self.host,
            "todo": self.todo,
            "detail": self.detail,
            "undone": self.undone,
            "run": self.run,
        }


class BadCall(StorageError):
    """The caller gave something that cannot be acted on: an argument, an option, a document."""

    code = "bad-call"


class Refused(StorageError):
    """The action was understood and is not safe: a path outside its datastore, an image that points elsewhere."""

    code = "refused"


class Unsupported(StorageError):
    """This driver does not do that action, or not with this setting."""

    code = "unsupported"


class Missing(StorageError):
    """Something that the action needs is not there: a file, a tool, a mount."""

    code = "missing"


class NoSpace(StorageError):
    """The file system, or the quota, is full."""

    code = "no-space"


class NoAccess(StorageError):
    """The operating system does not let oneadmin do it."""

    code = "no-access"


class ToolFailed(StorageError):
    """A command such as qemu-img ended with an error."""

    code = "tool-failed"


class Unreachable(StorageError):
    """A host, or oned, does not answer or does not let us in."""

    code = "unreachable"


class DeadlineOver(StorageError):
    """A command took too long, or data stopped flowing."""

    code = "deadline"


class Busy(StorageError):
    """Another action holds the image or the disk."""

    code = "busy"


class Cancelled(StorageError):
    """The caller went away or asked us to stop."""

    code = "cancelled"


class Corrupt(StorageError):
    """Data that was read, sent or stored is not what it should be."""

    code = "corrupt"


FAMILY: dict[str, type[StorageError]] = {
    kind.code: kind
    for kind in (
        StorageError,
        BadCall,
        Refused,
        Unsupported,
        Missing,
        NoSpace,
        NoAccess,
        ToolFailed,
        Unreachable,
        DeadlineOver,
        Busy,
        Cancelled,
        Corrupt,
    )
}


def from_record(record: dict[str, Any]) -> StorageError:
    """The error that :meth:`StorageError.record` described."""
    kind = FAMILY.get(str(record.get("code", "")), StorageError)
    error = kind(
        str(record.get("sentence", "")),
        host=str(record.get("host", "")),
        todo=str(record.get("todo", "")),
        detail=str(record.get("detail", "")),
    )
    error.undone = str(record.get("undone", ""))
    error.run = str(record.get("run", ""))
    return error


def from_os(error: OSError, doing: str, host: str = "") -> StorageError:
    """Turn an operating system error into one of ours.

    :param error: the error, from this host or carried over from the peer with its errno.
    :param doing: what was being done, with the path: ``create the directory /x``.
    """
    import errno

    reason = error.strerror or str(error)
    sentence = f"Cannot {doing}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(sentence, host, todo="free some space and run it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NoAccess(sentence, host)
    if error.errno == errno.ENOENT:
        return Missing(sentence, host)
    if error.errno == errno.ETIMEDOUT:
        return DeadlineOver(sentence, host)
    return StorageError(sentence, host)


def one_line(text: str, limit: int = 600) -> str:
    """Text that is safe on one log line: control characters become blanks, long text is cut."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
