# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceph: volumes of a pool, and the locks and journals that lie beside them, over one connection an action.

A program of its own has the connection (:func:`program`), because a call into librados or librbd cannot be broken off:
a cluster that hangs is left by ending the process. It is a program and not a fork, because the bindings belong to the
distribution's Python, which need not be the one that runs us. :class:`.cluster.Cluster` is our end of the talk, one
line of JSON each way for a call; what it is asked is in :data:`.served.OPERATIONS`.
"""

from __future__ import annotations

import os

from ..._errors import BadCall, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    # never imported here, but read as source by name, which Ansible's packer does not see
    from . import beds, blocks, content, diffs, served, survey, volumes  # noqa: F401

#: The program's files, each after those it imports.
PARTS = ("beds", "volumes", "blocks", "content", "diffs", "survey", "served")
#: What begins the name of a datastore whose claims lie in a pool; the pool's name follows.
SCHEME = "rbd:"
#: What begins the names of volumes that are not finished yet. Stock's names all begin with ``one-``.
UNFINISHED = "one_storage."


class Access:
    """How a cluster is reached. All of it may be empty: then librados' own defaults hold.

    :param user: CEPH_USER, the id without ``client.``.
    :param keyfile: CEPH_KEY, a file with the key alone (contract-ds 9).
    :param conf: CEPH_CONF, the configuration file.
    :param hosts: CEPH_HOST, the monitors, for hosts that have no configuration.
    """

    def __init__(self, user: str = "", keyfile: str = "", conf: str = "", hosts: str = "") -> None:
        self.user = user
        self.keyfile = keyfile
        self.conf = conf
        self.hosts = hosts


def program() -> str:
    """The whole program as one text for ``python3 -c``."""
    from ..source import as_modules, from_files, source_of

    folder = os.path.dirname(__file__)
    files = [[name, os.path.join(folder, f"{name}.py")] for name in PARTS]
    if all(os.path.exists(path) for _name, path in files):
        return f"import sys\n{from_files(repr(files))}\nm.main()\n"
    # Ansible brings us in an archive
    sources = [[name, source_of(f"rbd.{name}")] for name in PARTS]
    return f"import sys\n{as_modules(repr(sources))}\nm.main()\n"


def pool_of(datastore: str) -> str:
    """The pool that a claim's datastore names; empty for a directory."""
    return datastore[len(SCHEME) :] if datastore.startswith(SCHEME) else ""


def volume_of(source: str) -> tuple[str, str]:
    """Pool and name of a volume out of an image's SOURCE (contract-tm 6.6): ``one/one-5``.

    :raises BadCall: it is not one volume's name: it has a snapshot, a namespace, blanks.
    """
    pool, _slash, name = source.partition("/")
    for word in (pool, name):
        if not word or any(char in "/@" or ord(char) <= 32 or ord(char) == 127 for char in word):
            raise BadCall(f"'{one_line(source, 120)}' is not the name of a volume, such as one/one-5")
    return pool, name


def unfinished(name: str, run: str) -> str:
    """The name under which a run builds what will be the volume *name*."""
    return f"{UNFINISHED}{run}.{name}"


def unfinished_of(name: str) -> str:
    """The name that a volume will have which a run builds under *name*; that itself for all others."""
    return name.split(".", 2)[-1] if name.startswith(UNFINISHED) else name
