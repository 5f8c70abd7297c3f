# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action locks."""

from __future__ import annotations

import os

from ..tools.hidden import HIDDEN

#: What begins the name of a datastore that is a pool of volumes and no directory.
POOL = "rbd:"


class Claim:
    """An object that an action holds while it runs: a VM's files, an image, on one host.

    :param datastore: directory of the datastore that the object belongs to, or ``rbd:<pool>``: then lock and journal
        lie in the pool, and there is no workshop.
    :param key: name of the object in it: ``vm-5``, ``image-<hash>``.
    :param shared: others may read at the same time; a shared claim has no workshop.
    :param aside: what is worth keeping may be set aside in its workshop, although the journal lies elsewhere: then it
        has one too, which leads to that. On the lead only.
    :param fresh: nothing is ever set aside in its workshop, so a peer that loses its lead may empty it at once.
    """

    def __init__(
        self, where: str, datastore: str, key: str, shared: bool = False, aside: bool = False, fresh: bool = False
    ) -> None:
        self.where = where
        self.datastore = datastore
        self.key = key
        self.shared = shared
        self.aside = aside
        self.fresh = fresh

    @property
    def in_pool(self) -> bool:
        """Whether the object lies in a pool of volumes."""
        return self.datastore.startswith(POOL)

    def shop(self, run: str) -> str:
        """The workshop of this run for the object."""
        return os.path.join(self.datastore, HIDDEN, self.key, run)
