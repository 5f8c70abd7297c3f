# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a repository is read from elsewhere: which host is logged in to, and what is used there (:mod:`..retrieval`)."""

from __future__ import annotations

import os

from ..._errors import BadCall, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def reached(place: dict[str, Any], secrets: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """``user@host`` of the machine that has a repository, empty for this one, and the repository as seen there.

    :param place: what :func:`..repositories.place_of` gives, with the VM and the job that are asked for.
    :param secrets: those of the place by option; they travel with the order, over stdin.
    """
    if place["kind"] == "rsync":
        from .rsync import login

        folder = os.path.join(place["path"], str(place["vm"]))
        return login(place) if place.get("host") else "", {"folder": folder}
    raise BadCall(f"'{one_line(str(place['kind']), 40)}' is not a kind of backup repository")
