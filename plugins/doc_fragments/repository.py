# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where backups are kept, and how, group _REPOSITORY."""

from __future__ import annotations


class ModuleDocFragment:
    """The repository of a backup datastore."""

    DOCUMENTATION = r"""
options:
  repository_host:
    description:
      - Backup server that a repository is read from by another host. It has no meaning where the lead itself is the
        server, nor for M(one_storage.drivers.ds_backup), which has a peer.
    type: str
    default: ''
  repository_user:
    description:
      - Whom to log in as on O(repository_host).
    type: str
    default: ''
  repository_args:
    description:
      - Options of C(rsync) (C(RSYNC_ARGS) of the datastore). By default C(-aS).
      - Options that would delete, leave out, or run something are refused.
    type: list
    elements: str
    default: []
  repository_backend:
    description:
      - Where restic keeps its repositories (C(RESTIC_BACKEND)).
      - V(sftp) is a directory of the backup server. V(local) is a directory of whichever host is at work, such as a mount
        that all have. V(s3) is an object store.
    type: str
    choices: [sftp, local, s3]
    default: sftp
  repository_program:
    description:
      - The command C(restic), or its path.
    type: str
    default: restic
  repository_password:
    description:
      - Password of the restic repositories (C(RESTIC_PASSWORD)). restic reads it from its standard input. It stands in no
        command line, log or journal.
    type: str
    default: ''
  repository_bandwidth:
    description:
      - Most KiB per second that restic sends, and receives (C(RESTIC_BWLIMIT)). V(-1) for no limit.
    type: int
    default: -1
  repository_connections:
    description:
      - Number of requests that restic has under way at once (C(RESTIC_CONNECTIONS)).
    type: int
    default: 5
  repository_processors:
    description:
      - Most processors that restic uses (C(RESTIC_MAXPROC)). V(-1) for no limit.
    type: int
    default: -1
  repository_compression:
    description:
      - Compression of what restic stores (C(RESTIC_COMPRESSION)).
    type: str
    choices: [auto, 'off', max]
    default: auto
  repository_tmp_dir:
    description:
      - Folder for temporary data, where backups are merged or taken out (C(RESTIC_TMP_DIR), C(RSYNC_TMP_DIR)).
    type: str
    default: /var/tmp
  repository_sparsify:
    description:
      - Whether unused blocks of merged backups are given back by C(virt-sparsify), where it is installed
        (C(RESTIC_SPARSIFY)).
    type: bool
    default: false
  repository_prune_max_repack:
    description:
      - Most data that restic packs anew when backups are removed, such as V(10G) (C(RESTIC_PRUNE_MAX_REPACK)). Empty for
        no limit.
    type: str
    default: ''
  repository_prune_max_unused:
    description:
      - How much of a repository may stay unused when backups are removed. A size, a part such as V(5%), or V(unlimited)
        (C(RESTIC_PRUNE_MAX_UNUSED)).
    type: str
    default: '0'
  repository_s3_access_key_id:
    description:
      - Who asks the object store (C(RESTIC_S3_ACCESS_KEY_ID)). It stands in no command line, log or journal.
    type: str
    default: ''
  repository_s3_secret_access_key:
    description:
      - The secret that goes with it (C(RESTIC_S3_SECRET_ACCESS_KEY)). It stands in no command line, log or journal.
    type: str
    default: ''
  repository_s3_bucket:
    description:
      - Bucket that has the repositories (C(RESTIC_S3_BUCKET)).
    type: str
    default: ''
  repository_s3_region:
    description:
      - Region of the bucket (C(RESTIC_S3_REGION)).
    type: str
    default: us-east-1
  repository_s3_endpoint:
    description:
      - Host of the object store, or its URL (C(RESTIC_S3_ENDPOINT)).
    type: str
    default: s3.amazonaws.com
  repository_s3_path_style:
    description:
      - Whether the bucket stands in the path of a URL, not in the name of the host (C(RESTIC_S3_FORCE_PATH_STYLE)).
    type: bool
    default: false
  repository_s3_cacert:
    description:
      - File with the certificates that the object store's is checked against (C(RESTIC_S3_CACERT)).
    type: str
    default: ''
  repository_s3_insecure_tls:
    description:
      - Whether its certificate is not checked at all (C(RESTIC_S3_INSECURE_TLS)).
    type: bool
    default: false
"""
