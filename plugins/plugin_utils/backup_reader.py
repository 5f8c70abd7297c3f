# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read a backup by its pseudo-URL (contract-ds 6.3).

Anybody who may make images can write such a URL as the PATH of one. oned does not look at it, and the drivers can read
every repository. So oned is asked whose backup that is, and whether its user may have it.
"""

from __future__ import annotations

from ..module_utils._errors import BadCall, Missing, NoAccess, StorageError
from ..module_utils.tools.sources.backup import BackupUrl
from .documents import number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lxml.etree import _Element

    from .calls import Context

#: IMAGE/TYPE of a backup (contract-ds 4.3).
_BACKUP = 6
_ONEADMIN = 0


def may_read(context: Context, source: str, image: _Element) -> None:
    """Let an image be made from a backup when its owner may use that backup.

    What oneadmin makes is not looked at, nor where the setting CHECK_BACKUP_OWNER is ``no``.

    :param source: the pseudo-URL; :param image: the new image as oned describes it.
    :raises BadCall: for what is no such URL, or one of another datastore than oned was told.
    :raises Missing: oned has no such backup; :raises NoAccess: its user may not use it.
    """
    uid = number(image, "UID", _ONEADMIN)
    if uid == _ONEADMIN or context.settings.text("CHECK_BACKUP_OWNER", "yes").strip().lower().startswith("n"):
        return
    url = BackupUrl(source)
    told = number(image, "TEMPLATE/FROM_BACKUP_DS", url.datastore)
    if told != url.datastore:
        raise BadCall(f"FROM_BACKUP_DS is {told}, and the image's path is in datastore {url.datastore}")
    backup = _find(context, url)
    if backup is None:
        raise Missing(
            f"oned knows no backup of VM {url.vm} in datastore {url.datastore} with what the image's path names",
            todo="only oneadmin makes images of it",
        )
    own = number(backup, "UID", -1) == uid and text(backup, "PERMISSIONS/OWNER_U", "1") == "1"
    if not own:
        _ask_as(context, text(image, "UNAME"), number(backup, "ID"))


def _find(context: Context, url: BackupUrl) -> _Element | None:
    """The backup that a URL is of: its VM, its job, and all of its references."""
    from .calls_backup import whose

    wanted = {f"{increment}:{reference}" for increment, reference in url.chain}
    for image in context.oned.images().findall("IMAGE"):
        if number(image, "TYPE", -1) != _BACKUP or number(image, "DATASTORE_ID", -1) != url.datastore:
            continue
        known = whose(image)
        if (known["vm_id"], known["backup_job_id"]) == (url.vm, url.job) and wanted.issubset(known["increments"]):
            return image
    return None


def _ask_as(context: Context, user: str, backup: int) -> None:
    """Ask oned as the user, so that groups and ACLs count.

    :raises NoAccess: oned refuses, or there is no account that speaks for users.
    """
    from .server_auth import oned_as

    try:
        oned_as(user, context.oned, context.settings.number("ONED_TIMEOUT", 30)).image(backup)
    except StorageError as error:
        if not isinstance(error, NoAccess):
            raise
        raise NoAccess(f"{user} may not make an image of backup {backup}: {error}") from None
