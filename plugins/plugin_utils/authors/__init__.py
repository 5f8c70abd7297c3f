# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers for authors of drivers in Python: the names that shell drivers know, with argument lists and deadlines.

A driver that stands on its own takes them from here (docs/writing-a-driver.md shows how it finds them)::

    from plugins.plugin_utils.authors import arg_host, arg_path, main, ssh_exec_and_log

Values never become part of a script: they are given beside it and stand there as ``"$1"``, ``"$2"``, … A function that
fails raises a ``StorageError``; :func:`main` turns it into log lines, one plain sentence and an exit code (contract-ds
2.3, 2.5, 5.5).
"""

from __future__ import annotations

from ..documents import need, number, text, yes
from .commands import (
    CommandFailed,
    TimedOut,
    exec_and_log,
    exec_and_set_error,
    monitor_and_log,
    multiline_exec_and_log,
    multiline_exec_and_set_error,
    retry,
    retry_if,
    retry_if_no_error,
    timeout_exec_and_log,
)
from .locks import LockBusy, exclusive
from .remote import (
    disable_local_monitoring,
    enable_local_monitoring,
    ssh_exec_and_log,
    ssh_exec_and_log_no_error,
    ssh_exec_and_log_stdin,
    ssh_make_path,
    ssh_monitor_and_log,
)
from .speech import (
    error_message,
    log,
    log_date,
    log_debug,
    log_error,
    log_function,
    log_info,
    log_warn,
    main,
    read_document,
)
from .values import arg_host, arg_path, contains, fix_dir_slashes, is_disk, is_yes, mkfs_command, xml_esc

__all__ = [
    "CommandFailed",
    "LockBusy",
    "TimedOut",
    "arg_host",
    "arg_path",
    "contains",
    "disable_local_monitoring",
    "enable_local_monitoring",
    "error_message",
    "exclusive",
    "exec_and_log",
    "exec_and_set_error",
    "fix_dir_slashes",
    "is_disk",
    "is_yes",
    "log",
    "log_date",
    "log_debug",
    "log_error",
    "log_function",
    "log_info",
    "log_warn",
    "main",
    "mkfs_command",
    "monitor_and_log",
    "multiline_exec_and_log",
    "multiline_exec_and_set_error",
    "need",
    "number",
    "read_document",
    "retry",
    "retry_if",
    "retry_if_no_error",
    "ssh_exec_and_log",
    "ssh_exec_and_log_no_error",
    "ssh_exec_and_log_stdin",
    "ssh_make_path",
    "ssh_monitor_and_log",
    "text",
    "timeout_exec_and_log",
    "xml_esc",
    "yes",
]
