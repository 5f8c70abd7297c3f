# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that lets a guest go when its owner dies, or holds it for too long."""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds in which the guard tries to release a guest whose owner died.
_GUARD_SECONDS = 300.0


class Guard:
    """A process that lets the guest go when its owner dies, or holds it longer than it may.

    It is forked before libvirt is loaded, leads a session of its own, and does not die with its parent.

    :param limit: seconds that a guest may be held.
    :param merged: what is still to be done when the owner died while layers were merged.
    """

    def __init__(self, uri: str, domain: str, target: str, limit: float, merged: Callable[[], None]) -> None:
        reader, self._writer = os.pipe()
        self.limit = limit
        self._since = 0.0
        self._mine = os.fork()
        if self._mine == 0:
            try:
                os.setsid()
                os.close(self._writer)
                nothing = os.open("/dev/null", os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(nothing, number)
                _watch(reader, limit, lambda held: _let_go(uri, domain, target, held, merged))
            finally:
                os._exit(0)
        os.close(reader)

    def holds(self, letter: str) -> None:
        """Say, before it is done, what happens to the guest: it is frozen (F), suspended (S), copied (C) or backed up
        (B), or layers below it are merged (M)."""
        if letter in "FS":
            self._since = time.monotonic()
        os.write(self._writer, letter.encode())

    def released(self, letter: str) -> None:
        """Say that this is over; a guard that was killed need not hear it."""
        try:
            os.write(self._writer, letter.lower().encode())
        except BrokenPipeError:
            pass

    def in_time(self) -> bool:
        """Whether the guest was held all the time until now, and not released by the guard."""
        return time.monotonic() - self._since < self.limit

    def end(self) -> None:
        """Nothing is held any more: the guard ends."""
        os.close(self._writer)
        os.waitpid(self._mine, 0)


def _watch(reader: int, limit: float, let_go: Callable[[set[str]], None]) -> None:
    """Follow what is held, until the owner is gone."""
    held: set[str] = set()
    until = 0.0
    while True:
        stopped = held & {"F", "S"}
        ready = select.select([reader], [], [], max(0.0, until - time.monotonic()) if stopped else None)[0]
        if not ready:
            let_go(stopped)
            held -= stopped
            continue
        said = os.read(reader, 64).decode()
        for letter in said:
            if letter.isupper():
                held.add(letter)
                until = time.monotonic() + limit
            else:
                held.discard(letter.upper())
        if not said:
            break
    if held:
        let_go(held)


def _let_go(uri: str, domain: str, target: str, held: set[str], merged: Callable[[], None]) -> None:
    """Thaw, resume, end the copy or the backup, or what comes after a merge: in a process that has not used libvirt
    before."""
    if os.fork() == 0:
        try:
            _release(uri, domain, target, held - {"M"})
            if "M" in held:
                merged()
        finally:
            os._exit(0)
    os.wait()


def find(connection: Any, domain: str) -> Any:
    """A domain by its UUID, which is what oned knows it by, or by its name. Raises libvirt's error."""
    if len(domain) == 36 and not domain.replace("-", "").strip("0123456789abcdefABCDEF"):
        return connection.lookupByUUIDString(domain)
    return connection.lookupByName(domain)


def _release(uri: str, domain: str, target: str, held: set[str]) -> None:
    import libvirt

    until = time.monotonic() + _GUARD_SECONDS
    left = set(held)
    while left and time.monotonic() < until:
        try:
            guest = find(libvirt.open(uri), domain)
            if "S" in left:
                if guest.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                    guest.resume()
                left.discard("S")
            if "C" in left:
                if guest.blockJobInfo(target).get("type") == libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY:
                    guest.blockJobAbort(target)
                left.discard("C")
            if "B" in left:
                if guest.jobStats().get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
                    guest.abortJob()
                left.discard("B")
            if "F" in left:
                guest.agentSetResponseTimeout(10)
                guest.fsThaw()
                left.discard("F")
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return
            time.sleep(0.5)
