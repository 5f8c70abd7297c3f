#!/usr/bin/python
# SPDX-FileCopyrightText: one_storage.drivers contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import an image into a datastore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ds_cp
short_description: import an image into a datastore
version_added: 0.1.0
description:
  - Brings an image from a local file or from a URL into an image datastore. OpenNebula calls this action when
    an image is registered with a C(PATH), when one is uploaded, and for files of a files datastore (kernels,
    context files).
  - The data is read once. While it passes it is limited, hashed, unpacked and, if O(sparse), freed of blocks of
    zeros. Holes of a local file stay holes, and where the file system can, blocks are shared in place of copied.
  - Packing is known by its first bytes, not by a name. Gzip, bzip2, xz and zstd are taken off, and of a tar, a zip
    or an ova the one disk in it is taken, also when one lies in the other.
  - What arrives is looked at before it becomes an image. It is refused when it names a backing file or an external
    data file, when its virtual size is larger than O(size), and when it is a damaged qcow2 image. An image that
    could read another file of the host must never get into a datastore.
  - How far it is stands in syslog and in C(.one_storage/image-*.status) in the datastore, which the command
    C(one_storage/progress) in the remotes directory shows.
  - The lead is the host that has the image datastore, in a normal installation the front-end, else a bridge. There
    is no peer.
author:
  - one_storage.drivers contributors (!UNKNOWN)
extends_documentation_fragment:
  - one_storage.drivers.attributes
  - one_storage.drivers.common
  - one_storage.drivers.ceph
  - one_storage.drivers.datastore
  - one_storage.drivers.new_image
  - one_storage.drivers.directories
  - one_storage.drivers.source
options:
  source:
    description:
      - Absolute path of a file on the lead, or a URL (C(PATH) of the image). Known are C(file), C(http), C(https),
        C(ssh), C(s3), C(rbd), and what the helper downloaders in O(helpers) know.
      - A path is followed to the file that it stands for, and that is held against O(safe_dirs) and
        O(restricted_dirs).
    type: str
    required: true
  feed:
    description:
      - Path of a socket on the lead through which another host sends what is in O(source), because only that host can
        read it. The wrappers set it for datastores behind a bridge. Its folder must be closed to other users.
      - If empty, the lead reads O(source) itself.
    type: str
    default: ''
  size:
    description:
      - Size in MB that was counted for the image (C(SIZE) of the image). Neither the bytes that arrive nor the
        virtual size of what they are may be more.
      - With V(0) there is no limit.
    type: int
    default: 0
  convert_to:
    description:
      - Format to which the image is converted, if it has another (C(DRIVER) of the datastore, unless C(CONVERT) is
        C(NO)). An encrypted image (LUKS) is never converted.
      - If empty, it stays as it came.
    type: str
    choices: ['', raw, qcow2]
    default: ''
  md5:
    description:
      - The MD5 that the source must have, in hexadecimal. Taken of what arrives, before it is unpacked or converted.
        Empty for none.
    type: str
    default: ''
  sha1:
    description:
      - The SHA1 that the source must have, in hexadecimal. Empty for none. All digests that are given must be right.
    type: str
    default: ''
  sha256:
    description:
      - The SHA256 that the source must have, in hexadecimal. Empty for none.
    type: str
    default: ''
  decompress:
    description:
      - If V(true), a packed source is unpacked. Of a file that is O(plain) only compressions are taken off.
      - If V(false), the file is taken as it is (C(NO_DECOMPRESS=YES) of the datastore).
    type: bool
    default: true
  plain:
    description:
      - Whether this is a file and not a disk, such as a kernel or a context file. Then its content is not looked
        at, it is never converted, and its format is V(raw). A files datastore sets it.
    type: bool
    default: false
  sparse:
    description:
      - Whether blocks of zeros in what comes from a URL or out of its packing, and holes of a local file, are left out
        of the file. If V(false), all of it is allocated (C(SPARSE=NO) of the datastore).
    type: bool
    default: true
requirements:
  - C(qemu-img)
  - C(zstd), for sources that are compressed with it
notes:
  - There is no O(ignore:force). An image that is there under its name is complete, and the answer is that it is
    there. To import the source once more, remove the image first.
  - In check mode the source is looked for and held against the directories that are closed to imports. Nothing
    is fetched, so whether the content will be accepted is not known.
seealso:
  - module: one_storage.drivers.ds_stat
  - module: one_storage.drivers.ds_rm
  - module: one_storage.drivers.ds_clone
"""

EXAMPLES = r"""
- name: Import a file, converted to qcow2
  one_storage.drivers.ds_cp:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 12
    regtime: 1767225600
    source: /var/tmp/debian-12.raw
    size: 3072
    convert_to: qcow2
    safe_dirs: [/var/tmp]
  register: image

- name: Import from a web server and prove what came
  one_storage.drivers.ds_cp:
    driver: fs
    datastore: /var/lib/one/datastores/1
    datastore_id: 1
    image_id: 13
    regtime: 1767229200
    source: https://images.example.org/debian-12.qcow2
    md5: 9e107d9d372bb6826bd81d3542a419d6

- name: Put a kernel into the files datastore
  one_storage.drivers.ds_cp:
    driver: fs
    datastore: /var/lib/one/datastores/2
    datastore_id: 2
    image_id: 14
    regtime: 1767232800
    source: /var/tmp/vmlinuz
    plain: true
    decompress: false

- name: An image as a volume of a Ceph pool, done by a host of the cluster
  one_storage.drivers.ds_cp:
    driver: ceph
    datastore: /var/lib/one/datastores/110
    datastore_id: 110
    image_id: 21
    regtime: 1767225600
    source: https://example.org/debian-12.qcow2
    size: 2048
    pool: one
    ceph_user: oneadmin
    staging_dir: /var/tmp
  delegate_to: bridge01
"""

RETURN = r"""
source:
  description:
    - Path of the image (C(SOURCE) of the image), in the spelling of O(datastore). With O(driver=ceph) its pool and
      volume, such as C(one/one-5).
  returned: success, except in check mode when the image is not there yet
  type: str
  sample: /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e
format:
  description: The format of what is in the datastore now. What is not a disk, and an encrypted one, is V(raw).
  returned: success, except in check mode when the image is not there yet
  type: str
  sample: qcow2
fetched:
  description: Bytes that came from the source.
  returned: when an image was made
  type: int
  sample: 325058560
written:
  description: Bytes that they became, unpacked, before a conversion.
  returned: when an image was made
  type: int
  sample: 3221225472
seconds:
  description: How long that took.
  returned: when an image was made
  type: float
  sample: 12.7
unpacked:
  description: The packing that was taken off, the outermost first.
  returned: when an image was made
  type: list
  elements: str
  sample: [xz, tar]
actions:
  description:
    - What was done, one sentence a step, with the host first. In check mode, what would be done next. What can be known
      only after these steps is not in it.
  returned: success
  type: list
  elements: str
  sample:
    - 'frontend: copy /var/tmp/debian-12.raw'
    - 'frontend: write fetched as a qcow2 image of its own'
    - 'frontend: put the image /var/lib/one/datastores/1/7b1c1d04d6f0c9a1e8ff3f4a6cbb2c3e in place'
run_id:
  description:
    - Name of this run in the journal and in the log. Empty when the options alone say that there is nothing to do.
  returned: success
  type: str
  sample: 5f0c9d1e77ab
error:
  description:
    - The parts of the sentence in RV(ignore:msg), for programs.
    - Not returned when the task's options themselves are wrong.
  returned: failure
  type: dict
  contains:
    code:
      description:
        - The kind of error. V(bad-call), V(refused), V(unsupported), V(missing), V(no-space), V(no-access),
          V(tool-failed), V(unreachable), V(deadline), V(busy), V(cancelled), V(corrupt), or V(failed) for all else.
      type: str
      returned: always
      sample: refused
    sentence:
      description: What failed, with the path.
      type: str
      returned: always
      sample: Not allowed to copy image from /etc/shadow, check RESTRICTED_DIRS in your datastore
    host:
      description: Where it failed. Empty when it makes no difference.
      type: str
      returned: always
      sample: host01
    run:
      description: Id of the run that failed, as it stands in the log and in the journal. Empty when none began.
      type: str
      returned: always
      sample: 5f0c9d1e77ab
    undone:
      description: What became of the steps before the failure. Empty when there were none.
      type: str
      returned: always
      sample: nothing was changed
    todo:
      description: What can be done about it. May be empty.
      type: str
      returned: always
      sample: ''
    detail:
      description: Command line, exit code and error output of the command that failed. May be empty.
      type: str
      returned: always
      sample: ''
"""

from ..module_utils._module import main as run_module


def main() -> None:
    """Run the action on this host."""
    run_module("ds_cp")


if __name__ == "__main__":
    main()
