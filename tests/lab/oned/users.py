# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who calls oned's API: oneadmin by password, a user by a token of the driver server_cipher."""

from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess
import time


class Users:
    """Users by name, and the account that may speak for them."""

    def __init__(self, account: str = "serveradmin", password: str = "of the server") -> None:
        self.account = account
        self.password = password
        self.ids = {"oneadmin": 0}
        #: ACLs: a user, and an image that it may use besides its own.
        self.rules: set[tuple[int, int]] = set()

    def of_token(self, session: str) -> str:
        """The user that a session is of. Raises ValueError when it is no token, or one that holds no more."""
        words = session.split(":")
        if len(words) != 3 or words[0] != self.account or words[1] not in self.ids:
            raise ValueError("unknown account or user")
        account, user, expires = self._opened(words[2]).split(":")
        if account != self.account or user != words[1] or int(expires) <= time.time():
            raise ValueError("the token is of another user, or holds no more")
        return user

    def _opened(self, text: str) -> str:
        """What a token says: by OpenSSL's own command, so that nothing is shared with what made it."""
        key = hashlib.sha256(self.password.encode()).hexdigest()[:32].encode()
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError("not base64") from None
        command = ["openssl", "enc", "-d", "-aes-256-cbc", "-K", key.hex(), "-iv", key[:16].hex()]
        done = subprocess.run(command, input=data, capture_output=True, timeout=20)
        if done.returncode:
            raise ValueError("the token cannot be opened")
        return done.stdout.decode("utf-8", "replace")
