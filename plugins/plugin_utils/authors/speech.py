# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a driver speaks: log lines, the reason of a failure, its answer, its exit code; and the document it is sent."""

from __future__ import annotations

import sys
import time

from ...module_utils._errors import BadCall, StorageError, one_line
from ..answer import Voice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Union

    from lxml.etree import _Element

    #: What a driver's function may return: nothing, one line, or several.
    Said = Union[None, str, list[str]]

_SEVERITIES = ("ERROR", "WARN", "INFO", "DEBUG")


def _voice() -> Voice:
    return Voice(sys.argv[0] or "driver")


def log_date() -> str:
    """The time now as logs write it: ``Thu Jan 01 00:00:00 1970``; English whatever the locale."""
    now = time.localtime()
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[now.tm_wday]
    month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()[now.tm_mon - 1]
    return f"{day} {month} {now.tm_mday:02} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} {now.tm_year}"


def log_function(severity: str, message: str) -> None:
    """A line for oned's log, ``<SEVERITY>: <script>: <message>`` on stderr (contract-ds 2.4).

    :raises BadCall: for a severity that oned does not know: it would take the line for a reason (contract-ds 2.3).
    """
    if severity not in _SEVERITIES:
        raise BadCall(f"'{one_line(severity, 40)}' is no severity: it must be one of {', '.join(_SEVERITIES)}")
    _voice().log(severity, message)


def log(message: str) -> None:
    """A line for oned's log, as information."""
    _voice().log("INFO", message)


def log_info(message: str) -> None:
    """A line for oned's log, as information."""
    _voice().log("INFO", message)


def log_warn(message: str) -> None:
    """A line for oned's log, as a warning."""
    _voice().log("WARN", message)


def log_error(message: str) -> None:
    """A line for oned's log, as an error. It is no reason for the user: see :func:`error_message`."""
    _voice().log("ERROR", message)


def log_debug(message: str) -> None:
    """A line for oned's log, for those who look closely."""
    _voice().log("DEBUG", message)


def error_message(message: str) -> None:
    """The reason of a failure, which the user will see.

    oned glues all plain lines of stderr together without a blank (contract-ds 2.3): say one sentence, once.
    """
    _voice().reason(message)


def read_document() -> _Element:
    """The document that oned sends on stdin, as XML or base64, parsed with everything dangerous off.

    :raises BadCall: when there is none, it is none, or it is larger than 16 MB.
    """
    from ..documents import decode, parse, read_stdin

    return parse(decode(read_stdin()))


def exit_code(error: StorageError) -> int:
    """The exit code of a failure: that of a failed command, 143 when its time was over, 254 without a lock, else 1."""
    return int(getattr(error, "exit_code", 1))


def main(function: Callable[[list[str]], Said]) -> None:
    """Run a driver and end the process.

    :param function: is given the arguments after the script's name. What it returns is the answer on stdout: a line or
        several. A ``StorageError`` from it becomes log lines, one plain sentence on stderr and an exit code; whatever
        else it raises becomes a sentence too, with the traceback in the log.
    """
    voice = _voice()
    failure = StorageError("It ended without an answer")
    try:
        answer = function(sys.argv[1:])
        if isinstance(answer, str):
            voice.answer(answer)
        elif answer:
            voice.lines(answer)
        sys.exit(0)
    except StorageError as error:
        failure = error
    except KeyboardInterrupt:
        failure = StorageError("Interrupted")
    except BrokenPipeError:
        # nobody reads the answer
        sys.exit(1)
    except Exception as error:
        import traceback

        failure = StorageError(f"An unexpected error: {type(error).__name__}: {error}", detail=traceback.format_exc())
    voice.fail(failure)
    sys.exit(exit_code(failure))
