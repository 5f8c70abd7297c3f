# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where restic keeps a repository, as data: what it is called, which environment and which options it needs
(contract-ds 12.1, 12.2).

A back end is a line of :data:`BACKENDS`. Texts are filled with the fields of a place (:func:`.place_of`) and of its
secrets; an option or a variable with an empty field is left out.
"""

from __future__ import annotations

import os

from ..._errors import BadCall, one_line
from .. import ssh
from .rsync import login, login_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Backend:
    """One back end.

    :ivar name: what RESTIC_BACKEND calls it, for people.
    :ivar here: whether the machine that runs the action reaches it itself, so that no server is asked.
    :ivar needs: fields of the place and of its secrets that must not be empty.
    :ivar url: the repository, for ``--repo``.
    :ivar options: arguments of every restic command.
    :ivar variables: its environment.
    """

    def __init__(
        self,
        name: str,
        here: bool,
        needs: tuple[str, ...],
        url: Callable[[dict[str, Any]], str],
        options: Callable[[dict[str, Any]], list[str]],
        variables: Callable[[dict[str, Any]], dict[str, str]],
    ) -> None:
        self.name = name
        self.here = here
        self.needs = needs
        self.url = url
        self.options = options
        self.variables = variables


def identity(place: dict[str, Any]) -> str:
    """The repository's name below BASE_PATH or in the bucket: ``job_<backup job>``, else the VM's id."""
    if place["job"] >= 0:
        return f"job_{place['job']}"
    if place["vm"] >= 0:
        return str(place["vm"])
    raise BadCall("Neither a backup job nor a VM tells the repository")


def _path(place: dict[str, Any]) -> str:
    return os.path.join(place["path"], identity(place))


def _sftp_options(place: dict[str, Any]) -> list[str]:
    if not place["host"]:
        return []
    line = [*login_options(place), "-s", "--", login(place), "sftp"]
    found = [f"--option=sftp.command={ssh.shell(line)}"]
    if place["connections"] != 5:
        found.append(f"--option=sftp.connections={place['connections']}")
    return found


def _sftp_url(place: dict[str, Any]) -> str:
    # two slashes: the path is from the root of the server; the address is in the command that logs in
    return f"sftp://{login(place, brackets=True)}/{_path(place)}" if place["host"] else _path(place)


def _s3_url(place: dict[str, Any]) -> str:
    endpoint = place["s3_endpoint"].rstrip("/")
    endpoint = endpoint[3:] if endpoint.startswith("s3:") else endpoint
    return f"s3:{endpoint}/{place['s3_bucket']}/{identity(place)}"


def _s3_options(place: dict[str, Any]) -> list[str]:
    found = ["--option=s3.bucket-lookup=path"] if place["s3_path_style"] else []
    found += [f"--cacert={place['s3_cacert']}"] if place["s3_cacert"] else []
    return [*found, "--insecure-tls"] if place["s3_insecure_tls"] else found


def _s3_variables(place: dict[str, Any]) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": place["s3_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": place["s3_secret_access_key"],
        "AWS_REGION": place["s3_region"],
        "AWS_DEFAULT_REGION": place["s3_region"],
    }


BACKENDS = {
    "sftp": Backend("SFTP", False, (), _sftp_url, _sftp_options, lambda _place: {}),
    "local": Backend("LOCAL", True, (), _path, lambda _place: [], lambda _place: {}),
    "s3": Backend(
        "S3",
        True,
        ("s3_access_key_id", "s3_secret_access_key", "s3_bucket", "s3_endpoint"),
        _s3_url,
        _s3_options,
        _s3_variables,
    ),
}


def backend_of(place: dict[str, Any], secrets: dict[str, str]) -> tuple[Backend, dict[str, Any]]:
    """The back end of a place, and all its fields, with those that are secret.

    :raises BadCall: when it is none we know, or what it needs is missing; the password always is needed.
    """
    found = BACKENDS.get(place["backend"])
    if found is None:
        raise BadCall(
            f"'{one_line(place['backend'], 40)}' is not a back end of restic: there are {', '.join(BACKENDS)}"
        )
    full = {**place, **{name[len("repository_") :]: value for name, value in secrets.items()}}
    for field in ("password", *found.needs):
        if not full.get(field):
            raise BadCall(f"The restic datastore has no RESTIC_{field.upper()}, which the back end {found.name} needs")
    return found, full
