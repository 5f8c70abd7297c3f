# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of libvirt about one disk of a running guest: a program of its own, run on the host of the guest.

It is a process and not a call, because a call into libvirt cannot be broken off, and because the host may be a peer,
which has Python and nothing of ours: the text of these files is all that goes there (:func:`program`). It needs the
Python bindings of libvirt and lxml on that host. Its argument is one document of JSON, and so is its answer.

Disks are addressed by their target (``vda``): libvirt knows a path only as the domain was given it (contract-tm Q21).
A disk that was started by its link keeps that name in libvirt and QEMU for the file that the link led to then, and
QEMU opens a file by its name again when it changes what it may do with it. So no operation here makes QEMU open such a
file again after the link has moved: the top becomes read-only while its link still leads to it, and a layer is
committed into the one below only where neither that one nor the one above is known by the link.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # never imported here, but read as source by name, which Ansible's packer does not see
    from . import backup, checkpoints, domain, guard, hold, jobs, main, merge, snapshot  # noqa: F401

#: Its files, each after those it imports.
PARTS = ("guard", "domain", "hold", "jobs", "snapshot", "checkpoints", "backup", "merge", "main")


def program() -> str:
    """The whole program as one text for ``python3 -c``, which takes the document as its argument."""
    from ..source import as_modules, source_of

    sources = [[name, source_of(f"guest.{name}")] for name in PARTS]
    return f"import sys\n{as_modules(repr(sources))}\nm.main(sys.argv[1])\n"
