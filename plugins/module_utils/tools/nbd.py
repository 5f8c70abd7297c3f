# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads an image of any format through qemu-nbd: for what lies in no file as a guest sees it, compressed clusters.

Standard library and :mod:`.child` only. Protocol: the NBD project's doc/proto.md, fixed newstyle with simple replies.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time

from .child import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTION = 0x49484156454F5054
_EXPORT_NAME = 1
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_REQUEST, _REPLY = 0x25609513, 0x67446698
_MOST = 16 << 20


class Image:
    """An image that qemu-nbd shows, read-only, until :meth:`close`.

    :param limits: arguments for prlimit, as the tool reads what a guest or a stranger wrote.
    :param patience: seconds that an answer may take.
    :raises OSError: when qemu-nbd does not show it; ``strerror`` has its words.
    """

    def __init__(self, path: str, image_format: str, limits: Sequence[str], patience: float) -> None:
        self._folder = f"/var/tmp/one_storage-nbd-{os.urandom(8).hex()}"
        os.mkdir(self._folder, 0o700)
        place = f"{self._folder}/socket"
        tool = ["qemu-nbd", "--read-only", "--format", image_format, "--socket", place, path]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        self._child: Child | None = None
        try:
            self._child = Child(["prlimit", *limits, "--", "setpriv", "--pdeathsig", "KILL", "--", *tool])
            self._connect(place, self._child, time.monotonic() + patience)
            self._greet()
        except (OSError, struct.error) as error:
            said = self._child.said() if self._child else ""
            self.close()
            reason = said.strip().splitlines()[-1:] or [getattr(error, "strerror", None) or str(error)]
            raise OSError(errno.EIO, reason[0], path) from None

    def _connect(self, place: str, child: Child, until: float) -> None:
        while True:
            try:
                self._socket.connect(place)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until or not child.alive():
                    raise
                time.sleep(0.005)

    def _greet(self) -> None:
        magic, option, _flags = struct.unpack(">8sQH", self._take(18))
        if magic != b"NBDMAGIC" or option != _OPTION:
            raise OSError(errno.EPROTO, "this is not NBD")
        self._socket.sendall(struct.pack(">IQII", _FIXED_NEWSTYLE | _NO_ZEROES, _OPTION, _EXPORT_NAME, 0))
        self.size, _flags = struct.unpack(">QH", self._take(10))

    def read(self, start: int, size: int) -> bytes:
        """*size* bytes from *start* on."""
        parts = []
        while size:
            piece = min(size, _MOST)
            self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, 0, start, start, piece))
            magic, trouble, _handle = struct.unpack(">IIQ", self._take(16))
            if magic != _REPLY or trouble:
                raise OSError(trouble or errno.EPROTO, os.strerror(trouble or errno.EPROTO))
            parts.append(self._take(piece))
            start, size = start + piece, size - piece
        return b"".join(parts)

    def _take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise OSError(errno.EPIPE, "qemu-nbd hung up")
            data += piece
        return bytes(data)

    def close(self) -> None:
        """End qemu-nbd."""
        self._socket.close()
        if self._child:
            self._child.dismiss()
        for path, remove in ((f"{self._folder}/socket", os.unlink), (self._folder, os.rmdir)):
            try:
                remove(path)
            except OSError:
                pass
