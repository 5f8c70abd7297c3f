# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and scripts on this machine, for authors of drivers (contract-ds 5.5)."""

from __future__ import annotations

import time

from ...module_utils._errors import BadCall, DeadlineOver, StorageError, ToolFailed, one_line
from ...module_utils.tools import command as tool
from ..settings import Settings, remotes
from .speech import log_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Before every script: messages in English, tools of the administrator, no step skipped in silence.
PROLOGUE = "export LANG=C LC_ALL=C\nPATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\nset -e -o pipefail\n"
#: Of what a command says, so many bytes at the end are kept.
MOST = 1 << 20


class CommandFailed(ToolFailed):
    """A command or a script ended with an error.

    :ivar exit_code: its code; 127 when it is not installed, 128 and the signal's number when a signal ended it.
    """

    def __init__(self, sentence: str, exit_code: int, host: str = "", detail: str = "") -> None:
        super().__init__(sentence, host=host, detail=detail)
        self.exit_code = exit_code


class TimedOut(DeadlineOver):
    """A command or a script was ended because its time was over."""

    exit_code = 143


class Result:
    """How a command ended.

    :ivar code: its exit code, as a shell counts it.
    :ivar out: what it wrote to stdout; :ivar err: to stderr. The last MB of each.
    """

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code if code >= 0 else 128 - code
        self.out = out
        self.err = err

    @property
    def last_words(self) -> str:
        """The last line of stderr, where tools say what went wrong."""
        lines = self.err.strip().splitlines()
        return one_line(lines[-1], 300) if lines else f"it ended with code {self.code}"


def seconds(timeout: float | None) -> float:
    """A deadline: the one that is given, else ``COMMAND_TIMEOUT`` of one_storage.conf (an hour)."""
    if timeout is None:
        return Settings(remotes()).number("COMMAND_TIMEOUT", 3600)
    if not timeout > 0:
        raise BadCall(f"A timeout of {timeout} seconds is not possible")
    return timeout


def arguments(command: Sequence[str]) -> list[str]:
    """A command as a list of arguments; ``BadCall`` for a line that only a shell could take apart."""
    if isinstance(command, (str, bytes)):
        raise BadCall("A command is a list of arguments, not a line for a shell")
    given = [str(word) for word in command]
    if not given or any("\0" in word for word in given):
        raise BadCall("A command needs at least one argument, and none may contain a NUL")
    return given


def script_of(script: str) -> bytes:
    """A script for the stdin of ``bash -s``.

    It is one block, so that it runs whole or, when it arrives cut off, not at all, and so that no command in it reads
    the rest of it as its own stdin.
    """
    return f"{PROLOGUE}{{\n:\n{script}\n}} </dev/null\n".encode()


def perform(
    command: Sequence[str],
    timeout: float | None = None,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> Result:
    """Run a command to its end, whatever that is; ``TimedOut`` when it has to be ended."""
    argv, deadline = arguments(command), seconds(timeout)
    try:
        done = tool.run(argv, deadline, stdin=stdin, variables=dict(variables or {}), most=MOST)
    except FileNotFoundError as error:
        return Result(127, "", str(error.strerror))
    except TimeoutError:
        raise TimedOut(
            f"Timeout executing {named(argv)}: it did not end within {deadline:g} seconds",
            detail=f"Timeout executing {one_line(' '.join(argv), 1000)}",
        ) from None
    except OSError as error:
        return Result(126, "", str(error.strerror or error))
    return Result(done["rc"], done["out"], done["err"])


def named(argv: Sequence[str]) -> str:
    """A command as a sentence names it."""
    return f'"{one_line(" ".join(argv), 200)}"'


def failure(name: str, result: Result, message: str = "", host: str = "") -> CommandFailed:
    """The error for a command or script that ended with a code.

    :param name: what was run; :param message: what the user shall read, instead of what the tool said.
    """
    said = result.err.strip() or result.last_words
    return CommandFailed(
        message or f"Error executing {name}: {result.last_words}",
        result.code,
        host=host,
        detail=f"Command {name} failed with code {result.code}: {said}",
    )


def exec_and_log(
    command: Sequence[str],
    message: str = "",
    timeout: float | None = None,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a command; its stdout.

    :param command: a list of arguments. No shell sees it.
    :param message: the sentence for the user when it fails; what the tool said goes to the log then.
    :param timeout: seconds, else ``COMMAND_TIMEOUT``; the command and all that it started are killed then.
    :param stdin: what it reads; :param variables: more environment. Secrets go here, never into *command*.
    :raises CommandFailed: with the command's exit code.
    :raises TimedOut: when the time is over.
    """
    result = perform(command, timeout, stdin, variables)
    if result.code:
        raise failure(named(arguments(command)), result, message)
    return result.out


def timeout_exec_and_log(timeout: float, command: Sequence[str], message: str = "") -> str:
    """:func:`exec_and_log` with its deadline first, in seconds; exit code 143 when it is over."""
    return exec_and_log(command, message, timeout)


def exec_and_set_error(command: Sequence[str], message: str = "", timeout: float | None = None) -> str:
    """Run a command; the sentence about its failure, which is logged, or an empty text."""
    return _sentence(lambda: exec_and_log(command, message, timeout))


def multiline_exec_and_log(
    script: str, message: str = "", timeout: float | None = None, values: Sequence[str] = ()
) -> str:
    """Run a script of bash here; its stdout.

    :param script: the author's own text. It ends at its first command that fails.
    :param values: what it finds as ``"$1"``, ``"$2"``, …; nothing that came from outside belongs into the script.
    :raises CommandFailed: with the script's exit code.
    """
    result = perform(["bash", "-s", "--", *values], timeout, script_of(script))
    if result.code:
        raise failure("a script", result, message)
    return result.out


def multiline_exec_and_set_error(
    script: str, message: str = "", timeout: float | None = None, values: Sequence[str] = ()
) -> str:
    """Run a script of bash here; the sentence about its failure, which is logged, or an empty text."""
    return _sentence(lambda: multiline_exec_and_log(script, message, timeout, values))


def monitor_and_log(
    script: str, name: str = "monitor script", timeout: float | None = None, values: Sequence[str] = ()
) -> str:
    """Run a script of bash here for what it prints."""
    result = perform(["bash", "-s", "--", *values], timeout, script_of(script))
    if result.code:
        raise failure(f"the {name}", result)
    return result.out


def _sentence(work: Callable[[], str]) -> str:
    try:
        work()
    except StorageError as error:
        log_error(error.detail or str(error))
        return str(error)
    return ""


def retry(times: int, function: Callable[[], object], pause: float = 1) -> bool:
    """Whether *function* came true (and raised no ``StorageError``) within so many tries, *pause* seconds apart."""
    for turn in range(times):
        if turn:
            time.sleep(pause)
        try:
            if function():
                return True
        except StorageError as error:
            log_debug_of(error)
    return False


def log_debug_of(error: StorageError) -> None:
    """A failure that is tried again."""
    from .speech import log_debug

    log_debug(f"{error}: trying again")


def retry_if_no_error(
    pattern: str, tries: int, pause: float, command: Sequence[str], timeout: float | None = None
) -> Result:
    """Run a command; again while it fails and its stderr matches a regular expression. How it ended the last time.

    :param tries: how often at most; :param pause: seconds in between; :param timeout: seconds for each.
    """
    import re

    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise BadCall(f"'{one_line(pattern, 80)}' is not a regular expression: {error}") from None
    for turn in range(max(tries, 1)):
        if turn:
            time.sleep(pause)
        result = perform(command, timeout)
        if not result.code or not wanted.search(result.err):
            break
    return result


def retry_if(
    pattern: str, tries: int, pause: float, command: Sequence[str], message: str = "", timeout: float | None = None
) -> str:
    """Like :func:`retry_if_no_error`; its stdout, or ``CommandFailed`` for the last try."""
    result = retry_if_no_error(pattern, tries, pause, command, timeout)
    if result.code:
        raise failure(named(arguments(command)), result, message)
    return result.out
