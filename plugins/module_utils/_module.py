# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible door: what is the same in every module."""

from __future__ import annotations

import os
import signal

from ansible.module_utils.basic import AnsibleModule

from . import _run
from ._actions import ACTIONS
from ._errors import StorageError
from .tools import audience
from .tools.command import stop_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(action: str) -> None:
    """Run an action as an Ansible module, with check mode and diff.

    :param action: the module's name without the collection.
    """
    module = AnsibleModule(argument_spec=ACTIONS[action].options, supports_check_mode=True)
    ended = _stoppable()
    mode = _run.Mode(
        check=module.check_mode, stopped=lambda: bool(ended), fault=os.environ.get("ONE_STORAGE_FAULT", "")
    )
    try:
        outcome = _run.run(action, dict(module.params), mode)
        outcome.close()
    except StorageError as error:
        module.fail_json(msg=str(error), error=error.record())
        raise
    result = outcome.result
    changes = result.pop("changes")
    module.exit_json(diff=diff(changes), **result)


def info(name: str) -> None:
    """Run a module that changes nothing: it only looks, or what it tries it takes away.

    :param name: the module's name without the collection.
    """
    from ._info import MODULES

    module = AnsibleModule(argument_spec=MODULES[name].options, supports_check_mode=True)
    _stoppable()
    try:
        result = MODULES[name].run({**module.params, "check": module.check_mode})
    except StorageError as error:
        module.fail_json(msg=str(error), error=error.record())
        raise
    module.exit_json(changed=False, **result)


def _stoppable() -> list[int]:
    """Let a signal, or the end of who called, stop the work; the list gets what it was."""
    ended: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        ended.append(number)
        stop_work()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    audience.watch(lambda: stop(0, None))
    return ended


def diff(changes: list[dict[str, str]]) -> list[dict[str, str]]:
    """Ansible's diff of what changed: one entry a path."""
    return [
        {
            "before_header": f"{change['path']} on {change['host']}",
            "after_header": f"{change['path']} on {change['host']}",
            "before": change["before"] + "\n",
            "after": change["after"] + "\n",
        }
        for change in changes
    ]
