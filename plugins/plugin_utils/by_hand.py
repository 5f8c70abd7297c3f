# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that an operator's command runs, and not oned: on the host that leads, by the launchers of wrappers."""

from __future__ import annotations

from .answer import Voice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings


def act(
    settings: Settings, action: str, driver: str, hosts: dict[str, str], options: dict[str, Any], check: bool = False
) -> dict[str, Any]:
    """The result of an action.

    :param action: module name without the collection: ``ds_backup_verify``.
    :param hosts: the host that leads: ``lead`` of a ``ds`` action, ``destination`` of a ``tm`` one; this machine if
        none is named.
    :param options: all but the driver and the timeouts.
    :param check: only say what would be done.
    :raises StorageError: one sentence.
    """
    from .launch import Launch, Placement

    kind = action.partition("_")[0]
    placement = Placement("node", hosts, settings, kind)
    launch = Launch(placement, settings, Voice(action), action, driver, "")
    try:
        result = launch.run({**settings.common(), **options, "driver": driver}, check, "")
        launch.delivered()
        return result
    finally:
        launch.close()
