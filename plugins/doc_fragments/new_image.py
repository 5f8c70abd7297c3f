# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a new image is, group _NEW_IMAGE without the datastore's directory."""

from __future__ import annotations


class ModuleDocFragment:
    """The identity of a new image."""

    DOCUMENTATION = r"""
options:
  datastore_id:
    description:
      - Number of the image datastore.
      - The name of the image's file follows from O(datastore_id), O(image_id) and O(regtime). It is the MD5, in
        hexadecimal, of the three numbers with a colon between them. So a second run finds the file of the first,
        and the file of another image is never hit.
    type: int
    required: true
  image_id:
    description: Number of the image.
    type: int
    required: true
  regtime:
    description:
      - When the image was registered, in seconds since 1970 (C(REGTIME) of the image). Numbers of images may come
        again after a restored database; together with this time they do not.
    type: int
    required: true
notes:
  - If O(datastore) has a file of that name already, this is the image, and nothing is done.
"""
