# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""RSA encryption with a public key, as monitord expects it: PKCS#1 v1.5 blocks one after the other (contract-tm 9.3).

The standard library has none, a front-end need not have a library for it, and ``openssl`` encrypts one block of 245
bytes a process: a thousand of them would be more work than all the measuring. With a public key there is nothing to
keep secret but the data, so that none of the dangers of home-made cryptography on the other side apply.
"""

from __future__ import annotations

import os

from ..module_utils._errors import BadCall, from_os

#: What PKCS#1 v1.5 puts before the data of a block, in bytes (RFC 8017, 7.2.1).
_PADDING = 11
_INTEGER, _BITS, _SEQUENCE = 0x02, 0x03, 0x30


class PublicKey:
    """A modulus and an exponent."""

    def __init__(self, modulus: int, exponent: int) -> None:
        self._modulus = modulus
        self._exponent = exponent
        self.size = (modulus.bit_length() + 7) // 8

    def encrypt(self, data: bytes) -> bytes:
        """The blocks of *data*, each as long as the key."""
        step = self.size - _PADDING
        return b"".join(self._block(data[start : start + step]) for start in range(0, len(data), step))

    def _block(self, data: bytes) -> bytes:
        filler = b""
        missing = self.size - 3 - len(data)
        while len(filler) < missing:
            filler += os.urandom(missing - len(filler)).replace(b"\0", b"")
        number = int.from_bytes(b"\0\2" + filler + b"\0" + data, "big")
        return pow(number, self._exponent, self._modulus).to_bytes(self.size, "big")


def read_key(path: str) -> PublicKey:
    """The public key in a PEM file, in either of the two forms that there are (RFC 8017 A.1.1, RFC 5280 4.1)."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError as error:
        raise from_os(error, f"read the public key {path}") from None
    try:
        return _key(_pem(text))
    except (ValueError, IndexError):
        raise BadCall(f"{path} is not an RSA public key in PEM form") from None


def _pem(text: str) -> bytes:
    from binascii import a2b_base64

    lines = text.splitlines()
    begin = next(at for at, line in enumerate([*lines, ""]) if line.startswith("-----BEGIN ") or at == len(lines))
    end = next(at for at, line in enumerate([*lines, ""]) if line.startswith("-----END ") or at == len(lines))
    if not lines[begin].endswith(" PUBLIC KEY-----") and lines[begin] != "-----BEGIN PUBLIC KEY-----":
        raise ValueError("this is another kind of file")
    return a2b_base64("".join(lines[begin + 1 : end]))


def _key(data: bytes) -> PublicKey:
    inside, _rest = _part(data, _SEQUENCE)
    if inside[0] == _SEQUENCE:
        # the algorithm, which only an RSA key's own form below it tells from others, and the key as a string of bits
        _algorithm, rest = _part(inside, _SEQUENCE)
        bits, _rest = _part(rest, _BITS)
        inside, _rest = _part(bits[1:], _SEQUENCE)
    modulus, rest = _part(inside, _INTEGER)
    exponent, _rest = _part(rest, _INTEGER)
    key = PublicKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))
    if key.size < 64:
        raise ValueError("the key is too short")
    return key


def _part(data: bytes, kind: int) -> tuple[bytes, bytes]:
    """The content of the DER element that *data* begins with, and what follows it."""
    if data[0] != kind:
        raise ValueError("this is another kind of element")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise ValueError("the element is cut off")
    return data[start : start + size], data[start + size :]
