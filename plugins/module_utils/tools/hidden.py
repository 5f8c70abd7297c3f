# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in ``<datastore>/.one_storage``, where everything of ours lies that is not oned's (ARCHITECTURE.md)."""

from __future__ import annotations

HIDDEN = ".one_storage"
LOCKS = "locks"
PROBE = "probe-"
STATUS = ".status"
#: Ends the name of the receipt of a VM that came by ``mv``: it stays as long as the directory that it names.
ARRIVED = ".arrived"
#: Folder of files that were made for others to fetch; they dispose of them, or a sweep does after a day.
EXPORTS = "exports"
#: Folder of what nobody knew and was taken out of its place, by day; it stays until somebody puts it back or purges it.
QUARANTINE = "quarantine"
#: Folder of a workshop in which a stream lands. What a broken one left there stays for a day, for a run that goes on.
KEPT = "kept"
