# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of drivers, as oned and the modules write them.

One line a driver; those of others have theirs in :mod:`.others`. The imports are literal and inside functions: only the
driver that is asked for is loaded, and Ansible's packer, which does not see computed names, packs them all.
"""

from __future__ import annotations

from .._errors import Unsupported, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Driver


def _ds_fs() -> Driver:
    from .fs import Fs

    return Fs()


def _ds_dummy() -> Driver:
    from .dummy import DsDummy

    return DsDummy()


def _ds_ceph() -> Driver:
    from .ceph import Ceph

    return Ceph()


def _ds_rsync() -> Driver:
    from .rsync import Rsync

    return Rsync()


def _ds_restic() -> Driver:
    from .restic import Restic

    return Restic()


def _tm_dummy() -> Driver:
    from .dummy import TmDummy

    return TmDummy()


def _tm_qcow2() -> Driver:
    from .qcow2 import Qcow2

    return Qcow2()


def _tm_shared() -> Driver:
    from .qcow2 import Shared

    return Shared()


def _tm_ssh() -> Driver:
    from .ssh import Ssh

    return Ssh()


def _tm_local() -> Driver:
    from .local import Local

    return Local()


def _tm_ceph() -> Driver:
    from .ceph_vm import CephVms

    return CephVms()


def _tm_ceph_ssh() -> Driver:
    from .ceph_ssh import CephSsh

    return CephSsh()


def _tm_qcow2_ssh() -> Driver:
    from .qcow2_ssh import Qcow2Ssh

    return Qcow2Ssh()


#: (kind, image driver, system driver) → how to get it. An empty system driver is the plain one.
DRIVERS: dict[tuple[str, str, str], Callable[[], Driver]] = {
    ("ds", "fs", ""): _ds_fs,
    ("ds", "dummy", ""): _ds_dummy,
    ("ds", "ceph", ""): _ds_ceph,
    ("ds", "rsync", ""): _ds_rsync,
    ("ds", "restic", ""): _ds_restic,
    ("tm", "dummy", ""): _tm_dummy,
    ("tm", "qcow2", ""): _tm_qcow2,
    ("tm", "shared", ""): _tm_shared,
    ("tm", "ssh", ""): _tm_ssh,
    ("tm", "local", ""): _tm_local,
    ("tm", "ceph", ""): _tm_ceph,
    ("tm", "ceph", "ssh"): _tm_ceph_ssh,
    ("tm", "qcow2", "ssh"): _tm_qcow2_ssh,
    ("tm", "shared", "ssh"): _tm_qcow2_ssh,
}


def load(kind: str, name: str, system: str = "") -> Driver:
    """The driver for an image driver and the driver of the system datastore.

    :param system: empty, or TM_MAD_SYSTEM; one that needs no mixing (its own name, or one nothing is special about)
        gives the plain driver, as oned's lookup of ``<action>.<system>`` does (contract-tm 1.1, 4).
    """
    make = DRIVERS.get((kind, name, system))
    if make is None:
        from .others import DRIVERS as OTHERS

        make = OTHERS.get((kind, name, system)) or DRIVERS.get((kind, name, "")) or OTHERS.get((kind, name, ""))
    if make is None:
        known = ", ".join(sorted({driver for where, driver, _system in (*DRIVERS, *OTHERS) if where == kind}))
        raise Unsupported(f"There is no {kind} driver '{one_line(name, 60)}': this build has {known}")
    return make()
