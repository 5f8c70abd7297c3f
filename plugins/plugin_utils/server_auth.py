# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaks to oned as one of its users: login tokens of the authentication driver ``server_cipher`` (contract-ds 10.5).

A token names the server's account, the user and a time, encrypted with the account's password by AES-256-CBC. The
cipher is that of OpenSSL's library, which Python's own ``hashlib`` brings along on every front-end: a package of its
own would be one more to install, and the command ``openssl`` takes a key nowhere but on its command line.
"""

from __future__ import annotations

import os
import time

from ..module_utils._errors import BadCall, Missing, NoAccess, one_line
from .oned import Oned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL

#: Seconds that a token is valid for.
VALID = 120
_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so")
_BLOCK = 16


def oned_as(user: str, oned: Oned, deadline: float) -> Oned:
    """oned, as that user sees it, at the same address.

    :param deadline: seconds that one request may take.
    """
    return Oned(oned.endpoint, deadline=deadline, session=lambda: token(user))


def token(user: str, path: str = "") -> str:
    """A session of a user, valid for :data:`VALID` seconds from now on.

    :param path: file with ``<server account>:<password>``; by default that of ONE_CIPHER_AUTH, else
        ``~/.one/onegate_auth``.
    :raises NoAccess: the file cannot be read, or is no such file.
    """
    if not user or ":" in user or not user.isprintable():
        raise BadCall(f"'{one_line(user, 60)}' cannot be the name of a user")
    path = path or os.environ.get("ONE_CIPHER_AUTH") or os.path.expanduser("~/.one/onegate_auth")
    account, password = _account(path)
    import hashlib
    from base64 import b64encode

    key = hashlib.sha256(password.encode()).hexdigest()[:32].encode()
    text = f"{account}:{user}:{int(time.time()) + VALID}"
    return f"{account}:{user}:{b64encode(encrypt(text.encode(), key, key[:_BLOCK])).decode()}"


def _account(path: str) -> tuple[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            account, colon, password = file.read(4096).rstrip().partition(":")
        if not (account and colon and password):
            raise ValueError("there is no account and password in it")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or "it is not <account>:<password>"
        raise NoAccess(
            f"Cannot read the account that speaks for users in {path}: {reason}", todo="set ONE_CIPHER_AUTH"
        ) from None
    return account, password


def encrypt(data: bytes, key: bytes, start: bytes) -> bytes:
    """AES-256 in CBC mode with PKCS#7 padding.

    :param key: 32 bytes; *start*: 16.
    """
    import ctypes

    crypto = _library()
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_cbc"):
        getattr(crypto, name).restype = ctypes.c_void_p
    context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    try:
        out = ctypes.create_string_buffer(len(data) + _BLOCK)
        first, last = ctypes.c_int(), ctypes.c_int()
        cipher = ctypes.c_void_p(crypto.EVP_aes_256_cbc())
        good = crypto.EVP_EncryptInit_ex(context, cipher, None, key, start)
        good &= crypto.EVP_EncryptUpdate(context, out, ctypes.byref(first), data, len(data))
        good &= crypto.EVP_EncryptFinal_ex(context, ctypes.byref(out, first.value), ctypes.byref(last))
        if not good:
            raise NoAccess("OpenSSL's library does not encrypt by AES-256-CBC")
        return out.raw[: first.value + last.value]
    finally:
        crypto.EVP_CIPHER_CTX_free(context)


def _library() -> CDLL:
    import ctypes

    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise Missing("OpenSSL's library is not installed", todo="install libssl3 or openssl-libs")
