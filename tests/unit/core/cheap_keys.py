# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories of restic that open at once.

restic chooses, when it makes a repository, how much work it is to try a password: half a second and more for each
command. A test runs dozens of them. So the key of its repository is written again, by restic's own format, with the
least work there is; restic itself, its password and its data stay what they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_BYTES = 16
_CHEAP = {"N": 2, "r": 1, "p": 1}


def cheapen(repository: Path, password: str) -> None:
    """Write all keys of a repository anew; their owner stays.

    :raises ValueError: the password is another one.
    """
    for path in (repository / "keys").iterdir():
        info = path.stat()
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["N"] == _CHEAP["N"]:
            continue
        master = _opened(base64.b64decode(document["data"]), *_derived(document, password))
        document.update(_CHEAP)
        document["data"] = base64.b64encode(_closed(master, *_derived(document, password))).decode()
        text = json.dumps(document).encode()
        new = path.parent / hashlib.sha256(text).hexdigest()
        new.write_bytes(text)
        os.chown(new, info.st_uid, info.st_gid)
        new.chmod(info.st_mode & 0o777)
        path.unlink()


def _derived(document: dict[str, Any], password: str) -> tuple[bytes, bytes, bytes]:
    """The keys that come of a password: to encrypt with, and both halves of the one to sign with."""
    salt, work = base64.b64decode(document["salt"]), {"n": document["N"], "r": document["r"], "p": document["p"]}
    found = hashlib.scrypt(password.encode(), salt=salt, maxmem=1 << 30, dklen=64, **work)
    return found[:32], found[32:48], found[48:]


def _counted(data: bytes, key: bytes, start: bytes) -> bytes:
    """AES-256 in counter mode, which is its own reverse."""
    return Cipher(algorithms.AES(key), modes.CTR(start)).encryptor().update(data)


def _signed(data: bytes, start: bytes, k: bytes, r: bytes) -> bytes:
    """Poly1305-AES."""
    # the mode is for one block, and the sum is over what is encrypted
    nonce = Cipher(algorithms.AES(k), modes.ECB()).encryptor().update(start)
    return Poly1305.generate_tag(r + nonce, data)


def _opened(data: bytes, key: bytes, k: bytes, r: bytes) -> bytes:
    start, middle, sign = data[:_BYTES], data[_BYTES:-_BYTES], data[-_BYTES:]
    if _signed(middle, start, k, r) != sign:
        raise ValueError("the password does not open this key")
    return _counted(middle, key, start)


def _closed(data: bytes, key: bytes, k: bytes, r: bytes) -> bytes:
    start = os.urandom(_BYTES)
    middle = _counted(data, key, start)
    return start + middle + _signed(middle, start, k, r)
