# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup datastores as oned describes them: where their repository is, and sources that the front-end reads there."""

from __future__ import annotations

from ..module_utils._errors import BadCall, one_line
from .calls import words
from .documents import need, number, text, yes
from .settings import prefix_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxml.etree import _Element

    from ..module_utils.tools.sources import Source
    from .calls import Context

BACKUP_DATASTORE = 3
#: Kinds of repositories that are read by ourselves; those of others have helpers.
KINDS = ("rsync", "restic")
#: Texts by option: attribute, default (contract-ds 11, 12.1).
_RSYNC = {"host": ("RSYNC_HOST", ""), "user": ("RSYNC_USER", "oneadmin"), "tmp_dir": ("RSYNC_TMP_DIR", "/var/tmp")}
_RESTIC = {
    "host": ("RESTIC_SFTP_SERVER", ""),
    "user": ("RESTIC_SFTP_USER", "oneadmin"),
    "password": ("RESTIC_PASSWORD", ""),
    "tmp_dir": ("RESTIC_TMP_DIR", "/var/tmp"),
    "prune_max_repack": ("RESTIC_PRUNE_MAX_REPACK", ""),
    "prune_max_unused": ("RESTIC_PRUNE_MAX_UNUSED", "0"),
    "s3_access_key_id": ("RESTIC_S3_ACCESS_KEY_ID", ""),
    "s3_secret_access_key": ("RESTIC_S3_SECRET_ACCESS_KEY", ""),
    "s3_bucket": ("RESTIC_S3_BUCKET", ""),
    "s3_region": ("RESTIC_S3_REGION", "us-east-1"),
    "s3_endpoint": ("RESTIC_S3_ENDPOINT", "s3.amazonaws.com"),
    "s3_cacert": ("RESTIC_S3_CACERT", ""),
}
_LOWER = {"backend": ("RESTIC_BACKEND", "sftp"), "compression": ("RESTIC_COMPRESSION", "auto")}
_NUMBERS = {
    "bandwidth": ("RESTIC_BWLIMIT", -1),
    "connections": ("RESTIC_CONNECTIONS", 5),
    "processors": ("RESTIC_MAXPROC", -1),
}
_FLAGS = {
    "sparsify": "RESTIC_SPARSIFY",
    "s3_path_style": "RESTIC_S3_FORCE_PATH_STYLE",
    "s3_insecure_tls": "RESTIC_S3_INSECURE_TLS",
}


def repository_options(store: _Element, kind: str) -> dict[str, Any]:
    """The options ``repository_...`` of an action by a datastore's attributes.

    :param store: with its passwords as they are.
    :raises BadCall: an attribute cannot be right, or one that is needed is missing.
    """

    def said(name: str, default: str = "") -> str:
        return text(store, f"TEMPLATE/{name}", default).strip()

    where = f"Datastore {text(store, 'ID', '?')}"
    texts = _RSYNC if kind == "rsync" else _RESTIC
    found: dict[str, Any] = {option: said(*attribute) for option, attribute in texts.items()}
    if kind == "rsync":
        found["args"] = words(said("RSYNC_ARGS"), "RSYNC_ARGS of the datastore")
    else:
        found.update({option: said(*attribute).lower() for option, attribute in _LOWER.items()})
        for option, (name, default) in _NUMBERS.items():
            found[option] = number(store, f"TEMPLATE/{name}", default, where)
        found.update({option: yes(said(name)) for option, name in _FLAGS.items()})
    if not found["host"] and (kind == "rsync" or found["backend"] == "sftp"):
        raise BadCall(f"{where} has no {texts['host'][0]}")
    return {f"repository_{option}": value for option, value in found.items()}


class BackupStore:
    """A backup datastore, asked for once.

    :ivar kind: ``rsync``, ``restic``, or the driver of others; :ivar mad: what oned calls the driver.
    :ivar document: the DATASTORE element, passwords as they are.
    """

    def __init__(self, context: Context, identifier: int) -> None:
        self.document = context.oned.datastore(identifier, decrypt=True)
        if number(self.document, "TYPE", -1) != BACKUP_DATASTORE:
            raise BadCall(f"Datastore {identifier} is not one for backups")
        self.mad = need(self.document, "DS_MAD")
        self.kind = self.mad.removeprefix(prefix_of(context.settings.root))
        self._context = context
        self._options: dict[str, Any] = {}

    @property
    def options(self) -> dict[str, Any]:
        """The repository as options of an action; empty for the drivers of others."""
        if self.kind in KINDS and not self._options:
            self._options = repository_options(self.document, self.kind)
        return self._options

    def opener(self, url: str, rate: int = 0) -> Callable[[], Source]:
        """What opens a source in this repository.

        :param rate: most bytes per second; 0 for no limit.
        """
        from ..module_utils._actions import CIPHERS
        from ..module_utils.tools.repositories import place_of, secrets_of
        from ..module_utils.tools.sources import Options, open_source

        settings, options = self._context.settings, self.options
        place = {}
        if options:
            place = place_of({**options, "driver": self.kind}, need(self.document, "BASE_PATH"))
            place.update(
                python=settings.text("NODE_PYTHON", "/usr/bin/python3"), ciphers=settings.text("CIPHERS", CIPHERS)
            )
            place.update(program=settings.text("RESTIC", "restic"))
        common = settings.common()
        how = Options(
            stall=common["stall_timeout"],
            rate=rate,
            secrets=secrets_of(options),
            helpers=f"{settings.root}/datastore",
            command=common["command_timeout"],
            repository=place,
        )
        return lambda: open_source(url, how)


def store_of(context: Context, url: str) -> BackupStore:
    """The backup datastore that a pseudo-URL names (contract-ds 6.3)."""
    identifier = url.partition("://")[2].partition("/")[0]
    if not (identifier.isascii() and identifier.isdigit() and len(identifier) < 10):
        raise BadCall(f"'{one_line(url, 200)}' names no backup datastore")
    return BackupStore(context, int(identifier))
