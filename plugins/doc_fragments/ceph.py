# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of actions on volumes of a Ceph cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """How the cluster is reached, and how volumes are made in it."""

    DOCUMENTATION = r"""
options:
  pool:
    description:
      - Pool of new images and volatile disks (C(POOL_NAME)). For O(driver=ceph), as are the options below.
      - An image that there is names its pool itself.
    type: str
    default: one
  data_pool:
    description:
      - Pool that takes the data of new volumes (C(EC_POOL_NAME)), when it is not the one that knows their names. An
        erasure coded pool can be such a one.
    type: str
    default: ''
  ceph_user:
    description: User of the cluster without C(client.) (C(CEPH_USER)). Empty for C(admin).
    type: str
    default: ''
  ceph_key:
    description:
      - Path on the lead of a file with the user's key and nothing else (C(CEPH_KEY)). Empty for the keyring that the
        configuration names.
    type: str
    default: ''
  ceph_conf:
    description: Path on the lead of the cluster's configuration (C(CEPH_CONF)). Empty for C(/etc/ceph/ceph.conf).
    type: str
    default: ''
  ceph_host:
    description:
      - The monitors, separated by blanks (C(CEPH_HOST)). With them no configuration is needed on the lead. They count
        for nothing where O(ceph_conf) is set.
    type: str
    default: ''
  rbd_format:
    description:
      - Format of new volumes (C(RBD_FORMAT)). V(1) leaves it to the cluster's default, which is V(2) since clusters do
        not make the old one any more. Snapshots and clones need V(2).
    type: int
    choices: [1, 2]
    default: 2
  ceph_trash:
    description: Whether what is removed goes to the pool's trash (C(CEPH_TRASH)).
    type: bool
    default: false
  staging_dir:
    description:
      - Directory on the lead for what has to be converted before it can be written to a volume (C(STAGING_DIR)).
    type: str
    default: /var/tmp
"""
