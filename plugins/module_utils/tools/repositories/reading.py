# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a repository is read from elsewhere: which host is logged in to, and what is used there (:mod:`..retrieval`)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Variables that mean something on this machine only.
_OURS = ("SSH_AUTH_SOCK", "XDG_CACHE_HOME")


def reached(place: dict[str, Any], secrets: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """``user@host`` of the machine that has a repository, empty for this one, and the repository as seen there.

    :param place: what :func:`..repositories.place_of` gives, with the VM and the job that are asked for.
    :param secrets: those of the place by option; they travel with the order, over stdin.
    """
    if place["kind"] == "rsync":
        from .rsync import login

        folder = os.path.join(place["path"], str(place["vm"]))
        return login(place) if place.get("host") else "", {"folder": folder}
    from ..host import Host
    from .backends import backend_of
    from .restic import Restic
    from .rsync import login

    server = "" if backend_of(place, secrets)[0].here or not place.get("host") else login(place)
    # on the server itself the repository is a path
    here = Restic({**place, "host": ""}, secrets, Host(os.uname().nodename))
    environment = here.variables()
    for name in _OURS if server else ():
        environment.pop(name, None)
    return server, {"command": here.argv(), "environment": environment, "stdin": here.password().decode()}
