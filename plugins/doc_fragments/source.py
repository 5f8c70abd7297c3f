# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the actions that read an image from somewhere else."""

from __future__ import annotations


class ModuleDocFragment:
    """How a source is read."""

    DOCUMENTATION = r"""
options:
  limit_rate:
    description:
      - Most bytes per second that are read from the source, whatever kind of source it is. A number, with K, M or G
        for powers of 1024 (C(LIMIT_TRANSFER_BW) of the datastore). Empty for no limit.
    type: str
    default: ''
  tls_verify:
    description:
      - Whether the certificate of a server is verified. An attribute of the datastore of our own switches it off,
        C(TLS_VERIFY=NO).
    type: bool
    default: true
  helpers:
    description:
      - The folder on the lead in which OpenNebula's helper downloaders lie, C(remotes/datastore). They serve the kinds
        of URL that are not known here, such as those of backups. Empty for none.
    type: str
    default: ''
  s3_access_key_id:
    description: Access key for C(s3://) URLs (C(ACCESS_KEY_ID) of the marketplace).
    type: str
    default: ''
  s3_secret_access_key:
    description: Secret key for C(s3://) URLs (C(SECRET_ACCESS_KEY) of the marketplace).
    type: str
    default: ''
  s3_region:
    description: Region for C(s3://) URLs (C(REGION) of the marketplace).
    type: str
    default: ''
  s3_endpoint:
    description: URL of the server for C(s3://) URLs, when it is not Amazon's (C(ENDPOINT) of the marketplace).
    type: str
    default: ''
  s3_aws:
    description: V(no) when the server for C(s3://) URLs is not Amazon's (C(AWS) of the marketplace).
    type: str
    default: ''
"""
